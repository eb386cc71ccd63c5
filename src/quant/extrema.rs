//! The smallest and the largest value of an array or of each of its channels, and where the first number is that is not
//! finite. One pass over memory.

use super::channels::Channels;
use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::{Operation, PIECE, Token, for_each_piece, reduce_pieces};

/// From the smallest to the largest value, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The smallest.
    pub min: f32,
    /// The largest.
    pub max: f32,
}

impl Interval {
    /// An interval, whose ends are finite and in order.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when they are not.
    pub fn new(min: f32, max: f32) -> Result<Self> {
        if !(min.is_finite() && max.is_finite() && min <= max) {
            return Err(Error::out_of_range("interval", format!("{min}..={max}"), "finite and in order"));
        }
        Ok(Interval { min, max })
    }

    /// The largest magnitude.
    pub fn magnitude(self) -> f32 {
        self.min.abs().max(self.max.abs())
    }

    /// What both cover and all between them.
    #[must_use]
    pub fn union(self, other: Interval) -> Interval {
        Interval { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// What a pass finds. Comparisons only, so exact in any order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extrema {
    pub(crate) min: f32,
    pub(crate) max: f32,
    /// The largest bits without the sign: an infinity or a NaN shows as [`INFINITE`] or more.
    magnitude: u32,
}

const INFINITE: u32 = 0x7f80_0000;

impl Extrema {
    pub(super) const NONE: Extrema = Extrema { min: f32::INFINITY, max: f32::NEG_INFINITY, magnitude: 0 };

    /// Those of a single 0.
    #[cfg(feature = "linear")]
    pub(crate) const ZERO: Extrema = Extrema { min: 0.0, max: 0.0, magnitude: 0 };

    /// To add many values to.
    #[inline(always)]
    pub(crate) fn wide(self) -> Wide {
        Wide { min: [self.min; LANES], max: [self.max; LANES], magnitude: [self.magnitude; LANES] }
    }

    #[inline(always)]
    pub(crate) fn union(mut self, other: Extrema) -> Extrema {
        self.min = if other.min < self.min { other.min } else { self.min };
        self.max = if other.max > self.max { other.max } else { self.max };
        self.magnitude = self.magnitude.max(other.magnitude);
        self
    }

    pub(crate) fn is_finite(self) -> bool {
        self.magnitude < INFINITE
    }

    /// The interval, with a positive zero for both zeros.
    pub(super) fn interval(self) -> Interval {
        Interval { min: self.min + 0.0, max: self.max + 0.0 }
    }
}

/// The interval of each channel of `values`, which has at least one element; `found` has a place for each channel.
///
/// # Errors
/// [`Error::NotFinite`], naming `argument` and the first NaN or infinity.
pub(super) fn intervals<E: Element>(
    context: &Context,
    argument: &'static str,
    values: &[E],
    channels: Channels,
    found: &mut [Extrema],
) -> Result<()> {
    let isa = context.isa();
    if channels.count == 1 {
        let map = |range: std::ops::Range<usize>| isa.run(Scan { values: &values[range] });
        let all = reduce_pieces(context, values.len(), PIECE, Extrema::NONE, map, Extrema::union);
        found.iter_mut().for_each(|found| *found = all);
    } else if channels.inner == 1 {
        for_each_piece(context, &mut *found, COLUMNS, |first, found: &mut [Extrema]| {
            isa.run(ScanColumns { values, count: channels.count, first, found });
        });
    } else {
        for_each_piece(context, &mut *found, 1, |channel, found: &mut [Extrema]| {
            isa.run(ScanChannel { values, channels, channel, found });
        });
    }
    if found.iter().all(|extrema| extrema.is_finite()) {
        return Ok(());
    }
    Err(first_not_finite(argument, values))
}

fn first_not_finite<E: Element>(argument: &'static str, values: &[E]) -> Error {
    let (index, value) = values
        .iter()
        .map(|&value| Element::to_f32(value))
        .enumerate()
        .find(|(_, value)| !value.is_finite())
        .unwrap_or((0, f32::NAN));
    Error::NotFinite { argument: argument.into(), index, value }
}

/// Two vectors of 16: a comparison waits for the one before.
const LANES: usize = 32;
const BUFFER: usize = 256;
const COLUMNS: usize = 64;

/// All values together.
struct Scan<'a, E> {
    values: &'a [E],
}

impl<E: Element> Operation for Scan<'_, E> {
    type Output = Extrema;
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) -> Extrema {
        scan(token, self.values)
    }
}

