//! Bad input to training: an error that names the tensor, the value and the limit, and nothing has changed.

#![allow(clippy::unwrap_used)]

use tersor::ndarray::{Array1, Array2, ShapeBuilder, array};
use tersor::optim::{
    Adagrad, Adam, AdamW, Gradient, LossScaler, MixedPrecision, Parameter, ParameterMut, Rule, ScaleRule,
    ScalerOptions, Sgd, SgdMomentum, Unscale, keras, step,
};
use tersor::{BitSlice, DType, Error, Mask, bf16, f16};

/// Every refusal: the message names what and how much, and nothing has changed.
#[test]
fn wrong_shapes_are_named_before_anything_changes() {
    let mut trainer = MixedPrecision::new(Adam::default(), LossScaler::dynamic());
    let good = trainer.parameter("first", array![1.0_f32, 2.0].view(), DType::F16).unwrap();
    let weights = Array2::from_elem((2, 3), 1.0_f32);
    let other = Parameter::new("of another rule", weights.view(), DType::F32, &Sgd::default()).unwrap();
    let second = trainer.parameter("second", weights.view(), DType::F32).unwrap();
    let gradient = array![1.0_f32, 1.0].into_dyn();
    let mut refused = |parameters: &[&Parameter], gradients: &[tersor::ndarray::ArrayD<f32>]| {
        let mut parameters: Vec<Parameter> = parameters.iter().map(|&p| p.clone()).collect();
        let before = format!("{parameters:?}");
        let error = trainer.step(&mut parameters, gradients).unwrap_err();
        assert_eq!(format!("{parameters:?}"), before);
        assert_eq!((trainer.scaler().scale(), trainer.scaler().growth_tracker()), (65536.0, 0));
        error.to_string()
    };
    assert_eq!(
        refused(&[&good, &second], std::slice::from_ref(&gradient)),
        "gradients: the length is 1, but must be 2, one for each parameter"
    );
    assert_eq!(
        refused(&[&good, &second], &[gradient.clone(), Array2::zeros((3, 2)).into_dyn()]),
        "the gradient of second: the shape is [3, 2], but must be the weights' [2, 3]"
    );
    let columns_first = Array2::zeros((2, 3).f()).into_dyn();
    assert!(
        refused(&[&good, &second], &[gradient.clone(), columns_first]).contains("the gradient of second")
    );
    let message = refused(&[&good, &other], &[gradient, weights.clone().into_dyn()]);
    assert!(message.contains("of another rule") && message.contains('2'), "{message}");
}

#[test]
fn wrong_lengths_of_borrowed_slices_are_named() {
    let refused = |master: usize, states: [usize; 2], half: usize, bits: usize, gradient: usize| {
        let (mut master, mut half) = (vec![1.0; master], vec![bf16::ONE; half]);
        let [mut mean, mut square] = states.map(|len| vec![0.0; len]);
        let (bytes, mut steps) = ([0xff_u8; 8], 0);
        let parameter = ParameterMut::new("w", &mut master, [&mut mean, &mut square], &mut steps)
            .with_bf16(&mut half)
            .with_mask(BitSlice::new(&bytes, bits).unwrap());
        let gradient = vec![1.0_f32; gradient];
        let error =
            step(&Adam::default(), Unscale::none(), None, &mut [parameter], &[Gradient::new(&gradient)])
                .unwrap_err();
        assert!(matches!(error, Error::Length { .. }));
        assert!(master.iter().all(|&weight| weight == 1.0) && steps == 0);
        error.to_string()
    };
    assert_eq!(
        refused(4, [4, 3], 4, 4, 4),
        "state 1 of w: the length is 3, but must be 4, one for each weight"
    );
    assert!(refused(4, [5, 4], 4, 4, 4).starts_with("state 0 of w: the length is 5"));
    assert!(refused(4, [4, 4], 0, 4, 4).starts_with("the bf16 weights of w: the length is 0"));
    assert!(refused(4, [4, 4], 4, 5, 4).starts_with("the mask of w: the length is 5"));
    assert!(refused(4, [4, 4], 4, 4, 3).starts_with("the gradient of w: the length is 3"));
    assert!(refused(0, [0, 0], 0, 0, 1).starts_with("the gradient of w: the length is 1"));
}

#[test]
fn hyperparameters_that_make_no_sense_are_named() {
    let message = |result: tersor::Result<()>| result.unwrap_err().to_string();
    for bad in [f64::NAN, f64::INFINITY, -1.0, 1e39] {
        let found = format!("learning_rate is {bad}, but must be finite in f32 and not negative");
        assert_eq!(message(Sgd { learning_rate: bad, ..Sgd::default() }.validate()), found);
        assert_eq!(message(AdamW { learning_rate: bad, ..AdamW::default() }.validate()), found);
        assert_eq!(message(keras::Adam { learning_rate: bad, ..keras::Adam::default() }.validate()), found);
        for rule in [
            Adam { epsilon: bad, ..Adam::default() },
            Adam { weight_decay: bad, ..Adam::default() },
            Adam { beta1: bad, ..Adam::default() },
            Adam { beta2: bad, ..Adam::default() },
        ] {
            assert!(rule.validate().is_err(), "{rule:?}");
        }
        assert!(Adagrad { initial_accumulator: bad, ..Adagrad::default() }.validate().is_err());
        assert!(Adagrad { learning_rate_decay: bad, ..Adagrad::default() }.validate().is_err());
        assert!(SgdMomentum { momentum: bad, ..SgdMomentum::default() }.validate().is_err());
        assert!(
            MixedPrecision::new(Sgd::default(), LossScaler::none()).clip_global_norm(bad).is_err()
                || bad > 1.0
        );
    }
    assert!(message(Adam { beta1: 1.0, ..Adam::default() }.validate()).contains("beta1 is 1"));
    // Below 1, but not in the f32 that keras works in, where no weight could ever be updated.
    let beta = 1.0 - 1e-9;
    assert!(Adam { beta1: beta, beta2: beta, ..Adam::default() }.validate().is_ok());
    assert!(
        message(keras::Adam { beta1: beta, ..keras::Adam::default() }.validate()).contains("below 1 in f32")
    );
    assert!(keras::Adam { beta2: beta, ..keras::Adam::default() }.validate().is_err());
    let nesterov = SgdMomentum { nesterov: true, dampening: 0.1, ..SgdMomentum::default() };
    assert!(message(nesterov.validate()).contains("nesterov"));

    // The step asks again, because a schedule may have written nonsense.
    let mut trainer = MixedPrecision::new(Sgd::default(), LossScaler::dynamic());
    let mut parameters = [trainer.parameter("w", array![1.0_f32].view(), DType::F32).unwrap()];
    trainer.rule_mut().learning_rate = f64::NAN;
    assert!(trainer.step(&mut parameters, &[vec![1.0_f32]]).is_err());
    assert_eq!((parameters[0].master(), parameters[0].steps()), (&[1.0_f32][..], 0));
}

