//! The dot product of bf16: within the bound that the documentation states of the rounded numbers, and the same bytes on every
//! instruction set, with the instruction and without; by AMX, those of its own order.

#![cfg(feature = "linear")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array2, ArrayView2, Axis, array, s};
use support::layers::{random, random_codes, thin};
use support::{every_isa, every_thread_count, scalar};
use tersor::linear::{Conv2d, Format, PackedLinear, Weights, Window};
use tersor::{Element, Error, Mask, bf16, f16};

/// `(rows, outputs, inputs)`: no multiples of what kernels take at a time, and more pairs than they take at once.
const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (1, 130, 257),
    (2, 33, 2),
    (3, 31, 7),
    (5, 64, 600),
    (7, 300, 65),
    (8, 32, 256),
    (13, 40, 4301),
    (150, 70, 33),
];

fn rounded<E: Element>(x: &Array2<E>) -> Array2<bf16> {
    x.map(|&x| bf16::from_f32(Element::to_f32(x)))
}

fn layer<'a, W: Into<Weights<'a>>>(weights: W) -> PackedLinear<'static> {
    PackedLinear::new(weights.into().bf16_dot()).unwrap()
}

fn forward<X: Element>(layer: &PackedLinear<'_>, x: ArrayView2<'_, X>) -> Array2<f32> {
    let mut y = Array2::from_elem((x.nrows(), layer.out_features()), f32::NAN);
    layer.forward(x, y.view_mut()).unwrap();
    y
}

fn bits(y: &Array2<f32>) -> Vec<u32> {
    y.iter().map(|y| y.to_bits()).collect()
}

/// The bound that `PackedLinear` documents.
#[test]
fn the_error_is_that_of_an_f32_sum_of_rounded_numbers() {
    for (rows, outputs, inputs) in SHAPES {
        let (x, w) = (random(rows, inputs, 1), random(outputs, inputs, 2));
        let bias: Vec<f32> = random(1, outputs, 3).iter().copied().collect();
        let layer = layer(w.view()).with_bias(&bias).unwrap();
        let (x64, w64) =
            (rounded(&x).map(|x| f64::from(x.to_f32())), rounded(&w).map(|w| f64::from(w.to_f32())));
        let bias = ndarray::Array1::from(bias).mapv(f64::from);
        let exact = x64.dot(&w64.t()) + &bias;
        let magnitude = x64.mapv(f64::abs).dot(&w64.mapv(f64::abs).t()) + bias.mapv(f64::abs);
        for context in every_isa() {
            let y = context.scope(|| forward(&layer, x.view()));
            for ((y, exact), magnitude) in y.iter().zip(&exact).zip(&magnitude) {
                let bound = (inputs as f64 + 2.0) * 2.0_f64.powi(-24) * magnitude;
                assert!(
                    (f64::from(*y) - exact).abs() <= bound,
                    "{rows} rows of {inputs}, {context:?}: {y}, exactly {exact}, bound {bound}"
                );
            }
        }
    }
}

/// The order that `PackedLinear` documents of AMX: by its definition, of numbers none of whose sums is subnormal.
fn by_amx(x: &Array2<bf16>, w: &Array2<bf16>, bias: f32) -> Vec<u32> {
    let output = |x: &[bf16], w: &[bf16]| {
        let mut sum = 0.0_f32;
        for (x, w) in x.chunks(32).zip(w.chunks(32)) {
            let mut halves = [0.0_f32; 2];
            for (k, (x, w)) in x.iter().zip(w).enumerate() {
                halves[k % 2] = x.to_f32().mul_add(w.to_f32(), halves[k % 2]);
            }
            sum += halves[0] + halves[1];
        }
        (sum + bias).to_bits()
    };
    let rows = x.rows().into_iter();
    rows.flat_map(|x| {
        let x = x.to_vec();
        w.rows().into_iter().map(move |w| output(&x, &w.to_vec())).collect::<Vec<u32>>()
    })
    .collect()
}

