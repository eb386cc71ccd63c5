//! What was measured: a few tables for each kernel, and what threads give and cost.

use super::super::layout::{Format, LANES, TILE};
use super::grid::Grid;
use super::plan;
use super::synthetic::far_output_bytes;
use super::team::Team;
use crate::error::{Error, Result};

/// Rows of `x` for which the time of an output is measured. More rows than there are here run as several of these.
const ROWS: [f64; 17] = [1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15., 16., 64.];

/// The same where a matrix unit multiplies codes or pairs: by blocks of 16, two at a time, of which the last may begin with rows of the
/// one before. Up to 16, since some layers of codes do without at so few rows.
const MATRIX_ROWS: [f64; 23] = [
    1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15., 16., 17., 32., 33., 48., 49., 64., 256.,
];

/// The same of layers whose blocks come in runs. One block of rows takes about as long as another.
const RUN_ROWS: [f64; 14] = [1., 2., 3., 4., 8., 15., 16., 17., 32., 33., 48., 49., 64., 256.];

/// The same where panels are filled with zeros to one of these.
const PADDED_ROWS: [f64; 4] = [1., 16., 32., 64.];

/// Rows of `x` for which the time of everything before the products is measured, where rows are laid side by side in panels.
const STAGED_PANELS: [f64; 20] =
    [1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15., 16., 32., 64., 128., 512.];

/// The same where every row takes about as long as another.
const STAGED_ROWS: [f64; 8] = [1., 2., 8., 16., 32., 64., 128., MOST_ROWS];

/// Those for a matrix unit, with the most of [`MATRIX_ROWS`].
const MATRIX_STAGED_ROWS: [f64; 8] = [1., 2., 8., 16., 32., 64., 256., MOST_ROWS];

/// The most rows that are measured.
pub(super) const MOST_ROWS: f64 = 512.;

/// Rows after which the times of a kernel repeat, about, on any instruction set.
pub(super) const PANEL: usize = 8;

/// Inputs of the layers that are measured. No large powers of two: their rows share the sets of a cache, which is a matter of its own.
const INPUTS: [f64; 6] = [16., 64., 272., 1040., 2224., 4240.];

/// The same for a matrix unit: whole steps of it, and rows of codes that begin at cache lines.
const MATRIX_INPUTS: [f64; 6] = [16., 64., 320., 1088., 2240., 4288.];

/// The same of runs, of which there is none in fewer inputs.
const RUN_INPUTS: [f64; 6] = [64., 128., 320., 1088., 2240., 4288.];

/// Groups of an int4 layer, for each input.
const GROUPS: [f64; 3] = [0., 0.03125, 0.25];

/// The same with a matrix unit, which multiplies the larger groups alone.
const MATRIX_GROUPS: [f64; 4] = [0., MOST_MATRIX_GROUPS, LEAST_OTHER_GROUPS, 0.25];

/// The most groups that are measured of those that a matrix unit multiplies, and the least of others.
pub(super) const MOST_MATRIX_GROUPS: f64 = 0.015625;
pub(super) const LEAST_OTHER_GROUPS: f64 = 0.03125;

/// Stored blocks of a sparse layer, of all that it could store.
const STORED: [f64; 4] = [0., 0.0625, 0.25, 1.];

/// The same where only how many they are matters much, not where they are.
const STORED_BLOCKS: [f64; 3] = [0., 0.25, 1.];

/// A dense layer has all weights; and a bitmap is as long, and its weights become dense as fast, whichever are zero.
const WHOLE: [f64; 1] = [0.];

/// Logarithms to base 2 of the packed bytes for which reading weights is measured.
pub(super) const FOOTPRINTS: [f64; 6] = [20., 21., 22., 23., 24., 25.5];

/// Several rows for which it is measured how long they wait for weights: fewer of them, or fewer at a time, have less to do
/// meanwhile.
const WAITING_ROWS: [f64; 3] = [2., 4., 8.];

