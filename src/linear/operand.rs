//! What `x` and `y` of a layer may hold: numbers, or codes of numbers.

use super::activations::{contiguous, stage_floats};
use super::scratch::Scratch;
use crate::context::Context;
use crate::element::Element;
use crate::element::private::{FloatView, WidenToken};
use crate::kernels::as_bytes;
use crate::quant::{CodeType, Divisor};
use bytemuck::Pod;
use ndarray::{ArrayView2, ArrayViewMut, Axis, Dimension, Slice};

/// What a layer reads and writes: numbers ([`f32`], [`struct@f16`](half::f16), [`bf16`](half::bf16)), or codes of them
/// ([`i8`], [`u8`]). Sealed.
///
/// What a code means is up to the layer: see [`PackedLinear::with_input_params`](super::PackedLinear::with_input_params) and
/// [`with_output_params`](super::PackedLinear::with_output_params).
pub trait Operand: private::Sealed + Pod + Default + Send + Sync + 'static {}

/// What kernels need of an operand, beside what users see.
pub(super) mod private {
    use super::*;

    /// What kernels write: numbers, or codes as bytes. A code's limits are data, so those of int8 and uint8 take the same kernel.
    #[allow(private_interfaces)]
    pub trait Written: Pod + Default + Send + Sync + 'static {
        /// Rounds values to numbers, or to codes: steps of the divisor, counted from the zero point.
        fn rounded<T: WidenToken, const N: usize>(
            token: T,
            values: [f32; N],
            divisor: Divisor,
            zero_point: i32,
        ) -> [Self; N];
    }

    #[allow(private_interfaces)]
    pub trait Sealed: Sized {
        /// The type of the codes; none where they are numbers.
        #[doc(hidden)]
        const CODES: Option<CodeType>;

        /// What kernels write it as.
        #[doc(hidden)]
        type Written: Written;

        #[doc(hidden)]
        fn source(x: ArrayView2<'_, Self>) -> Source<'_>;

        #[doc(hidden)]
        fn written<D: Dimension>(y: ArrayViewMut<'_, Self, D>) -> ArrayViewMut<'_, Self::Written, D>;
    }
}

#[allow(private_interfaces)]
impl<E: Element> Written for E {
    #[inline(always)]
    fn rounded<T: WidenToken, const N: usize>(
        token: T,
        values: [f32; N],
        _divisor: Divisor,
        _zero_point: i32,
    ) -> [Self; N] {
        E::narrowed(token, values)
    }
}

#[allow(private_interfaces)]
impl Written for u8 {
    #[inline(always)]
    fn rounded<T: WidenToken, const N: usize>(
        _token: T,
        values: [f32; N],
        divisor: Divisor,
        zero_point: i32,
    ) -> [u8; N] {
        let steps = divisor.steps_of(values);
        let mut codes = [0; N];
        for i in 0..N {
            // The low byte, whether it stands for a sign or not.
            codes[i] = (steps[i] + zero_point) as u8;
        }
        codes
    }
}

pub(super) use private::Written;

/// `x`, of any type.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    Numbers(FloatView<'a>),
    I8(ArrayView2<'a, i8>),
    U8(ArrayView2<'a, u8>),
}

impl<'a> Source<'a> {
    pub(super) fn rows(&self) -> usize {
        match self {
            Source::Numbers(x) => x.rows(),
            Source::I8(x) => x.nrows(),
            Source::U8(x) => x.nrows(),
        }
    }

    /// The only row, where it is f32 already and its elements lie side by side; an empty one where there is no row.
    pub(super) fn as_row(&self) -> Option<&'a [f32]> {
        match self {
            Source::Numbers(x) => x.as_row(),
            _ => None,
        }
    }
}

impl<'a> FloatView<'a> {
    pub(super) fn rows(&self) -> usize {
        match self {
            FloatView::F32(x) => x.nrows(),
            FloatView::F16(x) => x.nrows(),
            FloatView::Bf16(x) => x.nrows(),
        }
    }

    pub(super) fn slice_rows(&self, rows: Slice) -> FloatView<'_> {
        match self {
            FloatView::F32(x) => FloatView::F32(x.slice_axis(Axis(0), rows)),
            FloatView::F16(x) => FloatView::F16(x.slice_axis(Axis(0), rows)),
            FloatView::Bf16(x) => FloatView::Bf16(x.slice_axis(Axis(0), rows)),
        }
    }

    fn as_row(&self) -> Option<&'a [f32]> {
        match self {
            _ if self.rows() == 0 => Some(&[]),
            FloatView::F32(x) if x.nrows() == 1 => contiguous(x, 0),
            _ => None,
        }
    }

    /// The only row as f32: where it is, or in scratch.
    pub(super) fn row(&self, context: &Context, scratch: &mut Scratch<'a>) -> &'a [f32] {
        if let Some(row) = self.as_row() {
            return row;
        }
        match self {
            FloatView::F32(x) => stage(context, x, scratch),
            FloatView::F16(x) => stage(context, x, scratch),
            FloatView::Bf16(x) => stage(context, x, scratch),
        }
    }
}

fn stage<'a>(context: &Context, x: &ArrayView2<'_, impl Element>, scratch: &mut Scratch<'a>) -> &'a [f32] {
    let staged = scratch.take(x.len());
    stage_floats(context, x, staged);
    staged
}

impl<E: Element> Operand for E {}

#[allow(private_interfaces)]
impl<E: Element> private::Sealed for E {
    const CODES: Option<CodeType> = None;
    type Written = E;

    fn source(x: ArrayView2<'_, Self>) -> Source<'_> {
        Source::Numbers(E::float_view(x))
    }

    fn written<D: Dimension>(y: ArrayViewMut<'_, E, D>) -> ArrayViewMut<'_, E, D> {
        y
    }
}

macro_rules! code_operand {
    ($type:ident, $source:ident) => {
        impl Operand for $type {}

        #[allow(private_interfaces)]
        impl private::Sealed for $type {
            const CODES: Option<CodeType> = Some(CodeType::$source);
            type Written = u8;

            fn source(x: ArrayView2<'_, Self>) -> Source<'_> {
                Source::$source(x)
            }

            fn written<D: Dimension>(y: ArrayViewMut<'_, Self, D>) -> ArrayViewMut<'_, u8, D> {
                as_bytes(y)
            }
        }
    };
}
code_operand!(i8, I8);
code_operand!(u8, U8);