/// Products are exact in f32 and every instruction set but AMX adds them in the same order, so there is nothing to differ.
#[test]
fn normal_numbers_give_the_bytes_of_the_documented_order_in_any_company() {
    for (rows, outputs, inputs) in SHAPES.into_iter().chain([(6, 270, 9000), (300, 33, 1100)]) {
        let (x, w) = (random(rows, inputs, 1), random(outputs, inputs, 2));
        let layer = layer(w.view()).with_bias(&vec![0.25; outputs]).unwrap();
        let in_order = bits(&scalar().scope(|| forward(&layer, x.view())));
        let by_amx = by_amx(&rounded(&x), &rounded(&w), 0.25);
        for context in every_isa().chain(every_thread_count()) {
            let expected = if context.isa().name() == "amx" { &by_amx } else { &in_order };
            context.scope(|| {
                assert_eq!(&bits(&forward(&layer, x.view())), expected, "{layer:?} {context:?}");
                assert_eq!(&bits(&forward(&layer, rounded(&x).view())), expected, "{layer:?} {context:?}");
                let row = rows / 2;
                let one = bits(&forward(&layer, x.slice(s![row..=row, ..])));
                assert_eq!(one, expected[row * outputs..(row + 1) * outputs], "{layer:?} {context:?}");
            });
        }
    }
}

#[test]
fn weights_of_any_type_are_rounded_once() {
    let w = random(40, 51, 2);
    let (half, brain) = (w.map(|&w| f16::from_f32(w)), rounded(&w));
    assert_eq!(layer(w.view()).as_bytes(), layer(brain.view()).as_bytes());
    assert_eq!(layer(half.view()).as_bytes(), layer(rounded(&half).view()).as_bytes());
    let packed = layer(w.view());
    assert_eq!((packed.format(), packed.block(), packed.quantizes_input()), (Format::Bf16Dot, None, false));
    assert_eq!(Format::Bf16Dot.packed_bytes(40, 51, false).unwrap(), packed.as_bytes().len());
    assert_eq!(packed.weight_bytes(), 64 * 52 * 2);
    // Strides do not matter.
    let turned = Array2::from_shape_fn((51, 40), |(k, n)| w[[n, k]]);
    assert_eq!(layer(turned.t()).as_bytes(), packed.as_bytes());
}

#[test]
fn what_a_mask_condemns_is_zero_and_not_looked_at() {
    let mut w = thin(&random(20, 31, 2), 3);
    let mask = Mask::from_bools(w.map(|w| *w != 0.0).view()).unwrap();
    let expected = layer(w.view());
    w.mapv_inplace(|w| if w == 0.0 { f32::NAN } else { w });
    let masked = PackedLinear::new(Weights::from(w.view()).masked(&mask).bf16_dot()).unwrap();
    assert_eq!(masked.as_bytes(), expected.as_bytes());
    assert_eq!(masked.non_zeros(), mask.count());
}

