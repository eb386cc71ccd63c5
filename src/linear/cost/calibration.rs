//! What was measured: a few tables for each kernel, and what threads give and cost.

use super::super::layout::{Format, LANES};
use super::grid::Grid;

/// Rows of `x` for which the time of an output is measured. More rows than there are here run as several of these.
const ROWS: [f64; 18] = [1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15., 16., 32., 64.];

/// The same where panels are filled with zeros to one of these.
const PADDED_ROWS: [f64; 4] = [1., 16., 32., 64.];

/// Rows of `x` for which the time of everything before the products is measured.
pub(super) const STAGED_ROWS: [f64; 20] =
    [1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15., 16., 32., 64., 128., 512.];

/// Inputs of the layers that are measured. No large powers of two: their rows share the sets of a cache, which is a matter of its own.
pub(super) const INPUTS: [f64; 5] = [16., 64., 272., 1040., 4112.];

/// Groups of an int4 layer, for each input.
const GROUPS: [f64; 3] = [0., 0.03125, 0.25];

/// Stored blocks of a sparse layer, of all that it could store.
const STORED: [f64; 4] = [0., 0.0625, 0.25, 1.];

/// The same where only how many they are matters much, not where they are.
const STORED_BLOCKS: [f64; 3] = [0., 0.25, 1.];

/// A dense layer has all weights.
const WHOLE: [f64; 1] = [0.];

/// Logarithms to base 2 of the packed bytes for which reading weights is measured.
pub(super) const FOOTPRINTS: [f64; 5] = [20., 22., 24., 25., 26.];

/// Logarithms to base 2 of the elements of `y` for which writing them is measured.
pub(super) const STORED_OUTPUTS: [f64; 3] = [17., 19., 21.];

/// A kernel: what a format runs, or what it runs for blocks of so many outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) name: &'static str,
    pub(super) format: Format,
    /// As in the header of a layer.
    pub(super) height: usize,
}

const fn kernel(name: &'static str, format: Format, height: usize) -> Kernel {
    Kernel { name, format, height }
}

pub(super) const KERNELS: [Kernel; 9] = [
    kernel("f32", Format::F32, 0),
    kernel("f16", Format::F16, 0),
    kernel("bf16", Format::Bf16, 0),
    kernel("int8", Format::Int8, 0),
    kernel("int4", Format::Int4, 0),
    kernel("sparse-f32-1x1", Format::SparseF32, 1),
    kernel("sparse-f32-16x1", Format::SparseF32, LANES),
    kernel("sparse-int8-1x4", Format::SparseInt8, 1),
    kernel("sparse-int8-16x4", Format::SparseInt8, LANES),
];

impl Kernel {
    /// What the time of an output depends on besides rows and inputs: its groups or its stored blocks, for each of the
    /// places where it could have one.
    pub(super) fn parts(self) -> &'static [f64] {
        match self.format {
            Format::Int4 => &GROUPS,
            _ if self.height == 1 => &STORED,
            _ if self.height > 1 => &STORED_BLOCKS,
            _ => &WHOLE,
        }
    }

    /// The same for the time before the products: sums of codes are made for each group.
    pub(super) fn staged_parts(self) -> &'static [f64] {
        if self.format == Format::Int4 { &GROUPS } else { &WHOLE }
    }

    /// The rows for which its products are measured.
    pub(super) fn rows(self) -> &'static [f64] {
        if self.height == 1 { &PADDED_ROWS } else { &ROWS }
    }
}

/// The times of a kernel, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Times {
    /// `[STAGED_ROWS][INPUTS][groups]`: a call for a layer without outputs: checks, and turning or quantizing `x`.
    pub(super) staging: Grid,
    /// `[rows][INPUTS][parts]`: an output, with weights in a near cache.
    pub(super) output: Grid,
    /// `[INPUTS]`: an output of a single row in a tile that stands alone; not for sparse kernels.
    pub(super) alone: Grid,
    /// `[FOOTPRINTS]`: what a byte of weights takes longer for a single row when there are so many of them.
    pub(super) stall: Grid,
    /// `[STORED_OUTPUTS]`: what an element of `y` takes longer when there are so many of them.
    pub(super) store: Grid,
    /// The same for several rows, each time that weights are read.
    pub(super) rows_stall: Grid,
}

impl Times {
    pub(super) fn new(kernel: Kernel) -> Self {
        Times {
            staging: Grid::new(&[&STAGED_ROWS, &INPUTS, kernel.staged_parts()]),
            output: Grid::new(&[kernel.rows(), &INPUTS, kernel.parts()]),
            alone: Grid::new(&[&INPUTS]),
            stall: Grid::new(&[&FOOTPRINTS]),
            store: Grid::new(&[&STORED_OUTPUTS]),
            rows_stall: Grid::new(&[&FOOTPRINTS]),
        }
    }

    /// Keeps the digits that mean something, so that the text has all there are.
    pub(super) fn round(&mut self) {
        let Times { staging, output, alone, stall, rows_stall, store } = self;
        for grid in [staging, output, alone, stall, rows_stall, store] {
            grid.values_mut().iter_mut().for_each(|value| *value = rounded(*value));
        }
    }

    /// Whether no time falls where there is more to do.
    pub(super) fn is_sound(&self) -> bool {
        let rising = [&self.staging, &self.output, &self.stall, &self.rows_stall, &self.store];
        rising.iter().all(|grid| grid.is_rising(0)) && self.staging.is_rising(2) && self.output.is_rising(2)
    }
}

/// Four significant digits.
pub(super) fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(0.0)
}

/// What so many threads give and cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Team {
    pub(super) threads: usize,
    /// Nanoseconds from one thread to all and back.
    pub(super) fork: f64,
    /// How many times as fast as one thread they multiply what lies in caches.
    pub(super) products: f64,
    /// The same for reading weights from memory.
    pub(super) reads: f64,
}

/// What layers cost on a machine, measured in less than a second by running small ones.
///
/// It holds for the instruction set and the threads of the [`Context`](crate::Context) that it was measured in, and can be saved and
/// loaded as text: `calibration.to_string()` and `text.parse::<Calibration>()?`. A machine that runs a layer many times later,
/// or another one like it, need not measure again.
///
/// ```
/// use tersor::linear::{Calibration, Format, Workload};
///
/// // Once: `std::fs::write("machine.txt", Calibration::measure(|done, total| ())?.to_string())`.
/// let text = std::fs::read_to_string("tests/support/calibration.txt")?;
/// let calibration: Calibration = text.parse()?;
/// let dense = Workload { rows: 64, ..Workload::new(Format::Int8, 3072, 768) };
/// println!("{} microseconds", calibration.predict(&dense)?.seconds * 1e6);
/// let pruned = Workload { format: Format::SparseInt8, block: (16, 4), ..dense };
/// match calibration.pays_from(&dense, &pruned)? {
///     Some(sparsity) => println!("faster than dense from {:.0}% zeros on", 100.0 * sparsity),
///     None => println!("never faster than dense"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    pub(super) isa: String,
    /// In the order of [`KERNELS`].
    pub(super) times: Vec<Times>,
    /// In the order of their threads, without one thread.
    pub(super) teams: Vec<Team>,
}

impl Calibration {
    /// The name of the instruction set that was measured.
    pub fn isa(&self) -> &str {
        &self.isa
    }

    /// The most threads that were measured; predictions are made for no more.
    pub fn max_threads(&self) -> usize {
        self.teams.last().map_or(1, |team| team.threads)
    }
}
