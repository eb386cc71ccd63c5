//! int4 layers through their public API: to the bit against a naive reference written here, on every instruction set, and
//! within the documented bound of the sum without rounding.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array2, ArrayView2, ShapeBuilder, s};
use support::guard::Guarded;
use support::int4::{Numbers, SHAPES, random};
use support::{every_isa, every_thread_count};
use tersor::linear::{Format, PackedLinear, Weights};
use tersor::quant::{CodeType, GroupedInt4, Params};
use tersor::{Element, Error, Mask, bf16, f16};

impl Numbers {
    /// The documented arithmetic, of one row of codes.
    fn reference(&self, codes: &[i32], scale: f32, zero: i32) -> Vec<f32> {
        let (outputs, inputs) = self.codes.dim();
        let output = |n: usize| {
            let (mut sum, mut weight_sum) = (0.0_f32, 0.0_f64);
            for group in 0..self.scales.ncols() {
                let range = group * self.size..(group * self.size).saturating_add(self.size).min(inputs);
                let (mut products, mut steps) = (0_i32, 0_i32);
                for k in range {
                    let step = i32::from(self.codes[[n, k]]) - self.zero(n, group);
                    products += codes[k] * step;
                    steps += step;
                }
                sum += products as f32 * self.scales[[n, group]];
                weight_sum += f64::from(self.scales[[n, group]]) * f64::from(steps);
            }
            if zero != 0 {
                sum -= zero as f32 * weight_sum as f32;
            }
            sum * scale + self.bias[n]
        };
        (0..outputs).map(output).collect()
    }

    /// Quantizes each row as documented.
    fn dynamic(&self, x: ArrayView2<'_, f32>) -> Array2<f32> {
        let mut y = Array2::zeros((x.nrows(), self.codes.nrows()));
        for (row, mut y) in x.rows().into_iter().zip(y.rows_mut()) {
            let (codes, scale, zero) = quantize(&row.to_vec());
            y.iter_mut().zip(self.reference(&codes, scale, zero)).for_each(|(y, value)| *y = value);
        }
        y
    }
}

/// Codes, scale and zero point of a row, as ONNX DynamicQuantizeLinear.
fn quantize(row: &[f32]) -> (Vec<i32>, f32, i32) {
    let low = row.iter().fold(0.0_f32, |low, &x| low.min(x));
    let high = row.iter().fold(0.0_f32, |high, &x| high.max(x));
    let scale = (high - low) / 255.0;
    if scale < f32::MIN_POSITIVE {
        return (vec![0; row.len()], 1.0, 0);
    }
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0);
    let code = |x: &f32| ((x / scale).round_ties_even() + zero).clamp(0.0, 255.0) as i32;
    (row.iter().map(code).collect(), scale, zero as i32)
}

fn bits(y: &Array2<f32>) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

fn forward<X: Element>(layer: &PackedLinear<'_>, x: ArrayView2<'_, X>) -> Array2<f32> {
    let mut y = Array2::from_elem((x.nrows(), layer.out_features()), f32::NAN);
    layer.forward(x, y.view_mut()).unwrap();
    y
}

#[test]
fn layers_are_the_reference_to_the_bit_on_every_instruction_set() {
    for (rows, outputs, inputs, size) in SHAPES {
        for affine in [false, true] {
            let numbers = Numbers::random(outputs, inputs, size, affine, 7);
            let layer = numbers.layer();
            assert_eq!(layer.format(), Format::Int4);
            let x = random(rows, inputs, 3);
            let expected = bits(&numbers.dynamic(x.view()));
            for context in every_isa() {
                let y = context.scope(|| forward(&layer, x.view()));
                assert_eq!(bits(&y), expected, "{rows} {outputs} {inputs} {size} {affine} {context:?}");
            }
        }
    }
}

