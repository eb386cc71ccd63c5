//! One sketch of fixed size that answers every range.
//!
//! A bin holds the numbers that share the upper half of their bits: sign, exponent and 7 bits of mantissa, so it is less
//! than 0.8% of its values wide at any magnitude. Beside the count it keeps the exact sum of the lower halves, hence the
//! exact mean of its values. All of it is integer addition: the order of batches does not matter, merging is exact, and
//! nothing grows.

use super::channels::Channels;
use super::distortion::Distortion;
use super::extrema::{Extrema, Interval, intervals};
use super::observer::{Observer, not_per_channel, nothing_observed};
use super::params::Params;
use super::range::{Range, choose};
use super::scheme::Scheme;
use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::row_major::row_major;
use ndarray::{ArrayView, Dimension};
use std::fmt;

/// The observer that answers every [`Range`], in 1 MiB whatever it sees.
///
/// ```
/// use ndarray::Array1;
/// use tersor::quant::{Histogram, Observer, Range, Scheme};
///
/// let mut histogram = Histogram::new();
/// histogram.observe(Array1::from_iter((0..10_000).map(|i| i as f32 / 100.0)).view())?;
/// histogram.observe(Array1::from_elem(1, 1e6_f32).view())?; // an outlier
///
/// let scheme = Scheme::uint8().affine();
/// let all = histogram.params(&scheme, Range::MinMax)?.scales()[0] * 255.0;
/// let most = histogram.params(&scheme, Range::Percentile(99.9))?.scales()[0] * 255.0;
/// assert!(all > 999_999.0 && most < 101.0);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct Histogram {
    pub(super) bins: Vec<Bin>,
    pub(super) count: u64,
    pub(super) interval: Option<Interval>,
}

/// Plain data: how many numbers have this upper half, and the sum of their lower halves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bin {
    pub(super) count: u64,
    pub(super) lower: u64,
}

pub(super) const BINS: usize = 1 << 16;

/// More numbers than this could overflow the sum of lower halves.
pub(super) const MAX_COUNT: u64 = 1 << 47;

impl Default for Histogram {
    fn default() -> Self {
        Histogram { bins: vec![Bin::default(); BINS], count: 0, interval: None }
    }
}

impl Histogram {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Histogram::default()
    }

    /// How many numbers were seen.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest and the largest of them, exactly; `None` before the first batch.
    pub fn interval(&self) -> Option<Interval> {
        self.interval
    }

    /// The size in bytes, which never changes.
    pub fn bytes(&self) -> usize {
        size_of::<Histogram>() + self.bins.len() * size_of::<Bin>()
    }

    /// Takes into account what another histogram has seen: the same as having seen it here.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when there would be more than 2^47 numbers, which the sums have no room for; nothing has
    /// changed then.
    pub fn merge(&mut self, other: &Histogram) -> Result<()> {
        self.check_room(other.count)?;
        for (bin, other) in self.bins.iter_mut().zip(&other.bins) {
            bin.count += other.count;
            bin.lower += other.lower;
        }
        self.count += other.count;
        self.extend(other.interval);
        Ok(())
    }

    /// What `params` would do to everything that was seen. An estimate, which takes the numbers of a bin to be spread
    /// evenly around their mean; [`Distortion::measure`] is exact, but needs the numbers.
    ///
    /// # Errors
    /// [`Error::Empty`] before the first batch, [`Error::Unsupported`] when the parameters are per channel.
    pub fn distortion(&self, params: &Params) -> Result<Distortion> {
        if let Some(axis) = params.axis() {
            return Err(Error::Unsupported {
                what: format!("parameters per channel of axis {} for the whole tensor", axis.0),
                instead: "use parameters per tensor".into(),
            });
        }
        if self.count == 0 {
            return Err(nothing_observed());
        }
        Ok(super::range::estimate(&self.masses(), params))
    }

    /// Whether so many more numbers may be counted.
    fn check_room(&self, more: u64) -> Result<()> {
        match self.count.checked_add(more) {
            Some(count) if count <= MAX_COUNT => Ok(()),
            _ => Err(Error::out_of_range(
                "count",
                format!("{} and {more} more", self.count),
                format!("at most {MAX_COUNT} in all"),
            )),
        }
    }

    fn extend(&mut self, found: Option<Interval>) {
        self.interval = match (self.interval, found) {
            (Some(mine), Some(found)) => Some(mine.union(found)),
            (mine, found) => mine.or(found),
        };
    }

    /// The occupied bins, by ascending value.
    fn masses(&self) -> Vec<Mass> {
        let Some(Interval { min, max }) = self.interval else { return Vec::new() };
        let (positive, negative) = self.bins.split_at(BINS / 2);
        let mass = |index: usize, bin: &Bin| {
            let (low, high) = (edge(index), edge(index + 1));
            let center = low + (high - low) * (bin.lower as f64 / bin.count as f64) / 65536.0;
            Mass { low, high, center, count: bin.count }
        };
        let occupied = |(_, bin): &(usize, &Bin)| bin.count > 0;
        let negative = negative.iter().enumerate().filter(occupied).rev().map(|(index, bin)| {
            let mass = mass(index, bin);
            Mass { low: -mass.high, high: -mass.low, center: -mass.center, ..mass }
        });
        let positive = positive.iter().enumerate().filter(occupied).map(|(index, bin)| mass(index, bin));
        negative.chain(positive).map(|mass| mass.narrowed(f64::from(min), f64::from(max))).collect()
    }
}