#[test]
fn scaler_options_that_make_no_sense_are_named() {
    let bounded = ScalerOptions::bounded();
    let cases = [
        (ScalerOptions { initial_scale: 0.0, ..bounded }, "initial_scale is 0"),
        (ScalerOptions { initial_scale: f32::NAN, ..bounded }, "initial_scale is NaN"),
        (ScalerOptions { initial_scale: f32::INFINITY, ..bounded }, "initial_scale is inf"),
        (ScalerOptions { initial_scale: 0.5, ..bounded }, "between the floor, 1,"),
        (
            ScalerOptions { growth_factor: 1.0, ..bounded },
            "growth_factor is 1, but must be finite and above 1",
        ),
        (ScalerOptions { growth_factor: f64::INFINITY, ..bounded }, "growth_factor is inf"),
        (ScalerOptions { backoff_factor: 1.0, ..bounded }, "backoff_factor is 1"),
        (ScalerOptions { backoff_factor: 0.0, ..bounded }, "backoff_factor is 0"),
        (ScalerOptions { growth_interval: 0, ..bounded }, "growth_interval is 0"),
        (ScalerOptions { floor: 0.0, ..bounded }, "floor is 0"),
        (ScalerOptions { floor: 1e-40, ..bounded }, "floor is"),
        (ScalerOptions { ceiling: 0.5, ..bounded }, "ceiling is 0.5"),
        (ScalerOptions { ceiling: f32::INFINITY, ..bounded }, "ceiling is inf"),
    ];
    for (options, expected) in cases {
        let message = LossScaler::new(options).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert!(LossScaler::fixed(-1.0).is_err());
    // Refused at once, not by every step.
    let message = LossScaler::fixed(1e-40).unwrap_err().to_string();
    assert!(message.contains("initial_scale is") && message.contains("so that gradients can be unscaled"));
    assert!(LossScaler::fixed(f32::MIN_POSITIVE).unwrap().unscale().is_ok());
    assert!(LossScaler::resume(bounded, 0.5, 0).is_err());
    assert!(LossScaler::resume(bounded, 2.0, 2000).is_err());
    assert!(LossScaler::resume(ScalerOptions { rule: ScaleRule::Static, ..bounded }, 2.0, 0).is_err());
    assert!(LossScaler::resume(ScalerOptions::torch(), 0.0, 0).is_ok());
}

/// A scale that torch's rule has shrunk to nothing: an error where torch makes NaN of zeros.
#[test]
fn a_scale_that_cannot_unscale_is_an_error() {
    for scale in [0.0, 1e-40] {
        let scaler = LossScaler::resume(ScalerOptions::torch(), scale, 0).unwrap();
        let mut trainer = MixedPrecision::new(Sgd::default(), scaler);
        let mut parameters = [trainer.parameter("w", array![1.0_f32].view(), DType::F32).unwrap()];
        let error = trainer.step(&mut parameters, &[vec![0.0_f32]]).unwrap_err().to_string();
        assert!(error.contains("the loss scale is"), "{error}");
        assert_eq!(parameters[0].master(), [1.0]);
    }
}

#[test]
fn weights_that_cannot_be_stored_are_refused() {
    let rule = Sgd::default();
    let message = |weights: Array1<f32>, dtype| {
        Parameter::new("layer", weights.view(), dtype, &rule).unwrap_err().to_string()
    };
    assert!(message(array![1.0, f32::NAN], DType::F32).contains("layer: element 1 (row-major) is NaN"));
    assert!(
        message(array![1.0, 2.0, 65520.0], DType::F16).contains("element 2 (row-major) of layer is 65520")
    );
    assert!(message(array![f32::MAX], DType::Bf16).contains("finite as bf16"));
    let mut parameter = Parameter::new("layer", array![1.0_f32].view(), DType::F16, &rule).unwrap();
    assert!(parameter.assign(array![70000.0_f32].view()).is_err());
    assert!(parameter.assign(array![1.0_f32, 2.0].view()).is_err());
    assert!(parameter.set_mask(Some(Mask::ones(&[2]).unwrap())).is_err());
    assert!(parameter.weights::<f32>().is_err());
    assert_eq!((parameter.master(), parameter.mask()), (&[1.0_f32][..], None));
    parameter.assign(array![f16::from_f32(0.1)].view()).unwrap();
    assert_eq!(parameter.master(), [f16::from_f32(0.1).to_f32()]);
}
