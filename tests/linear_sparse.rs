//! Sparse layers of single weights: whatever weights an output has, each counts once.

#![allow(clippy::unwrap_used)]

mod support;

use ndarray::Array2;
use support::every_isa;
use tersor::linear::{PackedLinear, Weights};

/// Of a row alone the weights are taken eight at a time, the last eight again where they are not a multiple: none counts twice,
/// and what is infinite is not multiplied with 0.
#[test]
fn a_row_alone_counts_each_weight_of_a_sparse_layer_once() {
    const INPUTS: usize = 50;
    // Output `n` has `n` weights, at its first, third, ... or last inputs.
    for ends in [false, true] {
        let w = Array2::from_shape_fn((26, INPUTS), |(n, k)| {
            let place = if ends { INPUTS - 1 - k } else { k / 2 };
            let alive = place < n && (ends || k % 2 == 0);
            if alive { (1 + (n + k) % 7) as f32 } else { 0.0 }
        });
        let layer = PackedLinear::new(Weights::from(w.view()).sparse()).unwrap();
        for infinite in [None, Some(0), Some(6), Some(INPUTS - 1)] {
            let x = Array2::from_shape_fn((1, INPUTS), |(_, k)| {
                if infinite == Some(k) { f32::INFINITY } else { k as f32 - 20.0 }
            });
            let product = |n: usize| {
                let alive = (0..INPUTS).filter(|&k| w[[n, k]] != 0.0);
                alive.map(|k| w[[n, k]] * x[[0, k]]).sum::<f32>()
            };
            let expected: Vec<f32> = (0..26).map(product).collect();
            for context in every_isa() {
                let mut y = Array2::<f32>::zeros((1, 26));
                context.scope(|| layer.forward(x.view(), y.view_mut())).unwrap();
                assert_eq!(y.as_slice().unwrap(), expected, "{context:?}, {infinite:?} is infinite");
            }
        }
    }
}

/// Outputs of many weights are multiplied several at a time, though they have different numbers of them.
#[test]
fn outputs_of_any_number_of_weights_count_each_once() {
    const INPUTS: usize = 700;
    for (outputs, fewest) in [(1, 700), (3, 400), (37, 0), (133, 250)] {
        // Integers, so that every order of the sums gives the same.
        let w = Array2::from_shape_fn((outputs, INPUTS), |(n, k)| {
            let alive = fewest + n * 97 % (INPUTS - fewest + 1);
            if k * 137 % INPUTS < alive { (1 + (n + k) % 7) as f32 } else { 0.0 }
        });
        let layer = PackedLinear::new(Weights::from(w.view()).sparse()).unwrap();
        for rows in [2, 16, 17, 32, 75] {
            let x = Array2::from_shape_fn((rows, INPUTS), |(m, k)| ((3 * m + k) % 11) as f32 - 5.0);
            let expected = x.dot(&w.t());
            for context in every_isa() {
                let mut y = Array2::<f32>::zeros((rows, outputs));
                context.scope(|| layer.forward(x.view(), y.view_mut())).unwrap();
                assert_eq!(y, expected, "{rows} rows, {layer:?}, {context:?}");
            }
        }
    }
}

/// Of many rows some are turned and multiplied before the others; the last of them are fewer.
#[test]
fn rows_of_any_number_are_multiplied_each_once() {
    const INPUTS: usize = 4100;
    let w =
        Array2::from_shape_fn((5, INPUTS), |(n, k)| if (n + k) % 9 == 0 { (1 + k % 7) as f32 } else { 0.0 });
    let layer = PackedLinear::new(Weights::from(w.view()).sparse()).unwrap();
    for rows in [128, 129, 256, 300] {
        let x = Array2::from_shape_fn((rows, INPUTS), |(m, k)| ((3 * m + k) % 11) as f32 - 5.0);
        let expected = x.dot(&w.t());
        for context in every_isa() {
            let mut y = Array2::<f32>::zeros((rows, 5));
            let mut scratch = vec![0; layer.scratch_bytes(rows).unwrap()];
            context.scope(|| layer.forward_with(x.view(), y.view_mut(), &mut scratch)).unwrap();
            assert_eq!(y, expected, "{rows} rows, {context:?}");
        }
    }
}
