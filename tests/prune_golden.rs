//! Masks and schedules as torch and TensorFlow Model Optimization computed them, bit for bit, through the public API.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{ArrayD, Axis, IxDyn};
use serde_json::Value;
use support::golden::{Golden, name, ulps};
use tersor::Mask;
use tersor::prune::{Amount, Magnitude, Pattern, Pooling, Pruner, Schedule};

fn tensor(golden: &Golden, case: &Value, role: &str) -> ArrayD<f32> {
    let tensor = case["tensors"][role].as_str().unwrap();
    ArrayD::from_shape_vec(IxDyn(&golden.shape(tensor)), golden.f32(tensor)).unwrap()
}

fn mask(golden: &Golden, case: &Value, role: &str) -> Mask {
    let tensor = case["tensors"][role].as_str().unwrap();
    let bytes = golden.u8(tensor);
    Mask::from_fn(&golden.shape(tensor), |index| bytes[index] != 0).unwrap()
}

/// An integer is a count, a number with a point a share; both of what is still alive.
fn torch_amount(amount: &Value) -> Amount {
    match amount.as_u64() {
        Some(count) => Amount::Condemned(usize::try_from(count).unwrap()),
        None => Amount::SparsityOfLiving(amount.as_f64().unwrap()),
    }
}

#[test]
fn masks_are_those_of_torch() {
    let golden = Golden::load("torch_prune");
    let mut seen = [0; 4];
    for case in &golden.cases {
        let options = &case["options"];
        let l1 = Pruner::new(Magnitude::l1());
        match options["method"].as_str().unwrap() {
            "l1_unstructured" if options["amounts"].is_array() => {
                let weight = tensor(&golden, case, "weight");
                let mut alive = Mask::ones(weight.shape()).unwrap();
                for (index, amount) in options["amounts"].as_array().unwrap().iter().enumerate() {
                    let pruner = l1.amount(torch_amount(amount)).within(&alive);
                    alive = pruner.mask(weight.view()).unwrap();
                    assert_eq!(
                        alive,
                        mask(&golden, case, &format!("mask.{index}")),
                        "{} {index}",
                        name(case)
                    );
                }
                seen[0] += 1;
            }
            "l1_unstructured" => {
                let pruner = l1.amount(torch_amount(&options["amount"]));
                let found = pruner.mask(tensor(&golden, case, "weight").view()).unwrap();
                assert_eq!(found, mask(&golden, case, "mask"), "{}", name(case));
                seen[1] += 1;
            }
            "global_unstructured" => {
                let weights = [0, 1, 2].map(|index| tensor(&golden, case, &format!("weight.{index}")));
                let views: Vec<_> = weights.iter().map(|weight| weight.view()).collect();
                let found = l1.amount(torch_amount(&options["amount"])).masks(&views).unwrap();
                for (index, found) in found.iter().enumerate() {
                    assert_eq!(*found, mask(&golden, case, &format!("mask.{index}")), "{}", name(case));
                }
                seen[2] += 1;
            }
            "ln_structured" => {
                let axis = Axis(usize::try_from(options["dim"].as_u64().unwrap()).unwrap());
                let slices = Pattern::slices(axis);
                let (criterion, pattern) = match options["n"].as_u64() {
                    Some(1) => (Magnitude::l1(), slices),
                    Some(2) => (Magnitude::l2(), slices),
                    Some(n) => panic!("{n}"),
                    None => (Magnitude::l1(), slices.pooled(Pooling::Max)),
                };
                let pruner = Pruner::new(criterion).pattern(pattern).amount(torch_amount(&options["amount"]));
                let found = pruner.mask(tensor(&golden, case, "weight").view()).unwrap();
                assert_eq!(found, mask(&golden, case, "mask"), "{}", name(case));
                seen[3] += 1;
            }
            method => panic!("{method}"),
        }
    }
    assert!(seen.iter().all(|&cases| cases > 0), "{seen:?}");
}

