//! Quantization against what torch, TensorFlow and onnxruntime computed (see `tests/golden/README.md`).

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array1, ArrayD, Axis, IxDyn};
use serde_json::Value;
use support::golden::{Golden, name};
use tersor::quant::{
    Arithmetic, Code, CodeType, Codes, Compat, Distortion, FakeQuantize, Histogram, Interval, MinMax,
    MovingAverage, Observer, Params, QuantizedArray, Range, Scheme, cast,
};
use tersor::{bf16, f16};

/// The name of the tensor that plays a role in a case.
fn role<'a>(case: &'a Value, role: &str) -> &'a str {
    case["tensors"][role].as_str().unwrap_or_else(|| panic!("{}: no {role}", name(case)))
}

fn option<'a>(case: &'a Value, key: &str) -> &'a Value {
    &case["options"][key]
}

fn integer(case: &Value, key: &str) -> i32 {
    i32::try_from(option(case, key).as_i64().unwrap()).unwrap()
}

fn axis(case: &Value) -> Option<Axis> {
    option(case, "axis").as_u64().map(|axis| Axis(usize::try_from(axis).unwrap()))
}

fn array(golden: &Golden, case: &Value, key: &str) -> ArrayD<f32> {
    let tensor = role(case, key);
    ArrayD::from_shape_vec(IxDyn(&golden.shape(tensor)), golden.f32(tensor)).unwrap()
}

/// Equal bit for bit, but for the sign of a zero.
#[track_caller]
fn assert_same(case: &Value, found: &ArrayD<f32>, expected: &ArrayD<f32>) {
    assert_eq!(found.shape(), expected.shape());
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let same = found.to_bits() == expected.to_bits() || (found == 0.0 && expected == 0.0);
        assert!(same, "{}: element {index} is {found:?}, not {expected:?}", name(case));
    }
}

/// The code type that holds these limits.
fn type_of(lowest: i32) -> CodeType {
    if lowest < 0 { CodeType::I8 } else { CodeType::U8 }
}

/// Runs fake quantization both ways and compares.
fn check_fake(golden: &Golden, case: &Value, params: Params) {
    let (x, gradient) = (array(golden, case, "x"), array(golden, case, "gradient"));
    let fake = FakeQuantize::new(params);
    let (mut y, mut dx) = (ArrayD::zeros(x.raw_dim()), ArrayD::zeros(x.raw_dim()));
    fake.forward(x.view(), y.view_mut()).unwrap();
    fake.backward(x.view(), gradient.view(), dx.view_mut()).unwrap();
    assert_same(case, &y, &array(golden, case, "y"));
    assert_same(case, &dx, &array(golden, case, "dx"));
}

fn of_operation<'a>(golden: &'a Golden, key: &str, value: &str) -> Vec<&'a Value> {
    let cases: Vec<&Value> = golden.cases.iter().filter(|case| option(case, key) == value).collect();
    assert!(!cases.is_empty(), "no case has {key} {value}");
    cases
}

#[test]
fn torch_fake_quantize_and_its_gradient_to_the_bit() {
    let golden = Golden::load("torch_quant");
    for operation in ["fake_quantize_per_tensor", "fake_quantize_per_channel"] {
        for case in of_operation(&golden, "operation", operation) {
            let limits = (integer(case, "quant_min"), integer(case, "quant_max"));
            let scales = golden.f32(role(case, "scale"));
            let zero_points = golden.i32(role(case, "zero_point"));
            let params = Params::new(type_of(limits.0), scales, zero_points, axis(case))
                .and_then(|params| params.with_limits(limits.0, limits.1))
                .and_then(|params| params.with_arithmetic(Arithmetic::Reciprocal))
                .unwrap_or_else(|error| panic!("{}: {error}", name(case)));
            check_fake(&golden, case, params);
        }
    }
}

/// torch's two paths disagree about infinity; we do what its path per tensor does.
#[test]
fn infinities_saturate_as_in_torch_per_tensor() {
    let golden = Golden::load("torch_quant");
    let case = of_operation(&golden, "operation", "fake_quantize_infinities")[0];
    let params = Params::new(CodeType::I8, vec![0.5], vec![3], None)
        .and_then(|params| params.with_arithmetic(Arithmetic::Reciprocal))
        .unwrap();
    let x = array(&golden, case, "x");
    let mut y = ArrayD::zeros(x.raw_dim());
    FakeQuantize::new(params).forward(x.view(), y.view_mut()).unwrap();
    let expected = array(&golden, case, "per_tensor");
    for ((x, y), expected) in x.iter().zip(&y).zip(&expected) {
        // Our rule for a NaN is the zero point.
        let expected = if x.is_nan() { 0.0 } else { *expected };
        assert_eq!(*y, expected, "{x}");
    }
}

