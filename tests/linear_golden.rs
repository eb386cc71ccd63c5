//! Integer products against what onnxruntime computed: MatMulInteger to the bit, and the codes of DynamicQuantizeLinear
//! through the product that they lead to.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::Array2;
use support::every_isa;
use support::golden::{Golden, name};
use tersor::linear::{PackedLinear, Weights};

/// An i8 or u8 tensor as numbers, and whether it is signed; empty if there is none.
fn codes(golden: &Golden, tensor: &str, signed: bool) -> Vec<i32> {
    if !golden.has(tensor) {
        return Vec::new();
    }
    match signed {
        true => golden.i8(tensor).into_iter().map(i32::from).collect(),
        false => golden.u8(tensor).into_iter().map(i32::from).collect(),
    }
}

#[test]
fn matmul_integer_is_that_of_onnxruntime() {
    let golden = Golden::load("onnxruntime_quant");
    let mut seen = 0;
    for case in golden.cases.iter().filter(|case| case["options"]["operator"] == "MatMulInteger") {
        let tensor = |key: &str| format!("{}.{key}", name(case));
        let types: Vec<bool> =
            name(case).split('_').filter(|part| part.ends_with("int8")).map(|part| part == "int8").collect();
        let (a_signed, b_signed) = (types[0], types[1]);
        let (a_shape, b_shape) = (golden.shape(&tensor("a")), golden.shape(&tensor("b")));
        let [rows, inputs, outputs] = [a_shape[0], a_shape[1], b_shape[1]];
        let a = Array2::from_shape_vec((rows, inputs), codes(&golden, &tensor("a"), a_signed)).unwrap();
        let b = Array2::from_shape_vec((inputs, outputs), codes(&golden, &tensor("b"), b_signed)).unwrap();
        let a_zero = codes(&golden, &tensor("a_zero_point"), a_signed);
        let b_zero = codes(&golden, &tensor("b_zero_point"), b_signed);
        let expected = Array2::from_shape_vec((rows, outputs), golden.i32(&tensor("y"))).unwrap();
        // The operator has its weights as [inputs, outputs]: a transposed view is packed.
        let (b_i8, b_u8) = (b.mapv(|b| b as i8), b.mapv(|b| b as u8));
        let weights = match b_signed {
            true => Weights::int8(b_i8.t(), &[1.0], &b_zero),
            false => Weights::uint8(b_u8.t(), &[1.0], &b_zero),
        };
        let layer = PackedLinear::new(weights).unwrap();
        for context in every_isa() {
            let mut y = Array2::zeros((rows, outputs));
            context
                .scope(|| match a_signed {
                    true => layer.forward_codes(a.mapv(|a| a as i8).view(), &a_zero, y.view_mut()),
                    false => layer.forward_codes(a.mapv(|a| a as u8).view(), &a_zero, y.view_mut()),
                })
                .unwrap();
            assert_eq!(y, expected, "{}, {context:?}", name(case));
        }
        seen += 1;
    }
    assert_eq!(seen, 30);
}

