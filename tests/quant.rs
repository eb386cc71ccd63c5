//! Quantization through its public API: properties, every instruction set against scalar, threads, layouts, bad input.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array1, Array2, Array3, ArrayView1, ArrayView2, ArrayViewMut2, Axis, ShapeBuilder, array, s};
use proptest::prelude::*;
use support::guard::{Guarded, plain::Plain};
use support::{Random, awkward_lengths, every_isa, every_thread_count, scalar};
use tersor::quant::{
    Arithmetic, Code, CodeType, Codes, Compat, Distortion, FakeQuantize, FakeQuantizeView, Interval, Params,
    ParamsView, QuantizedArray, Scheme, cast, cast_into,
};
use tersor::{Context, Element, Error, Mask, bf16, f16};

const ARITHMETICS: [Arithmetic; 3] = [Arithmetic::Divide, Arithmetic::Reciprocal, Arithmetic::Shifted];

/// Values around the grid of scale 0.1, with ties, and everything that is no ordinary number.
fn values<E: Element>(len: usize) -> Vec<E> {
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.25, -12.75, 1e-40, f32::MAX, -0.05];
    let mut random = Random(len as u64 + 1);
    let value = |i: usize, random: &mut Random| match i % 4 {
        0 => special[i / 4 % special.len()],
        1 => (random.signed() * 100.0).round() / 20.0,
        _ => random.signed() * 16.0,
    };
    (0..len).map(|i| E::from_f32(value(i, &mut random))).collect()
}

fn per_channel(code_type: CodeType, channels: usize, arithmetic: Arithmetic) -> Params {
    let mut random = Random(channels as u64);
    let scales = (0..channels).map(|_| 0.05 + random.signed().abs()).collect();
    let middle = if code_type == CodeType::I8 { 0 } else { 128 };
    let zero_points = (0..channels).map(|_| middle + (random.bits() % 101) as i32 - 50).collect();
    Params::new(code_type, scales, zero_points, Some(Axis(1))).unwrap().with_arithmetic(arithmetic).unwrap()
}

/// What the documentation says, one element at a time, in plain standard-library terms.
fn reference(x: f32, scale: f32, zero_point: i32, limits: (i32, i32), arithmetic: Arithmetic) -> i32 {
    let steps = match arithmetic {
        Arithmetic::Divide => (x / scale).round_ties_even(),
        Arithmetic::Reciprocal => (x * (1.0 / scale)).round_ties_even(),
        _ => {
            let origin = (zero_point - limits.0) as f32;
            let (low, high) =
                ((limits.0 - zero_point) as f32 * scale, (limits.1 - zero_point) as f32 * scale);
            ((x.clamp(low, high) - low) / scale - origin + 0.5).floor()
        }
    };
    if x.is_nan() { zero_point } else { (steps as i32).saturating_add(zero_point).clamp(limits.0, limits.1) }
}

fn quantize_agrees_with_the_reference<E: Element + Plain, C: Code + Plain>() {
    for arithmetic in ARITHMETICS {
        for len in awkward_lengths() {
            let original = values::<E>(len);
            let input = Guarded::new(&original);
            let params = Params::new(C::TYPE, vec![0.1], vec![7], None)
                .and_then(|params| params.with_arithmetic(arithmetic))
                .unwrap();
            let expected: Vec<C> = input
                .iter()
                .map(|&x| C::from_i32(reference(Element::to_f32(x), 0.1, 7, C::TYPE.limits(), arithmetic)))
                .collect();
            for context in every_isa() {
                let mut codes = Guarded::new(&vec![C::default(); input.len()]);
                let output = ndarray::ArrayViewMut1::from(&mut codes[..]);
                context.scope(|| params.quantize_into(ArrayView1::from(&input[..]), output)).unwrap();
                assert_eq!(codes[..], expected, "{context:?}, {arithmetic:?}, length {len}");
            }
        }
    }
}

