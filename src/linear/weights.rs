//! What a layer is packed from: weights in one of several types, and which of them survive.

use crate::error::{Error, Result};
use crate::mask::{BitSlice, Mask};
use crate::quant::{Codes, QuantizedArray};
use half::{bf16, f16};
use ndarray::{ArrayView2, Axis, Ix2};

/// The weights of a layer, `[out_features, in_features]`, borrowed and ready to be packed.
///
/// Made from a view of f32, `f16` or `bf16` weights with `From`, from codes with [`Weights::int8`].
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
}

#[derive(Clone, Debug)]
pub(super) enum Values<'a> {
    F32(ArrayView2<'a, f32>),
    F16(ArrayView2<'a, f16>),
    Bf16(ArrayView2<'a, bf16>),
    Int8 { codes: CodesView<'a>, scales: &'a [f32], zero_points: &'a [i32] },
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

impl<'a> Weights<'a> {
    fn new(values: Values<'a>) -> Self {
        Weights { values, mask: None, sparse: false }
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

    /// Store only weights that are not zero. Pays from some sparsity on, see the bench `linear`.
    ///
    /// f32 weights are stored one by one, int8 ones in blocks of four along the inputs: a block whose four weights are
    /// zero is left out. (Blocks that are pruned as a whole pay most.) Needs f32 weights, or int8 weights with zero
    /// points of 0.
    #[must_use]
    pub fn sparse(mut self) -> Self {
        self.sparse = true;
        self
    }

    /// `(out_features, in_features)`.
    pub fn dim(&self) -> (usize, usize) {
        match &self.values {
            Values::F32(view) => view.dim(),
            Values::F16(view) => view.dim(),
            Values::Bf16(view) => view.dim(),
            Values::Int8 { codes, .. } => codes.dim(),
        }
    }
}
