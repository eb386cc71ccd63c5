//! Adam and AdamW, as torch computes them.

use super::rule::{Rule, below_one, not_negative, power};
use crate::error::Result;

/// Adam (Kingma and Ba 2015), with weight decay added to the gradient.
///
/// `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`, then
/// `w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + epsilon)`: `torch.optim.Adam`; two state arrays, `m` and `v`.
/// keras's, whose epsilon stands elsewhere, is [`keras::Adam`](super::keras::Adam).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Not negative. 1e-3 by default.
    pub learning_rate: f64,
    /// At least 0 and below 1. 0.9 by default.
    pub beta1: f64,
    /// At least 0 and below 1. 0.999 by default.
    pub beta2: f64,
    /// Not negative. 1e-8 by default.
    pub epsilon: f64,
    /// Added to the gradient as `weight_decay * w`. Not negative. 0 by default.
    pub weight_decay: f64,
}

impl Default for Adam {
    fn default() -> Self {
        Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

impl Rule for Adam {
    type State = [f32; 2];
    type Scalars = AdamScalars;

    fn validate(&self) -> Result<()> {
        not_negative("learning_rate", self.learning_rate)?;
        below_one("beta1", self.beta1)?;
        below_one("beta2", self.beta2)?;
        not_negative("epsilon", self.epsilon)?;
        not_negative("weight_decay", self.weight_decay)
    }

    fn scalars(&self, step: u64) -> AdamScalars {
        AdamScalars {
            shrink: 1.0,
            decay: self.weight_decay as f32,
            rate: -(self.learning_rate / (1.0 - power(self.beta1, step))) as f32,
            intake1: (1.0 - self.beta1) as f32,
            keep1: 1.0 - (1.0 - self.beta1) as f32,
            keep2: self.beta2 as f32,
            intake2: (1.0 - self.beta2) as f32,
            correction: (1.0 - power(self.beta2, step)).sqrt() as f32,
            epsilon: self.epsilon as f32,
        }
    }

    #[inline(always)]
    fn update(scalars: &AdamScalars, weight: f32, gradient: f32, state: &mut [f32; 2]) -> f32 {
        scalars.update(weight, gradient, state)
    }
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019): `w *= 1 - lr * weight_decay` before each step.
///
/// `torch.optim.AdamW`; else as [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Not negative. 1e-3 by default.
    pub learning_rate: f64,
    /// At least 0 and below 1. 0.9 by default.
    pub beta1: f64,
    /// At least 0 and below 1. 0.999 by default.
    pub beta2: f64,
    /// Not negative. 1e-8 by default.
    pub epsilon: f64,
    /// How much of `lr * w` each step takes from the weight. Not negative. 1e-2 by default.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        AdamW { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 1e-2 }
    }
}

impl AdamW {
    /// The same without any decay.
    fn undecayed(&self) -> Adam {
        Adam {
            learning_rate: self.learning_rate,
            beta1: self.beta1,
            beta2: self.beta2,
            epsilon: self.epsilon,
            weight_decay: 0.0,
        }
    }
}

impl Rule for AdamW {
    type State = [f32; 2];
    type Scalars = AdamScalars;

    fn validate(&self) -> Result<()> {
        self.undecayed().validate()?;
        not_negative("weight_decay", self.weight_decay)
    }

    fn scalars(&self, step: u64) -> AdamScalars {
        let shrink = (1.0 - self.learning_rate * self.weight_decay) as f32;
        AdamScalars { shrink, ..self.undecayed().scalars(step) }
    }

    #[inline(always)]
    fn update(scalars: &AdamScalars, weight: f32, gradient: f32, state: &mut [f32; 2]) -> f32 {
        scalars.update(weight, gradient, state)
    }
}

/// What [`Adam`] and [`AdamW`] precompute for a step.
#[derive(Clone, Copy, Debug)]
pub struct AdamScalars {
    shrink: f32,
    decay: f32,
    rate: f32,
    intake1: f32,
    keep1: f32,
    keep2: f32,
    intake2: f32,
    correction: f32,
    epsilon: f32,
}

impl AdamScalars {
    #[inline(always)]
    fn update(&self, weight: f32, gradient: f32, [mean, square]: &mut [f32; 2]) -> f32 {
        let weight = weight * self.shrink;
        let gradient = gradient + weight * self.decay;
        // torch's lerp starts from the nearer end.
        *mean = if self.intake1 < 0.5 {
            *mean + self.intake1 * (gradient - *mean)
        } else {
            gradient - (gradient - *mean) * self.keep1
        };
        *square = *square * self.keep2 + self.intake2 * gradient * gradient;
        weight + self.rate * *mean / (square.sqrt() / self.correction + self.epsilon)
    }
}
