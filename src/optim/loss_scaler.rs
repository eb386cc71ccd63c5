//! Loss scaling: by how much the loss is multiplied so that small 16-bit gradients survive, and how that number follows
//! the overflows it causes.
//!
//! A [`LossScaler`] is plain data: what a program saves is its [`scale`](LossScaler::scale), its
//! [`growth_tracker`](LossScaler::growth_tracker) and its [`ScalerOptions`]. Looking for overflows is left to the step.

use super::unscale::Unscale;
use crate::error::{Error, Result};

/// Whose rule moves the scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScaleRule {
    /// The scale never moves; an overflow still skips the step.
    Static,
    /// This crate's rule: an overflow multiplies by the backoff factor, but never goes below the floor; as many steps
    /// in a row as the interval says multiply by the growth factor, but never go above the ceiling. Gradients are
    /// divided by the scale.
    Bounded,
    /// `torch.amp.GradScaler` 2.15: as [`Bounded`](ScaleRule::Bounded) without floor and ceiling; a growth that would
    /// be infinite is left out. Gradients are multiplied by `f32(1 / f64(scale))`.
    Torch,
    /// keras 3's `LossScaleOptimizer`: as torch's, but the scale may grow to infinity. Gradients are divided.
    Keras,
    /// tf-keras's (keras 2) `LossScaleOptimizer`: as torch's, but an overflow leaves a scale of at least 1. Gradients
    /// are multiplied by `f32(1 / scale)`.
    TfKeras,
}

/// How a [`LossScaler`] starts and moves.
///
/// ```
/// use tersor::optim::{LossScaler, ScalerOptions};
///
/// let scaler = LossScaler::new(ScalerOptions { growth_interval: 100, ..ScalerOptions::bounded() })?;
/// assert_eq!(scaler.scale(), 65536.0);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalerOptions {
    /// Whose rule.
    pub rule: ScaleRule,
    /// The first scale. Positive and finite; for [`ScaleRule::Static`] also a normal number.
    pub initial_scale: f32,
    /// What a growth multiplies the scale by. Finite, above 1.
    pub growth_factor: f64,
    /// What an overflow multiplies the scale by. Between 0 and 1, both excluded.
    pub backoff_factor: f64,
    /// After how many steps in a row without an overflow the scale grows. At least 1.
    pub growth_interval: u32,
    /// No overflow leaves a smaller scale. Read by [`ScaleRule::Bounded`] only; a normal number.
    pub floor: f32,
    /// No growth leaves a larger scale. Read by [`ScaleRule::Bounded`] only; not below the floor.
    pub ceiling: f32,
}

impl ScalerOptions {
    /// This crate's rule: from 2^16, times 2 after 2000 steps up to 2^24, times 0.5 on overflow down to 1.
    ///
    /// Above 2^24 a scaled gradient of f16's smallest normal size would stand for less than f32 can add to a weight of
    /// any consequence, so further growth only causes overflows.
    pub fn bounded() -> Self {
        ScalerOptions {
            rule: ScaleRule::Bounded,
            initial_scale: 65536.0,
            growth_factor: 2.0,
            backoff_factor: 0.5,
            growth_interval: 2000,
            floor: 1.0,
            ceiling: 16_777_216.0,
        }
    }

    /// `torch.amp.GradScaler`'s defaults: 2^16, times 2 after 2000 steps, times 0.5.
    pub fn torch() -> Self {
        ScalerOptions { rule: ScaleRule::Torch, ..ScalerOptions::bounded() }
    }

    /// keras 3's defaults: 2^15, times 2 after 2000 steps, times 0.5.
    pub fn keras() -> Self {
        ScalerOptions { rule: ScaleRule::Keras, initial_scale: 32768.0, ..ScalerOptions::bounded() }
    }

    /// tf-keras's defaults: 2^15, times 2 after 2000 steps, times 0.5 down to 1.
    pub fn tf_keras() -> Self {
        ScalerOptions { rule: ScaleRule::TfKeras, initial_scale: 32768.0, ..ScalerOptions::bounded() }
    }