fn check_codes<C: Code>(
    case: &Value,
    params: &Params,
    x: &ArrayD<f32>,
    codes: Vec<C>,
    wrap: impl Fn(ArrayD<C>) -> Codes<IxDyn>,
) -> QuantizedArray<IxDyn> {
    let expected = wrap(ArrayD::from_shape_vec(x.raw_dim(), codes).unwrap());
    let found = params.quantize(x.view()).unwrap();
    assert_eq!(found.codes(), &expected, "{}", name(case));
    found
}

#[test]
fn torch_codes_and_their_values_to_the_bit() {
    let golden = Golden::load("torch_quant");
    for operation in ["quantize_per_tensor", "quantize_per_channel"] {
        for case in of_operation(&golden, "operation", operation) {
            let signed = option(case, "dtype") == "torch.qint8";
            let code_type = if signed { CodeType::I8 } else { CodeType::U8 };
            let scales = golden.f32(role(case, "scale"));
            let zero_points = golden.i32(role(case, "zero_point"));
            let params = Params::new(code_type, scales, zero_points, axis(case))
                .and_then(|params| params.with_arithmetic(Arithmetic::Reciprocal))
                .unwrap_or_else(|error| panic!("{}: {error}", name(case)));
            let x = array(&golden, case, "x");
            let codes = role(case, "codes");
            let q = if signed {
                check_codes(case, &params, &x, golden.i8(codes), Codes::I8)
            } else {
                check_codes(case, &params, &x, golden.u8(codes), Codes::U8)
            };
            assert_same(case, &q.dequantize().unwrap(), &array(&golden, case, "dequantized"));
        }
    }
}

/// The scheme that a torch observer was made with.
fn torch_scheme(case: &Value) -> Scheme {
    let signed = option(case, "dtype") == "torch.qint8";
    let scheme = if signed { Scheme::int8() } else { Scheme::uint8() };
    let scheme = if option(case, "scheme") == "symmetric" { scheme.symmetric() } else { scheme.affine() };
    let scheme = match (option(case, "reduce_range") == true, signed) {
        (false, _) => scheme,
        (true, true) => scheme.limits(-64, 63).unwrap(),
        (true, false) => scheme.limits(0, 127).unwrap(),
    };
    let scheme = scheme.compat(Compat::Torch);
    axis(case).map_or(scheme, |axis| scheme.per_channel(axis))
}

fn check_observer(golden: &Golden, case: &Value, mut observer: impl Observer) {
    let scheme = torch_scheme(case);
    let batches = array(golden, case, "batches");
    let (low, high) = (array(golden, case, "min"), array(golden, case, "max"));
    for (index, batch) in batches.outer_iter().enumerate() {
        observer.observe(batch).unwrap();
        let intervals = observer.intervals(&scheme, Range::MinMax).unwrap();
        let expected = low.index_axis(Axis(0), index).into_iter().zip(high.index_axis(Axis(0), index));
        let expected: Vec<Interval> = expected.map(|(&min, &max)| Interval { min, max }).collect();
        assert_eq!(intervals, expected, "{}: after batch {index}", name(case));
    }
    let params = observer.params(&scheme, Range::MinMax).unwrap();
    assert_eq!(params.scales(), golden.f32(role(case, "scale")), "{}", name(case));
    assert_eq!(params.zero_points(), golden.i32(role(case, "zero_point")), "{}", name(case));
}

#[test]
fn torch_observers_to_the_bit() {
    let golden = Golden::load("torch_quant");
    for case in of_operation(&golden, "observer", "MinMaxObserver") {
        check_observer(&golden, case, MinMax::new());
    }
    for case in of_operation(&golden, "observer", "PerChannelMinMaxObserver") {
        check_observer(&golden, case, MinMax::per_channel(axis(case).unwrap()));
    }
    for case in of_operation(&golden, "observer", "MovingAverageMinMaxObserver") {
        let constant = option(case, "averaging_constant").as_f64().unwrap() as f32;
        check_observer(&golden, case, MovingAverage::new(constant).unwrap());
    }
}

