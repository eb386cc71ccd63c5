//! The fused step through its public API: the same bytes everywhere, all or nothing, masks, storage types.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use proptest::prelude::*;
use support::guard::{Guarded, plain::Plain};
use support::{Random, awkward_lengths, every_isa, every_thread_count, scalar};
use tersor::ndarray::{Array1, Array2, ArrayView1, array};
use tersor::optim::{
    Adagrad, Adam, AdamW, LossScaler, MixedPrecision, Parameter, ParameterMut, Rule, ScalerOptions, Sgd,
    SgdMomentum, Step, Unscale, keras, step,
};
use tersor::{BitSlice, Context, DType, Element, Mask, bf16, f16};

/// Buffers of one tensor, each ending at an inaccessible page.
struct Buffers<G> {
    gradient: Guarded<G>,
    master: Guarded<f32>,
    states: Vec<Guarded<f32>>,
    f16: Guarded<f16>,
    bf16: Guarded<bf16>,
    bits: Guarded<u8>,
    steps: u64,
}

impl<G: Element + Plain> Buffers<G> {
    /// Weights and states that a few steps could have left, gradients of every size, some of them zero.
    fn new(len: usize, states: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let gradient: Vec<G> = (0..len)
            .map(|i| match i % 7 {
                3 => G::from_f32(0.0),
                5 => G::from_f32(random.normal() * 1e-6),
                _ => G::from_f32(random.normal() * 100.0),
            })
            .collect();
        let master: Vec<f32> = (0..len).map(|_| random.normal()).collect();
        let states = (0..states)
            .map(|_| Guarded::new(&(0..len).map(|_| random.normal().abs()).collect::<Vec<_>>()))
            .collect();
        let bits: Vec<u8> =
            (0..(len + 3).div_ceil(8)).map(|_| (random.bits() | random.bits()) as u8).collect();
        Buffers {
            gradient: Guarded::new(&gradient),
            master: Guarded::new(&master),
            states,
            f16: Guarded::new(&vec![f16::ZERO; len]),
            bf16: Guarded::new(&vec![bf16::ZERO; len]),
            bits: Guarded::new(&bits),
            steps: 4,
        }
    }

    /// A step of the weights from `from` up to `back` before the inaccessible page.
    fn step<R: Rule<State = [f32; N]>, const N: usize>(
        &mut self,
        rule: &R,
        from: usize,
        back: usize,
    ) -> Step {
        let len = self.master.len();
        let window = from..len - back;
        let mut states = self.states.iter_mut();
        let states = std::array::from_fn(|_| &mut states.next().unwrap()[window.clone()]);
        let bits = BitSlice::new(&self.bits, len + 3).unwrap().slice(3 + window.start, 3 + window.end);
        let parameter = ParameterMut::new("w", &mut self.master[window.clone()], states, &mut self.steps)
            .with_f16(&mut self.f16[window.clone()])
            .with_bf16(&mut self.bf16[window.clone()])
            .with_mask(bits);
        let unscale = Unscale::by_division(768.0).unwrap();
        step(rule, unscale, Some(0.5), &mut [parameter], &[&self.gradient[window]]).unwrap()
    }

    /// Every byte that a step may write.
    fn bytes(&self) -> Vec<Vec<u8>> {
        let mut bytes: Vec<Vec<u8>> =
            self.states.iter().map(|state| bytemuck::cast_slice(state).to_vec()).collect();
        bytes.push(bytemuck::cast_slice(&self.master).to_vec());
        bytes.push(bytemuck::cast_slice(&self.f16).to_vec());
        bytes.push(bytemuck::cast_slice(&self.bf16).to_vec());
        bytes
    }
}

fn same_on_every_isa<G: Element + Plain, R: Rule<State = [f32; N]>, const N: usize>(rule: &R) {
    for len in awkward_lengths() {
        // Up to the page; with other bits of the mask's bytes; and, by the distance from the page, at every alignment.
        for (from, back) in [(0, 0), (1, 0), (3, 0), (0, 1), (0, 2), (1, 3), (0, 5), (0, 8), (0, 13)] {
            let run = |context: &Context| {
                let mut buffers = Buffers::<G>::new(from + len + back, N, 11);
                let outcome = context.scope(|| buffers.step(rule, from, back));
                (outcome, buffers.bytes())
            };
            let expected = run(&scalar());
            assert!(matches!(expected.0, Step::Applied { held: None, .. }));
            for context in every_isa() {
                assert!(run(&context) == expected, "{context:?}, {}, length {len}, {from}, {back}", G::DTYPE);
            }
        }
    }
}

