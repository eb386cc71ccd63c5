//! From gradients of the scaled loss to gradients of the loss.

use crate::error::{Error, Result};

/// How a gradient is freed from the loss scale, in f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unscale {
    scale: f32,
    factor: Option<f32>,
}

impl Unscale {
    /// Gradients stay as they are.
    pub fn none() -> Self {
        Unscale { scale: 1.0, factor: Some(1.0) }
    }

    /// `g / scale`, correctly rounded.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when `scale` is not a positive, normal, finite number.
    pub fn by_division(scale: f32) -> Result<Self> {
        let scale = usable(scale)?;
        // Multiplying by the inverse of a power of two gives the same bits and is several times as fast.
        let inverse = 1.0 / scale;
        let power_of_two = scale.to_bits() & 0x007f_ffff == 0;
        Ok(Unscale { scale, factor: (power_of_two && inverse.is_normal()).then_some(inverse) })
    }

    /// `g * f32(1 / f64(scale))`, as torch and tf-keras do it.
    ///
    /// # Errors
    /// As [`Unscale::by_division`].
    pub fn by_inverse(scale: f32) -> Result<Self> {
        let scale = usable(scale)?;
        Ok(Unscale { scale, factor: Some((1.0 / f64::from(scale)) as f32) })
    }

    /// The loss scale.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The norm of the unscaled gradients, from that of the scaled ones.
    pub(super) fn norm(&self, scaled: f64) -> f64 {
        scaled / f64::from(self.scale)
    }

    #[inline(always)]
    pub(super) fn apply(&self, gradients: &mut [f32]) {
        match self.factor {
            Some(1.0) => {}
            Some(factor) => gradients.iter_mut().for_each(|gradient| *gradient *= factor),
            None => gradients.iter_mut().for_each(|gradient| *gradient /= self.scale),
        }
    }
}

/// Below the normal numbers the inverse is infinite, or the scale itself has lost its digits.
fn usable(scale: f32) -> Result<f32> {
    if scale.is_normal() && scale > 0.0 {
        return Ok(scale);
    }
    let limit = format!("finite and at least {:e}, so that gradients can be unscaled", f32::MIN_POSITIVE);
    Err(Error::out_of_range("the loss scale", format!("{scale:e}"), limit))
}
