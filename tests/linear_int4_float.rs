//! int4 layers whose input stays in float, through their public API: to the bit against a naive reference written here, on every
//! instruction set, and within the documented bound of the sum without rounding.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array2, ArrayView2, ShapeBuilder, s};
use support::guard::Guarded;
use support::int4::{Numbers, SHAPES, random};
use support::{every_isa, every_thread_count};
use tersor::linear::{Operand, PackedLinear, Weights, write_float_input};
use tersor::quant::{CodeType, Params};
use tersor::{Context, Error, Isa, bf16, f16};

/// As [`SHAPES`], for spans: groups that are longer than one, and end within one.
const LONG_SHAPES: [(usize, usize, usize, usize); 9] = [
    // More rows than are turned at a time.
    (2400, 3, 1000, 128),
    (1, 70, 600, 300),
    (9, 33, 391, 260),
    (1, 33, 391, 260),
    (2, 96, 129, usize::MAX),
    (1, 96, 131, usize::MAX),
    (16, 5, 1030, 512),
    (129, 65, 150, 64),
    (300, 3, 140, 140),
];

fn shapes() -> impl Iterator<Item = (usize, usize, usize, usize)> {
    SHAPES.into_iter().chain(LONG_SHAPES)
}

fn layer(numbers: &Numbers) -> PackedLinear<'static> {
    numbers.layer().with_float_input().unwrap()
}

/// The documented arithmetic. Every instruction set but the scalar one rounds a product and its sum once.
fn reference(numbers: &Numbers, x: ArrayView2<'_, f32>, fused: bool) -> Array2<f32> {
    let add = |a: f32, b: f32, c: f32| if fused { a.mul_add(b, c) } else { a * b + c };
    let (outputs, inputs) = numbers.codes.dim();
    Array2::from_shape_fn((x.nrows(), outputs), |(m, n)| {
        let mut sum = 0.0;
        for group in 0..numbers.scales.ncols() {
            let end = (group * numbers.size).saturating_add(numbers.size).min(inputs);
            for first in (group * numbers.size..end).step_by(128) {
                let mut products = 0.0;
                for k in first..end.min(first + 128) {
                    let steps = i32::from(numbers.codes[[n, k]]) - numbers.zero(n, group);
                    products = add(x[[m, k]], steps as f32, products);
                }
                sum = add(products, numbers.scales[[n, group]], sum);
            }
        }
        sum + numbers.bias[n]
    })
}

fn is_fused(context: &Context) -> bool {
    context.isa() != Isa::scalar()
}

fn bits(y: &Array2<f32>) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

fn forward<X: Operand>(layer: &PackedLinear<'_>, x: ArrayView2<'_, X>) -> Array2<f32> {
    let mut y = Array2::from_elem((x.nrows(), layer.out_features()), f32::NAN);
    layer.forward(x, y.view_mut()).unwrap();
    y
}

#[test]
fn layers_are_the_reference_to_the_bit_on_every_instruction_set() {
    for (rows, outputs, inputs, size) in shapes() {
        for affine in [false, true] {
            let numbers = Numbers::random(outputs, inputs, size, affine, 7);
            let layer = layer(&numbers);
            assert!(layer.format().is_integer() && !layer.quantizes_input());
            let x = random(rows, inputs, 3);
            for context in every_isa() {
                let expected = reference(&numbers, x.view(), is_fused(&context));
                let y = context.scope(|| forward(&layer, x.view()));
                assert_eq!(
                    bits(&y),
                    bits(&expected),
                    "{rows} {outputs} {inputs} {size} {affine} {context:?}"
                );
            }
        }
    }
}

