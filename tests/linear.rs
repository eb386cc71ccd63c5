//! Packed layers through their public API, against naive references written here: integers to the bit, floats within the
//! bound that the documentation states.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array1, Array2, ArrayView2, Axis, ShapeBuilder, s};
use support::guard::Guarded;
use support::layers::{every_format, random, random_codes, thin, thin_in_blocks, thin_in_groups};
use support::{every_isa, every_thread_count, scalar};
use tersor::linear::{Format, PackedLinear, Weights, matmul};
use tersor::quant::{CodeType, Params, Scheme};
use tersor::{Element, Error, Mask, bf16, f16};

/// Rows, outputs and inputs around every edge of tiles, groups, panels and lanes.
const SHAPES: [(usize, usize, usize); 16] = [
    (1, 1, 1),
    (1, 32, 4),
    (2, 31, 3),
    (3, 33, 5),
    (4, 64, 63),
    (5, 7, 64),
    (7, 65, 65),
    (8, 32, 127),
    (9, 40, 129),
    (12, 37, 66),
    (16, 33, 8),
    (17, 35, 30),
    (33, 66, 10),
    (65, 34, 70),
    (67, 97, 13),
    (130, 3, 259),
];

/// `x w^T + bias` in f64, and the sum of magnitudes that the error bound needs.
fn reference(x: ArrayView2<'_, f32>, w: ArrayView2<'_, f32>, bias: &[f32]) -> (Array2<f64>, Array2<f64>) {
    let (x, w) = (x.mapv(f64::from), w.mapv(f64::from));
    let bias = Array1::from(bias.to_vec()).mapv(f64::from).insert_axis(Axis(0));
    (x.dot(&w.t()) + &bias, x.mapv(f64::abs).dot(&w.mapv(f64::abs).t()) + bias.mapv(f64::abs))
}

