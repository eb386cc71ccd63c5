//! Observers: statistics of what flows through a network, from which activations get their parameters.

use super::exact_sum::ExactSum;
use super::extrema::Interval;
use super::params::Params;
use super::range::Range;
use super::scheme::{Scheme, measure};
use crate::element::Element;
use crate::error::{Error, Result};
use ndarray::{ArrayView, Axis, Dimension};

/// Sees batch after batch, remembers a fixed amount, and gives parameters in the end.
///
/// | observer | remembers | answers | depends on the order of batches |
/// |---|---|---|---|
/// | [`MinMax`] | minimum and maximum, per tensor or per channel | [`Range::MinMax`] | no |
/// | [`MeanRange`] | the exact sums of the batches' minima and maxima | [`Range::MinMax`] | no |
/// | [`MovingAverage`] | two numbers | [`Range::MinMax`] | yes, by definition |
/// | [`Histogram`](super::Histogram) | 65,536 counts | every [`Range`] | no |
///
/// ```
/// use ndarray::array;
/// use tersor::quant::{MinMax, Observer, Range, Scheme};
///
/// let mut observer = MinMax::new();
/// observer.observe(array![[0.0_f32, 1.5], [3.0, 0.5]].view())?;
/// observer.observe(array![[-0.5_f32, 0.25]].view())?;
/// let params = observer.params(&Scheme::uint8().affine(), Range::MinMax)?;
/// assert_eq!((params.scales(), params.zero_points()), (&[3.5 / 255.0][..], &[36][..]));
/// # Ok::<(), tersor::Error>(())
/// ```
pub trait Observer {
    /// Takes a batch into account.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the first NaN or infinity, [`Error::Empty`]; the observer is then as it was.
    fn observe<E: Element, D: Dimension>(&mut self, values: ArrayView<'_, E, D>) -> Result<()>;

    /// What should be represented: one interval, or one for each channel if the scheme is per channel.
    ///
    /// # Errors
    /// [`Error::Empty`] before the first batch; [`Error::Unsupported`] when this observer cannot answer the range, or has
    /// not looked at the channels of the scheme; [`Error::OutOfRange`] for a percentile that makes no sense.
    fn intervals(&self, scheme: &Scheme, range: Range) -> Result<Vec<Interval>>;

    /// The parameters: the scheme's for [`intervals`](Observer::intervals).
    ///
    /// # Errors
    /// As [`intervals`](Observer::intervals) and [`Scheme::params_for`].
    fn params(&self, scheme: &Scheme, range: Range) -> Result<Params> {
        scheme.params_for(&self.intervals(scheme, range)?)
    }
}

pub(super) fn nothing_observed() -> Error {
    Error::Empty { argument: "observations".into() }
}

/// What to say to a scheme per channel whose channels were not looked at.
pub(super) fn not_per_channel(scheme: &Scheme) -> Result<()> {
    match scheme.axis() {
        None => Ok(()),
        Some(Axis(axis)) => Err(Error::Unsupported {
            what: format!("a scheme per channel of axis {axis} from an observer of the whole tensor"),
            instead: format!("use a scheme per tensor, or MinMax::per_channel(Axis({axis}))"),
        }),
    }
}

fn only_min_max(range: Range, observer: &str) -> Result<()> {
    match range {
        Range::MinMax => Ok(()),
        _ => Err(Error::Unsupported {
            what: format!("{range:?} from {observer}"),
            instead: "use a Histogram, which answers every range".into(),
        }),
    }
}

/// The smallest and the largest value ever seen, of the whole tensor or of each channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MinMax {
    axis: Option<usize>,
    /// Empty before the first batch.
    intervals: Vec<Interval>,
}

impl MinMax {
    /// Of the whole tensor.
    pub fn new() -> Self {
        MinMax::default()
    }

    /// Of each index along an axis. All batches have the same length along it.
    pub fn per_channel(axis: Axis) -> Self {
        MinMax { axis: Some(axis.0), intervals: Vec::new() }
    }

    /// Takes into account what another observer of the same kind has seen.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the other looks at other channels.
    pub fn merge(&mut self, other: &MinMax) -> Result<()> {
        let same = self.intervals.len() == other.intervals.len();
        if self.axis != other.axis || !(same || self.intervals.is_empty() || other.intervals.is_empty()) {
            return Err(Error::Unsupported {
                what: format!(
                    "merging {} channels of axis {:?} into {} of axis {:?}",
                    other.intervals.len(),
                    other.axis,
                    self.intervals.len(),
                    self.axis
                ),
                instead: "merge observers of the same channels".into(),
            });
        }
        self.unite(&other.intervals);
        Ok(())
    }

    fn unite(&mut self, intervals: &[Interval]) {
        if self.intervals.is_empty() {
            self.intervals = intervals.to_vec();
        }
        for (mine, other) in self.intervals.iter_mut().zip(intervals) {
            *mine = mine.union(*other);
        }
    }
}