#[test]
fn nan_and_infinity_go_where_they_go_in_other_float_layers() {
    // The odd input of each of three outputs is alone in its pair.
    let w = array![[1.0_f32, -2.0, 0.5], [0.0, 1.0, 0.0], [-1.0, 0.0, 3.0]];
    let (dot, plain) = (layer(w.view()), PackedLinear::new(w.view()).unwrap());
    let beyond = 3.4e38; // rounds to infinity
    for values in [
        [f32::INFINITY, 1.0, 1.0],
        [1.0, f32::NEG_INFINITY, 1.0],
        [f32::INFINITY, f32::INFINITY, 0.0],
        [1.0, 1.0, f32::NAN],
        [f32::NAN, f32::INFINITY, 1.0],
        [f32::from_bits(0x7f80_0001), 1.0, 1.0], // a signalling NaN whose payload rounding drops
        [beyond, 1.0, 1.0],
    ] {
        for rows in [1, 9] {
            let x = Array2::from_shape_fn((rows, 3), |(_, k)| values[k]);
            let wide = rounded(&x).map(|x| x.to_f32());
            for context in every_isa() {
                let (y, expected) = context.scope(|| (forward(&dot, x.view()), forward(&plain, wide.view())));
                for (y, expected) in y.iter().zip(&expected) {
                    let same = y == expected || (y.is_nan() && expected.is_nan());
                    assert!(same, "{values:?} {context:?}: {y}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn subnormal_numbers_count_as_they_are_or_as_zeros() {
    let tiny = f32::from_bits(1 << 16); // the least bf16
    let (x, w) = (array![[tiny, 1.0, 1.0]], array![[1.0e38_f32, 0.5, tiny]]);
    for context in every_isa() {
        let y = context.scope(|| forward(&layer(w.view()), x.view()))[[0, 0]];
        let kept = 0.5 + 1.0e38 * tiny;
        assert!((0.5..=kept + 1e-6).contains(&y), "{context:?}: {y}");
    }
}

#[test]
fn outputs_are_clamped_and_rounded_as_those_of_other_layers() {
    let (x, w) = (random(9, 50, 1), random(33, 50, 2));
    let clamped = layer(w.view()).with_clamp(-0.5, 1.0).unwrap();
    for context in every_isa() {
        context.scope(|| {
            let y = forward(&layer(w.view()), x.view());
            assert_eq!(forward(&clamped, x.view()), y.mapv(|y| y.clamp(-0.5, 1.0)));
            let mut brain = Array2::from_elem(y.dim(), bf16::NAN);
            clamped.forward(x.view(), brain.view_mut()).unwrap();
            assert_eq!(brain, y.mapv(|y| bf16::from_f32(y.clamp(-0.5, 1.0))));
        });
    }
}

#[test]
fn a_convolution_is_the_product_of_its_windows() {
    let channels = 5;
    let (w, image) = (random(6, 4 * channels, 2), random(30, channels, 1));
    let conv = Conv2d::new(layer(w.view()), Window::new((2, 2))).unwrap();
    let image = image.into_shape_with_order((1, 5, 6, channels)).unwrap();
    let mut y = ndarray::Array4::<f32>::zeros((1, 4, 5, 6));
    conv.forward(image.view(), y.view_mut()).unwrap();
    let window = image.slice(s![0, 1..3, 2..4, ..]).to_owned();
    let row = window.into_shape_with_order((1, 4 * channels)).unwrap();
    assert_eq!(forward(&layer(w.view()), row.view()).index_axis(Axis(0), 0), y.slice(s![0, 1, 2, ..]));
}

#[test]
fn what_cannot_be_packed_is_named() {
    let refusal = |weights: Weights<'_>| PackedLinear::new(weights.bf16_dot()).unwrap_err();
    let w = array![[1.0_f32, 2.0]];
    assert!(matches!(refusal(Weights::from(w.view()).sparse()), Error::Unsupported { .. }));
    let codes = random_codes(3, 8, 1);
    assert!(matches!(refusal(Weights::int8(codes.view(), &[1.0], &[])), Error::Unsupported { .. }));
    // Finite, but not in bf16.
    for (large, said) in [(f32::MAX, "3.4028235e38"), (-3.396_177_5e38, "-3.3961775e38")] {
        let w = array![[1.0_f32, large]];
        assert_eq!(
            refusal(Weights::from(w.view())).to_string(),
            format!(
                "element 1 (row-major) of weights is {said}, \
                 but must be below 3.3961775e38 in magnitude, from which on bf16 is infinite"
            )
        );
    }
    layer(array![[3.396_177_3e38_f32]].view());
    let infinite = array![[1.0_f32, f32::MAX], [f32::INFINITY, 1.0]];
    let Error::NotFinite { index: 2, .. } = refusal(Weights::from(infinite.view())) else { panic!() };
    let (x, mut y) = (array![[1_u8, 2]], Array2::<f32>::zeros((1, 1)));
    let packed = layer(w.view());
    assert!(matches!(packed.forward(x.view(), y.view_mut()), Err(Error::Unsupported { .. })));
    assert!(packed.with_float_input().is_err());
}