#[test]
fn quantize_agrees_with_the_reference_on_every_instruction_set() {
    quantize_agrees_with_the_reference::<f32, i8>();
    quantize_agrees_with_the_reference::<f32, u8>();
    quantize_agrees_with_the_reference::<f16, i8>();
    quantize_agrees_with_the_reference::<bf16, u8>();
}

fn bytes<E: Element>(elements: &[E]) -> Vec<u8> {
    bytemuck::cast_slice(elements).to_vec()
}

/// Everything but the codes: values, fake quantization both ways, distortion.
fn results<E: Element>(x: &Array2<E>, params: &Params) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let q = params.quantize(x.view()).unwrap();
    let mut values = Array2::<E>::default(x.raw_dim());
    q.dequantize_into(values.view_mut()).unwrap();
    let fake = FakeQuantize::new(params.clone());
    let (mut y, mut dx) = (Array2::<E>::default(x.raw_dim()), Array2::<E>::default(x.raw_dim()));
    fake.forward(x.view(), y.view_mut()).unwrap();
    fake.backward(x.view(), x.view(), dx.view_mut()).unwrap();
    // Exactly the same numbers, by both roads.
    assert_eq!(bytes(values.as_slice().unwrap()), bytes(y.as_slice().unwrap()));
    (bytes(values.as_slice().unwrap()), bytes(y.as_slice().unwrap()), bytes(dx.as_slice().unwrap()))
}

