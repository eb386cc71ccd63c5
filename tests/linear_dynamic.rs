//! Dynamic int8 layers, to the bit: values at and around the middles between two codes, where a product with a reciprocal
//! rounds otherwise than a quotient; and single rows that are long.

#![cfg(feature = "linear")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use ndarray::{Array2, s};
use support::{Random, every_isa};
use tersor::linear::{PackedLinear, Weights};

/// A row that spans from `low` to `high`, and its values, all of which lie within four last bits of a middle.
fn row(low: f32, high: f32, inputs: usize) -> Vec<f32> {
    let scale = (high - low) / 255.0;
    let zero_point = (-low / scale).round_ties_even();
    let mut row = vec![low, high];
    let mut steps = (0..255).cycle().map(|code| code as f32 - zero_point + 0.5);
    while row.len() < inputs {
        let mut value = steps.next().unwrap() * scale;
        (0..4).for_each(|_| value = value.next_down());
        for _ in 0..9 {
            row.push(value.clamp(low, high));
            value = value.next_up();
        }
    }
    row.truncate(inputs);
    row
}

#[test]
fn codes_at_middles_are_those_of_a_division() {
    const INPUTS: usize = 300;
    let ranges =
        [(-1.0_f32, 1.7_f32), (0.0, 0.1), (-3.3, 0.0), (-0.7, 0.701), (-1e-30, 3e-30), (-2e37, 1e38)];
    let identity = Array2::from_shape_fn((INPUTS, INPUTS), |(n, k)| i8::from(n == k));
    let layer = PackedLinear::new(Weights::int8(identity.view(), &[1.0], &[])).unwrap();
    let mut x = Array2::<f32>::zeros((ranges.len(), INPUTS));
    let mut expected = x.clone();
    let mut wrong_by_the_product = 0;
    for (index, (low, high)) in ranges.into_iter().enumerate() {
        let row = row(low, high, INPUTS);
        let scale = (high - low) / 255.0;
        let zero_point = (-low / scale).round_ties_even();
        let step = |quotient: f32| quotient.round_ties_even().clamp(-zero_point, 255.0 - zero_point);
        for (k, value) in row.into_iter().enumerate() {
            wrong_by_the_product += usize::from(step(value * (1.0 / scale)) != step(value / scale));
            (x[[index, k]], expected[[index, k]]) = (value, step(value / scale) * scale);
        }
    }
    assert!(wrong_by_the_product > 0, "the test would not notice a plain product");
    for context in every_isa() {
        for rows in [s![..1, ..], s![.., ..]] {
            let mut y = Array2::<f32>::zeros(expected.slice(rows).dim());
            context.scope(|| layer.forward(x.slice(rows), y.view_mut())).unwrap();
            assert_eq!(y, expected.slice(rows), "{context:?}");
        }
    }
}

#[test]
fn a_long_row_alone_gives_what_it_gives_among_others() {
    for (outputs, inputs) in [(127, 1024), (128, 1023), (300, 1030), (260, 2052)] {
        let mut random = Random(1);
        let x = Array2::from_shape_fn((5, inputs), |_| random.signed());
        let w = Array2::from_shape_fn((outputs, inputs), |_| random.bits() as i8);
        let scales: Vec<f32> = (1..=outputs).map(|n| n as f32 * 0.01).collect();
        let layer = PackedLinear::new(Weights::int8(w.view(), &scales, &[3])).unwrap();
        let codes = x.map(|&x| (x * 100.0 + 100.0) as u8);
        let expected = Array2::from_shape_fn((1, outputs), |(_, n)| -> i32 {
            let products = codes.row(0).into_iter().zip(w.row(n));
            products.map(|(&x, &w)| (i32::from(x) - 100) * (i32::from(w) - 3)).sum()
        });
        for context in every_isa() {
            let (mut alone, mut among) =
                (Array2::<f32>::zeros((1, outputs)), Array2::<f32>::zeros((5, outputs)));
            let mut sums = Array2::zeros((1, outputs));
            context.scope(|| {
                layer.forward(x.slice(s![..1, ..]), alone.view_mut()).unwrap();
                layer.forward(x.view(), among.view_mut()).unwrap();
                layer.forward_codes(codes.slice(s![..1, ..]), &[100], sums.view_mut()).unwrap();
            });
            assert_eq!(alone, among.slice(s![..1, ..]), "{outputs} x {inputs}, {context:?}");
            assert_eq!(sums, expected, "{outputs} x {inputs}, {context:?}");
        }
    }
}
