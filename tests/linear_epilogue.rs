//! What layers do behind their product: clamp, and codes in and out, in every format and on every instruction set.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, s};
use support::guard::Guarded;
use support::layers::{every_format, random};
use support::{every_isa, every_thread_count};
use tersor::linear::{Operand, PackedLinear, write_clamp, write_output_params};
use tersor::quant::{Arithmetic, Code, CodeType, Params};
use tersor::{Error, f16};

/// Rows, outputs and inputs around the edges of tiles and panels.
const SHAPES: [(usize, usize, usize); 7] =
    [(1, 1, 1), (1, 130, 40), (3, 33, 5), (8, 32, 64), (17, 47, 30), (33, 66, 10), (65, 34, 70)];

fn params(code_type: CodeType, scale: f32, zero_point: i32) -> Params {
    Params::new(code_type, vec![scale], vec![zero_point], None).unwrap()
}

fn forward<X: Operand, Y: Operand>(layer: &PackedLinear<'_>, x: ArrayView2<'_, X>) -> Array2<Y> {
    let mut y = Array2::default((x.nrows(), layer.out_features()));
    layer.forward(x, y.view_mut()).unwrap();
    y
}

fn codes_of<C: Code>(params: &Params, values: &Array2<f32>) -> Array2<C> {
    let codes = params.quantize(values.view()).unwrap();
    let codes = match C::TYPE {
        CodeType::I8 => codes.codes().as_i8().unwrap().map(|&code| C::from_i32(code.into())),
        _ => codes.codes().as_u8().unwrap().map(|&code| C::from_i32(code.into())),
    };
    codes.into_dimensionality().unwrap()
}

fn bits(y: &Array2<f32>) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

/// A layer that writes codes writes those that `quant` makes of the numbers it would write.
fn check_codes<C: Code + Operand>(layer: &PackedLinear<'_>, x: ArrayView2<'_, f32>, params: &Params) {
    let layer = layer.clone().with_output_params(params).unwrap();
    for context in every_isa() {
        context.scope(|| {
            let numbers = forward::<f32, f32>(&layer, x);
            let expected = codes_of::<C>(params, &numbers);
            let found = forward::<f32, C>(&layer, x);
            assert_eq!(found, expected, "{layer:?} {params:?} {context:?}");
        });
    }
}

#[test]
fn codes_are_those_of_the_numbers() {
    for (rows, outputs, inputs) in SHAPES {
        let x = random(rows, inputs, 1);
        for layer in every_format(outputs, inputs) {
            // Steps of several sizes, so that some outputs saturate and some all fall together.
            check_codes::<i8>(&layer, x.view(), &params(CodeType::I8, 0.013, -7));
            check_codes::<u8>(&layer, x.view(), &params(CodeType::U8, 0.1, 128));
            let narrow = params(CodeType::I8, 0.001, 0).with_limits(-127, 120).unwrap();
            check_codes::<i8>(&layer, x.view(), &narrow);
            let clamped = layer.with_relu().unwrap();
            check_codes::<u8>(&clamped, x.view(), &params(CodeType::U8, 0.02, 0));
        }
    }
}

/// Ties are what a product with the reciprocal would get wrong; the weights put every output onto one.
#[test]
fn ties_round_to_even() {
    let scale = 0.1_f32;
    let steps: Vec<f32> = (-40..40).map(|step| (step as f32 + 0.5) * scale).collect();
    let weights = Array2::from_shape_vec((80, 1), steps).unwrap();
    let layer = PackedLinear::new(weights.view()).unwrap();
    check_codes::<i8>(&layer, Array2::ones((3, 1)).view(), &params(CodeType::I8, scale, 1));
}