#[test]
fn layers_stay_within_the_documented_bound() {
    for (rows, outputs, inputs, size) in SHAPES {
        for affine in [false, true] {
            let numbers = Numbers::random(outputs, inputs, size, affine, 11);
            let (layer, weights) = (numbers.layer(), numbers.exact_weights());
            let x = random(rows, inputs, 5);
            let y = forward(&layer, x.view());
            for (m, row) in x.rows().into_iter().enumerate() {
                let (codes, scale, zero) = quantize(&row.to_vec());
                for n in 0..outputs {
                    let (mut exact, mut magnitude) = (0.0, 0.0);
                    for (code, w) in codes.iter().zip(weights.row(n)) {
                        exact += f64::from(code - zero) * w;
                        magnitude += f64::from(code + zero) * w.abs();
                    }
                    let (scale, bias) = (f64::from(scale), f64::from(numbers.bias[n]));
                    let groups = numbers.scales.ncols() as f64;
                    let bound = (groups + 8.0) * 2.0_f64.powi(-24) * (scale * magnitude + bias.abs());
                    let error = (f64::from(y[[m, n]]) - (exact * scale + bias)).abs();
                    assert!(error <= bound, "{inputs} {size}: off by {error}, bound {bound}");
                }
            }
        }
    }
}

/// The longest run of the greatest products: every code 255, every nibble as far from its zero point as it can be.
#[test]
fn the_worst_case_fits_every_intermediate() {
    const LONGEST: usize = 561_433;
    for (case, (code, zero)) in [(7, Some(-8)), (-8, Some(7)), (-8, None), (7, None)].into_iter().enumerate()
    {
        // Of small groups sums are no longer than a group, so once as many groups as can be are enough.
        let many = if case == 0 { LONGEST } else { 4_099 };
        for (inputs, size) in [(many, 32), (LONGEST, usize::MAX)] {
            let groups = inputs.div_ceil(size);
            let numbers = Numbers {
                codes: Array2::from_elem((2, inputs), code),
                size,
                scales: Array2::from_elem((2, groups), 1.0),
                zero_points: zero.map(|zero| Array2::from_elem((2, groups), zero)),
                bias: vec![0.0; 2],
            };
            let layer = numbers.layer();
            // Codes as they are: scale 1, zero point 0 or 255.
            for (x, zero) in [(255.0_f32, 0), (-255.0, 255), (255.0, 255)] {
                let params = Params::new(CodeType::U8, vec![1.0], vec![zero], None).unwrap();
                let layer = layer.clone().with_input_params(&params).unwrap();
                let x = Array2::from_elem((4, inputs), x);
                let codes = vec![(x[[0, 0]] as i32 + zero).clamp(0, 255); inputs];
                let expected = numbers.reference(&codes, 1.0, zero);
                for context in every_isa() {
                    for rows in [1, 4] {
                        let y = context.scope(|| forward(&layer, x.slice(s![..rows, ..])));
                        assert!(y.rows().into_iter().all(|y| y.to_vec() == expected), "{y} {expected:?}");
                    }
                }
            }
        }
    }
    let codes = Array2::<i8>::zeros((1, LONGEST + 1));
    let weights = Weights::int4(codes.view(), LONGEST + 1, ndarray::aview2(&[[1.0]]), None);
    assert!(matches!(PackedLinear::new(weights), Err(Error::OutOfRange { .. })));
}

#[test]
fn every_type_stride_and_thread_count_gives_the_same() {
    let numbers = Numbers::random(700, 96, 32, true, 3);
    let layer = numbers.layer();
    for rows in [1, 150] {
        let x = random(rows, 96, 4).map(|&x| f16::from_f32(x));
        let wide = x.map(|x| x.to_f32());
        let expected = numbers.dynamic(wide.view());
        let mut columns = Array2::<f32>::zeros((96, rows).f());
        columns.assign(&wide.t());
        for context in every_thread_count() {
            context.scope(|| {
                assert_eq!(bits(&forward(&layer, wide.view())), bits(&expected), "{context:?}");
                assert_eq!(bits(&forward(&layer, x.view())), bits(&expected));
                assert_eq!(bits(&forward(&layer, columns.t())), bits(&expected));
                let mut y = Array2::<f32>::zeros((2 * rows, 1400));
                layer.forward(wide.view(), y.slice_mut(s![..;2, ..;-2])).unwrap();
                assert_eq!(bits(&y.slice(s![..;2, ..;-2]).to_owned()), bits(&expected));
                let mut half = Array2::<f16>::zeros((rows, 700));
                layer.forward(wide.view(), half.view_mut()).unwrap();
                assert_eq!(half, expected.map(|&y| f16::from_f32(y)));
                let mut brain = Array2::<bf16>::zeros((rows, 700));
                layer.forward(wide.view(), brain.view_mut()).unwrap();
                assert_eq!(brain, expected.map(|&y| bf16::from_f32(y)));
            });
        }
    }
}