#[test]
fn layers_stay_within_the_documented_bound() {
    for (rows, outputs, inputs, size) in shapes() {
        for affine in [false, true] {
            let numbers = Numbers::random(outputs, inputs, size, affine, 11);
            let (layer, weights) = (layer(&numbers), numbers.exact_weights());
            let x = random(rows, inputs, 5);
            let span = size.min(inputs).min(128);
            let spans: usize = (0..inputs)
                .step_by(size.min(inputs).max(1))
                .map(|first| (inputs - first).min(size).div_ceil(128))
                .sum();
            for context in every_isa() {
                let y = context.scope(|| forward(&layer, x.view()));
                for (m, row) in x.rows().into_iter().enumerate() {
                    for n in 0..outputs {
                        let bias = f64::from(numbers.bias[n]);
                        let (mut exact, mut magnitude) = (bias, bias.abs());
                        for (x, w) in row.iter().zip(weights.row(n)) {
                            exact += f64::from(*x) * w;
                            magnitude += f64::from(x.abs()) * w.abs();
                        }
                        let bound = (span + spans + 4) as f64 * 2.0_f64.powi(-24) * magnitude;
                        let error = (f64::from(y[[m, n]]) - exact).abs();
                        assert!(error <= bound, "{inputs} {size} {context:?}: off by {error}, bound {bound}");
                    }
                }
            }
        }
    }
}

/// Codes of x have 8 bits, so this is what the float input is for.
#[test]
fn small_numbers_beside_a_large_one_are_kept() {
    let numbers = Numbers::random(40, 64, 32, false, 13);
    let mut x = random(3, 64, 14);
    x.column_mut(5).fill(1e4);
    let (dynamic, floats) = (forward(&numbers.layer(), x.view()), forward(&layer(&numbers), x.view()));
    let weights = numbers.exact_weights();
    let worst = |y: &Array2<f32>| {
        let error = y.indexed_iter().map(|((m, n), y)| {
            let products = x.row(m).into_iter().zip(weights.row(n)).map(|(x, w)| f64::from(*x) * w);
            (products.sum::<f64>() + f64::from(numbers.bias[n]) - f64::from(*y)).abs()
        });
        error.fold(0.0, f64::max)
    };
    assert!(worst(&dynamic) > 1.0 && worst(&floats) < 1e-2, "{} {}", worst(&dynamic), worst(&floats));
}

#[test]
fn every_type_stride_and_thread_count_gives_the_same() {
    let numbers = Numbers::random(700, 96, 32, true, 3);
    let layer = layer(&numbers);
    for rows in [1, 2, 150] {
        let x = random(rows, 96, 4).map(|&x| f16::from_f32(x));
        let wide = x.map(|x| x.to_f32());
        let rounded = wide.map(|&x| bf16::from_f32(x));
        let mut columns = Array2::<f32>::zeros((96, rows).f());
        columns.assign(&wide.t());
        for context in every_thread_count() {
            let expected = reference(&numbers, wide.view(), is_fused(&context));
            let of_rounded = reference(&numbers, rounded.map(|x| x.to_f32()).view(), is_fused(&context));
            context.scope(|| {
                assert_eq!(bits(&forward(&layer, wide.view())), bits(&expected), "{context:?}");
                assert_eq!(bits(&forward(&layer, x.view())), bits(&expected));
                assert_eq!(bits(&forward(&layer, rounded.view())), bits(&of_rounded));
                assert_eq!(bits(&forward(&layer, columns.t())), bits(&expected));
                let mut y = Array2::<f32>::zeros((2 * rows, 1400));
                layer.forward(wide.view(), y.slice_mut(s![..;2, ..;-2])).unwrap();
                assert_eq!(bits(&y.slice(s![..;2, ..;-2]).to_owned()), bits(&expected));
                let mut half = Array2::<f16>::zeros((rows, 700));
                layer.forward(wide.view(), half.view_mut()).unwrap();
                assert_eq!(half, expected.map(|&y| f16::from_f32(y)));
            });
        }
    }
}