#[test]
fn clamping_is_that_of_each_number() {
    for (rows, outputs, inputs) in SHAPES {
        let x = random(rows, inputs, 1);
        for layer in every_format(outputs, inputs) {
            for (low, high) in [(0.0, f32::INFINITY), (-0.25, 0.5), (f32::NEG_INFINITY, 0.1), (0.2, 0.2)] {
                let clamped = layer.clone().with_clamp(low, high).unwrap();
                for context in every_isa() {
                    context.scope(|| {
                        let expected = forward::<f32, f32>(&layer, x.view()).mapv(|y| y.clamp(low, high));
                        let found = forward::<f32, f32>(&clamped, x.view());
                        assert_eq!(bits(&found), bits(&expected), "{clamped:?} {low} {high} {context:?}");
                        let half = forward::<f32, f16>(&clamped, x.view());
                        assert_eq!(half, expected.mapv(f16::from_f32), "{clamped:?} {context:?}");
                    });
                }
            }
        }
    }
}

/// `f32::max` would make a limit of NaN.
#[test]
fn nan_stays_nan_and_infinity_becomes_a_limit() {
    let layer = PackedLinear::new(Array2::<f32>::eye(3).view()).unwrap().with_clamp(-2.0, 6.0).unwrap();
    let layer = layer.with_output_params(&params(CodeType::I8, 0.05, 10)).unwrap();
    // NaN and infinity times 0 are NaN, so one at a time.
    for (value, expected, code) in
        [(f32::NAN, f32::NAN, 10), (f32::INFINITY, 6.0, 127), (f32::NEG_INFINITY, -2.0, -30), (-0.0, 0.0, 10)]
    {
        for rows in [1, 2, 9] {
            let mut x = Array2::zeros((rows, 3));
            x.column_mut(1).fill(value);
            for context in every_isa() {
                context.scope(|| {
                    let y = forward::<f32, f32>(&layer, x.view());
                    let same = |y: f32| if expected.is_nan() { y.is_nan() } else { y == expected };
                    assert!(y.column(1).iter().all(|&y| same(y)), "{value} {y} {context:?}");
                    let codes = forward::<f32, i8>(&layer, x.view());
                    assert!(codes.column(1).iter().all(|&y| y == code), "{value} {codes} {context:?}");
                });
            }
        }
    }
}

/// `x` as codes is `x` quantized beforehand: a chain of layers need not leave int8.
fn check_input<C: Code + Operand>(layer: &PackedLinear<'_>, x: &Array2<f32>, params: &Params) {
    let layer = layer.clone().with_input_params(params).unwrap();
    let codes = codes_of::<C>(params, x);
    let mut strided = Array2::<C>::default((x.nrows() * 2, x.ncols() * 3));
    strided.slice_mut(s![..;-2, ..;-3]).assign(&codes);
    for context in every_isa().chain(every_thread_count()) {
        context.scope(|| {
            let expected = forward::<f32, f32>(&layer, x.view());
            let found = forward::<C, f32>(&layer, codes.view());
            assert_eq!(bits(&found), bits(&expected), "{layer:?} {params:?} {context:?}");
            let found = forward::<C, f32>(&layer, strided.slice(s![..;-2, ..;-3]));
            assert_eq!(bits(&found), bits(&expected), "strided, {layer:?} {params:?} {context:?}");
        });
    }
}

#[test]
fn codes_as_input_are_the_quantized_numbers() {
    for (rows, outputs, inputs) in SHAPES {
        let x = random(rows, inputs, 1);
        for layer in every_format(outputs, inputs).into_iter().filter(|layer| layer.quantizes_input()) {
            check_input::<i8>(&layer, &x, &params(CodeType::I8, 0.007, -3));
            check_input::<u8>(&layer, &x, &params(CodeType::U8, 0.01, 100));
        }
    }
}