#[test]
fn masks_are_those_of_tfmot() {
    let golden = Golden::load("tfmot_prune");
    let mut seen = [0; 3];
    for case in &golden.cases {
        let options = &case["options"];
        let weight = tensor(&golden, case, "weight");
        let expected = mask(&golden, case, "mask");
        let l1 = Pruner::new(Magnitude::l1());
        let amount = || Amount::Tfmot(options["sparsity"].as_f64().unwrap() as f32);
        let threshold = || golden.f32(case["tensors"]["threshold"].as_str().unwrap())[0];
        let number = |value: &Value| usize::try_from(value.as_u64().unwrap()).unwrap();
        match options["method"].as_str().unwrap() {
            "magnitude" => {
                let decision = l1.amount(amount()).decide(weight.view()).unwrap();
                assert_eq!(decision.mask, expected, "{}", name(case));
                assert_eq!(decision.rankings[0].threshold, Some(threshold()), "{}", name(case));
                seen[0] += 1;
            }
            "block" => {
                let block = &options["block"];
                let pooling = match options["pooling"].as_str().unwrap() {
                    "AVG" => Pooling::Mean,
                    "MAX" => Pooling::Max,
                    pooling => panic!("{pooling}"),
                };
                let pattern = Pattern::block(number(&block[0]), number(&block[1])).unwrap();
                let pattern = pattern.pooled(pooling).with_same_padding();
                let decision = l1.pattern(pattern).amount(amount()).decide(weight.view()).unwrap();
                assert_eq!(decision.mask, expected, "{}", name(case));
                // A maximum is exact. A mean is rounded once here and, there, after each of up to eight additions and two
                // divisions.
                let bound = if pooling == Pooling::Max { 0 } else { 2 };
                let found = decision.rankings[0].threshold.unwrap();
                assert!(ulps(found, threshold()) <= bound, "{}: {found} {}", name(case), threshold());
                seen[1] += 1;
            }
            "m_by_n" => {
                // Groups run along the input axis, the last but one: it becomes the last.
                let group = number(&options["group"]);
                let pattern = Pattern::n_of_m(group - number(&options["zeros"]), group).unwrap();
                let axes = weight.ndim();
                let mut inputs_last = weight.view();
                inputs_last.swap_axes(axes - 2, axes - 1);
                let found = l1.pattern(pattern).mask(inputs_last.view()).unwrap();
                let bools = (0..found.len()).map(|index| found.get(index).unwrap()).collect();
                let mut bools = ArrayD::from_shape_vec(inputs_last.raw_dim(), bools).unwrap();
                bools.swap_axes(axes - 2, axes - 1);
                assert_eq!(Mask::from_bools(bools.view()).unwrap(), expected, "{}", name(case));
                seen[2] += 1;
            }
            method => panic!("{method}"),
        }
    }
    assert!(seen.iter().all(|&cases| cases > 0), "{seen:?}");
}

#[test]
fn schedules_are_those_of_tfmot() {
    let golden = Golden::load("tfmot_schedule");
    for case in &golden.cases {
        let options = &case["options"];
        let number = |key: &str| options[key].as_f64().unwrap();
        let step = |key: &str| options[key].as_u64();
        let begin = step("begin_step").unwrap();
        let schedule = match options["schedule"].as_str().unwrap() {
            "PolynomialDecay" => {
                let (initial, last) = (number("initial_sparsity"), number("final_sparsity"));
                let schedule = Schedule::polynomial(initial, last, begin, step("end_step").unwrap()).unwrap();
                schedule.power(number("power")).unwrap()
            }
            "ConstantSparsity" => {
                let schedule = Schedule::constant(number("target_sparsity")).unwrap();
                let schedule = schedule.starting_at(begin).unwrap();
                // -1 is no end.
                step("end_step").map_or(schedule.clone(), |end| schedule.until(end).unwrap())
            }
            schedule => panic!("{schedule}"),
        };
        let schedule = schedule.every(step("frequency").unwrap()).unwrap().as_tfmot().unwrap();
        let tensor = |role: &str| case["tensors"][role].as_str().unwrap();
        let steps = golden.i64(tensor("steps"));
        let should_prune = golden.u8(tensor("should_prune"));
        let sparsity = golden.f32(tensor("sparsity"));
        for ((step, should_prune), sparsity) in steps.into_iter().zip(should_prune).zip(sparsity) {
            let step = u64::try_from(step).unwrap();
            assert_eq!(schedule.sparsity_at(step), f64::from(sparsity), "{} at {step}", name(case));
            assert_eq!(schedule.update_at(step).is_some(), should_prune != 0, "{} at {step}", name(case));
        }
    }
}
