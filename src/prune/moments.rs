//! Mean and deviation of a tensor, the same bits at any thread count and on any instruction set.

use super::criterion::Moments;
use crate::context::Context;
use crate::element::Element;
use crate::kernels::{Operation, PIECE, Token, reduce_pieces};

impl Moments {
    /// Of `weights`, of which there is at least one. In two passes, because one that subtracts squares cancels. Not finite
    /// if a weight is not.
    pub(super) fn of<E: Element>(context: &Context, weights: &[E]) -> Moments {
        let count = weights.len() as f64;
        let sum_of = |center: Option<f64>| {
            reduce_pieces(
                context,
                weights.len(),
                PIECE,
                0.0,
                |range| context.isa().run(Sum { weights: &weights[range], center }),
                |a, b| a + b,
            )
        };
        let mean = sum_of(None) / count;
        Moments { mean, deviation: (sum_of(Some(mean)) / count).sqrt() }
    }
}

/// The sum of the weights, or of their squared distances from a center.
struct Sum<'a, E> {
    weights: &'a [E],
    center: Option<f64>,
}

impl<E: Element> Operation for Sum<'_, E> {
    type Output = f64;
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) -> f64 {
        match self.center {
            None => sum(token, self.weights, |weight| weight),
            Some(center) => sum(token, self.weights, |weight| (weight - center) * (weight - center)),
        }
    }
}

/// Eight running sums in f64; weight i goes to sum i % 8, whatever the vector length.
#[inline(always)]
fn sum<T: Token, E: Element>(token: T, weights: &[E], term: impl Fn(f64) -> f64) -> f64 {
    let mut buffer = [0.0; 64];
    let mut lanes = [0.0_f64; 8];
    for weights in weights.chunks(64) {
        for eight in E::widened(token, weights, &mut buffer).chunks(8) {
            for (lane, &weight) in lanes.iter_mut().zip(eight) {
                *lane += term(f64::from(weight));
            }
        }
    }
    lanes.iter().sum()
}