/// From codes to codes, with every byte around them out of reach.
#[test]
fn codes_are_written_within_their_bounds() {
    let (x_params, y_params) = (params(CodeType::U8, 0.01, 100), params(CodeType::I8, 0.05, 3));
    for (rows, outputs, inputs) in SHAPES {
        let codes = codes_of::<u8>(&x_params, &random(rows, inputs, 1));
        let x = Guarded::new(codes.as_slice().unwrap());
        let x = ArrayView2::from_shape((rows, inputs), &x).unwrap();
        for layer in every_format(outputs, inputs) {
            let layer = layer.with_output_params(&y_params).unwrap();
            for context in every_isa() {
                let mut y = Guarded::new(&vec![0_i8; rows * outputs]);
                let view = ArrayViewMut2::from_shape((rows, outputs), &mut y).unwrap();
                let mut apart = Array2::from_elem((rows * 2, outputs * 3), 99_i8);
                context.scope(|| {
                    if layer.quantizes_input() {
                        let layer = layer.clone().with_input_params(&x_params).unwrap();
                        let packed = Guarded::new(layer.as_bytes());
                        let layer = PackedLinear::from_bytes(&packed).unwrap();
                        let mut scratch = Guarded::new(&vec![0xff_u8; layer.scratch_bytes(rows).unwrap()]);
                        layer.forward_with(x, view, &mut scratch).unwrap();
                        layer.forward(x, apart.slice_mut(s![..;2, ..;-3])).unwrap();
                    } else {
                        let x = x.map(|&code| f16::from_f32(f32::from(code)));
                        layer.forward(x.view(), view).unwrap();
                        layer.forward(x.view(), apart.slice_mut(s![..;2, ..;-3])).unwrap();
                    }
                });
                let y = ArrayView2::from_shape((rows, outputs), &y).unwrap();
                assert_eq!(apart.slice(s![..;2, ..;-3]), y, "{layer:?} {context:?}");
                assert!(apart.slice(s![1..;2, ..]).iter().all(|&y| y == 99));
            }
        }
    }
}

#[test]
fn what_cannot_be_is_named_and_nothing_is_written() {
    let layer = PackedLinear::new(random(5, 4, 1).view()).unwrap();
    let refusal = |result: tersor::Result<PackedLinear<'static>>| result.unwrap_err().to_string();
    assert!(refusal(layer.clone().with_clamp(f32::NAN, 1.0)).contains("low is NaN"));
    assert!(refusal(layer.clone().with_clamp(1.0, f32::NAN)).contains("high is NaN"));
    assert!(refusal(layer.clone().with_clamp(1.0, 0.5)).contains("high is 0.5"));
    assert!(refusal(layer.clone().with_clamp(f32::INFINITY, f32::INFINITY)).contains("low is inf"));
    let along = Params::new(CodeType::U8, vec![0.1; 5], vec![0; 5], Some(Axis(0))).unwrap();
    assert!(refusal(layer.clone().with_output_params(&along)).contains("output of a layer along an axis"));
    let other = params(CodeType::U8, 0.1, 0).with_arithmetic(Arithmetic::Reciprocal).unwrap();
    assert!(refusal(layer.clone().with_output_params(&other)).contains("Reciprocal"));

    let mut bytes = layer.as_bytes().to_vec();
    assert!(write_clamp(&mut bytes, 1.0, 0.0).is_err() && write_output_params(&mut bytes, &other).is_err());
    assert_eq!(bytes, layer.as_bytes());

    // Codes of which the layer does not know what they mean.
    let x = Array2::<f32>::zeros((2, 4));
    let mut y = Array2::from_elem((2, 5), 7_i8);
    let error = layer.forward(x.view(), y.view_mut()).unwrap_err().to_string();
    assert!(error.contains("y of i8 codes") && error.contains("with no output parameters"), "{error}");
    let unsigned = layer.with_output_params(&params(CodeType::U8, 0.1, 0)).unwrap();
    let error = unsigned.forward(x.view(), y.view_mut()).unwrap_err().to_string();
    assert!(
        error.contains("y of i8 codes") && error.contains("with other (u8) output parameters"),
        "{error}"
    );
    let codes = Array2::<u8>::zeros((2, 4));
    let error = unsigned.forward(codes.view(), Array2::<f32>::zeros((2, 5)).view_mut());
    assert!(matches!(error, Err(Error::Unsupported { what, .. }) if what.contains("x of u8 codes")));
    assert!(y.iter().all(|&y| y == 7));
}
