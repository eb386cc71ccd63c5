//! Observers through their public API: order, merging, memory, and whether a range is as good as it says.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array1, Array2, Axis, array};
use proptest::prelude::*;
use support::{Random, every_isa, every_thread_count};
use tersor::Error;
use tersor::quant::{
    Compat, Distortion, Histogram, Interval, MeanRange, MinMax, MovingAverage, Observer, Range, Scheme,
};

const RANGES: [Range; 4] = [Range::MinMax, Range::Percentile(99.9), Range::Mse, Range::Entropy];

fn schemes() -> [Scheme; 4] {
    [Scheme::int8().symmetric(), Scheme::int8(), Scheme::uint8(), Scheme::uint8().symmetric()]
}

fn batches(count: usize, len: usize, seed: u64) -> Vec<Array1<f32>> {
    let mut random = Random(seed);
    (0..count).map(|_| (0..len).map(|_| random.normal()).collect()).collect()
}

fn seen<'a>(batches: impl IntoIterator<Item = &'a Array1<f32>>) -> Histogram {
    let mut histogram = Histogram::new();
    for batch in batches {
        histogram.observe(batch.view()).unwrap();
    }
    histogram
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn order_and_merging_do_not_matter(
        numbers in prop::collection::vec(any::<f32>().prop_filter("finite", |x| x.is_finite()), 3..80),
        cut in 1_usize..80,
        turn in 0_usize..80,
    ) {
        let cut = cut.min(numbers.len() - 1);
        let mut turned = numbers.clone();
        turned.rotate_left(turn % numbers.len());
        let (left, right) = (Array1::from(numbers[..cut].to_vec()), Array1::from(numbers[cut..].to_vec()));
        let all = seen([&left, &right]);
        prop_assert_eq!(&seen([&right, &left]), &all);
        prop_assert_eq!(&seen([&Array1::from(turned)]), &all);
        let mut merged = seen([&right]);
        merged.merge(&seen([&left])).unwrap();
        prop_assert_eq!(&merged, &all);
        for scheme in schemes() {
            for range in RANGES {
                let interval = all.intervals(&scheme, range).unwrap()[0];
                prop_assert_eq!(merged.intervals(&scheme, range).unwrap()[0], interval);
                // Usable, whatever the numbers are.
                prop_assert!(interval.min <= interval.max && interval.min.is_finite() && interval.max.is_finite());
                prop_assert!(scheme.params_for(&[interval]).is_ok());
            }
        }
        let mut one = MeanRange::new();
        one.observe(left.view()).unwrap();
        one.observe(right.view()).unwrap();
        let mut two = MeanRange::new();
        two.observe(right.view()).unwrap();
        let mut other = MeanRange::new();
        other.observe(left.view()).unwrap();
        two.merge(&other).unwrap();
        prop_assert_eq!(one, two);
    }
}

#[test]
fn memory_does_not_grow() {
    let mut histogram = Histogram::new();
    let bytes = histogram.bytes();
    for batch in batches(200, 1000, 1) {
        histogram.observe((batch * 1e30).view()).unwrap();
    }
    assert_eq!(histogram.bytes(), bytes);
    assert!(bytes < 1 << 20 | 1 << 10, "{bytes}");
    assert_eq!(histogram.count(), 200_000);
}

#[test]
fn observing_is_the_same_everywhere() {
    let batch = &batches(1, 50_000, 2)[0];
    let expected = seen([batch]);
    for context in every_thread_count().into_iter().chain(every_isa()) {
        assert_eq!(context.scope(|| seen([batch])), expected);
    }
}