impl Observer for MinMax {
    fn observe<E: Element, D: Dimension>(&mut self, values: ArrayView<'_, E, D>) -> Result<()> {
        if let Some(axis) = self.axis
            && let Some(&len) = values.shape().get(axis)
            && !self.intervals.is_empty()
            && len != self.intervals.len()
        {
            let expected = format!("of {} elements along axis {axis}, as before", self.intervals.len());
            return Err(Error::shape("values", values.shape(), expected));
        }
        let found = measure("values", values, self.axis)?;
        self.unite(&found);
        Ok(())
    }

    fn intervals(&self, scheme: &Scheme, range: Range) -> Result<Vec<Interval>> {
        only_min_max(range, "MinMax")?;
        let all = self.intervals.iter().copied().reduce(Interval::union).ok_or_else(nothing_observed)?;
        match (scheme.axis(), self.axis) {
            (None, _) => Ok(vec![all]),
            (Some(wanted), Some(axis)) if wanted.0 == axis => Ok(self.intervals.clone()),
            _ => not_per_channel(scheme).map(|()| Vec::new()),
        }
    }
}

/// torch's moving average of the batches' minima and maxima: `min += c * (batch_min - min)`, in f32.
///
/// Depends on the order of the batches by definition; [`MeanRange`] does not.
#[derive(Clone, Debug, PartialEq)]
pub struct MovingAverage {
    constant: f32,
    pub(super) interval: Option<Interval>,
}

impl Default for MovingAverage {
    /// With torch's constant, 0.01.
    fn default() -> Self {
        MovingAverage { constant: 0.01, interval: None }
    }
}

impl MovingAverage {
    /// With another constant: the weight of the newest batch.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] unless it is above 0 and at most 1.
    pub fn new(constant: f32) -> Result<Self> {
        if !(constant > 0.0 && constant <= 1.0) {
            return Err(Error::out_of_range("constant", constant, "above 0 and at most 1"));
        }
        Ok(MovingAverage { constant, interval: None })
    }
}

impl Observer for MovingAverage {
    fn observe<E: Element, D: Dimension>(&mut self, values: ArrayView<'_, E, D>) -> Result<()> {
        let constant = self.constant;
        let step = |old: f32, new: f32| {
            let moved = old + constant * (new - old);
            // The difference of huge numbers of both signs overflows; their average does not.
            if moved.is_finite() { moved } else { old * (1.0 - constant) + new * constant }
        };
        for found in measure("values", values, None)? {
            self.interval = Some(match self.interval {
                None => found,
                Some(old) => {
                    let (min, max) = (step(old.min, found.min), step(old.max, found.max));
                    // Where the batches' magnitudes are far apart, rounding can bring the ends out of order.
                    Interval { min: min.min(max), max: max.max(min) }
                }
            });
        }
        Ok(())
    }

    fn intervals(&self, scheme: &Scheme, range: Range) -> Result<Vec<Interval>> {
        only_min_max(range, "MovingAverage")?;
        not_per_channel(scheme)?;
        Ok(vec![self.interval.ok_or_else(nothing_observed)?])
    }
}

/// The mean of the batches' minima and the mean of their maxima, summed exactly: independent of the order of batches, and
/// of how they were split over observers that are [merged](MeanRange::merge).
///
/// This is what onnxruntime's calibrator calls `moving_average`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeanRange {
    pub(super) batches: u64,
    pub(super) min: ExactSum,
    pub(super) max: ExactSum,
}

impl MeanRange {
    /// Nothing seen yet.
    pub fn new() -> Self {
        MeanRange::default()
    }

    /// Takes into account what another observer has seen.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when there would be more batches than a `u64` counts; nothing has changed then.
    pub fn merge(&mut self, other: &MeanRange) -> Result<()> {
        self.batches = self.batches.checked_add(other.batches).ok_or_else(|| {
            let found = format!("{} and {} more", self.batches, other.batches);
            Error::out_of_range("batches", found, format!("at most {} in all", u64::MAX))
        })?;
        self.min.merge(&other.min);
        self.max.merge(&other.max);
        Ok(())
    }
}

impl Observer for MeanRange {
    fn observe<E: Element, D: Dimension>(&mut self, values: ArrayView<'_, E, D>) -> Result<()> {
        for found in measure("values", values, None)? {
            self.batches = self.batches.saturating_add(1);
            self.min.add(found.min);
            self.max.add(found.max);
        }
        Ok(())
    }

    fn intervals(&self, scheme: &Scheme, range: Range) -> Result<Vec<Interval>> {
        only_min_max(range, "MeanRange")?;
        not_per_channel(scheme)?;
        Ok(vec![self.interval().ok_or_else(nothing_observed)?])
    }
}