    fn validate(&self) -> Result<()> {
        // The limit is written out only where it is broken: this runs in every step, which allocates nothing.
        let limited = |argument, value: f64, fits: bool, limit: &dyn std::fmt::Display| {
            if fits { Ok(()) } else { Err(Error::out_of_range(argument, value, limit.to_string())) }
        };
        let initial = self.initial_scale;
        limited(
            "initial_scale",
            f64::from(initial),
            initial.is_finite() && initial > 0.0,
            &"positive and finite",
        )?;
        if self.rule == ScaleRule::Static {
            // It never moves, so a scale that gradients cannot be freed from would refuse every step.
            return limited(
                "initial_scale",
                f64::from(initial),
                initial.is_normal(),
                &format!("at least {:e}, so that gradients can be unscaled", f32::MIN_POSITIVE),
            );
        }
        let (growth, backoff) = (self.growth_factor, self.backoff_factor);
        limited("growth_factor", growth, growth.is_finite() && growth > 1.0, &"finite and above 1")?;
        limited("backoff_factor", backoff, backoff > 0.0 && backoff < 1.0, &"above 0 and below 1")?;
        limited(
            "growth_interval",
            f64::from(self.growth_interval),
            (1..=i32::MAX as u32).contains(&self.growth_interval),
            &"at least 1 and at most 2147483647",
        )?;
        if self.rule == ScaleRule::Bounded {
            let (floor, ceiling) = (self.floor, self.ceiling);
            limited(
                "floor",
                f64::from(floor),
                floor.is_normal() && floor > 0.0,
                &"a positive normal number",
            )?;
            limited(
                "ceiling",
                f64::from(ceiling),
                ceiling.is_finite() && ceiling >= floor,
                &format_args!("finite and not below the floor, {floor}"),
            )?;
            limited(
                "initial_scale",
                f64::from(initial),
                (floor..=ceiling).contains(&initial),
                &format_args!("between the floor, {floor}, and the ceiling, {ceiling}"),
            )?;
        }
        Ok(())
    }
}

impl Default for ScalerOptions {
    /// [`ScalerOptions::bounded`].
    fn default() -> Self {
        ScalerOptions::bounded()
    }
}

/// The factor of the loss, and the rule that moves it.
///
/// ```
/// use tersor::optim::LossScaler;
///
/// let mut scaler = LossScaler::dynamic();
/// let scaled_loss = 0.25 * scaler.scale(); // what the backward pass starts from
/// assert_eq!(scaled_loss, 16384.0);
/// scaler.update(true); // some gradient overflowed
/// assert_eq!(scaler.scale(), 32768.0);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScaler {
    options: ScalerOptions,
    scale: f32,
    growth_tracker: u32,
}

impl LossScaler {
    /// A scaler at the start of its options.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] naming the option, its value and what it must be.
    pub fn new(options: ScalerOptions) -> Result<Self> {
        options.validate()?;
        Ok(LossScaler { options, scale: options.initial_scale, growth_tracker: 0 })
    }

    /// The scale moves by this crate's rule, with [`ScalerOptions::bounded`].
    pub fn dynamic() -> Self {
        let options = ScalerOptions::bounded();
        LossScaler { options, scale: options.initial_scale, growth_tracker: 0 }
    }

    /// The scale stays what it is: static loss scaling.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when `scale` is not a positive, finite, normal number.
    pub fn fixed(scale: f32) -> Result<Self> {
        LossScaler::new(ScalerOptions {
            rule: ScaleRule::Static,
            initial_scale: scale,
            ..ScalerOptions::bounded()
        })
    }

    /// No scaling: for f32 and, mostly, bf16 gradients. An overflow still skips the step.
    pub fn none() -> Self {
        let options =
            ScalerOptions { rule: ScaleRule::Static, initial_scale: 1.0, ..ScalerOptions::bounded() };
        LossScaler { options, scale: 1.0, growth_tracker: 0 }
    }