#[test]
fn a_refused_batch_leaves_every_observer_as_it_was() {
    fn check<O: Observer + Clone + PartialEq + std::fmt::Debug>(mut observer: O) {
        observer.observe(array![[1.0_f32, -2.0], [0.5, 0.25]].view()).unwrap();
        let before = observer.clone();
        let error = observer.observe(array![[5.0_f32, -9.0], [f32::NAN, 1.0]].view()).unwrap_err();
        assert!(matches!(error, Error::NotFinite { index: 2, .. }), "{error}");
        let error = observer.observe(Array2::<f32>::zeros((0, 2)).view()).unwrap_err();
        assert!(matches!(error, Error::Empty { .. }), "{error}");
        assert_eq!(observer, before);
    }
    check(MinMax::new());
    check(MinMax::per_channel(Axis(1)));
    check(MovingAverage::default());
    check(MeanRange::new());
    check(Histogram::new());
}

#[test]
fn what_an_observer_cannot_answer_is_said() {
    let per_channel = Scheme::int8().per_channel(Axis(0));
    let mut observer = MinMax::new();
    let error = observer.params(&Scheme::int8(), Range::MinMax).unwrap_err();
    assert_eq!(error.to_string(), "observations: there are no elements, but at least one is needed");
    assert!(matches!(Histogram::new().params(&Scheme::int8(), Range::Mse), Err(Error::Empty { .. })));
    observer.observe(array![1.0_f32].view()).unwrap();
    let error = observer.params(&per_channel, Range::MinMax).unwrap_err();
    assert!(
        error.to_string().ends_with("use a scheme per tensor, or MinMax::per_channel(Axis(0))"),
        "{error}"
    );
    let error = observer.params(&Scheme::int8(), Range::Entropy).unwrap_err();
    assert!(error.to_string().ends_with("use a Histogram, which answers every range"), "{error}");
    let mut columns = MinMax::per_channel(Axis(1));
    columns.observe(array![[1.0_f32, 2.0]].view()).unwrap();
    assert!(matches!(columns.observe(array![[1.0_f32]].view()), Err(Error::Shape { .. })));
    assert!(matches!(columns.params(&per_channel, Range::MinMax), Err(Error::Unsupported { .. })));
    assert_eq!(columns.intervals(&Scheme::int8(), Range::MinMax).unwrap(), [Interval { min: 1.0, max: 2.0 }]);
    assert!(columns.merge(&MinMax::new()).is_err());
    let histogram = seen(&batches(1, 10, 3));
    for percentile in [50.0, 100.1, f64::NAN, -1.0] {
        let error = histogram.params(&Scheme::int8(), Range::Percentile(percentile)).unwrap_err();
        assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
    }
    assert!(matches!(histogram.params(&per_channel, Range::Mse), Err(Error::Unsupported { .. })));
    assert!(MovingAverage::new(0.0).is_err() && MovingAverage::new(f32::NAN).is_err());
}

/// Percentiles against the sorted numbers, interpolated between ranks; exact where bins hold one number each.
#[test]
fn percentiles_are_within_a_bin() {
    for (seed, scale) in [(4, 1.0), (5, 1e-3), (6, 3e7)] {
        let numbers = batches(3, 4000, seed).into_iter().map(|batch| batch * scale + scale / 3.0);
        let numbers: Vec<Array1<f32>> = numbers.collect();
        let mut sorted: Vec<f32> = numbers.iter().flatten().copied().collect();
        sorted.sort_by(f32::total_cmp);
        let quantile = |fraction: f64| {
            let rank = fraction * (sorted.len() - 1) as f64;
            let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
            f64::from(low) + f64::from(high - low) * rank.fract()
        };
        for p in [60.0, 90.0, 99.0, 99.9, 99.99, 100.0] {
            let found = seen(&numbers).intervals(&Scheme::uint8(), Range::Percentile(p)).unwrap()[0];
            let expected = (quantile((100.0 - p) / 200.0), quantile(1.0 - (100.0 - p) / 200.0));
            assert!(
                (f64::from(found.min) / expected.0 - 1.0).abs() < 1.0 / 128.0,
                "{p}: {found:?} {expected:?}"
            );
            assert!(
                (f64::from(found.max) / expected.1 - 1.0).abs() < 1.0 / 128.0,
                "{p}: {found:?} {expected:?}"
            );
        }
    }
}