/// With weights of one identity matrix and scale 1, a layer gives back what its input was quantized to.
#[test]
fn dynamic_quantization_is_that_of_onnxruntime() {
    let golden = Golden::load("onnxruntime_quant");
    let mut seen = 0;
    for case in golden.cases.iter().filter(|case| case["options"]["operator"] == "DynamicQuantizeLinear") {
        let tensor = |key: &str| format!("{}.{key}", name(case));
        let x = golden.f32(&tensor("x"));
        if x.is_empty() || x.iter().any(|x| !x.is_finite()) {
            continue;
        }
        let (scale, zero) = (golden.f32(&tensor("scale"))[0], golden.u8(&tensor("zero_point"))[0]);
        let expected: Vec<f32> = golden
            .u8(&tensor("codes"))
            .into_iter()
            .map(|code| (i32::from(code) - i32::from(zero)) as f32 * scale)
            .collect();
        let identity = Array2::from_shape_fn((x.len(), x.len()), |(n, k)| i8::from(n == k));
        let layer = PackedLinear::new(Weights::int8(identity.view(), &[1.0], &[])).unwrap();
        let row = Array2::from_shape_vec((1, x.len()), x.clone()).unwrap();
        for context in every_isa() {
            let mut y = Array2::<f32>::zeros((1, x.len()));
            context.scope(|| layer.forward(row.view(), y.view_mut())).unwrap();
            assert_eq!(y.as_slice().unwrap(), expected, "{}, {context:?}", name(case));
        }
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}

/// onnxruntime multiplies in f32, as a layer with a float input does. The activations are integers that 8 bits hold, so where
/// they become codes only the rounding of sums may differ as well.
#[test]
fn int4_weights_in_groups_mean_what_they_mean_to_onnxruntime() {
    let golden = Golden::load("onnxruntime_int4");
    for case in &golden.cases {
        let tensor = |key: &str| format!("{}.{key}", name(case));
        let shape = |key: &str| <[usize; 2]>::try_from(golden.shape(&tensor(key))).unwrap();
        let group = case["options"]["group"].as_u64().unwrap() as usize;
        let matrix = |key: &str| Array2::from_shape_vec(shape(key), golden.f32(&tensor(key))).unwrap();
        let (x, scales, expected) = (matrix("x"), matrix("scales"), matrix("y"));
        // Codes from 0 to 15 there, from -8 here; without zero points 8 is zero there.
        let moved = |key: &str| {
            let codes = golden.u8(&tensor(key)).into_iter().map(|code| i32::from(code) - 8);
            Array2::from_shape_vec(shape(key), codes.collect()).unwrap()
        };
        let codes = moved("codes").mapv(|code| code as i8);
        let zero_points = golden.has(&tensor("zero_points")).then(|| moved("zero_points"));
        let zero_points = zero_points.as_ref().map(|zeros| zeros.view());
        let layer =
            PackedLinear::new(Weights::int4(codes.view(), group, scales.view(), zero_points)).unwrap();
        let floats = layer.clone().with_float_input().unwrap();
        for context in every_isa() {
            let (mut y, mut y_floats) = (Array2::<f32>::zeros(expected.dim()), Array2::zeros(expected.dim()));
            context.scope(|| layer.forward(x.view(), y.view_mut())).unwrap();
            context.scope(|| floats.forward(x.view(), y_floats.view_mut())).unwrap();
            for ((m, n), y) in y.indexed_iter() {
                let weight = |k: usize| {
                    let zero = zero_points.map_or(0, |zeros| zeros[[n, k / group]]);
                    f64::from(scales[[n, k / group]]) * f64::from(i32::from(codes[[n, k]]) - zero)
                };
                // That of their sum in f32, and the documented one of ours, whose codes of x count from -128.
                let (mut theirs, mut ours) = (0.0, 0.0);
                for (k, x) in x.row(m).iter().enumerate() {
                    theirs += f64::from(x.abs()) * weight(k).abs();
                    ours += (f64::from(*x) + 256.0) * weight(k).abs();
                }
                let groups = (x.ncols() / group) as f64;
                let bound = ((x.ncols() as f64 + 2.0) * theirs + (groups + 8.0) * ours) * 2.0_f64.powi(-24);
                let error = (f64::from(*y) - f64::from(expected[[m, n]])).abs();
                assert!(error <= bound, "{} {context:?}: {y} {}", name(case), expected[[m, n]]);
                let (span, y): (f64, f32) = (group.min(128) as f64, y_floats[[m, n]]);
                let bound = (x.ncols() as f64 + 2.0 + span + x.ncols() as f64 / span + 4.0) * theirs;
                let error = (f64::from(y) - f64::from(expected[[m, n]])).abs();
                let name = name(case);
                assert!(error <= bound * 2.0_f64.powi(-24), "{name} {context:?}: {y} {}", expected[[m, n]]);
            }
        }
    }
    assert_eq!(golden.cases.len(), 8);
}