fn everything_is_the_same_everywhere<E: Element>(contexts: &[Context], shapes: &[(usize, usize)]) {
    for &(rows, cols) in shapes {
        let x = Array2::from_shape_vec((rows, cols), values::<E>(rows * cols)).unwrap();
        for arithmetic in ARITHMETICS {
            for code_type in [CodeType::I8, CodeType::U8] {
                let one = Params::new(code_type, vec![0.3], vec![3], None).unwrap();
                for params in
                    [one.with_arithmetic(arithmetic).unwrap(), per_channel(code_type, cols, arithmetic)]
                {
                    let expected = scalar().scope(|| results(&x, &params));
                    for context in contexts {
                        assert_eq!(
                            context.scope(|| results(&x, &params)),
                            expected,
                            "{context:?} {rows}x{cols}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn everything_is_the_same_on_every_instruction_set() {
    let contexts: Vec<Context> = every_isa().collect();
    let shapes: Vec<(usize, usize)> =
        awkward_lengths().filter(|&len| len > 0).map(|len| (3, len)).chain([(129, 2)]).collect();
    everything_is_the_same_everywhere::<f32>(&contexts, &shapes);
    everything_is_the_same_everywhere::<f16>(&contexts, &[(5, 67), (2, 1023)]);
    everything_is_the_same_everywhere::<bf16>(&contexts, &[(5, 67), (2, 1023)]);
}

#[test]
fn everything_is_the_same_at_any_thread_count() {
    let shapes = [(300, 257), (1, 70_001)];
    everything_is_the_same_everywhere::<f32>(&every_thread_count(), &shapes);
    let x = Array2::from_shape_fn((300, 257), |(i, j)| ((i * 257 + j) as f32).sin());
    for scheme in [Scheme::uint8(), Scheme::int8().per_channel(Axis(0)), Scheme::int8().per_channel(Axis(1))]
    {
        let expected = scalar().scope(|| {
            let params = scheme.params(x.view()).unwrap();
            let distortion = Distortion::measure(x.view(), &params).unwrap();
            (params, distortion)
        });
        for context in every_thread_count().into_iter().chain(every_isa()) {
            let found = context.scope(|| {
                let params = scheme.params(x.view()).unwrap();
                let distortion = Distortion::measure(x.view(), &params).unwrap();
                (params, distortion)
            });
            assert_eq!(found, expected, "{context:?}");
        }
    }
}

#[test]
fn casts_are_the_same_on_every_instruction_set() {
    for len in awkward_lengths() {
        let x = Guarded::new(&values::<f32>(len));
        let expected: Vec<u16> = x.iter().map(|&x| f16::from_f32(x).to_bits()).collect();
        for context in every_isa() {
            let mut halves = Guarded::new(&vec![f16::default(); len]);
            let output = ndarray::ArrayViewMut1::from(&mut halves[..]);
            context.scope(|| cast_into(ArrayView1::from(&x[..]), output)).unwrap();
            let found: Vec<u16> = halves.iter().map(|x| x.to_bits()).collect();
            assert_eq!(found, expected, "{context:?}, length {len}");
            let brains: Array1<bf16> = context.scope(|| cast(ArrayView1::from(&halves[..]))).unwrap();
            for (half, brain) in halves.iter().zip(&brains) {
                assert_eq!(brain.to_bits(), bf16::from_f32(half.to_f32()).to_bits());
            }
        }
    }
}

#[test]
fn every_layout_gives_the_same_codes() {
    let x = Array3::from_shape_vec((4, 6, 5), values::<f32>(120))
        .unwrap()
        .mapv(|x| if x.is_finite() { x } else { 1.0 });
    let x = x.mapv(|x| x.clamp(-30.0, 30.0));
    for axis in [0, 1, 2] {
        let scheme = Scheme::int8().symmetric().per_channel(Axis(axis));
        let expected = scheme.quantize(x.view()).unwrap();
        let mut columns_first = Array3::zeros((4, 6, 5).f());
        columns_first.assign(&x);
        assert_eq!(scheme.quantize(columns_first.view()).unwrap(), expected);
        let mut padded = Array3::from_elem((4, 6, 9), f32::NAN);
        padded.slice_mut(s![.., .., ..5]).assign(&x);
        assert_eq!(scheme.quantize(padded.slice(s![.., .., ..5])).unwrap(), expected);
        // And a channel is quantized as if it were alone.
        for (index, channel) in x.axis_iter(Axis(axis)).enumerate() {
            let alone = Scheme::int8().symmetric().quantize(channel).unwrap();
            assert_eq!(alone.params().scales()[0], expected.params().scales()[index]);
            let codes = expected.codes().as_i8().unwrap();
            assert_eq!(alone.codes().as_i8().unwrap(), codes.index_axis(Axis(axis), index));
        }
    }
}

/// More channels than a chunk of the loops holds, along the innermost axis: everything against plain words.
#[test]
fn each_of_many_channels_has_its_own_grid() {
    let (rows, cols) = (40, 700);
    let x = Array2::from_shape_vec((rows, cols), values::<f32>(rows * cols)).unwrap();
    for code_type in [CodeType::I8, CodeType::U8] {
        let params = per_channel(code_type, cols, Arithmetic::Divide);
        let fake = FakeQuantize::new(params.clone());
        let (mut y, mut dx) = (Array2::zeros(x.raw_dim()), Array2::zeros(x.raw_dim()));
        let q = params.quantize(x.view()).unwrap();
        fake.forward(x.view(), y.view_mut()).unwrap();
        fake.backward(x.view(), Array2::ones(x.raw_dim()).view(), dx.view_mut()).unwrap();
        for ((row, col), &x) in x.indexed_iter() {
            let (scale, zero_point) = (params.scales()[col], params.zero_points()[col]);
            let code = reference(x, scale, zero_point, code_type.limits(), Arithmetic::Divide);
            let found = match q.codes() {
                Codes::I8(codes) => i32::from(codes[[row, col]]),
                Codes::U8(codes) => i32::from(codes[[row, col]]),
                other => panic!("{other:?}"),
            };
            assert_eq!(found, code, "{x} of channel {col}");
            assert_eq!(y[[row, col]], (code - zero_point) as f32 * scale);
            let unclamped = f64::from((x / scale).round_ties_even()) + f64::from(zero_point);
            let (lowest, highest) = code_type.limits();
            let inside = unclamped >= f64::from(lowest) && unclamped <= f64::from(highest);
            assert_eq!(dx[[row, col]], if inside { 1.0_f32 } else { 0.0 }, "{x} of channel {col}");
        }
    }
    let finite = x.mapv(|x| if x.is_finite() { x.clamp(-20.0, 20.0) } else { 1.0 });
    let params = Scheme::int8().symmetric().per_channel(Axis(1)).params(finite.view()).unwrap();
    for (column, &scale) in finite.columns().into_iter().zip(params.scales()) {
        let largest = column.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        assert_eq!(scale, largest / 127.0);
    }
}

/// As the C ABI calls it: borrowed rows with strides, and nothing between the rows is touched.
#[test]
fn borrowed_rows_with_strides_stay_in_their_rows() {
    let (rows, cols, stride, code_stride) = (150, 7, 9, 8);
    let x = values::<f32>((rows - 1) * stride + cols);
    let x = ArrayView2::from_shape((rows, cols).strides((stride, 1)), &x).unwrap();
    let mut codes = vec![77_u8; (rows - 1) * code_stride + cols];
    let params = per_channel(CodeType::U8, cols, Arithmetic::Divide);
    for context in every_thread_count() {
        let view = ArrayViewMut2::from_shape((rows, cols).strides((code_stride, 1)), &mut codes[..]).unwrap();
        context.scope(|| params.quantize_into(x, view)).unwrap();
        let expected = params.quantize(x.to_owned().view()).unwrap();
        let expected = expected.codes().as_u8().unwrap();
        for (index, &code) in codes.iter().enumerate() {
            let (row, col) = (index / code_stride, index % code_stride);
            assert_eq!(code, if col < cols { expected[[row, col]] } else { 77 });
        }
    }
}

fn finite() -> impl Strategy<Value = f32> {
    prop_oneof![
        -10.0_f32..10.0,
        any::<f32>().prop_filter("finite", |x| x.is_finite()),
        Just(0.0),
        Just(f32::MAX),
        Just(f32::MIN),
        Just(f32::from_bits(1)),
    ]
}

proptest! {
    #[test]
    fn errors_are_at_most_half_a_step_and_zero_stays_zero(
        mut x in prop::collection::vec(finite(), 1..60),
        signed in any::<bool>(),
        symmetric in any::<bool>(),
    ) {
        x.push(0.0);
        let x = Array1::from(x);
        let scheme = if signed { Scheme::int8() } else { Scheme::uint8() };
        let scheme = if symmetric { scheme.symmetric() } else { scheme.affine() };
        let q = scheme.quantize(x.view()).unwrap();
        let (scale, zero_point) = (q.params().scales()[0], q.params().zero_points()[0]);
        let (lowest, highest) = q.params().limits();
        prop_assert!(scale.is_finite() && scale > 0.0);
        prop_assert!((lowest..=highest).contains(&zero_point));
        let y = q.dequantize().unwrap();
        for (&x, &y) in x.iter().zip(&y) {
            prop_assert!(y.is_finite());
            // A rounded zero point costs up to half a step more at one end; f32 rounds a little everywhere.
            let bound = f64::from(scale) * if symmetric { 0.5 } else { 1.0 };
            let slack = 1.0 + 1e-4;
            // A range of the whole of f32 is cut so that no code overflows.
            let slack = if x.abs() > 3.3e38 { slack * 130.0 } else { slack };
            prop_assert!((f64::from(x) - f64::from(y)).abs() <= bound * slack, "{x} became {y}, scale {scale}");
            if x == 0.0 {
                prop_assert_eq!(y.to_bits(), 0);
            }
        }
    }

    #[test]
    fn a_pruned_weight_stays_zero(
        weights in prop::collection::vec(-5.0_f32..5.0, 24..25),
        survives in prop::collection::vec(any::<bool>(), 24..25),
        axis in prop::option::of(0_usize..2),
        code_type in prop::sample::select(vec![CodeType::I8, CodeType::U8]),
        compat in prop::sample::select(vec![Compat::Tersor, Compat::Torch, Compat::OnnxRuntime, Compat::OnnxDynamic, Compat::TensorFlow]),
    ) {
        let mut weights = Array2::from_shape_vec((4, 6), weights).unwrap();
        let mask = Mask::from_fn(&[4, 6], |i| survives[i]).unwrap();
        mask.apply(&mut weights).unwrap();
        let scheme = Scheme::of(code_type).compat(compat);
        let scheme = axis.map_or(scheme, |axis| scheme.per_channel(Axis(axis)));
        let Ok(q) = scheme.quantize(weights.view()) else { return Ok(()); }; // TensorFlow refuses a range of one point
        let values = q.dequantize().unwrap();
        for (index, value) in values.iter().enumerate() {
            prop_assert!(mask.get(index).unwrap() || value.to_bits() == 0);
        }
    }

    #[test]
    fn codes_survive_the_way_there_and_back(
        codes in prop::collection::vec(any::<i8>(), 1..50),
        scale in 1e-6_f32..1e6,
        zero_point in -128..=127,
    ) {
        let params = Params::new(CodeType::I8, vec![scale], vec![zero_point], None).unwrap();
        let q = QuantizedArray::new(Codes::I8(Array1::from(codes)), params).unwrap();
        let again = q.params().quantize(q.dequantize().unwrap().view()).unwrap();
        prop_assert_eq!(again, q);
    }
}

#[test]
fn what_cannot_become_parameters_is_named() {
    let x = array![[1.0_f32, 2.0], [f32::NAN, f32::INFINITY]];
    for scheme in [Scheme::int8(), Scheme::int8().per_channel(Axis(0)), Scheme::int8().per_channel(Axis(1))] {
        let error = scheme.quantize(x.view()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "values: element 2 (row-major) is NaN, but every element must be finite"
        );
    }
    let x = array![[1.0_f32, 2.0], [0.0, f32::NEG_INFINITY]];
    let error = Scheme::uint8().per_channel(Axis(1)).params(x.view()).unwrap_err();
    assert_eq!(error.to_string(), "values: element 3 (row-major) is -inf, but every element must be finite");
    let error = Scheme::int8().per_channel(Axis(2)).params(x.view()).unwrap_err();
    assert_eq!(error.to_string(), "axis is 2, but must be below 2, the number of axes of values");
    let empty = Array2::<f32>::zeros((0, 3));
    assert!(matches!(Scheme::int8().params(empty.view()), Err(Error::Empty { .. })));
    assert!(matches!(Scheme::int8().limits(5, 5), Err(Error::OutOfRange { .. })));
    assert!(matches!(Scheme::uint8().limits(-1, 5), Err(Error::OutOfRange { .. })));
    assert!(matches!(Interval::new(1.0, f32::NAN), Err(Error::OutOfRange { .. })));
    assert!(matches!(Interval::new(1.0, 0.0), Err(Error::OutOfRange { .. })));
    let interval = Interval { min: 0.0, max: f32::INFINITY };
    assert!(matches!(Scheme::int8().params_for(&[interval]), Err(Error::OutOfRange { .. })));
    assert!(matches!(Scheme::int8().params_for(&[]), Err(Error::Length { .. })));
    let two = [Interval { min: 0.0, max: 1.0 }; 2];
    assert!(matches!(Scheme::int8().params_for(&two), Err(Error::Length { .. })));
    let symmetric = Scheme::uint8().symmetric();
    for compat in [Compat::TensorFlow, Compat::OnnxDynamic] {
        assert!(matches!(symmetric.compat(compat).params_for(&two[..1]), Err(Error::Unsupported { .. })));
    }
    // torch's zero point of signed symmetric codes is 0 whatever the limits, even where they do not hold it.
    let torch = Scheme::int8().symmetric().compat(Compat::Torch);
    assert_eq!(torch.limits(0, 127).unwrap().params_for(&two[..1]).unwrap().zero_points(), [0]);
    let error = torch.limits(10, 20).unwrap().params_for(&two[..1]).unwrap_err().to_string();
    assert!(error.starts_with("limits is 10..=20, but must be such that they hold 0"), "{error}");
    let whole = Interval { min: f32::MIN, max: f32::MAX };
    assert!(matches!(
        Scheme::int8().compat(Compat::Torch).params_for(&[whole]),
        Err(Error::OutOfRange { .. })
    ));
    assert!(Scheme::int8().params_for(&[whole]).is_ok());
}

#[test]
fn parameters_that_make_no_sense_are_named() {
    let message = |scales: Vec<f32>, zero_points: Vec<i32>, axis: Option<usize>| {
        Params::new(CodeType::U8, scales, zero_points, axis.map(Axis)).unwrap_err().to_string()
    };
    assert_eq!(
        message(vec![1.0, 0.0], vec![0, 0], Some(0)),
        "scales[1] is 0, but must be finite and above 0"
    );
    assert!(message(vec![f32::NAN], vec![0], None).starts_with("scales[0] is NaN"));
    assert!(message(vec![f32::INFINITY], vec![0], None).starts_with("scales[0] is inf"));
    assert_eq!(
        message(vec![1.0], vec![256], None),
        "zero_points[0] is 256, but must be a code, from 0 to 255"
    );
    assert!(message(vec![1.0, 1.0], vec![0, 0], None).contains("there is no axis"));
    assert!(message(vec![1.0, 1.0], vec![0], Some(0)).contains("2, one for each scale"));
    assert!(message(vec![], vec![], Some(0)).contains("no elements"));
    let tiny = Params::new(CodeType::I8, vec![1e-42], vec![0], None).unwrap();
    assert!(tiny.with_arithmetic(Arithmetic::Reciprocal).is_err());
    // Here the value of the lowest code is -infinity, and the distance of zero from it has no code.
    let huge = Params::new(CodeType::U8, vec![1.0, 3e38], vec![128, 128], Some(Axis(0))).unwrap();
    let error = huge.with_arithmetic(Arithmetic::Shifted).unwrap_err().to_string();
    assert!(error.starts_with("scales[1] is 3"), "{error}");
}

#[test]
fn refused_calls_leave_their_outputs_alone() {
    let params = Params::new(CodeType::I8, vec![1.0, 2.0], vec![0, 0], Some(Axis(1))).unwrap();
    let x = Array2::<f32>::ones((2, 3));
    let mut codes = Array2::from_elem((2, 3), 5_i8);
    let error = params.quantize_into(x.view(), codes.view_mut()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "values: the shape is [2, 3], but must be of 2 elements along axis 1, one for each scale"
    );
    let x = Array2::<f32>::ones((2, 2));
    assert!(matches!(params.quantize_into(x.view(), codes.view_mut()), Err(Error::Shape { .. })));
    let mut wrong = Array2::from_elem((2, 2), 5_u8);
    let error = params.quantize_into(x.view(), wrong.view_mut()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "codes of type u8 with parameters for i8 is not supported; use codes of type i8"
    );
    assert!(codes.iter().all(|&code| code == 5) && wrong.iter().all(|&code| code == 5));

    let fake = FakeQuantize::new(params.clone());
    let mut y = Array2::from_elem((2, 3), 9.0_f32);
    assert!(matches!(fake.forward(x.view(), y.view_mut()), Err(Error::Shape { .. })));
    assert!(matches!(fake.backward(x.view(), x.view(), y.view_mut()), Err(Error::Shape { .. })));
    assert!(matches!(fake.backward(x.view(), y.clone().view(), y.view_mut()), Err(Error::Shape { .. })));
    assert!(matches!(cast_into(x.view(), y.view_mut()), Err(Error::Shape { .. })));
    let q = params.quantize(x.view()).unwrap();
    assert!(matches!(q.dequantize_into(y.view_mut()), Err(Error::Shape { .. })));
    assert!(y.iter().all(|&y| y == 9.0));

    let narrow = params.with_limits(-127, 127).unwrap();
    let error = QuantizedArray::new(Codes::I8(array![[1_i8, -128]]), narrow).unwrap_err();
    assert!(error.to_string().starts_with("codes[1] (row-major) is -128"), "{error}");
    let nan = Distortion::measure(
        array![0.0_f32, f32::NAN].view(),
        &Params::new(CodeType::I8, vec![1.0], vec![0], None).unwrap(),
    );
    assert!(matches!(nan, Err(Error::NotFinite { index: 1, .. })));
}

#[test]
fn zeros_and_the_smallest_numbers_have_usable_scales() {
    for scheme in [Scheme::int8(), Scheme::uint8(), Scheme::int8().symmetric(), Scheme::uint8().symmetric()] {
        let q = scheme.quantize(Array1::<f32>::zeros(5).view()).unwrap();
        assert_eq!(q.params().scales(), [1.0]);
        assert_eq!(q.dequantize().unwrap(), Array1::<f32>::zeros(5));
        let tiny = scheme.params(array![f32::from_bits(3)].view()).unwrap();
        assert_eq!(tiny.scales(), [f32::MIN_POSITIVE]);
    }
}

#[test]
fn a_quarter_of_the_bytes() {
    let x = Array2::from_shape_fn((64, 512), |(i, j)| (i as f32 - 30.0) * (j as f32).cos());
    let q = Scheme::int8().symmetric().per_channel(Axis(0)).quantize(x.view()).unwrap();
    assert_eq!(q.bytes(), 64 * 512 + 64 * 4);
    let q = Scheme::uint8().per_channel(Axis(0)).quantize(x.view()).unwrap();
    assert_eq!(q.bytes(), 64 * 512 + 64 * 5);
}

#[test]
fn symmetric_parameters_are_those_with_zeros() {
    // More columns than the loops take at a time, and rows with gaps between them.
    let (rows, cols) = (3, 300);
    let wide = Array2::from_shape_fn((rows, cols + 1), |(i, j)| ((i * cols + j) as f32).sin() * 3.0);
    let x = wide.slice(s![.., ..cols]);
    let (scales, zeros) = (Vec::from_iter((0..cols).map(|j| 0.01 + j as f32 / 1e4)), vec![0; cols]);
    for (axis, channels) in [(Some(Axis(0)), rows), (Some(Axis(1)), cols), (None, 1)] {
        let (scales, zeros) = (&scales[..channels], &zeros[..channels]);
        let symmetric = ParamsView::symmetric(CodeType::I8, scales, axis).unwrap();
        let owned = Params::new(CodeType::I8, scales.to_vec(), zeros.to_vec(), axis).unwrap();
        let (mut codes, mut expected) = (Array2::<i8>::zeros(x.raw_dim()), Array2::<i8>::zeros(x.raw_dim()));
        symmetric.quantize_into(x, codes.view_mut()).unwrap();
        owned.quantize_into(x, expected.view_mut()).unwrap();
        assert_eq!(codes, expected);
        let dy = x.mapv(|x| x + 10.0);
        let (mut dx, mut expected) =
            (Array2::<f32>::zeros(wide.raw_dim()), Array2::<f32>::zeros(x.raw_dim()));
        let gaps = dx.slice_mut(s![.., ..cols]);
        FakeQuantizeView::new(symmetric).backward(x, dy.view(), gaps).unwrap();
        FakeQuantize::new(owned).backward(x.to_owned().view(), dy.view(), expected.view_mut()).unwrap();
        assert_eq!(dx.slice(s![.., ..cols]), expected);
        assert!(expected.iter().any(|&dx| dx == 0.0) && expected.iter().any(|&dx| dx != 0.0));
        // In Fortran's order there are no rows to use where they lie.
        let mut transposed = Array2::<f32>::zeros((cols, rows));
        FakeQuantizeView::new(symmetric)
            .backward(x, dy.view(), transposed.view_mut().reversed_axes())
            .unwrap();
        assert_eq!(transposed.t(), expected);
    }
    let refused = ParamsView::symmetric(CodeType::I8, &[1.0], None).unwrap().with_limits(1, 5).unwrap_err();
    assert!(refused.to_string().contains("zero_points[0] is 0"), "{refused}");
    assert!(ParamsView::symmetric(CodeType::I8, &[], None).is_err());
}