/// Another algorithm with the same purpose: torch's searches a histogram of 2,048 equal bins that it interpolates as it
/// grows, and models rounding by the middle of bins; ours searches both limits on the scheme's grid. So only what comes
/// out can be compared: our squared error over the real numbers is never above torch's by more than 1% (it stands for the
/// numbers within a bin not being spread evenly).
#[test]
fn least_squares_are_no_worse_than_in_torch() {
    let golden = Golden::load("torch_quant");
    for case in of_operation(&golden, "observer", "HistogramObserver") {
        let scheme = torch_scheme(case);
        let batches = array(&golden, case, "batches");
        let mut histogram = Histogram::new();
        for batch in batches.outer_iter() {
            histogram.observe(batch).unwrap();
        }
        let params = histogram.params(&scheme, Range::Mse).unwrap();
        let error = Distortion::measure(batches.view(), &params).unwrap().mean_squared_error();
        let theirs = option(case, "mean_squared_error").as_f64().unwrap();
        println!("{}: {:.4} of torch's squared error", name(case), error / theirs);
        assert!(error <= theirs * 1.01, "{}: {error:e}, torch {theirs:e}", name(case));
    }
}

/// The parameters of a TensorFlow case, and the intervals they are made from.
fn tensorflow_params(golden: &Golden, case: &Value, axis: Option<Axis>) -> (Params, Vec<Interval>) {
    let highest = (1 << integer(case, "num_bits")) - 1;
    let lowest = i32::from(option(case, "narrow_range") == true);
    let scheme = Scheme::uint8().limits(lowest, highest).unwrap().compat(Compat::TensorFlow);
    let scheme = axis.map_or(scheme, |axis| scheme.per_channel(axis));
    let ends = golden.f32(role(case, "min")).into_iter().zip(golden.f32(role(case, "max")));
    let intervals: Vec<Interval> = ends.map(|(min, max)| Interval { min, max }).collect();
    (scheme.params_for(&intervals).unwrap(), intervals)
}

/// TensorFlow has a special case for an empty interval: zeros forward, the whole gradient backward. No grid of codes does
/// that.
const EMPTY: Interval = Interval { min: 0.0, max: 0.0 };

#[test]
fn tensorflow_fake_quant_and_its_gradient_to_the_bit() {
    let golden = Golden::load("tf_fake_quant");
    let mut empty = 0;
    for case in of_operation(&golden, "granularity", "tensor") {
        let (params, intervals) = tensorflow_params(&golden, case, None);
        if intervals == [EMPTY] {
            assert!(name(case).starts_with("tensor_empty"));
            empty += 1;
            continue;
        }
        check_fake(&golden, case, params);
    }
    assert_eq!(empty, 2);
}

/// TensorFlow's kernel per channel has another arithmetic than the one per tensor: it multiplies by
/// `(highest - lowest) / (max - min)`, which is not the reciprocal of the scale and cannot be had from it. We keep to the
/// one per tensor. The gradients are the same; the values are, but for ties that a last bit moves to the neighbouring
/// code.
#[test]
fn tensorflow_fake_quant_per_channel_but_for_ties() {
    let golden = Golden::load("tf_fake_quant");
    for case in of_operation(&golden, "granularity", "last axis") {
        let (params, intervals) = tensorflow_params(&golden, case, Some(Axis(1)));
        let (x, gradient) = (array(&golden, case, "x"), array(&golden, case, "gradient"));
        let (expected, expected_dx) = (array(&golden, case, "y"), array(&golden, case, "dx"));
        let fake = FakeQuantize::new(params.clone());
        let (mut y, mut dx) = (ArrayD::zeros(x.raw_dim()), ArrayD::zeros(x.raw_dim()));
        fake.forward(x.view(), y.view_mut()).unwrap();
        fake.backward(x.view(), gradient.view(), dx.view_mut()).unwrap();
        let (mut moved, mut total) = (0, 0);
        for (index, &x) in x.indexed_iter() {
            let channel = index[1];
            if intervals[channel] == EMPTY {
                continue;
            }
            total += 1;
            assert_eq!(dx[&index], expected_dx[&index], "{}: {x}", name(case));
            if y[&index] != expected[&index] {
                let steps = f64::from(x) / f64::from(params.scales()[channel]);
                let tie = (steps - steps.floor() - 0.5).abs();
                assert!(tie < 2e-5, "{}: {x}, {tie} off a tie", name(case));
                let off = f64::from(y[&index] - expected[&index]) / f64::from(params.scales()[channel]);
                assert!((off.abs() - 1.0).abs() < 1e-4, "{}: {off} steps", name(case));
                moved += 1;
            }
        }
        assert!(moved * 20 < total, "{}: {moved} of {total}", name(case));
    }
}

