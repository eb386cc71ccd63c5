//! int4 layers in numbers, for tests that compute them anew.

use super::Random;
use ndarray::Array2;
use tersor::linear::{PackedLinear, Weights};

/// Rows, outputs, inputs and the size of groups, around every edge.
pub const SHAPES: [(usize, usize, usize, usize); 22] = [
    (1, 1, 1, 4),
    (1, 32, 4, 4),
    (2, 31, 3, 32),
    (3, 33, 5, 4),
    (1, 16, 64, 32),
    (1, 17, 66, 32),
    (1, 128, 130, 32),
    (1, 161, 61, 12),
    (1, 300, 257, 128),
    (4, 64, 63, 32),
    (5, 7, 64, 64),
    (7, 65, 65, 20),
    (8, 32, 127, 128),
    (9, 40, 129, 128),
    (11, 15, 96, 32),
    (12, 37, 66, 64),
    (13, 130, 200, 200),
    (16, 33, 8, 1000),
    (17, 35, 30, usize::MAX),
    (33, 66, 100, 28),
    (130, 34, 70, 32),
    (3, 5, 0, 32),
];

/// A layer's numbers as a caller has them.
#[derive(Clone)]
pub struct Numbers {
    pub codes: Array2<i8>,
    pub size: usize,
    pub scales: Array2<f32>,
    pub zero_points: Option<Array2<i32>>,
    pub bias: Vec<f32>,
}

impl Numbers {
    pub fn random(outputs: usize, inputs: usize, size: usize, affine: bool, seed: u64) -> Self {
        let mut random = Random(seed);
        let groups = inputs.div_ceil(size);
        let mut code = |_| (random.bits() >> 60) as i8 - 8;
        let codes = Array2::from_shape_fn((outputs, inputs), &mut code);
        let zero_points =
            affine.then(|| Array2::from_shape_fn((outputs, groups), &mut code).map(|&z| i32::from(z)));
        let mut random = Random(seed + 1);
        let scales = Array2::from_shape_fn((outputs, groups), |_| (random.signed() + 1.1) * 0.03);
        let bias = (0..outputs).map(|_| random.signed()).collect();
        Numbers { codes, size, scales, zero_points, bias }
    }

    pub fn weights(&self) -> Weights<'_> {
        let zero_points = self.zero_points.as_ref().map(|zero_points| zero_points.view());
        Weights::int4(self.codes.view(), self.size, self.scales.view(), zero_points)
    }

    pub fn layer(&self) -> PackedLinear<'static> {
        PackedLinear::new(self.weights()).unwrap().with_bias(&self.bias).unwrap()
    }

    pub fn zero(&self, n: usize, group: usize) -> i32 {
        self.zero_points.as_ref().map_or(0, |zero_points| zero_points[[n, group]])
    }

    /// `[n][k]`, in f64.
    pub fn exact_weights(&self) -> Array2<f64> {
        Array2::from_shape_fn(self.codes.dim(), |(n, k)| {
            let group = k / self.size;
            f64::from(self.scales[[n, group]])
                * f64::from(i32::from(self.codes[[n, k]]) - self.zero(n, group))
        })
    }
}

pub fn random(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut random = Random(seed);
    Array2::from_shape_fn((rows, cols), |_| random.signed() + 0.3)
}
