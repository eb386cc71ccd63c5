//! Adagrad, as torch computes it.

use super::rule::{Rule, not_negative};
use crate::error::Result;

/// Adagrad (Duchi, Hazan and Singer 2011): `s += g^2`, then `w -= lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + epsilon)`.
///
/// `torch.optim.Adagrad`; one state array, `s`. keras's, whose epsilon stands inside the root, is
/// [`keras::Adagrad`](super::keras::Adagrad).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// Not negative. 1e-2 by default.
    pub learning_rate: f64,
    /// How the learning rate falls with the number of steps. Not negative. 0 by default.
    pub learning_rate_decay: f64,
    /// Added to the gradient as `weight_decay * w`. Not negative. 0 by default.
    pub weight_decay: f64,
    /// The first sum of squares. Not negative. 0 by default.
    pub initial_accumulator: f64,
    /// Not negative. 1e-10 by default.
    pub epsilon: f64,
}

impl Default for Adagrad {
    fn default() -> Self {
        Adagrad {
            learning_rate: 1e-2,
            learning_rate_decay: 0.0,
            weight_decay: 0.0,
            initial_accumulator: 0.0,
            epsilon: 1e-10,
        }
    }
}

impl Rule for Adagrad {
    type State = [f32; 1];
    type Scalars = AdagradScalars;

    fn validate(&self) -> Result<()> {
        not_negative("learning_rate", self.learning_rate)?;
        not_negative("learning_rate_decay", self.learning_rate_decay)?;
        not_negative("weight_decay", self.weight_decay)?;
        not_negative("initial_accumulator", self.initial_accumulator)?;
        not_negative("epsilon", self.epsilon)
    }

    fn initial_state(&self) -> [f32; 1] {
        [self.initial_accumulator as f32]
    }

    fn scalars(&self, step: u64) -> AdagradScalars {
        let age = step.saturating_sub(1) as f64;
        AdagradScalars {
            rate: -(self.learning_rate / (1.0 + age * self.learning_rate_decay)) as f32,
            decay: self.weight_decay as f32,
            epsilon: self.epsilon as f32,
        }
    }

    #[inline(always)]
    fn update(scalars: &AdagradScalars, weight: f32, gradient: f32, [sum]: &mut [f32; 1]) -> f32 {
        let gradient = gradient + weight * scalars.decay;
        *sum += gradient * gradient;
        weight + scalars.rate * gradient / (sum.sqrt() + scalars.epsilon)
    }
}

/// What [`Adagrad`] precomputes for a step.
#[derive(Clone, Copy, Debug)]
pub struct AdagradScalars {
    rate: f32,
    decay: f32,
    epsilon: f32,
}