/// What the sketch says of the error against the error itself.
#[test]
fn estimates_agree_with_measurements() {
    for batch in [&batches(1, 30_000, 7)[0], &batches(1, 30_000, 8)[0].mapv(|x| x.max(0.0).powi(3))] {
        let histogram = seen([batch]);
        for scheme in schemes() {
            for range in RANGES {
                let params = histogram.params(&scheme, range).unwrap();
                let measured = Distortion::measure(batch.view(), &params).unwrap();
                let estimated = histogram.distortion(&params).unwrap();
                let close = |a: f64, b: f64| (a - b).abs() <= 0.03 * b.abs() + 1e-4 * measured.rounding;
                assert_eq!(measured.count, estimated.count);
                assert!(close(estimated.rounding, measured.rounding), "{measured:?} {estimated:?}");
                assert!(close(estimated.signal, measured.signal), "{measured:?} {estimated:?}");
                let off = (estimated.clipping - measured.clipping).abs();
                assert!(off <= 0.05 * (measured.clipping + measured.rounding), "{measured:?} {estimated:?}");
            }
        }
    }
}

/// No magnitude of a fine grid of them beats the search by more than 1%.
#[test]
fn least_squares_finds_the_least() {
    for batch in [&batches(1, 20_000, 9)[0], &batches(1, 20_000, 10)[0].mapv(|x| x * x * x)] {
        let scheme = Scheme::int8().symmetric();
        let histogram = seen([batch]);
        let error = |interval: Interval| {
            let params = scheme.params_for(&[interval]).unwrap();
            Distortion::measure(batch.view(), &params).unwrap().mean_squared_error()
        };
        let found = error(histogram.intervals(&scheme, Range::Mse).unwrap()[0]);
        let all = histogram.interval().unwrap().magnitude();
        let least = (1..=500)
            .map(|i| all * i as f32 / 500.0)
            .map(|limit| error(Interval { min: -limit, max: limit }))
            .fold(f64::INFINITY, f64::min);
        assert!(found <= least * 1.01, "{found:e} {least:e}");
        assert!(found < error(Interval { min: -all, max: all }));
    }
}

/// A normal distribution of many numbers keeps four to six deviations; far outliers are cut off.
#[test]
fn entropy_keeps_the_bulk_and_cuts_outliers() {
    let mut numbers = batches(1, 400_000, 11);
    let scheme = Scheme::int8().symmetric();
    let clean = seen(&numbers).intervals(&scheme, Range::Entropy).unwrap()[0];
    assert!((3.0..6.0).contains(&clean.max), "{clean:?}");
    numbers.push(array![300.0, -250.0, 1000.0]);
    let cut = seen(&numbers).intervals(&scheme, Range::Entropy).unwrap()[0];
    assert!((3.0..6.0).contains(&cut.max), "{cut:?}");
    // Zeros have a code of their own at any threshold, so they do not count.
    numbers.push(Array1::zeros(100_000));
    assert_eq!(seen(&numbers).intervals(&scheme, Range::Entropy).unwrap()[0], cut);
}

#[test]
fn images_of_small_integers_are_exact() {
    // Every level is the lower end of its bin: known exactly.
    let pixels: Array1<f32> = (0..1700).map(|i| (i % 17) as f32).collect();
    let histogram = seen([&pixels]);
    for range in [Range::MinMax, Range::Percentile(100.0), Range::Mse] {
        let params = histogram.params(&Scheme::uint8(), range).unwrap();
        let measured = Distortion::measure(pixels.view(), &params).unwrap();
        let estimated = histogram.distortion(&params).unwrap();
        assert!((estimated.rounding - measured.rounding).abs() <= 1e-6 * measured.signal);
        // The estimate does not round the values of codes to f32.
        assert!((estimated.clipping - measured.clipping).abs() <= 1e-5 * measured.clipping);
    }
    let noise = |range: Range| {
        let params = histogram.params(&Scheme::uint8(), range).unwrap();
        Distortion::measure(pixels.view(), &params).unwrap().mean_squared_error()
    };
    assert!(noise(Range::Mse) <= noise(Range::MinMax));
}

