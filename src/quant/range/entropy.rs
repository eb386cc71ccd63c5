//! The threshold with the least Kullback-Leibler divergence between the numbers and what their codes can tell of them.

use super::super::extrema::Interval;
use super::super::histogram::Mass;
use super::super::scheme::Scheme;
use super::magnitudes;

/// Bins for each code.
const FINE: usize = 16;
/// At most this part of the numbers is clipped.
const MOST_CLIPPED: f64 = 0.1;

/// The interval that the threshold leaves of `all`.
pub(super) fn threshold(scheme: &Scheme, masses: &[Mass], all: Interval) -> Interval {
    let (lowest, highest) = scheme.code_limits();
    let one_sided = !scheme.is_symmetric() && (all.min >= 0.0 || all.max <= 0.0);
    let codes = if one_sided { highest - lowest } else { (highest - lowest) / 2 }.max(1);
    let mut masses = magnitudes(masses);
    masses.retain(|mass| mass.high > 0.0);
    let total: f64 = masses.iter().map(|mass| mass.count as f64).sum();

    let mut best = (f64::INFINITY, f64::from(all.magnitude()));
    let mut bins = vec![0.0; codes as usize * FINE];
    let mut clipped = 0.0;
    // The upper ends of the occupied bins, from the largest down.
    for index in (0..masses.len()).rev() {
        let Some((kept, _)) = masses.split_at_checked(index + 1) else { continue };
        let limit = kept.last().map_or(0.0, |mass| mass.high);
        if clipped > MOST_CLIPPED * total {
            break;
        }
        spread(kept, limit, &mut bins);
        let divergence = divergence(&bins, clipped, total);
        if divergence < best.0 {
            best = (divergence, limit);
        }
        clipped += kept.last().map_or(0.0, |mass| mass.count as f64);
    }
    let limit = best.1 as f32;
    if scheme.is_symmetric() {
        return Interval { min: -limit, max: limit };
    }
    // A limit below the smallest number cannot come out: its numbers would all be clipped.
    let (min, max) = (all.min.max(-limit), all.max.min(limit));
    Interval { min: min.min(max), max: max.max(min) }
}

/// The masses, as counts in bins of equal width from 0 to `limit`.
fn spread(masses: &[Mass], limit: f64, bins: &mut [f64]) {
    bins.fill(0.0);
    let last = bins.len() - 1;
    let per_unit = bins.len() as f64 / limit;
    for mass in masses {
        let (from, to) = (mass.low * per_unit, mass.high * per_unit);
        let (first, end) = ((from as usize).min(last), (to as usize).min(last));
        if first == end {
            bins[first] += mass.count as f64;
            continue;
        }
        let density = mass.count as f64 / (to - from);
        for (bin, count) in bins.iter_mut().enumerate().take(end + 1).skip(first) {
            let upper = if bin == last { to } else { to.min(bin as f64 + 1.0) };
            *count += density * (upper - from.max(bin as f64)).max(0.0);
        }
    }
}

/// The divergence of the codes' distribution (flat over the occupied bins of a code) from the numbers' (what is clipped
/// counts in the last bin).
fn divergence(bins: &[f64], clipped: f64, total: f64) -> f64 {
    // Stands for the empty last bins of the codes: a divergence that is large, not infinite.
    const SMALLEST: f64 = 1e-9;
    let kept = total - clipped;
    let mut sum = 0.0;
    let last_code = bins.len() / FINE - 1;
    for (code, bins) in bins.chunks_exact(FINE).enumerate() {
        let occupied = bins.iter().filter(|&&count| count > 0.0).count();
        let flat = bins.iter().sum::<f64>() / occupied.max(1) as f64 / kept;
        for (index, &count) in bins.iter().enumerate() {
            let extra = if code == last_code && index == FINE - 1 { clipped } else { 0.0 };
            let expected = if count > 0.0 { flat } else { SMALLEST };
            let p = (count + extra) / total;
            if p > 0.0 {
                sum += p * (p / expected).ln();
            }
        }
    }
    sum
}