/// The bound that `PackedLinear` documents.
fn assert_close(y: &Array2<f32>, x: ArrayView2<'_, f32>, w: ArrayView2<'_, f32>, bias: &[f32], what: &str) {
    let (exact, magnitude) = reference(x, w, bias);
    let bound = (x.ncols() as f64 + 2.0) * 2.0_f64.powi(-24);
    for ((index, &y), (&exact, &magnitude)) in y.indexed_iter().zip(exact.iter().zip(&magnitude)) {
        let error = (f64::from(y) - exact).abs();
        assert!(
            error <= bound * magnitude,
            "{what}: y{index:?} is {y}, exactly {exact}, bound {}",
            bound * magnitude
        );
    }
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
fn float_layers_stay_within_their_bound_on_every_instruction_set() {
    for (rows, outputs, inputs) in SHAPES {
        let (x, w) = (random(rows, inputs, 1), random(outputs, inputs, 2));
        let (blocks, thin) = (thin_in_blocks(&w, 1, 3), thin(&w, 3));
        let bias: Vec<f32> = random(1, outputs, 4).iter().copied().collect();
        let (half, brain) = (w.map(|w| f16::from_f32(*w)), w.map(|w| bf16::from_f32(*w)));
        let layers = [
            (PackedLinear::new(w.view()), w.clone()),
            (PackedLinear::new(half.view()), half.map(|w| w.to_f32())),
            (PackedLinear::new(brain.view()), brain.map(|w| w.to_f32())),
            (PackedLinear::new(Weights::from(thin.view()).sparse()), thin.clone()),
            (PackedLinear::new(Weights::from(blocks.view()).sparse()), blocks.clone()),
        ];
        for (layer, weights) in layers {
            let layer = layer.unwrap().with_bias(&bias).unwrap();
            for context in every_isa() {
                let y = context.scope(|| forward(&layer, x.view()));
                assert_close(
                    &y,
                    x.view(),
                    weights.view(),
                    &bias,
                    &format!("{layer:?} {rows} rows {context:?}"),
                );
            }
        }
    }
}

/// Dense float layers add in one order, so a row does not depend on how many there are, nor on how many inputs are taken at
/// a time.
#[test]
fn a_row_of_a_dense_float_layer_does_not_depend_on_the_others() {
    // Of more than 32 MiB of f32, the last, a single row takes eight tiles at a time; 16-bit weights are taken as before.
    // Of 950 inputs and few outputs, 2304 rows are laid side by side at a time, and the last one is alone.
    for (rows, outputs, inputs, far) in [
        (157, 40, 200, false),
        (29, 33, 1100, false),
        (13, 130, 2300, false),
        (2305, 3, 950, false),
        (6, 264, 32_000, true),
    ] {
        let (x, w) = (random(rows, inputs, 1), random(outputs, inputs, 2));
        let mut layers = vec![PackedLinear::new(w.view())];
        if !far {
            layers.push(PackedLinear::new(w.map(|w| f16::from_f32(*w)).view()));
            layers.push(PackedLinear::new(w.map(|w| bf16::from_f32(*w)).view()));
        }
        for layer in layers.into_iter().map(Result::unwrap) {
            for context in every_isa() {
                let all = context.scope(|| forward(&layer, x.view()));
                for row in [0, 5, rows / 2, rows - 1] {
                    let one = context.scope(|| forward(&layer, x.slice(s![row..=row, ..])));
                    let same = all.slice(s![row..=row, ..]).to_owned();
                    assert_eq!(bits(&one), bits(&same), "{layer:?} {context:?}");
                }
            }
        }
    }
}

/// `(x - x_zero) (w - w_zero)^T` in i64.
fn reference_codes<C: tersor::quant::Code>(
    x: &Array2<C>,
    x_zero: &[i32],
    w: &Array2<i8>,
    w_zero: &[i32],
) -> Array2<i32> {
    let pick = |zeros: &[i32], index: usize| match zeros {
        [] => 0,
        [one] => i64::from(*one),
        each => i64::from(each[index]),
    };
    let x = Array2::from_shape_fn(x.dim(), |(m, k)| i64::from(x[[m, k]].to_i32()) - pick(x_zero, m));
    let w = Array2::from_shape_fn(w.dim(), |(n, k)| i64::from(w[[n, k]]) - pick(w_zero, n));
    x.dot(&w.t()).mapv(|sum| i32::try_from(sum).unwrap())
}

fn forward_codes<C: tersor::quant::Code>(
    layer: &PackedLinear<'_>,
    x: &Array2<C>,
    zero: &[i32],
) -> Array2<i32> {
    let mut y = Array2::from_elem((x.nrows(), layer.out_features()), i32::MIN);
    layer.forward_codes(x.view(), zero, y.view_mut()).unwrap();
    y
}

#[test]
fn products_of_codes_are_exact_on_every_instruction_set() {
    for (rows, outputs, inputs) in SHAPES {
        let signed = random_codes(rows, inputs, 1);
        let unsigned = signed.map(|&x| x as u8);
        let w = random_codes(outputs, inputs, 2);
        let thin = random_codes(outputs, inputs, 2).map(|&w| if w % 3 == 0 && w > 0 { w } else { 0 });
        let x_zeros: Vec<i32> = (0..rows).map(|m| (m * 37 % 255) as i32 - 128).collect();
        let w_zeros: Vec<i32> = (0..outputs).map(|n| (n * 91 % 255) as i32 - 128).collect();
        let symmetric = PackedLinear::new(Weights::int8(w.view(), &[1.0], &[])).unwrap();
        let affine = PackedLinear::new(Weights::int8(w.view(), &[1.0], &w_zeros)).unwrap();
        let moved = w.map(|&w| (w as u8) ^ 0x80);
        let moved_zeros: Vec<i32> = w_zeros.iter().map(|zero| zero + 128).collect();
        let moved = PackedLinear::new(Weights::uint8(moved.view(), &[1.0], &moved_zeros)).unwrap();
        let sparse = PackedLinear::new(Weights::int8(thin.view(), &[1.0], &[]).sparse()).unwrap();
        let in_groups = thin_in_groups(&w, 3);
        let grouped = PackedLinear::new(Weights::int8(in_groups.view(), &[1.0], &[]).sparse()).unwrap();
        let in_blocks = thin_in_blocks(&w, 4, 3);
        let blocked = PackedLinear::new(Weights::int8(in_blocks.view(), &[1.0], &[]).sparse()).unwrap();
        for context in every_isa() {
            context.scope(|| {
                for zeros in [&[][..], &[-128], &[127], &x_zeros] {
                    let expected = reference_codes(&signed, zeros, &w, &[]);
                    assert_eq!(
                        forward_codes(&symmetric, &signed, zeros),
                        expected,
                        "{context:?} {symmetric:?}"
                    );
                    let expected = reference_codes(&signed, zeros, &w, &w_zeros);
                    assert_eq!(forward_codes(&affine, &signed, zeros), expected, "{context:?} {affine:?}");
                    assert_eq!(forward_codes(&moved, &signed, zeros), expected, "{context:?} {moved:?}");
                    let expected = reference_codes(&signed, zeros, &thin, &[]);
                    assert_eq!(forward_codes(&sparse, &signed, zeros), expected, "{context:?} {sparse:?}");
                    let expected = reference_codes(&signed, zeros, &in_groups, &[]);
                    assert_eq!(forward_codes(&grouped, &signed, zeros), expected, "{context:?} {grouped:?}");
                    let expected = reference_codes(&signed, zeros, &in_blocks, &[]);
                    assert_eq!(forward_codes(&blocked, &signed, zeros), expected, "{context:?} {blocked:?}");
                    let zeros: Vec<i32> = zeros.iter().map(|zero| zero + 128).collect();
                    let expected = reference_codes(&unsigned, &zeros, &w, &w_zeros);
                    assert_eq!(forward_codes(&affine, &unsigned, &zeros), expected, "{context:?} {affine:?}");
                }
            });
        }
    }
}

/// The longest sums of the largest products just fit; one input more is refused.
#[test]
fn the_worst_sums_do_not_overflow() {
    const SYMMETRIC: usize = 65_793;
    const AFFINE: usize = 33_025;
    let x = Array2::from_elem((1, SYMMETRIC), 255_u8);
    for weight in [-128_i8, 127] {
        let w = Array2::from_elem((1, SYMMETRIC), weight);
        let dense = PackedLinear::new(Weights::int8(w.view(), &[1.0], &[])).unwrap();
        let sparse = PackedLinear::new(Weights::int8(w.view(), &[1.0], &[]).sparse()).unwrap();
        let expected = 255 * i32::from(weight) * SYMMETRIC as i32;
        for context in every_isa() {
            context.scope(|| {
                for layer in [&dense, &sparse] {
                    assert_eq!(forward_codes(layer, &x, &[])[[0, 0]], expected, "{context:?} {layer:?}");
                    assert_eq!(forward_codes(layer, &x, &[255])[[0, 0]], 0, "{context:?} {layer:?}");
                }
            });
        }
    }
    // Sixteen outputs are a block, and all inputs runs of them.
    let w = Array2::from_elem((16, SYMMETRIC), -128_i8);
    let blocked = PackedLinear::new(Weights::int8(w.view(), &[1.0], &[]).sparse()).unwrap();
    assert_eq!(blocked.block(), Some((16, 64)));
    for context in every_isa() {
        let y = context.scope(|| forward_codes(&blocked, &x, &[]));
        assert!(y.iter().all(|&y| y == -255 * 128 * SYMMETRIC as i32), "{context:?}");
    }
    let x = Array2::from_elem((1, AFFINE), 255_u8);
    let w = Array2::from_elem((1, AFFINE), -128_i8);
    let layer = PackedLinear::new(Weights::int8(w.view(), &[1.0], &[127])).unwrap();
    for context in every_isa() {
        let y = context.scope(|| forward_codes(&layer, &x, &[]));
        assert_eq!(y[[0, 0]], -255 * 255 * AFFINE as i32, "{context:?}");
    }
    let longer = Array2::<i8>::zeros((1, SYMMETRIC + 1));
    let error = PackedLinear::new(Weights::int8(longer.view(), &[1.0], &[])).unwrap_err();
    assert!(error.to_string().contains("in_features is 65794, but must be at most 65793"), "{error}");
    let longer = Array2::<i8>::zeros((1, AFFINE + 1));
    let error = PackedLinear::new(Weights::int8(longer.view(), &[1.0], &[1])).unwrap_err();
    assert!(error.to_string().contains("at most 33025"), "{error}");
    let longer = Array2::<f32>::zeros((1, 65_537));
    assert!(matches!(
        PackedLinear::new(Weights::from(longer.view()).sparse()),
        Err(Error::OutOfRange { .. })
    ));
}

/// Dynamic quantization of a row, as the documentation of ONNX DynamicQuantizeLinear has it.
fn dynamic(row: &[f32]) -> (f32, i32, Vec<i32>) {
    let low = row.iter().copied().fold(0.0, f32::min);
    let high = row.iter().copied().fold(0.0, f32::max);
    let scale = if low == high { 1.0 } else { (high - low) / 255.0 };
    let zero = (-low / scale).round_ties_even().clamp(0.0, 255.0) as i32;
    let code = |x: &f32| ((x / scale).round_ties_even() as i32 + zero).clamp(0, 255);
    (scale, zero, row.iter().map(code).collect())
}

/// What an int8 layer computes, step by step.
fn reference_int8(x: &Array2<f32>, w: &Array2<i8>, scales: &[f32], bias: &[f32]) -> Array2<f32> {
    let mut y = Array2::zeros((x.nrows(), w.nrows()));
    for (x, mut y) in x.rows().into_iter().zip(y.rows_mut()) {
        let (scale, zero, codes) = dynamic(&x.to_vec());
        for (n, y) in y.iter_mut().enumerate() {
            let sum: i32 = codes.iter().zip(w.row(n)).map(|(x, &w)| (x - zero) * i32::from(w)).sum();
            *y = sum as f32 * (scale * scales[n]) + bias[n];
        }
    }
    y
}

#[test]
fn int8_layers_give_the_same_bytes_on_every_instruction_set_and_at_any_thread_count() {
    for (rows, outputs, inputs) in SHAPES {
        let mut x = random(rows, inputs, 1);
        x.row_mut(rows / 2).fill(0.0);
        x.row_mut(rows / 3).mapv_inplace(|x| x.abs() * 1e30);
        let w = random_codes(outputs, inputs, 2).map(|&w| if w % 8 == 0 { w } else { 0 });
        let blocks = thin_in_blocks(&random_codes(outputs, inputs, 2), 4, 3);
        let groups = thin_in_groups(&random_codes(outputs, inputs, 2), 3);
        let scales: Vec<f32> = (1..=outputs).map(|n| n as f32 * 0.013).collect();
        let bias: Vec<f32> = random(1, outputs, 4).iter().copied().collect();
        for w in [w, groups, blocks] {
            let expected = reference_int8(&x, &w, &scales, &bias);
            let dense = Weights::int8(w.view(), &scales, &[]);
            for weights in [dense.clone(), dense.sparse()] {
                let layer = PackedLinear::new(weights).unwrap().with_bias(&bias).unwrap();
                for context in every_isa().chain(every_thread_count()) {
                    let y = context.scope(|| forward(&layer, x.view()));
                    assert_eq!(bits(&y), bits(&expected), "{layer:?}, {rows} rows, {context:?}");
                }
            }
        }
    }
}

#[test]
fn every_layer_gives_the_same_bytes_at_any_thread_count() {
    let (x, w) = (random(150, 300, 1), random(700, 300, 2));
    let half = w.map(|w| f16::from_f32(*w));
    let (blocks, thin) = (thin_in_blocks(&w, 1, 3), thin(&w, 3));
    let layers = [
        PackedLinear::new(w.view()).unwrap(),
        PackedLinear::new(half.view()).unwrap(),
        PackedLinear::new(Weights::from(thin.view()).sparse()).unwrap(),
        PackedLinear::new(Weights::from(blocks.view()).sparse()).unwrap(),
    ];
    let mut product = Vec::new();
    let mut results: Vec<Vec<Vec<u32>>> = vec![Vec::new(); layers.len()];
    for context in every_thread_count() {
        context.scope(|| {
            for (layer, results) in layers.iter().zip(&mut results) {
                results.push(bits(&forward(layer, x.view())));
            }
            let mut c = Array2::zeros((150, 700));
            matmul(x.view(), w.t(), c.view_mut()).unwrap();
            product.push(bits(&c));
        });
    }
    for results in results.iter().chain([&product]) {
        assert!(results.iter().all(|result| *result == results[0]));
    }
}

#[test]
fn a_quantized_array_is_a_layer() {
    let (x, w) = (random(9, 50, 1), random(20, 50, 2));
    for scheme in [
        Scheme::int8().symmetric().per_channel(Axis(0)),
        Scheme::int8().symmetric(),
        Scheme::int8().affine().per_channel(Axis(0)),
        Scheme::uint8().affine(),
    ] {
        let q = scheme.quantize(w.view()).unwrap();
        let layer = PackedLinear::new(&q).unwrap();
        assert_eq!(layer.format(), Format::Int8);
        let y = forward(&layer, x.view());
        // The product of what the codes stand for: only the activations' rounding is left to differ.
        let weights = q.dequantize().unwrap();
        let (exact, _) = reference(x.view(), weights.view(), &[0.0; 20]);
        for ((m, n), y) in y.indexed_iter() {
            let (scale, ..) = dynamic(&x.row(m).to_vec());
            let bound = f64::from(scale) * 0.51 * weights.row(n).mapv(|w| f64::from(w.abs())).sum() + 1e-5;
            assert!((f64::from(*y) - exact[[m, n]]).abs() <= bound, "{scheme:?} {y} {}", exact[[m, n]]);
        }
        let expected = scalar().scope(|| forward(&layer, x.view()));
        for context in every_isa() {
            assert_eq!(bits(&context.scope(|| forward(&layer, x.view()))), bits(&expected), "{context:?}");
        }
    }
    let q = Scheme::int8().symmetric().per_channel(Axis(1)).quantize(w.view()).unwrap();
    assert!(matches!(PackedLinear::new(&q), Err(Error::Unsupported { .. })));
}

#[test]
fn fixed_input_parameters_quantize_as_quant_does() {
    let mut x = random(9, 50, 1);
    (x[[0, 3]], x[[1, 4]], x[[2, 5]]) = (f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
    let w = random_codes(20, 50, 2);
    let layer = PackedLinear::new(Weights::int8(w.view(), &[0.5], &[])).unwrap();
    for params in [
        Params::new(CodeType::U8, vec![0.01], vec![100], None).unwrap(),
        Params::new(CodeType::I8, vec![0.007], vec![-3], None).unwrap(),
        Params::new(CodeType::I8, vec![0.004], vec![0], None).unwrap().with_limits(-127, 127).unwrap(),
    ] {
        let layer = layer.clone().with_input_params(&params).unwrap();
        let codes = params.quantize(x.view()).unwrap();
        let zero = params.zero_points();
        let sums = match codes.codes().as_i8() {
            Some(codes) => reference_codes(&codes.to_owned(), zero, &w, &[]),
            None => reference_codes(&codes.codes().as_u8().unwrap().to_owned(), zero, &w, &[]),
        };
        let expected = sums.map(|&sum| sum as f32 * (params.scales()[0] * 0.5) + 0.0);
        for context in every_isa() {
            let y = context.scope(|| forward(&layer, x.view()));
            assert_eq!(bits(&y), bits(&expected), "{params:?} {context:?}");
        }
    }
    let per_channel = Params::new(CodeType::U8, vec![0.1; 9], vec![0; 9], Some(Axis(0))).unwrap();
    assert!(matches!(layer.clone().with_input_params(&per_channel), Err(Error::Unsupported { .. })));
    let float = PackedLinear::new(random(3, 3, 1).view()).unwrap();
    let params = Params::new(CodeType::U8, vec![0.1], vec![0], None).unwrap();
    assert!(matches!(float.with_input_params(&params), Err(Error::Unsupported { .. })));
}

#[test]
fn any_stride_any_element_and_any_alignment_give_the_same() {
    let (rows, outputs, inputs) = (19, 37, 71);
    let x = random(rows, inputs, 1).map(|&x| f16::from_f32(x));
    let wide = x.map(|x| x.to_f32());
    for layer in every_format(outputs, inputs) {
        for context in every_isa() {
            context.scope(|| {
                let expected = forward(&layer, wide.view());
                assert_eq!(bits(&forward(&layer, x.view())), bits(&expected), "f16 in, {layer:?}");

                let mut columns_first = Array2::zeros((rows, inputs).f());
                columns_first.assign(&wide);
                assert_eq!(bits(&forward(&layer, columns_first.view())), bits(&expected), "{layer:?}");
                let mut strided = Array2::zeros((rows * 2, inputs * 3));
                strided.slice_mut(s![..;-2, ..;-3]).assign(&wide);
                let view = strided.slice(s![..;-2, ..;-3]);
                assert_eq!(bits(&forward(&layer, view)), bits(&expected), "{layer:?}");
                let mut padded = Array2::zeros((rows, inputs + 5));
                padded.slice_mut(s![.., ..inputs]).assign(&wide);
                assert_eq!(
                    bits(&forward(&layer, padded.slice(s![.., ..inputs]))),
                    bits(&expected),
                    "{layer:?}"
                );

                let mut y = Array2::from_elem((rows * 2, outputs * 2), 7.0_f32);
                layer.forward(wide.view(), y.slice_mut(s![..;2, ..;-2])).unwrap();
                assert_eq!(bits(&y.slice(s![..;2, ..;-2]).to_owned()), bits(&expected), "{layer:?}");
                assert!(y.slice(s![1..;2, ..]).iter().all(|&y| y == 7.0));

                let mut half = Array2::from_elem((rows, outputs), f16::NAN);
                layer.forward(wide.view(), half.view_mut()).unwrap();
                assert_eq!(half, expected.map(|&y| f16::from_f32(y)), "f16 out, {layer:?}");

                let bytes = layer.as_bytes();
                for offset in [1, 2, 3, 4, 8] {
                    let mut moved = vec![0; offset];
                    moved.extend_from_slice(bytes);
                    // Ends at the inaccessible page, and begins at any alignment.
                    let guarded = Guarded::new(&moved);
                    let borrowed = PackedLinear::from_bytes(&guarded[offset..]).unwrap();
                    assert_eq!(bits(&forward(&borrowed, wide.view())), bits(&expected), "{layer:?}");
                    let mut scratch = vec![0xff_u8; layer.scratch_bytes(rows).unwrap() + offset];
                    let mut y = Array2::from_elem((rows, outputs), f32::NAN);
                    borrowed.forward_with(wide.view(), y.view_mut(), &mut scratch[offset..]).unwrap();
                    assert_eq!(bits(&y), bits(&expected), "{layer:?}");
                }
            });
        }
    }
}

#[test]
fn nothing_is_read_or_written_past_the_end() {
    for (rows, outputs, inputs) in SHAPES {
        let x = Guarded::new(random(rows, inputs, 1).as_slice().unwrap());
        let x = ArrayView2::from_shape((rows, inputs), &x).unwrap();
        for layer in every_format(outputs, inputs) {
            let packed = Guarded::new(layer.as_bytes());
            let layer = PackedLinear::from_bytes(&packed).unwrap();
            for context in every_isa() {
                let mut y = Guarded::new(&vec![f32::NAN; rows * outputs]);
                let mut scratch = Guarded::new(&vec![0xff_u8; layer.scratch_bytes(rows).unwrap()]);
                let view = ndarray::ArrayViewMut2::from_shape((rows, outputs), &mut y).unwrap();
                context.scope(|| layer.forward_with(x, view, &mut scratch)).unwrap();
                assert!(y.iter().all(|y| y.is_finite()));
            }
        }
    }
}

#[test]
fn the_plain_product_takes_any_views() {
    for (rows, cols, depth) in SHAPES.into_iter().chain([(300, 600, 40), (0, 3, 4), (3, 0, 4), (3, 4, 0)]) {
        let (a, b) = (random(rows, depth, 1), random(cols, depth, 2));
        let mut reversed = a.clone();
        reversed.invert_axis(Axis(0));
        let mut columns_first = Array2::from_elem((rows, cols).f(), f32::NAN);
        let mut c = Array2::from_elem((rows, cols), f32::NAN);
        matmul(a.view(), b.t(), c.view_mut()).unwrap();
        matmul(reversed.slice(s![..;-1, ..]), b.t(), columns_first.view_mut()).unwrap();
        let (exact, magnitude) = reference(a.view(), b.view(), &vec![0.0; cols]);
        let reversed_exact = reference(reversed.slice(s![..;-1, ..]), b.view(), &vec![0.0; cols]).0;
        let bound = depth as f64 * 2.0_f64.powi(-23);
        let greatest = magnitude.iter().copied().fold(0.0, f64::max);
        for index in ndarray::indices((rows, cols)) {
            assert!(
                (f64::from(c[index]) - exact[index]).abs() <= bound * magnitude[index],
                "{rows} {cols} {depth}"
            );
            assert!((f64::from(columns_first[index]) - reversed_exact[index]).abs() <= bound * greatest);
        }
    }
    let a = random(2, 3, 1);
    assert!(matches!(matmul(a.view(), a.view(), Array2::zeros((2, 3)).view_mut()), Err(Error::Shape { .. })));
    assert!(matches!(matmul(a.view(), a.t(), Array2::zeros((2, 3)).view_mut()), Err(Error::Shape { .. })));
}

#[test]
fn empty_layers_and_inputs_are_no_special_case() {
    for (rows, outputs, inputs) in [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)] {
        for layer in every_format(outputs, inputs) {
            for context in every_isa() {
                let y = context.scope(|| forward(&layer, Array2::<f32>::zeros((rows, inputs)).view()));
                assert!(y.iter().all(|&y| y == 0.25), "{layer:?} {y:?}");
            }
        }
    }
}

#[test]
fn bad_input_is_named_and_y_untouched() {
    for layer in every_format(5, 4) {
        let mut y = Array2::from_elem((2, 5), 7.0_f32);
        let message = |error: tersor::Result<()>| error.unwrap_err().to_string();
        let narrow = Array2::<f32>::zeros((2, 3));
        let x = Array2::<f32>::zeros((2, 4));
        assert_eq!(
            message(layer.forward(narrow.view(), y.view_mut())),
            "x: the shape is [2, 3], but must be [rows, 4], the layer's inputs"
        );
        assert!(
            message(layer.forward(x.view(), y.slice_mut(s![..1, ..]))).starts_with("y: the shape is [1, 5]")
        );
        let needed = layer.scratch_bytes(2).unwrap();
        let error = message(layer.forward_with(x.view(), y.view_mut(), &mut vec![0; needed - 1]));
        assert!(error.contains(&format!("scratch: the length is {}", needed - 1)), "{error}");
        assert!(matches!(layer.scratch_bytes(usize::MAX / 8), Err(Error::SizeOverflow { .. })));
        if layer.quantizes_input() {
            for (value, index) in [(f32::NAN, 6), (f32::INFINITY, 7), (f32::NEG_INFINITY, 4)] {
                let mut x = x.clone();
                x[[1, index - 4]] = value;
                x[[1, 3]] = if index == 7 { value } else { f32::NAN };
                for context in every_isa() {
                    let error = context.scope(|| layer.forward(x.view(), y.view_mut())).unwrap_err();
                    let Error::NotFinite { index: found, .. } = error else { panic!("{error}") };
                    assert_eq!(found, index, "{context:?}");
                }
            }
        } else {
            let codes = Array2::<i8>::zeros((2, 4));
            let mut y = Array2::zeros((2, 5));
            let error = layer.forward_codes(codes.view(), &[], y.view_mut());
            assert!(matches!(error, Err(Error::Unsupported { .. })));
        }
        assert!(y.iter().all(|&y| y == 7.0));
        assert!(matches!(layer.clone().with_bias(&[0.0; 4]), Err(Error::Length { .. })));
        let bias = [0.0, f32::NAN, 0.0, 0.0, 0.0];
        assert!(matches!(layer.with_bias(&bias), Err(Error::NotFinite { index: 1, .. })));
    }
    let w = Array2::<i8>::zeros((3, 2));
    let refused = |scales: &[f32], zeros: &[i32]| {
        PackedLinear::new(Weights::int8(w.view(), scales, zeros)).unwrap_err().to_string()
    };
    assert!(refused(&[1.0, 1.0], &[]).contains("scales: the length is 2"));
    assert!(refused(&[], &[]).contains("scales: the length is 0"));
    assert!(refused(&[1.0, 0.0, 1.0], &[]).contains("scales[1] is 0"));
    assert!(refused(&[1.0], &[1, 2]).contains("zero_points: the length is 2"));
    assert!(refused(&[1.0], &[128]).contains("zero_points[0] is 128"));
    let layer = PackedLinear::new(Weights::int8(w.view(), &[1.0], &[])).unwrap();
    let x = Array2::<u8>::zeros((4, 2));
    let mut y = Array2::zeros((4, 3));
    assert!(matches!(layer.forward_codes(x.view(), &[1, 2], y.view_mut()), Err(Error::Length { .. })));
    assert!(matches!(layer.forward_codes(x.view(), &[-1], y.view_mut()), Err(Error::OutOfRange { .. })));
    assert!(matches!(
        PackedLinear::new(Weights::int8(w.view(), &[1.0], &[1]).sparse()),
        Err(Error::Unsupported { .. })
    ));
    let mask = Mask::ones(&[2, 3]).unwrap();
    let weights = Weights::int8(w.view(), &[1.0], &[]).masked(&mask);
    assert!(matches!(PackedLinear::new(weights), Err(Error::Shape { .. })));
}
