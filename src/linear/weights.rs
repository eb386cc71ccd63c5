//! What a layer is packed from: weights in one of several types, and which of them survive.

use super::pack_int4::Int4;
use crate::error::{Error, Result};
use crate::mask::{BitSlice, Mask};
use crate::quant::{Codes, GroupedInt4, QuantizedArray};
use half::{bf16, f16};
use ndarray::{ArrayView2, Axis, Ix2};

/// The weights of a layer, `[out_features, in_features]`, borrowed and ready to be packed.
///
/// Made from a view of f32, `f16` or `bf16` weights with `From`, from codes with [`Weights::int8`] and [`Weights::int4`].
///
/// ```
/// use tersor::linear::{Format, PackedLinear, Weights};
/// use ndarray::array;
///
/// let weights = array![[1.0_f32, 0.0, -2.0, 0.0], [0.0, 0.5, 0.0, 3.0]];
/// let dense = PackedLinear::new(weights.view())?;
/// let sparse = PackedLinear::new(Weights::from(weights.view()).sparse())?;
/// assert_eq!((dense.format(), sparse.format()), (Format::F32, Format::SparseF32));
/// assert_eq!(sparse.non_zeros(), 4);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Weights<'a> {
    pub(super) values: Values<'a>,
    pub(super) mask: Option<Survivors<'a>>,
    pub(super) sparse: bool,
    pub(super) bf16_dot: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Values<'a> {
    F32(ArrayView2<'a, f32>),
    F16(ArrayView2<'a, f16>),
    Bf16(ArrayView2<'a, bf16>),
    Int8 { codes: CodesView<'a>, scales: &'a [f32], zero_points: &'a [i32] },
    Int4(Int4<'a>),
}

/// Codes of either type.
#[derive(Clone, Debug)]
pub(super) enum CodesView<'a> {
    I8(ArrayView2<'a, i8>),
    U8(ArrayView2<'a, u8>),
}

impl CodesView<'_> {
    pub(super) fn dim(&self) -> (usize, usize) {
        match self {
            CodesView::I8(view) => view.dim(),
            CodesView::U8(view) => view.dim(),
        }
    }

    pub(super) fn get(&self, n: usize, k: usize) -> i32 {
        match self {
            CodesView::I8(view) => view[[n, k]].into(),
            CodesView::U8(view) => view[[n, k]].into(),
        }
    }
}

/// A mask's bits and the shape they belong to.
#[derive(Clone, Debug)]
pub(super) struct Survivors<'a> {
    pub(super) bits: BitSlice<'a>,
    pub(super) shape: Vec<usize>,
}

impl<'a> From<ArrayView2<'a, f32>> for Weights<'a> {
    fn from(weights: ArrayView2<'a, f32>) -> Self {
        Weights::new(Values::F32(weights))
    }
}

impl<'a> From<ArrayView2<'a, f16>> for Weights<'a> {
    fn from(weights: ArrayView2<'a, f16>) -> Self {
        Weights::new(Values::F16(weights))
    }
}

impl<'a> From<ArrayView2<'a, bf16>> for Weights<'a> {
    fn from(weights: ArrayView2<'a, bf16>) -> Self {
        Weights::new(Values::Bf16(weights))
    }
}

/// Parameters for the whole array, or for each output (axis 0).
impl<'a> TryFrom<&'a QuantizedArray<Ix2>> for Weights<'a> {
    type Error = Error;

    fn try_from(array: &'a QuantizedArray<Ix2>) -> Result<Self> {
        let params = array.params();
        if params.axis().is_some_and(|axis| axis != Axis(0)) {
            return Err(Error::Unsupported {
                what: "a layer of weights that were quantized along axis 1, the inputs".into(),
                instead: "quantize per tensor or per channel of axis 0, the outputs".into(),
            });
        }
        let (scales, zero_points) = (params.scales(), params.zero_points());
        match array.codes() {
            Codes::I8(codes) => Ok(Weights::int8(codes.view(), scales, zero_points)),
            Codes::U8(codes) => Ok(Weights::uint8(codes.view(), scales, zero_points)),
        }
    }
}

impl<'a> From<&'a GroupedInt4> for Weights<'a> {
    fn from(int4: &'a GroupedInt4) -> Self {
        Weights::int4(int4.codes(), int4.group_size(), int4.scales(), int4.zero_points())
    }
}

impl<'a> Weights<'a> {
    fn new(values: Values<'a>) -> Self {
        Weights { values, mask: None, sparse: false, bf16_dot: false }
    }

    /// int8 codes; the weight is `scale * (code - zero_point)`.
    ///
    /// `scales` holds one scale for all weights or one for each output. `zero_points` holds none (all are 0: symmetric
    /// weights), one, or one for each output.
    ///
    /// Both are checked when the weights are packed.
    pub fn int8(codes: ArrayView2<'a, i8>, scales: &'a [f32], zero_points: &'a [i32]) -> Self {
        Weights::new(Values::Int8 { codes: CodesView::I8(codes), scales, zero_points })
    }

    /// uint8 codes, otherwise as [`int8`](Weights::int8). They are packed as int8, 128 less.
    pub fn uint8(codes: ArrayView2<'a, u8>, scales: &'a [f32], zero_points: &'a [i32]) -> Self {
        Weights::new(Values::Int8 { codes: CodesView::U8(codes), scales, zero_points })
    }