/// The same where each panel of rows reads all weights of a piece: three rows are two panels.
const WAITING_PANELS: [f64; 4] = [2., 3., 4., 8.];

/// The same where any rows are a panel.
const WAITING_PADDED: [f64; 1] = [8.];

/// Logarithms to base 2 of the elements of `y` for which writing them is measured.
pub(super) const STORED_OUTPUTS: [f64; 3] = [17., 19., 21.];

/// A kernel: what a format runs, or what it runs for blocks of so many outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) name: &'static str,
    pub(super) format: Format,
    /// As in the header of a layer.
    pub(super) height: usize,
    /// Whether a matrix unit multiplies its codes, or its pairs.
    pub(super) has_matrix: bool,
    /// Whether its blocks come in whole runs, which are a matter of their own only for a matrix unit.
    pub(super) runs: bool,
}

const fn kernel(name: &'static str, format: Format, height: usize) -> Kernel {
    Kernel { name, format, height, has_matrix: false, runs: false }
}

const KERNELS: [Kernel; 12] = [
    kernel("f32", Format::F32, 0),
    kernel("f16", Format::F16, 0),
    kernel("bf16", Format::Bf16, 0),
    kernel("int8", Format::Int8, 0),
    kernel("int4", Format::Int4, 0),
    kernel("bf16-dot", Format::Bf16Dot, 0),
    kernel("sparse-f32-1x1", Format::SparseF32, 1),
    kernel("sparse-f32-16x1", Format::SparseF32, LANES),
    kernel("sparse-int8-1x4", Format::SparseInt8, 1),
    kernel("sparse-int8-16x4", Format::SparseInt8, LANES),
    kernel("sparse-int8-1x1", Format::SparseInt8, TILE),
    Kernel { runs: true, ..kernel("sparse-int8-16x64", Format::SparseInt8, LANES) },
];

/// The kernels of an instruction set, of which a calibration may be read on a machine without it.
pub(super) fn kernels(isa: &str) -> Vec<Kernel> {
    let has_matrix = isa == MATRIX;
    let kernels = KERNELS.into_iter().filter(|kernel| has_matrix || !kernel.runs);
    kernels.map(|kernel| Kernel { has_matrix: has_matrix && kernel.suits_matrix(), ..kernel }).collect()
}

/// The instruction set that has a matrix unit.
const MATRIX: &str = "amx";

impl Kernel {
    /// Whether it multiplies dense tiles: those that are stored, or those that bitmaps become.
    pub(super) fn is_dense(self) -> bool {
        !self.format.is_sparse() || self.has_bitmaps()
    }

    pub(super) fn has_bitmaps(self) -> bool {
        self.format == Format::SparseInt8 && self.height == TILE
    }

    /// Whether a matrix unit multiplies it, where there is one.
    fn suits_matrix(self) -> bool {
        match self.format {
            Format::Int8 | Format::Int4 | Format::Bf16Dot => true,
            Format::SparseInt8 => self.has_bitmaps() || self.runs,
            _ => false,
        }
    }

