//! keras 3's optimizers: other defaults, other places for epsilon and the learning rate, and all arithmetic in f32.
//!
//! Weight decay is decoupled in all of them: `w -= w * weight_decay * lr` before the step.

use super::rule::{Rule, below_one, hyperparameter, not_negative, power};
use crate::error::{Error, Result};

/// keras's SGD without momentum: `w -= g * lr`. No state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Not negative. 1e-2 by default.
    pub learning_rate: f64,
    /// Decoupled. Not negative. 0 by default.
    pub weight_decay: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Sgd { learning_rate: 1e-2, weight_decay: 0.0 }
    }
}

impl Rule for Sgd {
    type State = [f32; 0];
    type Scalars = Rates;

    fn validate(&self) -> Result<()> {
        Rates::validate(self.learning_rate, self.weight_decay)
    }

    fn scalars(&self, _step: u64) -> Rates {
        Rates::new(self.learning_rate, self.weight_decay)
    }

    #[inline(always)]
    fn update(rates: &Rates, weight: f32, gradient: f32, _state: &mut [f32; 0]) -> f32 {
        rates.decayed(weight) - gradient * rates.learning_rate
    }
}

/// keras's SGD with momentum, whose velocity contains the learning rate: `u = momentum * u - lr * g`, then `w += u`, or
/// with Nesterov's look-ahead `w += momentum * u - lr * g`. One state array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdMomentum {
    /// Not negative. 1e-2 by default.
    pub learning_rate: f64,
    /// At least 0 and below 1. 0.9 by default.
    pub momentum: f64,
    /// Whether to look ahead. Off by default; needs a momentum above 0.
    pub nesterov: bool,
    /// Decoupled. Not negative. 0 by default.
    pub weight_decay: f64,
}

impl Default for SgdMomentum {
    fn default() -> Self {
        SgdMomentum { learning_rate: 1e-2, momentum: 0.9, nesterov: false, weight_decay: 0.0 }
    }
}

impl Rule for SgdMomentum {
    type State = [f32; 1];
    type Scalars = MomentumScalars;

    fn validate(&self) -> Result<()> {
        Rates::validate(self.learning_rate, self.weight_decay)?;
        below_one("momentum", self.momentum)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err(Error::out_of_range("nesterov", "true with momentum 0", "with a momentum above 0"));
        }
        Ok(())
    }

    fn scalars(&self, _step: u64) -> MomentumScalars {
        MomentumScalars {
            rates: Rates::new(self.learning_rate, self.weight_decay),
            momentum: self.momentum as f32,
            nesterov: self.nesterov,
        }
    }

    #[inline(always)]
    fn update(scalars: &MomentumScalars, weight: f32, gradient: f32, [velocity]: &mut [f32; 1]) -> f32 {
        let weight = scalars.rates.decayed(weight);
        let pull = gradient * scalars.rates.learning_rate;
        *velocity = *velocity * scalars.momentum - pull;
        weight + if scalars.nesterov { *velocity * scalars.momentum - pull } else { *velocity }
    }
}

/// What [`SgdMomentum`] precomputes for a step.
#[derive(Clone, Copy, Debug)]
pub struct MomentumScalars {
    rates: Rates,
    momentum: f32,
    nesterov: bool,
}

/// keras's Adam: `w -= m * alpha / (sqrt(v) + epsilon)` with `alpha = lr * sqrt(1 - b2^t) / (1 - b1^t)`, the "epsilon
/// hat" of Kingma and Ba's section 2.1. Two state arrays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Not negative. 1e-3 by default.
    pub learning_rate: f64,
    /// At least 0 and, rounded to f32, below 1. 0.9 by default.
    pub beta1: f64,
    /// At least 0 and, rounded to f32, below 1. 0.999 by default.
    pub beta2: f64,
    /// Not negative. 1e-7 by default.
    pub epsilon: f64,
    /// Decoupled. Not negative. 0 by default; keras's AdamW is this rule with 4e-3, [`Adam::with_decay`].
    pub weight_decay: f64,
}

impl Adam {
    /// keras's AdamW: weight decay 4e-3.
    pub fn with_decay() -> Self {
        Adam { weight_decay: 4e-3, ..Adam::default() }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-7, weight_decay: 0.0 }
    }
}

impl Rule for Adam {
    type State = [f32; 2];
    type Scalars = AdamScalars;