#[test]
fn onnxruntime_operators_to_the_bit() {
    let golden = Golden::load("onnxruntime_quant");
    let zero_points = |case: &Value, signed: bool| -> Vec<i32> {
        let tensor = role(case, "zero_point");
        if signed {
            golden.i8(tensor).into_iter().map(i32::from).collect()
        } else {
            golden.u8(tensor).into_iter().map(i32::from).collect()
        }
    };
    let params = |case: &Value, signed: bool| {
        let code_type = if signed { CodeType::I8 } else { CodeType::U8 };
        let scales = golden.f32(role(case, "scale"));
        Params::new(code_type, scales, zero_points(case, signed), axis(case))
            .unwrap_or_else(|error| panic!("{}: {error}", name(case)))
    };
    for case in of_operation(&golden, "operator", "QuantizeLinear") {
        let signed = option(case, "dtype") == "int8";
        let (params, x) = (params(case, signed), array(&golden, case, "x"));
        let codes = role(case, "codes");
        if signed {
            check_codes(case, &params, &x, golden.i8(codes), Codes::I8);
        } else {
            check_codes(case, &params, &x, golden.u8(codes), Codes::U8);
        }
    }
    for case in of_operation(&golden, "operator", "DequantizeLinear") {
        let signed = option(case, "dtype") == "int8";
        let codes = role(case, "codes");
        let shape = IxDyn(&golden.shape(codes));
        let codes = if signed {
            Codes::I8(ArrayD::from_shape_vec(shape, golden.i8(codes)).unwrap())
        } else {
            Codes::U8(ArrayD::from_shape_vec(shape, golden.u8(codes)).unwrap())
        };
        let q = QuantizedArray::new(codes, params(case, signed)).unwrap();
        assert_same(case, &q.dequantize().unwrap(), &array(&golden, case, "y"));
    }
    for case in of_operation(&golden, "operator", "DynamicQuantizeLinear") {
        let x = array(&golden, case, "x");
        let params = Scheme::uint8().compat(Compat::OnnxDynamic).params(x.view()).unwrap();
        assert_eq!(params.scales(), golden.f32(role(case, "scale")), "{}", name(case));
        assert_eq!(params.zero_points(), zero_points(case, false), "{}", name(case));
        check_codes(case, &params, &x, golden.u8(role(case, "codes")), Codes::U8);
    }
}

#[test]
fn onnxruntime_parameters_to_the_bit() {
    let golden = Golden::load("onnxruntime_quant");
    for case in of_operation(&golden, "operator", "compute_scale_zp") {
        let lowest = integer(case, "quant_min");
        let scheme = Scheme::of(if option(case, "dtype") == "int8" { CodeType::I8 } else { CodeType::U8 });
        let scheme = if option(case, "symmetric") == true { scheme.symmetric() } else { scheme.affine() };
        let scheme = scheme.compat(Compat::OnnxRuntime);
        if option(case, "reduce_range") == false {
            assert_eq!(scheme.code_limits(), (lowest, integer(case, "quant_max")), "{}", name(case));
        }
        let scheme = scheme.limits(lowest, integer(case, "quant_max")).unwrap();
        let ends = golden.f32(role(case, "min")).into_iter().zip(golden.f32(role(case, "max")));
        let expected = golden.f32(role(case, "scale")).into_iter().zip(golden.i32(role(case, "zero_point")));
        for ((min, max), (scale, zero_point)) in ends.zip(expected) {
            let params = scheme.params_for(&[Interval { min, max }]).unwrap();
            let found = (params.scales()[0], params.zero_points()[0]);
            assert_eq!(found, (scale, zero_point), "{}: {min}..={max}", name(case));
        }
    }
}

/// The sketch knows a number to 1 part in 128, so a percentile of it is within that of numpy's, which sees all numbers.
#[test]
fn percentiles_are_within_a_bin_of_numpy() {
    let golden = Golden::load("onnxruntime_calibrate");
    for case in of_operation(&golden, "method", "percentile") {
        let mut histogram = Histogram::new();
        histogram.observe(array(&golden, case, "batches").view()).unwrap();
        let percentile = option(case, "percentile").as_f64().unwrap();
        let scheme = Scheme::int8().symmetric();
        let found = histogram.intervals(&scheme, Range::Percentile(percentile)).unwrap()[0];
        let expected = option(case, "numpy_percentile_of_magnitudes").as_f64().unwrap();
        let off = (f64::from(found.max) / expected - 1.0).abs();
        assert!(off <= 1.0 / 128.0, "{}: {found:?}, numpy {expected}", name(case));
    }
}

