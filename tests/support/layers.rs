//! Weights and activations of layers: random, and with zeros among them.

use super::Random;
use ndarray::Array2;
use tersor::linear::{PackedLinear, Weights};
use tersor::{bf16, f16};

/// In -1..1.
pub fn random(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut random = Random(seed);
    Array2::from_shape_fn((rows, cols), |_| random.signed())
}

/// All 256 codes.
pub fn random_codes(rows: usize, cols: usize, seed: u64) -> Array2<i8> {
    let mut random = Random(seed);
    Array2::from_shape_fn((rows, cols), |_| random.bits() as i8)
}

/// Most of them zero.
pub fn thin(weights: &Array2<f32>, seed: u64) -> Array2<f32> {
    let mut random = Random(seed);
    weights.map(|&w| if random.bits() % 10 < 8 { 0.0 } else { w })
}

/// Most blocks of 16 outputs and `inputs` inputs are zero.
pub fn thin_in_blocks<T: Copy + Default>(weights: &Array2<T>, inputs: usize, seed: u64) -> Array2<T> {
    without_blocks(weights, (16, inputs), 4, seed)
}

/// Only one of eight blocks of four inputs of an output is not zero.
pub fn thin_in_groups<T: Copy + Default>(weights: &Array2<T>, seed: u64) -> Array2<T> {
    without_blocks(weights, (1, 4), 8, seed)
}

/// One of `of` blocks is not zero.
fn without_blocks<T: Copy + Default>(
    weights: &Array2<T>,
    block: (usize, usize),
    of: i8,
    seed: u64,
) -> Array2<T> {
    let alive = random_codes(weights.nrows().div_ceil(block.0), weights.ncols().div_ceil(block.1), seed);
    let mut thin = weights.clone();
    for ((n, k), w) in thin.indexed_iter_mut() {
        if alive[[n / block.0, k / block.1]] % of != 0 {
            *w = T::default();
        }
    }
    thin
}

/// Every kind of layer of `[outputs, inputs]`.
pub fn every_format(outputs: usize, inputs: usize) -> Vec<PackedLinear<'static>> {
    let w = thin(&random(outputs, inputs, 2), 3);
    let (half, brain) = (w.map(|w| f16::from_f32(*w)), w.map(|w| bf16::from_f32(*w)));
    let codes = w.map(|w| (w * 127.0) as i8);
    let blocks = thin_in_blocks(&random(outputs, inputs, 2), 4, 3);
    let code_blocks = blocks.map(|w| (w * 127.0) as i8);
    let code_groups = thin_in_groups(&random_codes(outputs, inputs, 2), 3);
    let code_runs = thin_in_blocks(&random_codes(outputs, inputs, 2), 64, 3);
    let nibbles = w.map(|w| (w * 7.0) as i8);
    let group_scales = Array2::from_elem((outputs, inputs.div_ceil(32)), 0.1);
    let zeros: Vec<i32> = (0..outputs as i32).map(|n| n % 100).collect();
    let group_zeros = group_scales.map(|_| 1);
    let int4 = Weights::int4(nibbles.view(), 32, group_scales.view(), Some(group_zeros.view()));
    let with_float_input = PackedLinear::new(int4).unwrap().with_bias(&vec![0.25; outputs]).unwrap();
    let with_float_input = with_float_input.with_float_input().unwrap();
    [
        Weights::from(w.view()),
        Weights::from(half.view()),
        Weights::from(brain.view()),
        Weights::from(w.view()).bf16_dot(),
        Weights::from(w.view()).sparse(),
        Weights::int8(codes.view(), &[0.1], &[]),
        Weights::int8(codes.view(), &[0.1], &zeros),
        Weights::int8(codes.view(), &[0.1], &[]).sparse(),
        Weights::from(blocks.view()).sparse(),
        Weights::int8(code_blocks.view(), &[0.1], &[]).sparse(),
        Weights::int8(code_groups.view(), &[0.1], &[]).sparse(),
        Weights::int8(code_runs.view(), &[0.1], &[]).sparse(),
        Weights::int4(nibbles.view(), 32, group_scales.view(), None),
    ]
    .map(|weights| PackedLinear::new(weights).unwrap().with_bias(&vec![0.25; outputs]).unwrap())
    .into_iter()
    .chain([with_float_input])
    .collect()
}
