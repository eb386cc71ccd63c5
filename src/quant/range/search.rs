//! The range with the least squared error, on the scheme's own grid.

use super::super::extrema::Interval;
use super::super::histogram::Mass;
use super::super::scheme::Scheme;
use crate::error::Result;

/// Coarse candidates: this many for each halving of a limit, for so many halvings.
const PER_OCTAVE: i32 = 16;
const OCTAVES: i32 = 16;
/// Fine candidates on either side of the best coarse one.
const FINE: i32 = 16;

/// Searches both limits (one after the other, until neither moves) for an affine scheme, one magnitude for a symmetric one.
pub(super) fn least_squares(scheme: &Scheme, masses: &[Mass], all: Interval) -> Result<Interval> {
    let mut best = Best { interval: all, error: f64::INFINITY };
    best.consider(scheme, masses, all)?;
    if scheme.is_symmetric() {
        let magnitude = all.magnitude();
        let symmetric = |limit: f32| Interval { min: -limit, max: limit };
        best.consider(scheme, masses, symmetric(magnitude))?;
        shrink(&mut best, scheme, masses, magnitude, symmetric)?;
        return Ok(best.interval);
    }
    const ROUNDS: usize = 4;
    for _ in 0..ROUNDS {
        let before = best.interval;
        if all.max > 0.0 {
            let min = best.interval.min;
            shrink(&mut best, scheme, masses, all.max, |limit| Interval { min: min.min(limit), max: limit })?;
        }
        if all.min < 0.0 {
            let max = best.interval.max;
            shrink(&mut best, scheme, masses, all.min, |limit| Interval { min: limit, max: max.max(limit) })?;
        }
        if best.interval == before {
            break;
        }
    }
    Ok(best.interval)
}

struct Best {
    interval: Interval,
    error: f64,
}

impl Best {
    /// Takes the interval if it is better; says what it costs, and how much of that is clipping.
    fn consider(&mut self, scheme: &Scheme, masses: &[Mass], interval: Interval) -> Result<(bool, f64)> {
        let params = match scheme.params_for(&[interval]) {
            Ok(params) => params,
            // The first must have a grid. A smaller interval may have none, by the rules of some toolkits, and is passed by.
            Err(_) if self.error.is_finite() => return Ok((false, f64::INFINITY)),
            Err(error) => return Err(error),
        };
        let estimate = super::estimate(masses, &params);
        let error = estimate.clipping + estimate.rounding;
        let better = error < self.error;
        if better {
            *self = Best { interval, error };
        }
        Ok((better, estimate.clipping))
    }
}

/// Tries limits from `start` towards zero, then finer ones around the best.
fn shrink(
    best: &mut Best,
    scheme: &Scheme,
    masses: &[Mass],
    start: f32,
    interval: impl Fn(f32) -> Interval,
) -> Result<()> {
    let ratio = |step: f64| (f64::from(start) * (-step / f64::from(PER_OCTAVE)).exp2()) as f32;
    let mut found = None;
    for step in 1..=PER_OCTAVE * OCTAVES {
        let (better, clipping) = best.consider(scheme, masses, interval(ratio(f64::from(step))))?;
        if better {
            found = Some(step);
        }
        // Clipping only grows from here on.
        if clipping > best.error {
            break;
        }
    }
    // Where even the first coarse step was too far, the optimum may still be a little below the start.
    let around = found.unwrap_or(0);
    for fine in -FINE + 1..FINE {
        let step = f64::from(around) + f64::from(fine) / f64::from(FINE);
        if step > 0.0 {
            best.consider(scheme, masses, interval(ratio(step)))?;
        }
    }
    Ok(())
}

/// A grid in f64, for the expected error of numbers of which only the neighbourhood is known.
pub(super) struct Grid {
    scale: f64,
    low: f64,
    high: f64,
}

/// Of one number, on average.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) clipping: f64,
    pub(super) rounding: f64,
    pub(super) saturated: f64,
}

impl Grid {
    /// `low` and `high` are the distances of the limits from the zero point.
    pub(super) fn new(scale: f32, low: i32, high: i32) -> Self {
        Grid { scale: f64::from(scale), low: f64::from(low), high: f64::from(high) }
    }

    /// The mean cost of the numbers of a bin.
    pub(super) fn cost(&self, mass: &Mass) -> Cost {
        let (from, to) = (mass.low / self.scale, mass.high / self.scale);
        let square = self.scale * self.scale;
        // Beyond half a step past the last code a number is clipped.
        let (first, last) = (self.low - 0.5, self.high + 0.5);
        if to - from < 1e-4 {
            let at = mass.center / self.scale;
            return if at < first || at > last {
                let beyond = at - at.clamp(self.low, self.high);
                Cost { clipping: beyond * beyond * square, rounding: 0.0, saturated: 1.0 }
            } else {
                let error = at - at.round_ties_even();
                Cost { clipping: 0.0, rounding: error * error * square, saturated: 0.0 }
            };
        }
        // The integrals of the squared error over the three parts that the grid's ends cut, over the width.
        let cube = |x: f64| x * x * x / 3.0;
        let below = (from.min(first), to.min(first));
        let inside = (from.clamp(first, last), to.clamp(first, last));
        let above = (from.max(last), to.max(last));
        let clipping = cube(below.1 - self.low) - cube(below.0 - self.low) + cube(above.1 - self.high)
            - cube(above.0 - self.high);
        let rounding = rounding_integral(inside.1) - rounding_integral(inside.0);
        let width = to - from;
        Cost {
            clipping: clipping.max(0.0) / width * square,
            rounding: rounding.max(0.0) / width * square,
            saturated: ((below.1 - below.0) + (above.1 - above.0)) / width,
        }
    }
}

/// The integral from 0 to `x` of the squared distance to the nearest integer: 1/12 for each step.
fn rounding_integral(x: f64) -> f64 {
    let nearest = x.round();
    let rest = x - nearest;
    nearest / 12.0 + rest * rest * rest / 3.0
}
