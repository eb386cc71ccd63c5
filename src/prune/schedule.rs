//! How sparse at which step of training.

use super::amount::check_fraction;
use crate::error::{Error, Result};

/// How sparse a network should be at which training step, and at which steps its masks are made anew.
///
/// ```
/// use tersor::prune::Schedule;
///
/// // From dense to 90%, from step 100 on, every 30 steps; the end at 500 is no multiple, and is reached all the same.
/// let schedule = Schedule::polynomial(0.0, 0.9, 100, 500)?.every(30)?;
/// assert_eq!(schedule.update_at(99), None);
/// assert_eq!(schedule.update_at(100), Some(0.0));
/// assert_eq!(schedule.update_at(101), None);
/// assert_eq!(schedule.update_at(500), Some(0.9));
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    curve: Curve,
    begin: u64,
    end: Option<u64>,
    frequency: u64,
    tfmot: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Curve {
    Constant { sparsity: f64 },
    Polynomial { initial: f64, last: f64, power: f64 },
}

impl Schedule {
    /// The same sparsity from step 0 on, without end; masks are made anew every 100 steps.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] unless `sparsity` is in 0..=1.
    pub fn constant(sparsity: f64) -> Result<Self> {
        check_fraction("sparsity", sparsity)?;
        Ok(Schedule::new(Curve::Constant { sparsity }, 0, None))
    }

    /// From `initial` at step `begin` to `last` at step `end`, quickly at first: last + (initial - last) * (1 - p)³ where
    /// p is the part of the way that is done (Zhu and Gupta, arXiv 1710.01878). Masks are made anew every 100 steps, and
    /// at `end` whether or not that is a multiple.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] unless both sparsities are in 0..=1 and `begin <= end`.
    pub fn polynomial(initial: f64, last: f64, begin: u64, end: u64) -> Result<Self> {
        check_fraction("initial", initial)?;
        check_fraction("last", last)?;
        Schedule::new(Curve::Polynomial { initial, last, power: 3.0 }, begin, None).until(end)
    }

    /// With the first step at which anything is pruned.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when that is past the end.
    pub fn starting_at(self, begin: u64) -> Result<Self> {
        Schedule { begin, ..self }.check()
    }

    /// With the last step at which masks are made anew.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when that is before the beginning.
    pub fn until(self, end: u64) -> Result<Self> {
        Schedule { end: Some(end), ..self }.check()
    }

    /// With new masks every `frequency` steps after the beginning.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when `frequency` is 0.
    pub fn every(self, frequency: u64) -> Result<Self> {
        Schedule { frequency, ..self }.check()
    }

    /// With another exponent of the polynomial, 3 by default. A constant has none.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] unless `power` is finite and above 0: otherwise the end would not be reached.
    pub fn power(mut self, exponent: f64) -> Result<Self> {
        if let Curve::Polynomial { power, .. } = &mut self.curve {
            *power = exponent;
        }
        if !(exponent.is_finite() && exponent > 0.0) {
            return Err(Error::out_of_range("power", exponent, "finite and above 0"));
        }
        Ok(self)
    }

    /// With the rules of TensorFlow Model Optimization (`PolynomialDecay`, `ConstantSparsity`), by name: the end is
    /// *missed* when it is no multiple of the frequency after the beginning; the sparsity is computed in f32, and also
    /// before the beginning.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a polynomial whose beginning is its end: there, that rule divides 0 by 0.
    pub fn as_tfmot(self) -> Result<Self> {
        Schedule { tfmot: true, ..self }.check()
    }

    /// The sparsity that the network should have at `step`: 0 before the beginning, the final one after the end.
    pub fn sparsity_at(&self, step: u64) -> f64 {
        if self.tfmot {
            return self.tfmot_sparsity_at(step);
        }
        if step < self.begin {
            return 0.0;
        }
        match self.curve {
            Curve::Constant { sparsity } => sparsity,
            Curve::Polynomial { initial, last, power } => {
                let end = self.end.unwrap_or(self.begin);
                if step >= end {
                    return last;
                }
                let done = (step - self.begin) as f64 / (end - self.begin) as f64;
                // Rounding may step over an end by a last bit, and 0..=1 is a promise to `Amount`.
                (last + (initial - last) * raise(1.0 - done, power))
                    .clamp(initial.min(last), initial.max(last))
            }
        }
    }

    /// The sparsity to prune to if masks are made anew at `step`, else `None`.
    pub fn update_at(&self, step: u64) -> Option<f64> {
        let since = step.checked_sub(self.begin)?;
        if self.end.is_some_and(|end| step > end) {
            return None;
        }
        let at_end = self.end == Some(step) && !self.tfmot;
        (since.is_multiple_of(self.frequency) || at_end).then(|| self.sparsity_at(step))
    }

    /// Every operation in f32, in that toolkit's order; the difference of the two sparsities is taken in f64 before it
    /// is rounded, because there it is computed in Python.
    fn tfmot_sparsity_at(&self, step: u64) -> f64 {
        f64::from(match self.curve {
            Curve::Constant { sparsity } => sparsity as f32,
            Curve::Polynomial { initial, last, power } => {
                let way = self.end.unwrap_or(self.begin).saturating_sub(self.begin);
                let done = (step.saturating_sub(self.begin) as f32 / way as f32).clamp(0.0, 1.0);
                // A power in f64, rounded once, is the correctly rounded f32 power but for rare double rounding.
                let left = raise(f64::from(1.0 - done), f64::from(power as f32)) as f32;
                (initial - last) as f32 * left + last as f32
            }
        })
    }

    fn new(curve: Curve, begin: u64, end: Option<u64>) -> Self {
        Schedule { curve, begin, end, frequency: 100, tfmot: false }
    }

    fn check(self) -> Result<Self> {
        if let Some(end) = self.end
            && end < self.begin
        {
            return Err(Error::out_of_range(
                "end",
                end,
                format!("at least {}, where the schedule begins", self.begin),
            ));
        }
        if self.frequency == 0 {
            return Err(Error::out_of_range("frequency", self.frequency, "at least 1"));
        }
        if self.tfmot && matches!(self.curve, Curve::Polynomial { .. }) && self.end == Some(self.begin) {
            return Err(Error::out_of_range(
                "end",
                self.begin,
                format!("above {}, the beginning", self.begin),
            ));
        }
        Ok(self)
    }
}

/// `base` to the power `exponent`. Small integer powers are products, so that they are the same on every platform; a
/// `powf` is as good as the platform's.
fn raise(base: f64, exponent: f64) -> f64 {
    if exponent.fract() == 0.0 && (1.0..=16.0).contains(&exponent) {
        (1..exponent as u32).fold(base, |product, _| product * base)
    } else {
        base.powf(exponent)
    }
}
