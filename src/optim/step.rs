//! One training step over several tensors, as a transaction: everything is checked before anything is written.

use super::gradient::{AsGradient, Gradient};
use super::rule::{Rule, State};
use super::trainable::Trainable;
use super::unscale::Unscale;
use super::update::{Preparation, update_tensor};
use crate::context::Context;
use crate::error::{Error, Result};
use std::fmt;
use std::sync::Arc;

/// What a step did.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a skipped step has changed no weight"]
pub enum Step {
    /// Every weight was updated.
    #[non_exhaustive]
    Applied {
        /// The global L2 norm of the unscaled gradients, before clipping.
        grad_norm: f64,
        /// Weights that kept their value and state because the rule gave a NaN or an infinity for one of them.
        held: Option<Held>,
        /// How many 16-bit weights had a master beyond what their type can hold, and were stored as its largest finite
        /// value. The masters themselves are exact.
        saturated: usize,
    },
    /// Some gradient was not finite: no weight, no state, no step count has changed.
    #[non_exhaustive]
    Skipped {
        /// Where.
        overflow: Overflow,
    },
}

/// The gradients of a step that were not finite.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Overflow {
    /// The first tensor that has one, counted from 0.
    pub tensor: usize,
    /// The name of that tensor.
    pub name: Arc<str>,
    /// The row-major index of its first such element.
    pub index: usize,
    /// The value of that element: infinite or NaN.
    pub value: f32,
    /// How many such elements there are in all tensors together.
    pub count: usize,
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overflow { name, index, value, count, .. } = self;
        write!(f, "the gradient of {name} is {value} at element {index} (row-major); ")?;
        match count {
            1 => write!(f, "it is the only one that is not finite"),
            _ => write!(f, "{count} gradients are not finite in all"),
        }
    }
}

/// Weights that a step left as they were.
///
/// With finite gradients and allowed hyperparameters a rule can still leave f32: the square of a gradient above 1e19 can be
/// infinite, as can a sum of large gradients, or a gradient divided by a loss scale below 1, or a weight that an update
/// carries over 3.4e38. Such a weight keeps its value and its state, so that NaN and infinity never enter either. (Where a
/// caller put one there, it stays, and is counted here at every step.)
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Held {
    /// The first tensor that has one, counted from 0.
    pub tensor: usize,
    /// The name of that tensor.
    pub name: Arc<str>,
    /// The row-major index of its first such weight.
    pub index: usize,
    /// How many there are in all tensors together.
    pub count: usize,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Held { name, index, count, .. } = self;
        write!(
            f,
            "{count} weights could not be updated in f32 and were left, the first at element {index} of {name}"
        )
    }
}

/// One step of `rule` over all `parameters`, without a loss scaler's memory: what
/// [`MixedPrecision::step`](super::MixedPrecision::step) does between asking its scaler and telling it.
///
/// First everything is checked, the gradients in one pass that also takes their global norm; only then, tensor by
/// tensor, one fused pass unscales, clips, updates, rounds and writes. Where a mask condemns a weight, its gradient counts
/// as 0, whatever it is, the weight becomes +0, and its state the initial one.
///
/// With `clip`, gradients are multiplied by `min(1, clip / (norm + 1e-6))`, as torch's `clip_grad_norm_` does; so a norm
/// of 0 divides by nothing.
///
/// Nothing is allocated.
///
/// # Errors
/// As [`MixedPrecision::step`](super::MixedPrecision::step); nothing has changed then.
pub fn step<R: Rule, P: Trainable<R::State>, G: AsGradient>(
    rule: &R,
    unscale: Unscale,
    clip: Option<f64>,
    parameters: &mut [P],
    gradients: &[G],
) -> Result<Step> {
    rule.validate()?;
    if let Some(limit) = clip.filter(|limit| !(limit.is_finite() && *limit > 0.0)) {
        return Err(Error::out_of_range("clip", limit, "positive and finite"));
    }
    if parameters.len() != gradients.len() {
        let expected = format!("{}, one for each parameter", parameters.len());
        return Err(Error::length("gradients", gradients.len(), expected));
    }
    for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
        validate(parameter, gradient)?;
    }

    let context = Context::current()?;
    let mut sum = 0.0;
    for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
        sum += readable(gradient)?.sum_of_squares(&context, parameter.parameter_mut()?.mask);
    }
    if !f64::is_finite(sum) {
        let overflow = find_overflow(parameters, gradients)?;
        return Ok(Step::Skipped { overflow });
    }

    let grad_norm = unscale.norm(sum.sqrt());
    let clip = clip.map_or(1.0, |limit| (limit / (grad_norm + 1e-6)).min(1.0) as f32);
    let preparation = Preparation { unscale, clip };
    let (mut held, mut saturated): (Option<Held>, _) = (None, 0);
    for (tensor, (parameter, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
        let tally =
            update_tensor(&context, rule, preparation, readable(gradient)?, parameter.parameter_mut()?);
        saturated += tally.saturated;
        match &mut held {
            _ if tally.held == 0 => {}
            Some(held) => held.count += tally.held,
            None => {
                let (name, index) = (parameter.name(), tally.first_held);
                held = Some(Held { tensor, name, index, count: tally.held });
            }
        }
    }
    Ok(Step::Applied { grad_norm, held, saturated })
}

fn validate<S: State>(parameter: &mut impl Trainable<S>, gradient: &impl AsGradient) -> Result<()> {
    let parameter = parameter.parameter_mut()?;
    parameter.validate()?;
    let argument = || format!("the gradient of {}", parameter.name);
    let Some(gradient) = gradient.as_gradient() else {
        return Err(Error::Unsupported {
            what: format!("{} with gaps, or not in row-major order,", argument()),
            instead: "copy it with `as_standard_layout`".into(),
        });
    };
    if let (Some(found), Some(expected)) = (gradient.shape(), parameter.shape)
        && found != expected
    {
        return Err(Error::shape(argument(), found, format!("the weights' {expected:?}")));
    }
    if gradient.len() != parameter.master.len() {
        let expected = format!("{}, one element for each weight", parameter.master.len());
        return Err(Error::length(argument(), gradient.len(), expected));
    }
    Ok(())
}

/// What [`validate`] has found to be readable.
fn readable<G: AsGradient>(gradient: &G) -> Result<Gradient<'_>> {
    gradient.as_gradient().ok_or_else(|| Error::Unsupported {
        what: "a gradient that changes its layout during a step".into(),
        instead: "give the same elements whenever asked".into(),
    })
}

/// Called when there is one: says where.
fn find_overflow<S: State, P: Trainable<S>, G: AsGradient>(
    parameters: &mut [P],
    gradients: &[G],
) -> Result<Overflow> {
    let mut first: Option<Overflow> = None;
    for (tensor, (parameter, gradient)) in parameters.iter_mut().zip(gradients).enumerate() {
        let found = readable(gradient)?.not_finite(parameter.parameter_mut()?.mask);
        match (&mut first, found) {
            (_, None) => {}
            (Some(overflow), Some((_, _, count))) => overflow.count += count,
            (None, Some((index, value, count))) => {
                first = Some(Overflow { tensor, name: parameter.name(), index, value, count });
            }
        }
    }
    first.ok_or_else(|| Error::Unsupported {
        what: "a gradient that changes its elements during a step".into(),
        instead: "give the same elements whenever asked".into(),
    })
}
