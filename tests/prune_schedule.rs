//! Schedules through their public API: the end is always reached.

#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;
use tersor::Error;
use tersor::prune::Schedule;

proptest! {
    #[test]
    fn a_polynomial_starts_and_ends_where_it_says(
        initial in 0.0_f64..=1.0,
        last in 0.0_f64..=1.0,
        begin in 0_u64..1000,
        length in 0_u64..1000,
        frequency in 1_u64..200,
        power in prop_oneof![Just(3.0), Just(1.0), 0.1_f64..20.0],
    ) {
        let end = begin + length;
        let schedule = Schedule::polynomial(initial, last, begin, end).unwrap();
        let schedule = schedule.every(frequency).unwrap().power(power).unwrap();
        prop_assert_eq!(schedule.update_at(end), Some(last));
        prop_assert!(schedule.update_at(begin).is_some());
        prop_assert_eq!(schedule.update_at(end + 1), None);
        prop_assert_eq!(schedule.sparsity_at(u64::MAX), last);
        let mut previous = if length == 0 { last } else { initial };
        for step in 0..end + 3 {
            let sparsity = schedule.sparsity_at(step);
            let update = (begin..=end).contains(&step) && ((step - begin) % frequency == 0 || step == end);
            prop_assert_eq!(schedule.update_at(step), update.then_some(sparsity));
            if step < begin {
                prop_assert_eq!(sparsity, 0.0);
            } else {
                // It only ever goes towards the end.
                prop_assert!((sparsity - last).abs() <= (previous - last).abs() + 1e-12);
                previous = sparsity;
            }
        }
    }
}

#[test]
fn a_constant_holds_from_its_beginning() {
    let schedule = Schedule::constant(0.7).unwrap().starting_at(10).unwrap().every(4).unwrap();
    let updates =
        |schedule: &Schedule| (0..30).filter(|&s| schedule.update_at(s).is_some()).collect::<Vec<_>>();
    assert_eq!((schedule.sparsity_at(9), schedule.sparsity_at(10)), (0.0, 0.7));
    assert_eq!(updates(&schedule), [10, 14, 18, 22, 26]);
    assert_eq!(updates(&schedule.until(20).unwrap()), [10, 14, 18, 20]);
}

#[test]
fn nonsense_is_refused_by_name() {
    let message = |result: Result<Schedule, Error>| result.unwrap_err().to_string();
    assert_eq!(message(Schedule::constant(1.1)), "sparsity is 1.1, but must be 0 to 1");
    assert!(message(Schedule::polynomial(f64::NAN, 0.5, 0, 1)).starts_with("initial is NaN"));
    assert!(message(Schedule::polynomial(0.0, -0.5, 0, 1)).starts_with("last is -0.5"));
    assert_eq!(
        message(Schedule::polynomial(0.0, 0.5, 10, 9)),
        "end is 9, but must be at least 10, where the schedule begins"
    );
    let schedule = Schedule::polynomial(0.0, 0.5, 10, 10).unwrap();
    assert!(message(schedule.clone().every(0)).starts_with("frequency is 0"));
    for power in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(message(schedule.clone().power(power)).starts_with("power is"));
    }
    assert!(message(schedule.clone().starting_at(11)).starts_with("end is 10"));
    assert!(message(schedule.as_tfmot()).starts_with("end is 10"));
}