    /// A scaler that goes on where another one stopped.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when an option is not allowed, when `scale` is one that the rule cannot reach (negative or
    /// NaN; for [`ScaleRule::Bounded`] outside of the bounds), or when `growth_tracker` is not below the interval.
    pub fn resume(options: ScalerOptions, scale: f32, growth_tracker: u32) -> Result<Self> {
        options.validate()?;
        let ScalerOptions { rule, initial_scale, floor, ceiling, .. } = options;
        let fits = match rule {
            ScaleRule::Static => scale == initial_scale,
            ScaleRule::Bounded => (floor..=ceiling).contains(&scale),
            ScaleRule::Torch | ScaleRule::TfKeras => scale >= 0.0 && scale.is_finite(),
            ScaleRule::Keras => scale >= 0.0,
        };
        if !fits {
            let limit = match rule {
                ScaleRule::Static => "the initial scale".to_string(),
                ScaleRule::Bounded => format!("between the floor, {floor}, and the ceiling, {ceiling}"),
                ScaleRule::Torch | ScaleRule::TfKeras => "finite and not negative".to_string(),
                ScaleRule::Keras => "not negative and not NaN".to_string(),
            };
            return Err(Error::out_of_range("scale", scale, limit));
        }
        if growth_tracker >= options.growth_interval.max(1) {
            let limit = format!("below the growth interval, {}", options.growth_interval);
            return Err(Error::out_of_range("growth_tracker", growth_tracker, limit));
        }
        Ok(LossScaler { options, scale, growth_tracker })
    }

    /// What to multiply the loss by before the backward pass.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// How many steps in a row have had no overflow since the scale last moved.
    pub fn growth_tracker(&self) -> u32 {
        self.growth_tracker
    }

    /// How it started and moves.
    pub fn options(&self) -> &ScalerOptions {
        &self.options
    }

    /// Moves the scale after a step: `overflow` says whether any gradient was not finite.
    ///
    /// [`MixedPrecision::step`](super::MixedPrecision::step) does this by itself.
    pub fn update(&mut self, overflow: bool) {
        let options = &self.options;
        if options.rule == ScaleRule::Static {
            return;
        }
        // The factors are f64, as torch's are; the product is rounded to f32 once.
        let times = |factor: f64| (f64::from(self.scale) * factor) as f32;
        if overflow {
            let smaller = times(options.backoff_factor);
            self.scale = match options.rule {
                ScaleRule::Bounded => smaller.max(options.floor),
                ScaleRule::TfKeras => smaller.max(1.0),
                // tensorflow flushes subnormal numbers to zero.
                ScaleRule::Keras if smaller.is_subnormal() => 0.0,
                _ => smaller,
            };
            self.growth_tracker = 0;
            return;
        }
        self.growth_tracker += 1;
        if self.growth_tracker < options.growth_interval {
            return;
        }
        self.growth_tracker = 0;
        let larger = times(options.growth_factor);
        self.scale = match options.rule {
            ScaleRule::Bounded => larger.min(options.ceiling),
            ScaleRule::Keras => larger,
            _ if larger.is_finite() => larger,
            _ => self.scale,
        };
    }

    /// How gradients of the scaled loss become gradients of the loss.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when the scale, following torch's or keras's rule, has become one that gradients cannot be
    /// freed from: 0 or so small that its inverse is infinite (every zero gradient would become NaN), or infinite. The
    /// bounded and the static rule never lead there.
    pub fn unscale(&self) -> Result<Unscale> {
        match self.options.rule {
            ScaleRule::Torch | ScaleRule::TfKeras => Unscale::by_inverse(self.scale),
            _ => Unscale::by_division(self.scale),
        }
    }
}

impl Default for LossScaler {
    /// [`LossScaler::dynamic`].
    fn default() -> Self {
        LossScaler::dynamic()
    }
}