    /// Inputs of the layers that are measured.
    pub(super) fn inputs(self) -> &'static [f64; 6] {
        match self.has_matrix {
            _ if self.runs => &RUN_INPUTS,
            true => &MATRIX_INPUTS,
            false => &INPUTS,
        }
    }

    /// What the time of an output depends on besides rows and inputs: its groups or its stored blocks, for each of the
    /// places where it could have one.
    pub(super) fn parts(self) -> &'static [f64] {
        match self.format {
            Format::Int4 if self.has_matrix => &MATRIX_GROUPS,
            Format::Int4 => &GROUPS,
            _ if self.is_dense() => &WHOLE,
            _ if self.height == 1 => &STORED,
            _ => &STORED_BLOCKS,
        }
    }

    /// The same for the time before the products: sums of codes are made for each group.
    pub(super) fn staged_parts(self) -> &'static [f64] {
        if self.format == Format::Int4 { &GROUPS } else { &WHOLE }
    }

    /// The rows for which what is before the products is measured.
    pub(super) fn staged_rows(self) -> &'static [f64] {
        match self.format {
            _ if self.has_matrix => &MATRIX_STAGED_ROWS,
            Format::Int8 | Format::Int4 => &STAGED_ROWS,
            _ if self.height == 1 || self.has_bitmaps() => &STAGED_ROWS,
            _ => &STAGED_PANELS,
        }
    }

    /// The rows for which waiting for weights is measured, besides a single one.
    pub(super) fn waiting_rows(self) -> &'static [f64] {
        match self.height {
            _ if self.is_dense() || self.runs => &WAITING_ROWS,
            1 => &WAITING_PADDED,
            _ => &WAITING_PANELS,
        }
    }

    /// The footprints for which it is measured. Single weights take so long that nothing is found out from more of them.
    pub(super) fn footprints(self) -> &'static [f64] {
        FOOTPRINTS.get(..if self.height == 1 { 5 } else { 6 }).unwrap_or_default()
    }

    /// The rows for which its products are measured.
    pub(super) fn rows(self) -> &'static [f64] {
        match self.height {
            _ if self.runs => &RUN_ROWS,
            _ if self.has_matrix => &MATRIX_ROWS,
            1 => &PADDED_ROWS,
            _ => &ROWS,
        }
    }

    /// Whether more of this part never take less time. Fewer groups than those may be multiplied by a matrix unit, which few rows
    /// do not gain from.
    pub(super) fn is_even(self, part: f64) -> bool {
        !self.has_matrix || self.runs || part > MOST_MATRIX_GROUPS || self.parts().len() == 1
    }
}

/// The times of a kernel, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Times {
    /// `[staged rows][inputs][groups]`: a call for a layer without outputs: checks, and turning or quantizing `x`.
    pub(super) staging: Grid,
    /// `[rows][inputs][parts]`: an output, with weights in a near cache.
    pub(super) output: Grid,
    /// `[inputs]`: an output of a single row in a tile that stands alone; only where tiles are dense.
    pub(super) alone: Grid,
    /// `[footprints]`: what a byte of weights takes longer for a single row when there are so many of them.
    pub(super) stall: Grid,
    /// `[STORED_OUTPUTS]`: what an element of `y` takes longer when there are so many of them.
    pub(super) store: Grid,
    /// `[waiting rows][footprints]`: the same for several rows, each time that weights are read.
    pub(super) rows_stall: Grid,
}

impl Times {
    pub(super) fn new(kernel: Kernel) -> Self {
        Times {
            staging: Grid::new(&[kernel.staged_rows(), kernel.inputs(), kernel.staged_parts()]),
            output: Grid::new(&[kernel.rows(), kernel.inputs(), kernel.parts()]),
            alone: Grid::new(&[kernel.inputs()]),
            stall: Grid::new(&[kernel.footprints()]),
            store: Grid::new(&[&STORED_OUTPUTS]),
            rows_stall: Grid::new(&[kernel.waiting_rows(), kernel.footprints()]),
        }
    }

    /// Keeps the digits that mean something, so that the text has all there are.
    pub(super) fn round(&mut self) {
        let Times { staging, output, alone, stall, rows_stall, store } = self;
        for grid in [staging, output, alone, stall, rows_stall, store] {
            grid.values_mut().iter_mut().for_each(|value| *value = rounded(*value));
        }
    }

    /// Whether no time falls where there are more panels of rows to multiply, more blocks, or more bytes.
    pub(super) fn is_sound(&self, kernel: Kernel) -> bool {
        // Not `staging` with its rows: those of a whole panel are laid side by side faster than fewer.
        let all = |_| true;
        self.stall.is_rising(0, all)
            && self.store.is_rising(0, all)
            && self.rows_stall.is_rising(1, all)
            && self.staging.is_rising(2, all)
            && self.output.is_rising(0, is_whole)
            && self.output.is_rising(2, |part| kernel.is_even(part))
    }
}