#[test]
fn nothing_is_read_or_written_past_a_page() {
    for (rows, outputs, inputs, size) in shapes() {
        for affine in [false, true] {
            let numbers = Numbers::random(outputs, inputs, size, affine, 5);
            let layer = layer(&numbers);
            let packed = Guarded::new(layer.as_bytes());
            let x = random(rows, inputs, 6);
            let guarded = Guarded::new(x.as_slice().unwrap());
            let mut y = Guarded::new(&vec![0.0_f32; rows * outputs]);
            let mut scratch = Guarded::new(&vec![0xff_u8; layer.scratch_bytes(rows).unwrap()]);
            let mut shifted = vec![0_u8; packed.len() + 1];
            shifted[1..].copy_from_slice(&packed);
            for context in every_isa() {
                let expected = bits(&reference(&numbers, x.view(), is_fused(&context)));
                context.scope(|| {
                    let layer = PackedLinear::from_bytes(&packed).unwrap();
                    let x = ArrayView2::from_shape((rows, inputs), &guarded[..]).unwrap();
                    let view = ndarray::ArrayViewMut2::from_shape((rows, outputs), &mut y[..]).unwrap();
                    layer.forward_with(x, view, &mut scratch).unwrap();
                    // At any alignment.
                    let layer = PackedLinear::from_bytes(&shifted[1..]).unwrap();
                    assert_eq!(bits(&forward(&layer, x)), expected);
                });
                assert!(y.iter().map(|y| y.to_bits()).eq(expected.iter().copied()), "{context:?}");
            }
        }
    }
}

#[test]
fn nan_and_infinity_go_where_they_must() {
    let numbers = Numbers::random(40, 70, 32, true, 2);
    let layer = layer(&numbers);
    let mut x = random(3, 70, 1);
    x[[1, 69]] = f32::NAN;
    x[[2, 4]] = f32::INFINITY;
    for context in every_isa() {
        let expected = reference(&numbers, x.view(), is_fused(&context));
        let y = context.scope(|| forward(&layer, x.view()));
        assert_eq!(
            bits(&y.row(0).to_owned().insert_axis(ndarray::Axis(0))),
            bits(&expected.slice(s![..1, ..]).to_owned())
        );
        assert!(y.row(1).iter().all(|y| y.is_nan()));
        assert!(y.row(2).iter().zip(expected.row(2)).all(|(y, e)| y == e || y.is_nan() && e.is_nan()));
        assert!(y.row(2).iter().any(|y| y.is_infinite()));
    }
}

#[test]
fn the_input_is_what_was_last_asked_for() {
    let numbers = Numbers::random(9, 40, 32, true, 8);
    let (dynamic, x) = (numbers.layer(), random(2, 40, 9));
    let params = Params::new(CodeType::U8, vec![0.02], vec![100], None).unwrap();
    let fixed = dynamic.clone().with_input_params(&params).unwrap();
    let floats = fixed.clone().with_float_input().unwrap();
    assert_eq!(floats.as_bytes(), layer(&numbers).as_bytes());
    assert_eq!(floats.clone().with_input_params(&params).unwrap().as_bytes(), fixed.as_bytes());
    let mut bytes = dynamic.as_bytes().to_vec();
    write_float_input(&mut bytes).unwrap();
    assert_eq!(bytes, floats.as_bytes());
    // Floats all of them, and no two the same.
    let [a, b, c] = [&dynamic, &fixed, &floats].map(|layer| bits(&forward(layer, x.view())));
    assert!(a != b && b != c && a != c);
    // What needs codes is refused.
    let mut y = Array2::<f32>::ones((2, 9));
    let error = floats.forward(Array2::<u8>::zeros((2, 40)).view(), y.view_mut()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }) && y.iter().all(|&y| y == 1.0), "{error}");
    let mut sums = Array2::<i32>::ones((2, 9));
    assert!(floats.forward_codes(Array2::<u8>::zeros((2, 40)).view(), &[], sums.view_mut()).is_err());
    // Other formats, and bytes that are none.
    let codes = Array2::<i8>::ones((3, 4));
    for weights in [Weights::int8(codes.view(), &[1.0], &[]), Weights::from(x.view())] {
        let layer = PackedLinear::new(weights).unwrap();
        let mut bytes = layer.as_bytes().to_vec();
        assert!(matches!(write_float_input(&mut bytes), Err(Error::Unsupported { .. })));
        assert_eq!(bytes, layer.as_bytes());
        assert!(matches!(layer.with_float_input(), Err(Error::Unsupported { .. })));
    }
    assert!(matches!(write_float_input(&mut [0; 200]), Err(Error::Layout { .. })));
}