#[inline(always)]
fn scan<E: Element, T: Token>(token: T, values: &[E]) -> Extrema {
    let mut buffer = [0.0; BUFFER];
    let mut wide = Extrema::NONE.wide();
    for values in values.chunks(BUFFER) {
        wide.add(E::widened(token, values, &mut buffer));
    }
    wide.all()
}

/// [`Extrema`] in several lanes, so that a vector of values is added at once.
#[derive(Clone, Copy)]
pub(crate) struct Wide {
    min: [f32; LANES],
    max: [f32; LANES],
    magnitude: [u32; LANES],
}

impl Wide {
    #[inline(always)]
    pub(crate) fn add(&mut self, values: &[f32]) {
        // Copies of its own, which stay in registers.
        let Wide { mut min, mut max, mut magnitude } = *self;
        let (vectors, rest) = values.as_chunks::<LANES>();
        for vector in vectors {
            for lane in 0..LANES {
                let x = vector[lane];
                min[lane] = if x < min[lane] { x } else { min[lane] };
                max[lane] = if x > max[lane] { x } else { max[lane] };
                let bits = x.to_bits() & 0x7fff_ffff;
                magnitude[lane] = if bits > magnitude[lane] { bits } else { magnitude[lane] };
            }
        }
        if let Some(&first) = rest.first() {
            // A whole vector: lanes taken one by one would be kept one by one. Some twice, rather than a copy of any length.
            let mut last = [first; LANES];
            match values.last_chunk() {
                Some(values) => last = *values,
                None => last[..rest.len()].copy_from_slice(rest),
            }
            for lane in 0..LANES {
                let x = last[lane];
                min[lane] = if x < min[lane] { x } else { min[lane] };
                max[lane] = if x > max[lane] { x } else { max[lane] };
                let bits = x.to_bits() & 0x7fff_ffff;
                magnitude[lane] = if bits > magnitude[lane] { bits } else { magnitude[lane] };
            }
        }
        *self = Wide { min, max, magnitude };
    }

    #[inline(always)]
    pub(crate) fn all(self) -> Extrema {
        let Wide { mut min, mut max, mut magnitude } = self;
        // By halves: lane after lane, each would wait for the one before.
        let mut width = LANES / 2;
        while width > 0 {
            for lane in 0..width {
                let (x, y) = (min[lane + width], max[lane + width]);
                min[lane] = if x < min[lane] { x } else { min[lane] };
                max[lane] = if y > max[lane] { y } else { max[lane] };
                magnitude[lane] = magnitude[lane].max(magnitude[lane + width]);
            }
            width /= 2;
        }
        Extrema { min: min[0], max: max[0], magnitude: magnitude[0] }
    }
}

/// One channel that lies in stretches of `inner` elements.
struct ScanChannel<'a, E> {
    values: &'a [E],
    channels: Channels,
    channel: usize,
    found: &'a mut [Extrema],
}

impl<E: Element> Operation for ScanChannel<'_, E> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        let Channels { count, inner } = self.channels;
        let mut all = Extrema::NONE;
        for block in self.values.chunks_exact(count * inner) {
            all = all.union(scan(token, &block[self.channel * inner..(self.channel + 1) * inner]));
        }
        self.found.iter_mut().for_each(|found| *found = all);
    }
}

/// At most [`COLUMNS`] neighbouring channels, one element of each in every row of `count`.
struct ScanColumns<'a, E> {
    values: &'a [E],
    count: usize,
    first: usize,
    found: &'a mut [Extrema],
}

impl<E: Element> Operation for ScanColumns<'_, E> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        let columns = self.found.len().min(COLUMNS);
        let mut buffer = [0.0; COLUMNS];
        let mut min = [f32::INFINITY; COLUMNS];
        let mut max = [f32::NEG_INFINITY; COLUMNS];
        let mut magnitude = [0_u32; COLUMNS];
        for row in self.values.chunks_exact(self.count) {
            let row = E::widened(token, &row[self.first..self.first + columns], &mut buffer);
            for (((&x, min), max), magnitude) in row.iter().zip(&mut min).zip(&mut max).zip(&mut magnitude) {
                *min = if x < *min { x } else { *min };
                *max = if x > *max { x } else { *max };
                let bits = x.to_bits() & 0x7fff_ffff;
                *magnitude = if bits > *magnitude { bits } else { *magnitude };
            }
        }
        for (column, found) in self.found.iter_mut().enumerate().take(columns) {
            *found = Extrema { min: min[column], max: max[column], magnitude: magnitude[column] };
        }
    }
}