#[test]
fn a_step_gives_the_same_bytes_on_every_instruction_set() {
    let momentum = SgdMomentum { nesterov: true, weight_decay: 0.1, ..SgdMomentum::default() };
    same_on_every_isa::<f32, _, 0>(&Sgd { weight_decay: 0.1, ..Sgd::default() });
    same_on_every_isa::<f16, _, 1>(&momentum);
    same_on_every_isa::<bf16, _, 2>(&Adam { beta1: 0.3, ..Adam::default() });
    same_on_every_isa::<f16, _, 2>(&AdamW::default());
    same_on_every_isa::<f32, _, 1>(&Adagrad { initial_accumulator: 0.25, ..Adagrad::default() });
    same_on_every_isa::<f16, _, 2>(&keras::Adam::with_decay());
    same_on_every_isa::<bf16, _, 1>(&keras::Adagrad::default());
    same_on_every_isa::<f32, _, 1>(&keras::SgdMomentum { nesterov: true, ..keras::SgdMomentum::default() });
}

#[test]
fn a_step_gives_the_same_bytes_at_any_thread_count() {
    let run = |context: &Context| {
        let mut buffers = Buffers::<f16>::new(100_003, 2, 5);
        let outcome = context.scope(|| buffers.step(&AdamW::default(), 0, 0));
        (outcome, buffers.bytes())
    };
    let expected = run(&scalar());
    for context in every_thread_count() {
        assert!(run(&context) == expected, "{context:?}");
    }
}