#[test]
fn nothing_is_read_or_written_past_a_page() {
    for (rows, outputs, inputs, size) in SHAPES {
        for affine in [false, true] {
            let numbers = Numbers::random(outputs, inputs, size, affine, 5);
            let layer = numbers.layer();
            let packed = Guarded::new(layer.as_bytes());
            let x = random(rows, inputs, 6);
            let guarded = Guarded::new(x.as_slice().unwrap());
            let mut y = Guarded::new(&vec![0.0_f32; rows * outputs]);
            let mut scratch = Guarded::new(&vec![0_u8; layer.scratch_bytes(rows).unwrap()]);
            let expected = bits(&numbers.dynamic(x.view()));
            for context in every_isa() {
                context.scope(|| {
                    let layer = PackedLinear::from_bytes(&packed).unwrap();
                    let x = ArrayView2::from_shape((rows, inputs), &guarded[..]).unwrap();
                    let view = ndarray::ArrayViewMut2::from_shape((rows, outputs), &mut y[..]).unwrap();
                    layer.forward_with(x, view, &mut scratch).unwrap();
                });
                assert!(y.iter().map(|y| y.to_bits()).eq(expected.iter().copied()), "{context:?}");
            }
            // At any alignment.
            let mut shifted = vec![0_u8; packed.len() + 1];
            shifted[1..].copy_from_slice(&packed);
            let layer = PackedLinear::from_bytes(&shifted[1..]).unwrap();
            assert_eq!(bits(&forward(&layer, x.view())), expected);
        }
    }
}

#[test]
fn unsigned_codes_and_masks_mean_what_they_say() {
    let numbers = Numbers::random(20, 70, 32, true, 9);
    let x = random(6, 70, 10);
    let expected = bits(&numbers.dynamic(x.view()));
    let codes = numbers.codes.map(|&code| (code + 8) as u8);
    let zero_points = numbers.zero_points.as_ref().unwrap().map(|zero| zero + 8);
    let weights = Weights::uint4(codes.view(), 32, numbers.scales.view(), zero_points.view());
    let layer = PackedLinear::new(weights).unwrap();
    assert_eq!(layer.as_bytes(), PackedLinear::new(numbers.weights()).unwrap().as_bytes());
    assert_eq!(bits(&forward(&layer.with_bias(&numbers.bias).unwrap(), x.view())), expected);
    // Zero points of 8 are those of symmetric weights, and take no room.
    let symmetric = Numbers { zero_points: None, ..numbers.clone() };
    let eights = zero_points.map(|_| 8);
    let layer =
        PackedLinear::new(Weights::uint4(codes.view(), 32, numbers.scales.view(), eights.view())).unwrap();
    assert_eq!(layer.as_bytes(), PackedLinear::new(symmetric.weights()).unwrap().as_bytes());
    for numbers in [numbers, symmetric] {
        let mask =
            Mask::from_bools(Array2::from_shape_fn((20, 70), |(n, k)| (n * k) % 3 != 1).view()).unwrap();
        let mut pruned = numbers.clone();
        for ((n, k), code) in pruned.codes.indexed_iter_mut() {
            if (n * k) % 3 == 1 {
                *code = numbers.zero(n, k / 32) as i8;
            }
        }
        let layer = PackedLinear::new(numbers.weights().masked(&mask)).unwrap();
        assert_eq!(layer.as_bytes(), PackedLinear::new(pruned.weights()).unwrap().as_bytes());
        assert_eq!(layer.non_zeros(), pruned.exact_weights().iter().filter(|w| **w != 0.0).count());
    }
}