impl Observer for Histogram {
    fn observe<E: Element, D: Dimension>(&mut self, values: ArrayView<'_, E, D>) -> Result<()> {
        if values.is_empty() {
            return Err(Error::Empty { argument: "values".into() });
        }
        self.check_room(values.len() as u64)?;
        let values = row_major(values);
        let mut found = [Extrema::NONE];
        // First, so that nothing is counted of a batch that is refused.
        intervals(&Context::current()?, "values", &values, Channels::new(&[], None), &mut found)?;
        for value in values.iter() {
            // The addition turns the negative zero into the positive one.
            let bits = (Element::to_f32(*value) + 0.0).to_bits();
            if let Some(bin) = self.bins.get_mut((bits >> 16) as usize) {
                bin.count += 1;
                bin.lower += u64::from(bits & 0xffff);
            }
        }
        self.count += values.len() as u64;
        self.extend(Some(found[0].interval()));
        Ok(())
    }

    fn intervals(&self, scheme: &Scheme, range: Range) -> Result<Vec<Interval>> {
        not_per_channel(scheme)?;
        let all = self.interval.ok_or_else(nothing_observed)?;
        Ok(vec![match range {
            Range::MinMax => all,
            _ => choose(range, scheme, &self.masses(), all)?,
        }])
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.interval {
            Some(Interval { min, max }) => write!(f, "Histogram({} numbers in {min}..={max})", self.count),
            None => f.write_str("Histogram(nothing)"),
        }
    }
}

/// The smallest magnitude of the positive bin `index`.
fn edge(index: usize) -> f64 {
    let edge = f32::from_bits((index as u32) << 16);
    if edge.is_finite() { f64::from(edge) } else { 2.0_f64.powi(128) }
}

/// Numbers somewhere in `low..=high` (in one point, if these are equal), with their mean in the middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mass {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) center: f64,
    pub(super) count: u64,
}

impl Mass {
    /// As wide as the exact mean and the exact extremes allow: a bin that holds one number, or only its lower end (every
    /// number with few mantissa bits is one: a small integer, say), is a point.
    fn narrowed(self, min: f64, max: f64) -> Mass {
        let (low, high) = (self.low.max(min), self.high.min(max));
        let half = (self.center - low).min(high - self.center).max(0.0);
        let half = if self.count == 1 { 0.0 } else { half };
        Mass { low: self.center - half, high: self.center + half, ..self }
    }
}