/// The plainest possible reference: one weight at a time, no blocks, no vectors.
fn reference<E: Element>(
    rule: &AdamW,
    scale: f32,
    clip: f64,
    (gradient, master, states): (&[E], &mut [f32], &mut [Vec<f32>; 2]),
    survives: impl Fn(usize) -> bool,
) -> f64 {
    let effective = |i: usize| if survives(i) { Element::to_f32(gradient[i]) } else { 0.0 };
    let sum: f64 = (0..gradient.len()).map(|i| f64::from(effective(i)).powi(2)).sum();
    let norm = sum.sqrt() / f64::from(scale);
    let coefficient = (clip / (norm + 1e-6)).min(1.0) as f32;
    let scalars = rule.scalars(1);
    for i in 0..gradient.len() {
        let mut state = [states[0][i], states[1][i]];
        master[i] = AdamW::update(&scalars, master[i], effective(i) / scale * coefficient, &mut state);
        if !survives(i) {
            (master[i], state) = (0.0, [0.0; 2]);
        }
        [states[0][i], states[1][i]] = state;
    }
    norm
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_step_is_what_one_weight_at_a_time_gives(
        len in 0_usize..300,
        seed in any::<u64>(),
        scale in prop::sample::select(vec![1.0_f32, 1024.0, 1000.0, 0.125]),
        clip in prop::sample::select(vec![1e-3, 1.0, 1e6]),
        density in 0.0..1.0_f32,
    ) {
        let mut random = Random(seed);
        let gradient: Vec<f16> = (0..len).map(|_| f16::from_f32(random.normal() * scale)).collect();
        let weights: Vec<f32> = (0..len).map(|_| random.normal()).collect();
        let mask = Mask::from_fn(&[len], |_| random.signed().abs() < density).unwrap();
        let rule = AdamW::default();
        let scaler = LossScaler::fixed(scale).unwrap();
        let mut trainer = MixedPrecision::new(rule, scaler).clip_global_norm(clip).unwrap();
        let mut parameters = [trainer
            .parameter("w", ArrayView1::from(&weights), DType::Bf16).unwrap()
            .with_mask(mask.clone()).unwrap()];
        let (mut master, mut states) = (weights, [vec![0.0; len], vec![0.0; len]]);
        let norm = reference(&rule, scale, clip, (&gradient, &mut master, &mut states),
                             |i| mask.get(i).unwrap());
        let outcome = trainer.step(&mut parameters, &[&gradient[..]]).unwrap();
        let Step::Applied { grad_norm, .. } = outcome else { panic!("{outcome:?}") };
        prop_assert!((grad_norm - norm).abs() <= 1e-12 * norm);
        let parameter = &parameters[0];
        // The reference sums in another order; where that moves the coefficient, it moves an update by an ulp of itself.
        for (&found, &expected) in parameter.master().iter().zip(&master) {
            prop_assert!((found - expected).abs() <= 1e-9, "{} {}", found, expected);
        }
        prop_assert_eq!(parameter.steps(), 1);
        for (&stored, &master) in parameter.weights::<bf16>().unwrap().iter().zip(parameter.master()) {
            prop_assert_eq!(stored.to_bits(), bf16::from_f32(master).to_bits());
        }
    }

    /// Wherever the overflow is: everything as before, and the outcome says exactly where it was.
    #[test]
    fn an_overflow_changes_nothing_and_is_named(
        lengths in prop::collection::vec(1_usize..200, 1..5),
        tensor in any::<prop::sample::Index>(),
        index in any::<prop::sample::Index>(),
        value in prop::sample::select(vec![f32::INFINITY, f32::NEG_INFINITY, f32::NAN]),
        more in 0_usize..3,
    ) {
        let mut trainer = MixedPrecision::new(Adam::default(), LossScaler::dynamic());
        let names: Vec<String> = (0..lengths.len()).map(|i| format!("layer{i}.weight")).collect();
        let mut parameters: Vec<Parameter> = lengths.iter().zip(&names).map(|(&len, name)| {
            trainer.parameter(name, Array1::from_elem(len, 0.5_f32).view(), DType::F16).unwrap()
        }).collect();
        let mut gradients: Vec<Vec<f16>> = lengths.iter().map(|&len| vec![f16::ONE; len]).collect();
        let applied = matches!(trainer.step(&mut parameters, &gradients), Ok(Step::Applied { .. }));
        prop_assert!(applied);
        let before = format!("{parameters:?}");

        let tensor = tensor.index(lengths.len());
        let index = index.index(lengths[tensor]);
        gradients[tensor][index..].iter_mut().take(1 + more).for_each(|g| *g = f16::from_f32(value));
        let count = (lengths[tensor] - index).min(1 + more);
        let outcome = trainer.step(&mut parameters, &gradients).unwrap();
        let Step::Skipped { overflow, .. } = outcome else { panic!("{outcome:?}") };
        prop_assert_eq!((overflow.tensor, overflow.index, overflow.count), (tensor, index, count));
        prop_assert_eq!(overflow.value.is_nan(), value.is_nan());
        prop_assert!(value.is_nan() || overflow.value == value);
        prop_assert_eq!(&*overflow.name, names[tensor].as_str());
        prop_assert_eq!(format!("{parameters:?}"), before);
        prop_assert_eq!(trainer.scaler().scale(), 32768.0);
    }

    /// Whatever the factors and whatever happens, our scale stays in its bounds, where every gradient can be unscaled.
    #[test]
    fn the_bounded_scale_stays_usable(
        growth in 1.0001_f64..1e300,
        backoff in 1e-300_f64..0.9999,
        interval in 1_u32..4,
        overflows in prop::collection::vec(any::<bool>(), 0..200),
    ) {
        let options = ScalerOptions {
            growth_factor: growth,
            backoff_factor: backoff,
            growth_interval: interval,
            floor: f32::MIN_POSITIVE,
            ceiling: f32::MAX,
            ..ScalerOptions::bounded()
        };
        let mut scaler = LossScaler::new(options).unwrap();
        for overflow in overflows {
            scaler.update(overflow);
            prop_assert!((options.floor..=options.ceiling).contains(&scaler.scale()));
            prop_assert!(scaler.unscale().is_ok());
            prop_assert!(scaler.growth_tracker() < interval);
        }
    }
}

