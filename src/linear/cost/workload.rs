//! What is to be predicted: a layer, and how it is run.

use super::super::layer::PackedLinear;
use super::super::layout::{Format, GROUP, Header, LANES, RUN, Sections};
use super::super::pack::Counts;
use super::super::size::stored_group_size;
use crate::error::{Error, Result, checked_product};

/// A layer without its weights, and how it is run: what a prediction needs to know.
///
/// ```
/// use tersor::linear::{Format, Workload};
///
/// let dense = Workload::new(Format::Int8, 3072, 768);
/// let format = Format::SparseInt8;
/// let pruned = Workload { format, sparsity: 0.75, block: (16, 4), rows: 64, ..dense };
/// assert!(pruned.packed_bytes()? < dense.packed_bytes()?);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    /// How the weights are stored.
    pub format: Format,
    /// N, the columns of `y`.
    pub outputs: usize,
    /// K, the columns of `x`.
    pub inputs: usize,
    /// The fraction of the weights that are zero, 0 to 1. A dense format costs the same whatever it is.
    pub sparsity: f64,
    /// `(outputs, inputs)` of the blocks in which weights are zero: `(1, 1)` for weights that were pruned one by one,
    /// [`Format::block`] or [`Format::wide_block`] for the blocks that a sparse format skips best. Blocks of another shape are stored as what the
    /// format has. Every block is taken to be zero with the same probability.
    pub block: (usize, usize),
    /// Inputs that share a scale in int4, as [`Weights::int4`](super::super::Weights::int4) takes it; other formats do not look
    /// at it.
    pub group_size: usize,
    /// Whether some zero point of the weights is not that of symmetric weights (int8 and int4).
    pub zero_points: bool,
    /// M, the rows of `x` and `y`.
    pub rows: usize,
    /// How many threads run it.
    pub threads: usize,
}

impl Workload {
    /// One row and one thread; no weight is zero, in the blocks of [`Format::block`]; symmetric, in groups of 128.
    pub fn new(format: Format, outputs: usize, inputs: usize) -> Self {
        let block = format.block().unwrap_or((1, 1));
        Workload {
            format,
            outputs,
            inputs,
            sparsity: 0.0,
            block,
            group_size: 128,
            zero_points: false,
            rows: 1,
            threads: 1,
        }
    }

    /// A layer that exists, on one thread. In a sparse format `block` is what it stores, and `sparsity` the fraction of these
    /// blocks (of the weights, where it stores those one by one) that are not stored. An int4 layer is one that quantizes its input, even if this one
    /// [does not](PackedLinear::with_float_input): float inputs are not measured.
    pub fn of(layer: &PackedLinear<'_>, rows: usize) -> Self {
        let mut workload = Workload::new(layer.format(), layer.out_features(), layer.in_features());
        workload.rows = rows;
        workload.zero_points = layer.has_zero_points();
        if layer.format() == Format::Int4 {
            workload.group_size = layer.group_size();
        }
        if let Some(block) = layer.block() {
            // The last block of the inputs may be smaller where blocks are wide.
            let inputs = if layer.has_runs() { GROUP } else { block.1 };
            let all = layer.out_features().div_ceil(block.0) * layer.in_features().div_ceil(inputs);
            let stored = if layer.has_bitmaps() { layer.non_zeros() } else { layer.stored_blocks() };
            workload.block = block;
            workload.sparsity = 1.0 - stored as f64 / all.max(1) as f64;
        }
        workload
    }

    /// How many bytes the packed layer has: exact for a dense format, what is expected for a sparse one.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a sparsity that is not in 0 to 1, a block without outputs or inputs, a size of groups that
    /// int4 does not take, and more inputs than the format takes; [`Error::SizeOverflow`].
    pub fn packed_bytes(&self) -> Result<usize> {
        Ok(self.packed()?.1.total)
    }

    /// Checks everything but the threads, and says what the header of such a layer is.
    pub(super) fn packed(&self) -> Result<(Header, Sections)> {
        if !(0.0..=1.0).contains(&self.sparsity) {
            return Err(Error::out_of_range("sparsity", self.sparsity, "0 to 1"));
        }
        if self.block.0 == 0 || self.block.1 == 0 {
            let block = format!("{}x{}", self.block.0, self.block.1);
            return Err(Error::out_of_range("block", block, "at least 1x1"));
        }
        checked_product("weights", &[self.outputs, self.inputs])?;
        checked_product("x", &[self.rows, self.inputs])?;
        checked_product("y", &[self.rows, self.outputs])?;
        self.counts().stored(Header {
            format: self.format,
            outputs: self.outputs,
            inputs: self.inputs,
            non_zeros: self.share(self.outputs as f64 * self.inputs as f64, 1, 1),
            stored: 0,
            height: 0,
            runs: false,
            group_size: match self.format {
                Format::Int4 => stored_group_size(self.group_size, self.inputs)?,
                _ => 0,
            },
            bias: false,
            zero_points: self.zero_points && matches!(self.format, Format::Int8 | Format::Int4),
            input: None,
            clamp: None,
            output: None,
        })
    }

    /// What packing such weights is expected to count.
    fn counts(&self) -> Counts {
        let group = if self.format.is_integer() { GROUP } else { 1 };
        let places = self.inputs.div_ceil(group) as f64;
        let bands = self.outputs.div_ceil(LANES) as f64;
        Counts {
            non_zeros: 0,
            low: self.share(self.outputs as f64 * places, 1, group),
            high: self.share(bands * places, LANES, group),
            in_runs: self.share(bands * places, LANES, group * RUN),
        }
    }

    /// How many of so many cells of `outputs x inputs` hold a weight that is not zero.
    fn share(&self, cells: f64, outputs: usize, inputs: usize) -> usize {
        let blocks = outputs.div_ceil(self.block.0) * inputs.div_ceil(self.block.1);
        (cells * (1.0 - self.sparsity.powi(blocks as i32))).round() as usize
    }
}