/// Whether so many rows are whole panels on any instruction set, or a single row. Others may take longer than more of them: three
/// are two panels where four are one.
pub(super) fn is_whole(rows: f64) -> bool {
    rows == 1.0 || rows % PANEL as f64 == 0.0
}

/// No time is longer, in nanoseconds: sums and products of times stay finite.
pub(super) const LONGEST: f64 = 1e15;

/// Four significant digits, at most [`LONGEST`]; nothing of what is far below any clock, and only there because numbers were added and taken off.
pub(super) fn rounded(value: f64) -> f64 {
    if value < 1e-9 {
        return 0.0;
    }
    format!("{:.3e}", value.min(LONGEST)).parse().unwrap_or(0.0)
}

/// What layers cost on a machine, measured in less than a second by running small ones.
///
/// It holds for the instruction set and the threads of the [`Context`](crate::Context) that it was measured in, and can be saved and
/// loaded as text: `calibration.to_string()` and `text.parse::<Calibration>()?`. A machine that runs a layer many times later,
/// or another one like it, need not measure again.
///
/// Processors change their clock, and other programs take their share. What is measured in one second says what that second
/// was like. So measure several times, minutes apart if that can be, and [`merge`](Calibration::merge).
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
    /// In the order of [`kernels`].
    pub(super) times: Vec<Times>,
    /// In the order of their threads, without one thread.
    pub(super) teams: Vec<Team>,
}

impl Calibration {
    /// The name of the instruction set that was measured.
    pub fn isa(&self) -> &str {
        &self.isa
    }

    /// What both calibrations say, each call as long as it took at its shortest: so of several seconds in which a machine did other
    /// things, or ran at a lower clock, the best is kept call by call. Merging with itself changes nothing.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when the other is of another instruction set or other numbers of threads.
    pub fn merge(&self, other: &Calibration) -> Result<Calibration> {
        if self.isa != other.isa {
            return Err(Error::out_of_range(
                "isa",
                &other.isa,
                format!("{}, as of the calibration it joins", self.isa),
            ));
        }
        let counts = |calibration: &Calibration| -> Vec<usize> {
            calibration.teams.iter().map(|team| team.threads).collect()
        };
        if counts(self) != counts(other) {
            let (found, needed) = (counts(other), counts(self));
            let limit = format!("{needed:?}, as of the calibration it joins");
            return Err(Error::out_of_range("threads", format!("{found:?}"), limit));
        }
        let mut times = Vec::new();
        for (kernel, (ours, theirs)) in
            kernels(&self.isa).into_iter().zip(self.times.iter().zip(&other.times))
        {
            let output_bytes = far_output_bytes(kernel)?;
            let [mut shortest, measured] =
                [ours, theirs].map(|times| plan::measured(kernel, output_bytes, times));
            shortest.iter_mut().zip(measured).for_each(|(shortest, time)| *shortest = shortest.min(time));
            times.push(plan::times(kernel, output_bytes, &shortest));
        }
        let teams = self.teams.iter().zip(&other.teams).map(|(a, b)| a.merge(b));
        Ok(Calibration { isa: self.isa.clone(), times, teams: teams.collect() })
    }

    /// The most threads that were measured; predictions are made for no more.
    pub fn max_threads(&self) -> usize {
        self.teams.last().map_or(1, |team| team.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Isa, Operation, Token};

    #[test]
    fn kernels_have_a_matrix_unit_where_the_instruction_set_has_one() {
        struct HasMatrix;
        impl Operation for HasMatrix {
            type Output = bool;
            const CODES: bool = true;
            fn run<T: Token>(self, token: T) -> bool {
                token.matrix(16).is_some()
            }
        }
        for isa in Isa::available() {
            let found = kernels(isa.name()).iter().filter(|kernel| kernel.has_matrix).count();
            assert_eq!(found, if isa.run(HasMatrix) { 5 } else { 0 }, "{isa}");
        }
    }
}
