//! Stochastic gradient descent, as torch computes it.

use super::rule::{Rule, below_one, hyperparameter, not_negative};
use crate::error::{Error, Result};

/// Plain stochastic gradient descent: `w -= lr * (g + weight_decay * w)`. No state.
///
/// `torch.optim.SGD` with momentum 0. keras's is [`keras::Sgd`](super::keras::Sgd).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Not negative. 1e-3 by default.
    pub learning_rate: f64,
    /// Added to the gradient as `weight_decay * w`. Not negative. 0 by default.
    pub weight_decay: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd { learning_rate: 1e-3, weight_decay: 0.0 }
    }
}

impl Rule for Sgd {
    type State = [f32; 0];
    type Scalars = SgdScalars;

    fn validate(&self) -> Result<()> {
        not_negative("learning_rate", self.learning_rate)?;
        not_negative("weight_decay", self.weight_decay)
    }

    fn scalars(&self, _step: u64) -> SgdScalars {
        SgdScalars { rate: -self.learning_rate as f32, decay: self.weight_decay as f32 }
    }

    #[inline(always)]
    fn update(scalars: &SgdScalars, weight: f32, gradient: f32, _state: &mut [f32; 0]) -> f32 {
        weight + (gradient + weight * scalars.decay) * scalars.rate
    }
}

/// What [`Sgd`] precomputes for a step.
#[derive(Clone, Copy, Debug)]
pub struct SgdScalars {
    rate: f32,
    decay: f32,
}

/// Stochastic gradient descent with momentum: `b = momentum * b + (1 - dampening) * g`, then `w -= lr * b`, or with
/// Nesterov's look-ahead `w -= lr * (g + momentum * b)`.
///
/// `torch.optim.SGD` with a momentum; one state array. In the first step `b = g`, undampened. keras's, whose velocity
/// contains the learning rate, is [`keras::SgdMomentum`](super::keras::SgdMomentum).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdMomentum {
    /// Not negative. 1e-3 by default.
    pub learning_rate: f64,
    /// At least 0 and below 1. 0.9 by default.
    pub momentum: f64,
    /// Finite; 0 by default. Must be 0 with `nesterov`.
    pub dampening: f64,
    /// Whether to look ahead. Off by default; needs a momentum above 0.
    pub nesterov: bool,
    /// Added to the gradient as `weight_decay * w`. Not negative. 0 by default.
    pub weight_decay: f64,
}

impl Default for SgdMomentum {
    fn default() -> Self {
        SgdMomentum { learning_rate: 1e-3, momentum: 0.9, dampening: 0.0, nesterov: false, weight_decay: 0.0 }
    }
}

impl Rule for SgdMomentum {
    type State = [f32; 1];
    type Scalars = MomentumScalars;

    fn validate(&self) -> Result<()> {
        not_negative("learning_rate", self.learning_rate)?;
        below_one("momentum", self.momentum)?;
        hyperparameter("dampening", self.dampening, self.dampening.is_finite(), "finite in f32")?;
        not_negative("weight_decay", self.weight_decay)?;
        if self.nesterov && (self.momentum == 0.0 || self.dampening != 0.0) {
            let found = format!("true with momentum {} and dampening {}", self.momentum, self.dampening);
            return Err(Error::out_of_range("nesterov", found, "with a momentum above 0 and no dampening"));
        }
        Ok(())
    }

    fn scalars(&self, step: u64) -> MomentumScalars {
        MomentumScalars {
            rate: -self.learning_rate as f32,
            momentum: self.momentum as f32,
            intake: if step <= 1 { 1.0 } else { (1.0 - self.dampening) as f32 },
            nesterov: self.nesterov,
            decay: self.weight_decay as f32,
        }
    }

    #[inline(always)]
    fn update(scalars: &MomentumScalars, weight: f32, gradient: f32, [buffer]: &mut [f32; 1]) -> f32 {
        let gradient = gradient + weight * scalars.decay;
        *buffer = *buffer * scalars.momentum + gradient * scalars.intake;
        let direction = if scalars.nesterov { gradient + *buffer * scalars.momentum } else { *buffer };
        weight + direction * scalars.rate
    }
}

/// What [`SgdMomentum`] precomputes for a step.
#[derive(Clone, Copy, Debug)]
pub struct MomentumScalars {
    rate: f32,
    momentum: f32,
    intake: f32,
    nesterov: bool,
    decay: f32,
}
