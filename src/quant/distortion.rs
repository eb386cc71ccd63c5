//! What quantization costs: the error of clipping and the error of rounding, apart.

use super::channels::Channels;
use super::elementwise::{CHUNK, Grids};
use super::params::{Params, ParamsView};
use super::rounding::{Arithmetic, Divide, Grid, Reciprocal, Rounder, Shifted};
use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::{Operation, PIECE, Token, reduce_pieces};
use crate::row_major::row_major;
use ndarray::{ArrayView, Dimension};
use std::fmt;

/// The error of representing values by codes. Data to compute with; `Display` puts it in words.
///
/// Sums add up: the distortion of two arrays together is the [sum](std::ops::Add) of theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distortion {
    /// How many values.
    pub count: u64,
    /// How many of them have no code of their own, because they lie beyond the limits.
    pub saturated: u64,
    /// The sum of the squared errors of those: what a wider range would save.
    pub clipping: f64,
    /// The sum of the squared errors of all other values: what finer steps would save.
    pub rounding: f64,
    /// The sum of the squares of the values.
    pub signal: f64,
}

impl Distortion {
    /// Measures what `params` do to `values`.
    ///
    /// Sums are made in f64 in a fixed order: the same at any thread count and on every instruction set.
    ///
    /// ```
    /// use ndarray::array;
    /// use tersor::quant::{CodeType, Distortion, Params};
    ///
    /// let params = Params::new(CodeType::U8, vec![1.0], vec![0], None)?;
    /// let distortion = Distortion::measure(array![0.5_f32, 3.0, 257.0].view(), &params)?;
    /// assert_eq!((distortion.rounding, distortion.clipping, distortion.saturated), (0.25, 4.0, 1));
    /// # Ok::<(), tersor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when the parameters are per channel and the axis has another length; [`Error::NotFinite`].
    pub fn measure<E: Element, D: Dimension>(values: ArrayView<'_, E, D>, params: &Params) -> Result<Self> {
        let params = params.view();
        let channels = params.check_shape("values", values.shape())?;
        let context = Context::current()?;
        let isa = context.isa();
        let values = row_major(values);
        let map = |range: std::ops::Range<usize>| {
            let start = range.start;
            let values = &values[range];
            match params.arithmetic() {
                Arithmetic::Divide => isa.run(Measure { params, channels, start, values, rounder: Divide }),
                Arithmetic::Reciprocal => {
                    isa.run(Measure { params, channels, start, values, rounder: Reciprocal })
                }
                Arithmetic::Shifted => isa.run(Measure { params, channels, start, values, rounder: Shifted }),
            }
        };
        let total = reduce_pieces(&context, values.len(), PIECE, Distortion::default(), map, |a, b| a + b);
        let not_finite = |value: &E| !Element::to_f32(*value).is_finite();
        if !total.signal.is_finite()
            && let Some(index) = values.iter().position(not_finite)
        {
            let value = values.get(index).map_or(f32::NAN, |&value| Element::to_f32(value));
            return Err(Error::NotFinite { argument: "values".into(), index, value });
        }
        Ok(total)
    }

    /// The mean squared error; 0 without values.
    pub fn mean_squared_error(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.clipping + self.rounding) / self.count as f64 }
    }

    /// The ratio of signal to quantization noise in decibels; infinite without an error.
    pub fn sqnr_db(&self) -> f64 {
        let noise = self.clipping + self.rounding;
        if noise == 0.0 { f64::INFINITY } else { 10.0 * (self.signal / noise).log10() }
    }
}

impl std::ops::Add for Distortion {
    type Output = Distortion;

    fn add(self, other: Distortion) -> Distortion {
        Distortion {
            count: self.count + other.count,
            saturated: self.saturated + other.saturated,
            clipping: self.clipping + other.clipping,
            rounding: self.rounding + other.rounding,
            signal: self.signal + other.signal,
        }
    }
}

impl fmt::Display for Distortion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |part: f64| if self.signal == 0.0 { 0.0 } else { part / self.signal };
        write!(
            f,
            "{:.1} dB (clipping {:.1e}, rounding {:.1e} of the signal; {} of {} saturated)",
            self.sqnr_db(),
            share(self.clipping),
            share(self.rounding),
            self.saturated,
            self.count
        )
    }
}

struct Measure<'a, E, R> {
    params: ParamsView<'a>,
    channels: Channels,
    start: usize,
    values: &'a [E],
    rounder: R,
}

/// What one value adds to the sums.
#[derive(Clone, Copy, Default)]
struct Cost {
    error: f64,
    signal: f64,
    saturated: bool,
}

impl<E: Element, R: Rounder> Operation for Measure<'_, E, R> {
    type Output = Distortion;
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) -> Distortion {
        const LANES: usize = 8;
        let mut wide = [0.0; CHUNK];
        let mut costs = [Cost::default(); CHUNK];
        let rounder = self.rounder;
        let mut total = Distortion { count: self.values.len() as u64, ..Distortion::default() };
        self.params.for_each_chunk(
            self.channels,
            self.start,
            self.values.len(),
            |range, grids: Grids<'_>| {
                let values = E::widened(token, &self.values[range.clone()], &mut wide);
                let costs = &mut costs[..range.len()];
                grids.map(values, costs, |x, grid: Grid| {
                    let error = f64::from(x) - f64::from(rounder.steps(x, grid) * grid.scale);
                    Cost {
                        error: error * error,
                        signal: f64::from(x) * f64::from(x),
                        saturated: !rounder.inside(x, grid),
                    }
                });
                // Eight sums, whatever the instruction set: the order of the additions is part of the result.
                let mut sums = [Distortion::default(); LANES];
                for costs in costs.chunks(LANES) {
                    for (sum, cost) in sums.iter_mut().zip(costs) {
                        sum.saturated += u64::from(cost.saturated);
                        sum.clipping += if cost.saturated { cost.error } else { 0.0 };
                        sum.rounding += if cost.saturated { 0.0 } else { cost.error };
                        sum.signal += cost.signal;
                    }
                }
                total = sums.into_iter().fold(total, |a, b| a + b);
            },
        );
        total
    }
}