#[test]
fn a_mean_of_ranges_is_what_it_says() {
    let mut observer = MeanRange::new();
    observer.observe(array![-1.0_f32, 2.0].view()).unwrap();
    observer.observe(array![-2.0_f32, 5.0].view()).unwrap();
    observer.observe(array![0.0_f32, 2.0].view()).unwrap();
    let scheme = Scheme::int8().compat(Compat::OnnxRuntime);
    assert_eq!(observer.intervals(&scheme, Range::MinMax).unwrap(), [Interval { min: -1.0, max: 3.0 }]);
}

/// Doubling soon reaches any limit: it is said, and what was seen before is still there.
#[test]
fn merging_more_than_can_be_counted_is_refused() {
    let mut histogram = seen([&array![1.999_f32]]);
    let mut mean = MeanRange::new();
    mean.observe(array![f32::MIN, f32::MAX].view()).unwrap();
    for _ in 0..47 {
        histogram.merge(&histogram.clone()).unwrap();
    }
    for _ in 0..63 {
        mean.merge(&mean.clone()).unwrap();
    }
    let (before, mean_before) = (histogram.clone(), mean.clone());
    let error = histogram.merge(&before).unwrap_err();
    assert!(error.to_string().ends_with("but must be at most 140737488355328 in all"), "{error}");
    assert!(matches!(histogram.observe(array![1.0_f32].view()), Err(Error::OutOfRange { .. })));
    assert!(matches!(mean.merge(&mean_before), Err(Error::OutOfRange { .. })));
    assert_eq!((&histogram, &mean), (&before, &mean_before));
    let scheme = Scheme::int8();
    assert_eq!(mean.intervals(&scheme, Range::MinMax).unwrap(), [Interval { min: f32::MIN, max: f32::MAX }]);
    // What can be counted can be saved and read.
    let mut bytes = vec![0; Histogram::SAVED_BYTES];
    histogram.write_bytes(&mut bytes).unwrap();
    assert_eq!(Histogram::from_bytes(&bytes).unwrap(), histogram);
}

/// 5 - (2^27 - 8) rounds away from zero and 5 - (2^27 + 16) towards it, which puts the smaller end above the larger.
#[test]
fn a_moving_average_stays_in_order() {
    let mut observer = MovingAverage::new(1.0).unwrap();
    observer.observe(array![134_217_720.0_f32, 134_217_744.0].view()).unwrap();
    observer.observe(array![5.0_f32].view()).unwrap();
    let interval = observer.interval().unwrap();
    assert!(interval.min < interval.max, "{interval:?}");
    assert!(observer.params(&Scheme::int8(), Range::MinMax).is_ok());
    for (min, max) in [(f32::NAN, 0.0), (1.0, 0.0), (0.0, f32::INFINITY)] {
        let error = MovingAverage::resume(0.5, Some(Interval { min, max })).unwrap_err();
        assert!(matches!(error, Error::OutOfRange { .. }), "{error}");
    }
}

/// 382 of the smallest number over 255 codes: a scale of 1 of it, but a third of the range would give a scale of 0.
#[test]
fn least_squares_pass_by_intervals_without_a_grid() {
    let smallest = seen([&array![0.0_f32, f32::from_bits(100), f32::from_bits(382)]]);
    for compat in [Compat::OnnxDynamic, Compat::TensorFlow, Compat::Torch, Compat::Tersor] {
        let scheme = Scheme::uint8().compat(compat);
        smallest.params(&scheme, Range::MinMax).unwrap();
        smallest.params(&scheme, Range::Mse).unwrap();
    }
}