#[test]
fn quantized_weights_are_a_layer() {
    let (x, w) = (random(9, 100, 1), random(20, 100, 2));
    for q in [GroupedInt4::symmetric(w.view(), 32).unwrap(), GroupedInt4::affine(w.view(), 32).unwrap()] {
        let layer = PackedLinear::new(&q).unwrap();
        let numbers = Numbers {
            codes: q.codes().to_owned(),
            size: 32,
            scales: q.scales().to_owned(),
            zero_points: q.zero_points().map(|zero_points| zero_points.to_owned()),
            bias: vec![0.0; 20],
        };
        assert_eq!(bits(&forward(&layer, x.view())), bits(&numbers.dynamic(x.view())));
        let zero_bytes = if q.zero_points().is_some() { 32 * 4 } else { 0 };
        assert_eq!(layer.weight_bytes(), 32 * 100 / 2 + 32 * 4 * 4 + zero_bytes);
    }
}

#[test]
fn bad_input_names_what_is_wrong() {
    let codes = Array2::<i8>::zeros((3, 70));
    let scales = Array2::from_elem((3, 3), 0.5_f32);
    let zeros = Array2::<i32>::zeros((3, 3));
    let refuse = |weights: Weights<'_>, text: &str| {
        let error = PackedLinear::new(weights).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    refuse(Weights::int4(codes.view(), 0, scales.view(), None), "group_size is 0");
    refuse(Weights::int4(codes.view(), 30, scales.view(), None), "group_size is 30");
    refuse(Weights::int4(codes.view(), 64, scales.view(), None), "scales: the shape is [3, 3]");
    refuse(
        Weights::int4(codes.view(), 32, scales.t().slice(s![.., ..2]), None),
        "scales: the shape is [3, 2]",
    );
    refuse(
        Weights::int4(codes.view(), 32, scales.view(), Some(zeros.slice(s![..2, ..]))),
        "zero_points: the shape is [2, 3]",
    );
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let mut scales = scales.clone();
        scales[[2, 1]] = bad;
        refuse(Weights::int4(codes.view(), 32, scales.view(), None), "scales[2, 1]");
    }
    for bad in [-9, 8] {
        let (mut codes, mut zeros) = (codes.clone(), zeros.clone());
        (codes[[1, 69]], zeros[[0, 2]]) = (bad, i32::from(bad));
        refuse(Weights::int4(codes.view(), 32, scales.view(), None), "codes[1, 69]");
        let codes = Array2::zeros((3, 70));
        refuse(Weights::int4(codes.view(), 32, scales.view(), Some(zeros.view())), "zero_points[0, 2]");
    }
    let high = Array2::<u8>::from_elem((3, 70), 16);
    refuse(
        Weights::uint4(high.view(), 32, scales.view(), zeros.view()),
        "codes[0, 0] is 16, but must be 0 to 15",
    );
    refuse(Weights::int4(codes.view(), 32, scales.view(), None).sparse(), "sparse layer of int4");
    let layer = PackedLinear::new(Weights::int4(codes.view(), 32, scales.view(), None)).unwrap();
    let mut y = Array2::<i32>::ones((1, 3));
    let error = layer.forward_codes(Array2::<u8>::zeros((1, 70)).view(), &[], y.view_mut()).unwrap_err();
    assert!(error.to_string().contains("int4") && y.iter().all(|&y| y == 1), "{error}");
    let mut x = Array2::<f32>::zeros((2, 70));
    x[[1, 3]] = f32::NAN;
    let mut y = Array2::<f32>::ones((2, 3));
    let error = layer.forward(x.view(), y.view_mut()).unwrap_err();
    assert!(matches!(error, Error::NotFinite { index: 73, .. }) && y.iter().all(|&y| y == 1.0), "{error:?}");
}
