//! Mixed-precision training: a rule, a loss scaler, clipping, and the step that keeps them together.

use super::gradient::AsGradient;
use super::loss_scaler::LossScaler;
use super::parameter::Parameter;
use super::rule::Rule;
use super::step::{Step, step};
use super::trainable::Trainable;
use crate::element::{DType, Element};
use crate::error::{Error, Result};
use ndarray::{ArrayView, Dimension};

/// Trains parameters with an update rule, from gradients of a loss that was multiplied by
/// [`scaler().scale()`](LossScaler::scale).
///
/// ```
/// use tersor::optim::{AdamW, LossScaler, MixedPrecision, Step};
/// use tersor::{DType, f16, ndarray::array};
///
/// let mut trainer = MixedPrecision::new(AdamW::default(), LossScaler::dynamic()).clip_global_norm(1.0)?;
/// let mut parameters = vec![
///     trainer.parameter("layer.weight", array![[0.5_f32, -0.5]].view(), DType::F16)?,
///     trainer.parameter("layer.bias", array![0.0_f32].view(), DType::F16)?,
/// ];
///
/// // Gradients of `loss * trainer.scaler().scale()`; here one of them has overflowed.
/// let gradients = [array![[300.0_f32, 40.0]].into_dyn(), array![f32::INFINITY].into_dyn()];
/// let gradients = gradients.map(|gradient| gradient.mapv(f16::from_f32));
/// match trainer.step(&mut parameters, &gradients)? {
///     Step::Applied { grad_norm, .. } => println!("norm {grad_norm}"),
///     Step::Skipped { overflow, .. } => {
///         assert_eq!((&*overflow.name, overflow.index), ("layer.bias", 0));
///         assert_eq!(parameters[0].master(), [0.5, -0.5]); // as it was
///         assert_eq!(trainer.scaler().scale(), 32768.0); // half of what it was
///     }
/// }
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MixedPrecision<R> {
    rule: R,
    scaler: LossScaler,
    clip: Option<f64>,
}

impl<R: Rule> MixedPrecision<R> {
    /// A trainer with that rule and that scaler.
    pub fn new(rule: R, scaler: LossScaler) -> Self {
        MixedPrecision { rule, scaler, clip: None }
    }

    /// Scales all gradients down together where their global L2 norm is above `max_norm`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when `max_norm` is not positive and finite.
    pub fn clip_global_norm(mut self, max_norm: f64) -> Result<Self> {
        if !(max_norm.is_finite() && max_norm > 0.0) {
            return Err(Error::out_of_range("max_norm", max_norm, "positive and finite"));
        }
        self.clip = Some(max_norm);
        Ok(self)
    }

    /// A parameter with the state that the rule needs: [`Parameter::new`].
    ///
    /// # Errors
    /// As [`Parameter::new`].
    pub fn parameter<E: Element, D: Dimension>(
        &self,
        name: &str,
        weights: ArrayView<'_, E, D>,
        dtype: DType,
    ) -> Result<Parameter> {
        Parameter::new(name, weights, dtype, &self.rule)
    }

    /// Updates all parameters from the gradients of the scaled loss, or, when one of those is not finite, none.
    ///
    /// Gradients are slices, vectors or arrays of f32, f16 or bf16 (see [`AsGradient`]), one for each parameter; they are
    /// widened to f32 first, and unscaled, clipped and used in f32. The step allocates nothing.
    ///
    /// # Errors
    /// Nothing has changed when the result is an error, the scale included:
    /// - [`Error::OutOfRange`] when a hyperparameter or the loss scale is not allowed,
    /// - [`Error::Length`] when there are not as many gradients as parameters,
    /// - [`Error::Shape`] or [`Error::Length`], naming the tensor, when a gradient, a state, a mask or 16-bit weights do
    ///   not have the shape of the weights, or when a parameter was made for a rule with another number of states,
    /// - [`Error::Unsupported`], naming the tensor, when a gradient is not in row-major order.
    pub fn step<P: Trainable<R::State>, G: AsGradient>(
        &mut self,
        parameters: &mut [P],
        gradients: &[G],
    ) -> Result<Step> {
        let outcome = step(&self.rule, self.scaler.unscale()?, self.clip, parameters, gradients)?;
        self.scaler.update(matches!(outcome, Step::Skipped { .. }));
        Ok(outcome)
    }

    /// The update rule.
    pub fn rule(&self) -> &R {
        &self.rule
    }

    /// The update rule, to let a hyperparameter follow a schedule. Checked at the next step.
    pub fn rule_mut(&mut self) -> &mut R {
        &mut self.rule
    }

    /// The loss scaler.
    pub fn scaler(&self) -> &LossScaler {
        &self.scaler
    }

    /// The loss scaler, to replace it by a saved one.
    pub fn scaler_mut(&mut self) -> &mut LossScaler {
        &mut self.scaler
    }
}
