//! What layers are stored as, by name.

use crate::kernels::LANES;

/// How many inputs of one output stand side by side in int8 formats: what a dot-product instruction takes.
pub(super) const GROUP: usize = 4;

/// Groups of inputs of a run of blocks: what a matrix unit takes at once.
pub(super) const RUN: usize = 16;

/// The same as [`GROUP`] in bf16 for a dot product.
const PAIR: usize = 2;

/// How packed weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// Every weight, in f32.
    F32,
    /// Every weight, in f16; widened to f32 at use.
    F16,
    /// Every weight, in bf16; widened to f32 at use.
    Bf16,
    /// Every weight, as an int8 code; int32 arithmetic.
    Int8,
    /// The weights that are not zero, in f32, and the place of each; or the blocks of 16 outputs that are not all zero.
    SparseF32,
    /// As int8 codes the weights that are not zero, and a bit for every weight; or blocks of four inputs, of one output or of 16, that
    /// are not all zero, and the place of each. [`Weights::sparse`](super::Weights::sparse) says which.
    SparseInt8,
    /// Every weight, as an int4 code, with a scale for each group of inputs; int32 arithmetic within a group.
    Int4,
    /// Every weight, in bf16, multiplied with activations that are rounded to bf16; sums in f32.
    Bf16Dot,
}

impl Format {
    pub(super) fn code(self) -> u32 {
        match self {
            Format::F32 => 1,
            Format::F16 => 2,
            Format::Bf16 => 3,
            Format::Int8 => 4,
            Format::SparseF32 => 5,
            Format::SparseInt8 => 6,
            Format::Int4 => 7,
            Format::Bf16Dot => 8,
        }
    }

    pub(super) fn from_code(code: u32) -> Option<Self> {
        [
            Format::F32,
            Format::F16,
            Format::Bf16,
            Format::Int8,
            Format::SparseF32,
            Format::SparseInt8,
            Format::Int4,
            Format::Bf16Dot,
        ]
        .into_iter()
        .find(|format| format.code() == code)
    }

    /// Whether activations become codes, and products are exact integers (in int4: those of a group).
    pub fn is_integer(self) -> bool {
        matches!(self, Format::Int8 | Format::SparseInt8 | Format::Int4)
    }

    /// Whether zeros take no room and no time.
    pub fn is_sparse(self) -> bool {
        matches!(self, Format::SparseF32 | Format::SparseInt8)
    }

    /// `(outputs, inputs)` of the block of weights that this format's kernel skips best, for
    /// [`Pattern::block`](crate::prune::Pattern::block); `None` for a dense format.
    ///
    /// Weights that were pruned in such blocks are stored as such: one place for all of them, one vector instruction for
    /// each row of `x`. Any other pattern of zeros runs as well, with a place for each weight (f32), or with a bit for each weight or a
    /// place for each 1x4 (int8). Where a matrix unit makes dense layers as fast as these, see [`wide_block`](Format::wide_block).
    pub fn block(self) -> Option<(usize, usize)> {
        match self {
            Format::SparseF32 => Some((LANES, 1)),
            Format::SparseInt8 => Some((LANES, GROUP)),
            _ => None,
        }
    }

    /// As [`block`](Format::block), of the blocks that a matrix unit (AMX) skips as well: `(16, 64)` in sparse int8, the weights that it
    /// takes at once. `None` where no kernel skips such blocks.
    ///
    /// On a machine without such a unit these run as fast as the smaller blocks, from the same bytes. But weights live and die with
    /// 1023 others then instead of 63, so at the same sparsity a network loses more accuracy. Best where the layers will run by AMX,
    /// whose dense layers of many rows take no longer than smaller blocks do until about 85% of these are zero.
    ///
    /// ```
    /// use ndarray::Array2;
    /// use tersor::linear::{Format, PackedLinear, Weights};
    /// use tersor::prune::{Magnitude, Pattern, Pruner};
    ///
    /// let weights = Array2::from_shape_fn((64, 256), |(n, k)| ((n / 16 + k / 64) % 4) as f32 * 10.0 + 1.0);
    /// let (outputs, inputs) = Format::SparseInt8.wide_block().unwrap_or((1, 1));
    /// let pattern = Pattern::block(outputs, inputs)?;
    /// let mask = Pruner::new(Magnitude::l1()).pattern(pattern).sparsity(0.75).mask(weights.view())?;
    /// let codes = weights.mapv(|w| w as i8);
    /// let layer = PackedLinear::new(Weights::int8(codes.view(), &[1.0], &[]).masked(&mask).sparse())?;
    /// assert_eq!(layer.block(), Some((16, 64)));
    /// # Ok::<(), tersor::Error>(())
    /// ```
    pub fn wide_block(self) -> Option<(usize, usize)> {
        (self == Format::SparseInt8).then_some((LANES, GROUP * RUN))
    }

    /// How many inputs stand side by side.
    pub(super) fn group(self) -> usize {
        match self {
            Format::Bf16Dot => PAIR,
            _ if self.is_integer() => GROUP,
            _ => 1,
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::F32 => "f32",
            Format::F16 => "f16",
            Format::Bf16 => "bf16",
            Format::Int8 => "int8",
            Format::SparseF32 => "sparse f32",
            Format::SparseInt8 => "sparse int8",
            Format::Int4 => "int4",
            Format::Bf16Dot => "bf16 dot",
        })
    }
}