    fn validate(&self) -> Result<()> {
        Rates::validate(self.learning_rate, self.weight_decay)?;
        for (argument, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            // As f32, in which keras takes its powers: of 1 they leave no bias correction but 0 / 0.
            let limit = "at least 0 and below 1 in f32";
            hyperparameter(argument, beta, beta >= 0.0 && (beta as f32) < 1.0, limit)?;
        }
        not_negative("epsilon", self.epsilon)
    }

    fn scalars(&self, step: u64) -> AdamScalars {
        let rates = Rates::new(self.learning_rate, self.weight_decay);
        // keras takes every one of these steps in f32.
        let power1 = power(f64::from(self.beta1 as f32), step) as f32;
        let power2 = power(f64::from(self.beta2 as f32), step) as f32;
        AdamScalars {
            rates,
            alpha: rates.learning_rate * (1.0 - power2).sqrt() / (1.0 - power1),
            intake1: (1.0 - self.beta1) as f32,
            intake2: (1.0 - self.beta2) as f32,
            epsilon: self.epsilon as f32,
        }
    }

    #[inline(always)]
    fn update(scalars: &AdamScalars, weight: f32, gradient: f32, [mean, square]: &mut [f32; 2]) -> f32 {
        *mean += (gradient - *mean) * scalars.intake1;
        *square += (gradient * gradient - *square) * scalars.intake2;
        scalars.rates.decayed(weight) - *mean * scalars.alpha / (square.sqrt() + scalars.epsilon)
    }
}

/// What [`Adam`] precomputes for a step.
#[derive(Clone, Copy, Debug)]
pub struct AdamScalars {
    rates: Rates,
    alpha: f32,
    intake1: f32,
    intake2: f32,
    epsilon: f32,
}

/// keras's Adagrad: `s += g^2`, then `w -= lr * g / sqrt(s + epsilon)`. One state array, which starts at 0.1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    /// Not negative. 1e-3 by default.
    pub learning_rate: f64,
    /// The first sum of squares. Not negative. 0.1 by default.
    pub initial_accumulator: f64,
    /// Not negative. 1e-7 by default.
    pub epsilon: f64,
    /// Decoupled. Not negative. 0 by default.
    pub weight_decay: f64,
}

impl Default for Adagrad {
    fn default() -> Self {
        Adagrad { learning_rate: 1e-3, initial_accumulator: 0.1, epsilon: 1e-7, weight_decay: 0.0 }
    }
}

impl Rule for Adagrad {
    type State = [f32; 1];
    type Scalars = AdagradScalars;

    fn validate(&self) -> Result<()> {
        Rates::validate(self.learning_rate, self.weight_decay)?;
        not_negative("initial_accumulator", self.initial_accumulator)?;
        not_negative("epsilon", self.epsilon)
    }

    fn initial_state(&self) -> [f32; 1] {
        [self.initial_accumulator as f32]
    }

    fn scalars(&self, _step: u64) -> AdagradScalars {
        AdagradScalars {
            rates: Rates::new(self.learning_rate, self.weight_decay),
            epsilon: self.epsilon as f32,
        }
    }

    #[inline(always)]
    fn update(scalars: &AdagradScalars, weight: f32, gradient: f32, [sum]: &mut [f32; 1]) -> f32 {
        *sum += gradient * gradient;
        let pull = scalars.rates.learning_rate * gradient;
        scalars.rates.decayed(weight) - pull / (*sum + scalars.epsilon).sqrt()
    }
}

/// What [`Adagrad`] precomputes for a step.
#[derive(Clone, Copy, Debug)]
pub struct AdagradScalars {
    rates: Rates,
    epsilon: f32,
}

/// The learning rate and the decay, which every rule of keras has.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    learning_rate: f32,
    weight_decay: f32,
}

impl Rates {
    fn validate(learning_rate: f64, weight_decay: f64) -> Result<()> {
        not_negative("learning_rate", learning_rate)?;
        not_negative("weight_decay", weight_decay)
    }

    fn new(learning_rate: f64, weight_decay: f64) -> Self {
        Rates { learning_rate: learning_rate as f32, weight_decay: weight_decay as f32 }
    }

    #[inline(always)]
    fn decayed(&self, weight: f32) -> f32 {
        weight - weight * self.weight_decay * self.learning_rate
    }
}