/// With a scale that is no power of two the bounded rule divides; with one it multiplies, which must be the same.
#[test]
fn unscaling_is_division_to_the_bit() {
    let mut random = Random(9);
    let rule = Sgd { learning_rate: 1.0, weight_decay: 0.0 };
    for scale in [1.0, 3.0, 1000.0, 65536.0, 2.0_f32.powi(-126), 2.0_f32.powi(127), f32::MIN_POSITIVE * 1.5] {
        let gradient: Vec<f32> = (0..100).map(|_| random.normal() * 0.1 * scale).collect();
        let mut weights = vec![0.0; 100];
        let mut steps = 0;
        let parameter = ParameterMut::new("w", &mut weights, [], &mut steps);
        _ = step(&rule, Unscale::by_division(scale).unwrap(), None, &mut [parameter], &[&gradient[..]])
            .unwrap();
        for (weight, gradient) in weights.iter().zip(&gradient) {
            assert_eq!(-weight, gradient / scale, "{gradient} / {scale}");
        }
    }
}

#[test]
fn condemned_weights_stay_zero_and_start_afresh() {
    let mut trainer = MixedPrecision::new(
        Adagrad { initial_accumulator: 0.5, learning_rate: 0.1, ..Adagrad::default() },
        LossScaler::none(),
    );
    let mut parameters = [trainer.parameter("w", array![1.0_f32, 2.0, 3.0].view(), DType::F16).unwrap()];
    _ = trainer.step(&mut parameters, &[vec![1.0_f32, 1.0, 1.0]]).unwrap();
    let mask = Mask::from_fn(&[3], |i| i != 1).unwrap();
    parameters[0].set_mask(Some(mask)).unwrap();
    assert_eq!(parameters[0].master()[1], 0.0);
    assert_eq!(parameters[0].weights::<f16>().unwrap()[[1]], f16::ZERO);

    // The gradient of a condemned weight is ignored, whatever it is: no overflow, nothing in the norm.
    let outcome = trainer.step(&mut parameters, &[vec![3.0_f32, f32::NAN, 4.0]]).unwrap();
    let Step::Applied { grad_norm, held: None, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(grad_norm, 5.0);
    assert_eq!(parameters[0].master()[1].to_bits(), 0);
    assert_eq!(parameters[0].states()[0][1], 0.5);
    assert!(parameters[0].states()[0][0] > 10.0);
    assert_eq!(parameters[0].weights::<f16>().unwrap()[[1]].to_bits(), 0);

    // Free again, it is a fresh weight.
    parameters[0].set_mask(None).unwrap();
    _ = trainer.step(&mut parameters, &[vec![0.0_f32, 1.0, 0.0]]).unwrap();
    let expected = -0.1_f32 * 1.0 / (1.5_f32.sqrt() + 1e-10);
    assert_eq!(parameters[0].master()[1], expected);
}

/// Updates smaller than half an f16 ulp are lost without masters; with them they add up.
#[test]
fn masters_keep_what_16_bits_lose() {
    for dtype in [DType::F16, DType::Bf16] {
        let rule = Sgd { learning_rate: 1e-4, weight_decay: 0.0 };
        let mut trainer = MixedPrecision::new(rule, LossScaler::none());
        let mut parameters = [trainer.parameter("w", array![1.0_f32].view(), dtype).unwrap()];
        for _ in 0..1000 {
            _ = trainer.step(&mut parameters, &[vec![1.0_f32]]).unwrap();
        }
        let weight = match dtype {
            DType::F16 => parameters[0].weights::<f16>().unwrap()[[0]].to_f32(),
            _ => parameters[0].weights::<bf16>().unwrap()[[0]].to_f32(),
        };
        assert!((weight - 0.9).abs() < 0.002, "{dtype}: {weight}");
        assert!(f16::from_f32(1.0 - 1e-4) == f16::ONE);
    }
}

#[test]
fn what_f16_cannot_hold_saturates_and_comes_back() {
    let rule = Sgd { learning_rate: 1.0, weight_decay: 0.0 };
    let mut trainer = MixedPrecision::new(rule, LossScaler::none());
    let mut parameters =
        [trainer.parameter("w", array![65000.0_f32, 0.0, -65000.0].view(), DType::F16).unwrap()];
    let outcome = trainer.step(&mut parameters, &[vec![-5000.0_f32, 0.0, 1000.0]]).unwrap();
    let Step::Applied { saturated, held: None, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(saturated, 2);
    assert_eq!(parameters[0].master(), [70000.0, 0.0, -66000.0]);
    assert_eq!(parameters[0].weights::<f16>().unwrap(), array![f16::MAX, f16::ZERO, f16::MIN].into_dyn());
    let outcome = trainer.step(&mut parameters, &[vec![10000.0_f32, 0.0, -10000.0]]).unwrap();
    assert!(matches!(outcome, Step::Applied { saturated: 0, .. }));
    assert_eq!(parameters[0].weights::<f16>().unwrap()[[0]].to_f32(), 60000.0);
}

/// With weights of both types, each saturates at its own largest value.
#[test]
fn bf16_weights_do_not_saturate_with_the_f16_ones() {
    let (mut master, mut steps) = ([1e6_f32, -1e9, f32::MAX, 1.0], 0);
    let (mut halves, mut brains) = ([f16::ZERO; 4], [bf16::ZERO; 4]);
    let parameter =
        ParameterMut::new("w", &mut master, [], &mut steps).with_f16(&mut halves).with_bf16(&mut brains);
    let outcome =
        step(&Sgd::default(), Unscale::none(), None, &mut [parameter], &[vec![0.0_f32; 4]]).unwrap();
    assert!(matches!(outcome, Step::Applied { held: None, saturated: 4, .. }), "{outcome:?}");
    assert_eq!(master, [1e6, -1e9, f32::MAX, 1.0]);
    assert_eq!(halves, [f16::MAX, f16::MIN, f16::MAX, f16::ONE]);
    assert_eq!(brains, [bf16::from_f32(1e6), bf16::from_f32(-1e9), bf16::MAX, bf16::ONE]);
}

/// 65519 rounds down to the largest f16 and is no saturation.
#[test]
fn what_rounds_to_the_largest_f16_is_not_saturated() {
    let rule = Sgd { learning_rate: 1.0, weight_decay: 0.0 };
    let mut trainer = MixedPrecision::new(rule, LossScaler::none());
    let mut parameters = [trainer.parameter("w", array![65504.0_f32].view(), DType::F16).unwrap()];
    for (gradient, expected) in [(-15.0_f32, 0), (-1.0, 1)] {
        let outcome = trainer.step(&mut parameters, &[vec![gradient]]).unwrap();
        let Step::Applied { saturated, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(saturated, expected);
    }
}

/// What leaves f32 although gradients are finite: the weight keeps its value and state, the others go on.
#[test]
fn what_would_not_be_finite_is_held_and_named() {
    let mut trainer = MixedPrecision::new(Adam::default(), LossScaler::none());
    let mut parameters = [
        trainer.parameter("first", array![1.0_f32].view(), DType::F32).unwrap(),
        trainer.parameter("second", Array1::from_elem(20_000, 1.0_f32).view(), DType::F16).unwrap(),
    ];
    let mut second = vec![1.0_f32; 20_000];
    (second[16_390], second[19_999]) = (1e21, -3e38);
    let outcome = trainer.step(&mut parameters, &[vec![1.0], second]).unwrap();
    let Step::Applied { held: Some(held), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((held.tensor, &*held.name, held.index, held.count), (1, "second", 16_390, 2));
    assert!(held.to_string().contains("second"));
    let parameter = &parameters[1];
    for index in 0..20_000 {
        let touched = ![16_390, 19_999].contains(&index);
        assert_eq!(parameter.master()[index] != 1.0, touched, "{index}");
        assert!(parameter.states().iter().all(|state| (state[index] != 0.0) == touched));
    }

    // A NaN that the caller put there is not spread, not hidden, and reported each time.
    let (mut master, mut steps) = ([f32::NAN, 1.0], 0);
    let parameter = ParameterMut::new("w", &mut master, [], &mut steps);
    let outcome =
        step(&Sgd::default(), Unscale::none(), None, &mut [parameter], &[vec![1.0_f32; 2]]).unwrap();
    let Step::Applied { held: Some(held), .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((held.index, held.count), (0, 1));
    assert!(master[0].is_nan() && master[1] < 1.0);
}

#[test]
fn no_gradient_and_no_tensor_are_steps_too() {
    let mut trainer =
        MixedPrecision::new(Sgd::default(), LossScaler::dynamic()).clip_global_norm(1.0).unwrap();
    let outcome = trainer.step::<Parameter, Vec<f32>>(&mut [], &[]).unwrap();
    assert!(matches!(outcome, Step::Applied { grad_norm: 0.0, held: None, saturated: 0, .. }));
    let empty = Array2::<f32>::zeros((0, 3));
    let mut parameters = [trainer.parameter("w", empty.view(), DType::F16).unwrap()];
    assert!(matches!(trainer.step(&mut parameters, &[empty]), Ok(Step::Applied { grad_norm: 0.0, .. })));

    // All gradients zero: the norm is 0, the coefficient 1, no division by it.
    let mut parameters = [trainer.parameter("w", array![1.0_f32].view(), DType::F32).unwrap()];
    assert!(matches!(
        trainer.step(&mut parameters, &[vec![-0.0_f32]]),
        Ok(Step::Applied { grad_norm: 0.0, .. })
    ));
    assert_eq!(parameters[0].master(), [1.0]);
}

/// The norm of the largest f32 gradients is finite, and clipping by it gives finite weights.
#[test]
fn the_norm_of_the_largest_gradients_does_not_overflow() {
    let rule = Sgd { learning_rate: 1.0, weight_decay: 0.0 };
    let mut trainer = MixedPrecision::new(rule, LossScaler::none()).clip_global_norm(1.0).unwrap();
    let mut parameters = [trainer.parameter("w", Array1::<f32>::zeros(4).view(), DType::F32).unwrap()];
    let outcome = trainer.step(&mut parameters, &[vec![f32::MAX; 4]]).unwrap();
    let Step::Applied { grad_norm, held: None, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(grad_norm, 2.0 * f64::from(f32::MAX));
    assert!(parameters[0].master().iter().all(|weight| (weight + 0.5).abs() < 1e-6));
}

/// A run that is stopped and resumed from plain data goes on bit for bit.
#[test]
fn a_resumed_run_goes_on_bit_for_bit() {
    let mut random = Random(21);
    let gradients: Vec<Vec<f32>> =
        (0..20).map(|_| (0..50).map(|_| random.normal() * 1e4).collect()).collect();
    let run = |stop_at: Option<usize>| {
        let options = ScalerOptions { growth_interval: 3, ..ScalerOptions::bounded() };
        let mut trainer = MixedPrecision::new(AdamW::default(), LossScaler::new(options).unwrap());
        let mut parameters =
            [trainer.parameter("w", Array1::from_elem(50, 0.5_f32).view(), DType::F16).unwrap()];
        for (number, gradient) in gradients.iter().enumerate() {
            if stop_at == Some(number) {
                let (scale, tracker) = (trainer.scaler().scale(), trainer.scaler().growth_tracker());
                let saved = &parameters[0];
                let mut resumed = trainer.parameter("w", saved.master_view(), DType::F16).unwrap();
                resumed.resume(saved.states().to_vec(), saved.steps()).unwrap();
                parameters = [resumed];
                trainer = MixedPrecision::new(
                    AdamW::default(),
                    LossScaler::resume(options, scale, tracker).unwrap(),
                );
            }
            _ = trainer.step(&mut parameters, std::slice::from_ref(gradient)).unwrap();
        }
        format!("{parameters:?} {trainer:?}")
    };
    let expected = run(None);
    for stop in [0, 1, 7, 19] {
        assert_eq!(run(Some(stop)), expected);
    }
    let mut parameter = Parameter::new("w", array![1.0_f32].view(), DType::F32, &AdamW::default()).unwrap();
    assert!(parameter.resume(vec![vec![0.0]], 1).is_err());
    assert!(parameter.resume(vec![vec![0.0], vec![0.0; 2]], 1).is_err());
    assert!(parameter.resume(vec![vec![0.0], vec![f32::NAN]], 1).is_err());
    assert_eq!(parameter.steps(), 0);
}