/// The same criterion over different bins. On so few numbers (2,100) theirs is ruled by the noise of 2,048 counts: the
/// threshold moves by a tenth when the same batches come one by one, and at the defaults only one candidate is tried. Ours
/// spreads the numbers of a sketch bin, so there is little noise, and clipping must pay for itself. What can be held
/// against theirs is what comes out: our interval reaches at least as far as theirs with 2,048 bins, and the squared error
/// of the codes is no larger.
#[test]
fn entropy_costs_no_more_than_in_onnxruntime() {
    let golden = Golden::load("onnxruntime_calibrate");
    for case in of_operation(&golden, "method", "entropy") {
        if option(case, "bins") != 2048 {
            continue;
        }
        let batches = array(&golden, case, "batches");
        let mut histogram = Histogram::new();
        histogram.observe(batches.view()).unwrap();
        let scheme = Scheme::int8().affine();
        let found = histogram.intervals(&scheme, Range::Entropy).unwrap()[0];
        let theirs = array(&golden, case, "range");
        let theirs = Interval::new(theirs[0], theirs[1]).unwrap();
        let error = |interval: Interval| {
            let params = scheme.params_for(&[interval]).unwrap();
            Distortion::measure(batches.view(), &params).unwrap().mean_squared_error()
        };
        println!("{}: {found:?}, onnxruntime {theirs:?}, {:.3}", name(case), error(found) / error(theirs));
        assert!(found.min <= theirs.min && found.max >= theirs.max, "{}: {found:?}, {theirs:?}", name(case));
        assert!(error(found) <= error(theirs), "{}", name(case));
    }
}

#[test]
fn casts_to_the_bit() {
    let golden = Golden::load("torch_cast");
    let f32s = |case: &Value, key: &str| -> Array1<f32> {
        golden.u32(role(case, key)).into_iter().map(f32::from_bits).collect()
    };
    for case in of_operation(&golden, "operation", "narrow") {
        let x = f32s(case, "f32");
        let halves = cast::<f32, f16, _>(x.view()).unwrap().mapv(f16::to_bits);
        assert_eq!(halves.to_vec(), golden.u16(role(case, "f16")));
        let brains = cast::<f32, bf16, _>(x.view()).unwrap().mapv(bf16::to_bits);
        assert_eq!(brains.to_vec(), golden.u16(role(case, "bf16")));
    }
    for case in of_operation(&golden, "operation", "narrow_nan") {
        let x = f32s(case, "f32");
        assert!(cast::<f32, f16, _>(x.view()).unwrap().iter().all(|x| x.is_nan()));
        assert!(cast::<f32, bf16, _>(x.view()).unwrap().iter().all(|x| x.is_nan()));
        // Quiet, with the sign and the top of the payload, as processors do it. numpy keeps signaling ones, and sets the
        // last bit where nothing else is left of the payload.
        let halves = cast::<f32, f16, _>(x.view()).unwrap().mapv(f16::to_bits);
        for ((x, found), numpy) in x.iter().zip(&halves).zip(golden.u16(role(case, "numpy_f16"))) {
            let lost = x.to_bits() & 0x007f_e000 == 0;
            assert_eq!(*found, (if lost { numpy & !1 } else { numpy }) | 0x0200, "{:#x}", x.to_bits());
        }
    }
    for case in of_operation(&golden, "operation", "widen") {
        let is_half = option(case, "from") == "f16";
        let widened = |codes: Vec<u16>| -> Vec<u32> {
            let wide = if is_half {
                let codes: Array1<f16> = codes.into_iter().map(f16::from_bits).collect();
                cast::<f16, f32, _>(codes.view()).unwrap()
            } else {
                let codes: Array1<bf16> = codes.into_iter().map(bf16::from_bits).collect();
                cast::<bf16, f32, _>(codes.view()).unwrap()
            };
            wide.iter().map(|x| x.to_bits()).collect()
        };
        assert_eq!(widened(golden.u16(role(case, "codes"))), golden.u32(role(case, "f32")));
        let nans = widened(golden.u16(role(case, "nan_codes")));
        assert!(nans.into_iter().all(|bits| f32::from_bits(bits).is_nan()));
        // Every number there is, by a checksum of their bits.
        let every = widened((0..=u16::MAX).collect());
        let numbers: Vec<u32> = every.into_iter().filter(|&bits| !f32::from_bits(bits).is_nan()).collect();
        assert_eq!(Some(numbers.len() as u64), option(case, "numbers").as_u64());
        let checksum = numbers
            .iter()
            .flat_map(|bits| bits.to_le_bytes())
            .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
                (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        assert_eq!(format!("{checksum:016x}"), option(case, "fnv1a_of_all_numbers").as_str().unwrap());
    }
}
