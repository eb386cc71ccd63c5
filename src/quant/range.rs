//! Ranges: how statistics become the limits of what is represented.

use super::distortion::Distortion;
use super::extrema::Interval;
use super::histogram::Mass;
use super::params::Params;
use super::scheme::Scheme;
use crate::error::{Error, Result};

mod entropy;
mod search;

/// How an observer's statistics become the limits of what is represented.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Range {
    /// Everything that was seen.
    #[default]
    MinMax,
    /// The central `p` percent, 50 < p <= 100: for an affine scheme `(100 - p) / 2` percent are cut at either end, for a
    /// symmetric one the largest `100 - p` percent of the magnitudes. Interpolates between ranks as `numpy.percentile`
    /// does, with numbers that are less than a bin (0.8%) off.
    Percentile(f64),
    /// What minimizes the squared error, clipping and rounding together, on the scheme's own grid.
    Mse,
    /// What loses the least information when the distribution is squeezed into the codes: the threshold on magnitudes
    /// with the least Kullback-Leibler divergence (TensorRT's criterion), found over 16 bins for each code (2,032 for 127
    /// codes on either side of zero, 4,080 for 255 on one). At most a tenth of the numbers is clipped. Numbers that are
    /// exactly zero are left out: zero has a code of its own at any threshold.
    Entropy,
}

/// The interval that `range` chooses, of numbers that lie in `all`.
pub(super) fn choose(range: Range, scheme: &Scheme, masses: &[Mass], all: Interval) -> Result<Interval> {
    match range {
        Range::MinMax => Ok(all),
        Range::Percentile(p) => percentile(p, scheme, masses, all),
        Range::Mse => search::least_squares(scheme, masses, all),
        Range::Entropy => Ok(entropy::threshold(scheme, masses, all)),
    }
}

fn percentile(p: f64, scheme: &Scheme, masses: &[Mass], all: Interval) -> Result<Interval> {
    if !(p > 50.0 && p <= 100.0) {
        return Err(Error::out_of_range("percentile", p, "above 50 and at most 100"));
    }
    if scheme.is_symmetric() {
        let magnitude = quantile(&magnitudes(masses), p / 100.0).min(f64::from(all.magnitude())) as f32;
        return Ok(Interval { min: -magnitude, max: magnitude });
    }
    let cut = (100.0 - p) / 200.0;
    let (min, max) = (quantile(masses, cut) as f32, quantile(masses, 1.0 - cut) as f32);
    Ok(Interval { min: min.max(all.min), max: max.min(all.max).max(min.max(all.min)) })
}

/// The number that a fraction of all numbers does not exceed, interpolated between the two neighbouring ranks.
fn quantile(masses: &[Mass], fraction: f64) -> f64 {
    let count: u64 = masses.iter().map(|mass| mass.count).sum();
    let rank = fraction.clamp(0.0, 1.0) * count.saturating_sub(1) as f64;
    let (low, high) = (at_rank(masses, rank.floor() as u64), at_rank(masses, rank.ceil() as u64));
    low + (high - low) * rank.fract()
}

/// The number of that rank (from 0), if those of a bin are spread evenly.
fn at_rank(masses: &[Mass], rank: u64) -> f64 {
    let mut before = 0;
    for mass in masses {
        if rank < before + mass.count {
            let share = ((rank - before) as f64 + 0.5) / mass.count as f64;
            return mass.low + (mass.high - mass.low) * share;
        }
        before += mass.count;
    }
    masses.last().map_or(0.0, |mass| mass.high)
}

/// The same numbers without their signs, by ascending magnitude.
fn magnitudes(masses: &[Mass]) -> Vec<Mass> {
    let mut magnitudes: Vec<Mass> = masses
        .iter()
        .map(|&mass| {
            if mass.center >= 0.0 {
                return mass;
            }
            Mass { low: -mass.high, high: -mass.low, center: -mass.center, ..mass }
        })
        .collect();
    magnitudes.sort_by(|a, b| a.center.total_cmp(&b.center));
    magnitudes
}

/// What parameters per tensor do to these numbers.
pub(super) fn estimate(masses: &[Mass], params: &Params) -> Distortion {
    let view = params.view();
    let (scale, zero_point) = match (view.scales(), view.zero_points()) {
        ([scale, ..], [zero_point, ..]) => (*scale, *zero_point),
        _ => return Distortion::default(),
    };
    let (lowest, highest) = params.limits();
    let grid = search::Grid::new(scale, lowest - zero_point, highest - zero_point);
    let mut total = Distortion::default();
    let mut saturated = 0.0;
    for mass in masses {
        let cost = grid.cost(mass);
        let count = mass.count as f64;
        let half = (mass.high - mass.low) / 2.0;
        total.count += mass.count;
        saturated += cost.saturated * count;
        total.clipping += cost.clipping * count;
        total.rounding += cost.rounding * count;
        total.signal += (mass.center * mass.center + half * half / 3.0) * count;
    }
    total.saturated = saturated.round() as u64;
    total
}