    /// int4 codes, -8 to 7, in groups of `group_size` inputs; the weight is `scale * (code - zero_point)`, with the scale and the
    /// zero point of its output and group.
    ///
    /// `group_size` is a multiple of 4 (32, 64 and 128 are usual), or at least the number of inputs, so that a group is a whole
    /// row; the last group of a row may have fewer inputs. `scales` and `zero_points` are `[out_features, groups]`; without
    /// zero points all are 0 (symmetric weights).
    ///
    /// Everything is checked when the weights are packed. Two codes take a byte then, an f32 scale is stored for each group,
    /// and a byte for each zero point if some are not 0. [`GroupedInt4`](GroupedInt4) makes such codes.
    pub fn int4(
        codes: ArrayView2<'a, i8>,
        group_size: usize,
        scales: ArrayView2<'a, f32>,
        zero_points: Option<ArrayView2<'a, i32>>,
    ) -> Self {
        Weights::new(Values::Int4(Int4 { codes: CodesView::I8(codes), group_size, scales, zero_points }))
    }

    /// uint4 codes and zero points, 0 to 15, otherwise as [`int4`](Weights::int4). Symmetric weights have zero points of 8 here
    /// (where ONNX MatMulNBits puts them by default).
    pub fn uint4(
        codes: ArrayView2<'a, u8>,
        group_size: usize,
        scales: ArrayView2<'a, f32>,
        zero_points: ArrayView2<'a, i32>,
    ) -> Self {
        let zero_points = Some(zero_points);
        Weights::new(Values::Int4(Int4 { codes: CodesView::U8(codes), group_size, scales, zero_points }))
    }

    /// Only what `mask` keeps: every other weight counts as 0, whatever it is.
    #[must_use]
    pub fn masked(mut self, mask: &'a Mask) -> Self {
        self.mask = Some(Survivors { bits: mask.bits(), shape: mask.shape().to_vec() });
        self
    }

    /// Only what the row-major `bits` keep, one for each weight.
    #[must_use]
    pub fn masked_bits(mut self, bits: BitSlice<'a>) -> Self {
        let (outputs, inputs) = self.dim();
        let shape = if outputs.checked_mul(inputs) == Some(bits.len()) {
            vec![outputs, inputs]
        } else {
            vec![bits.len()]
        };
        self.mask = Some(Survivors { bits, shape });
        self
    }

    /// Store only weights that are not zero. Pays from some sparsity on, see the README.
    ///
    /// Zeros are left out in blocks of 16 outputs (and in int8 of four inputs), as [`Format::block`](super::Format::block) names
    /// them for pruning, if whole blocks of zeros are found; else one by one, and in int8 also in blocks of one output and four
    /// inputs. Of these packing takes what needs the fewest bytes, and blocks of one output also if they need up to an
    /// eighth more than weights one by one: they run many rows faster. Blocks of 16 outputs run several times as fast.
    ///
    /// Where those that are left come in [wide blocks](super::Format::wide_block) of 64 inputs, a matrix unit multiplies them as well, from
    /// three rows on. So that a few blocks of four inputs that happen to be zero within wide ones do not prevent it, they are stored too
    /// if they are at most a sixteenth of all that is stored without them.
    ///
    /// A single weight takes six bytes in f32. In int8 it takes one, and every weight, zero or not, a bit: 2 of 4
    /// ([`Pattern::n_of_m`](crate::prune::Pattern::n_of_m)) are stored in 5/8 of the bytes of a dense layer, a quarter of the weights
    /// in 3/8. Such a layer multiplies with the zeros as well, so what it saves is reading weights: for few rows, and weights that are
    /// in no near cache.
    ///
    /// Needs f32 weights, or int8 weights with zero points of 0.
    #[must_use]
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// Store the weights in bf16 and round `x` to bf16 in the call, to nearest even, for the dot product of processors that have
    /// one. AVX-512 BF16 took half the time of f32 on a Zen 4 core, but more than that of f32 on a Xeon, whose AMX took a fifth of
    /// it. Pays where rows are many; a single row waits for its weights,
    /// which are as many bytes as those of any bf16 layer.
    ///
    /// f32 and f16 weights are rounded once, when they are packed. Everything else, and the bound of the error, is as in other float
    /// formats, of the rounded numbers: see [`PackedLinear`](super::PackedLinear).
    ///
    /// ```
    /// use ndarray::{Array2, array};
    /// use tersor::linear::{Format, PackedLinear, Weights};
    ///
    /// let weights = array![[1.0_f32, 2.0, 3.0]];
    /// let layer = PackedLinear::new(Weights::from(weights.view()).bf16_dot())?;
    /// assert_eq!(layer.format(), Format::Bf16Dot);
    /// let mut y = Array2::<f32>::zeros((1, 1));
    /// layer.forward(array![[1.001_f32, 10.0, 100.0]].view(), y.view_mut())?;
    /// assert_eq!(y, array![[321.0]]); // bf16 has 8 bits: 1.001 became 1
    /// # Ok::<(), tersor::Error>(())
    /// ```
    ///
    /// Needs f32, f16 or bf16 weights, and not [`sparse`](Weights::sparse).
    #[must_use]
    pub fn bf16_dot(mut self) -> Self {
        self.bf16_dot = true;
        self
    }

    /// `(out_features, in_features)`.
    pub fn dim(&self) -> (usize, usize) {
        match &self.values {
            Values::F32(view) => view.dim(),
            Values::F16(view) => view.dim(),
            Values::Bf16(view) => view.dim(),
            Values::Int8 { codes, .. } => codes.dim(),
            Values::Int4(int4) => int4.codes.dim(),
        }
    }
}
