//! The types that weights, activations and gradients are stored in: f32, f16 and bf16 as one sealed trait.

use crate::kernels::Token;
use half::{bf16, f16};
use ndarray::ArrayView2;
use std::fmt;

/// A storage type, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl DType {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::Bf16 => 2,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::Bf16 => "bf16",
        })
    }
}

/// An element of a weight, activation or gradient array: [`f32`], [`struct@f16`] or [`bf16`]. Sealed.
///
/// All arithmetic of this crate happens in f32: a 16-bit element is widened (exactly), and results are rounded once, to
/// nearest, ties to even.
///
/// ```
/// use tersor::{Element, f16};
/// assert_eq!(f16::from_f32(65519.0).to_f32(), 65504.0); // the largest finite f16
/// assert!(!f16::from_f32(65520.0).to_f32().is_finite()); // the middle goes to even: overflow
/// ```
pub trait Element:
    private::Sealed
    + num_traits::Num
    + bytemuck::Pod
    + PartialOrd
    + Default
    + fmt::Debug
    + fmt::Display
    + Send
    + Sync
    + 'static
{
    /// The type, as data.
    const DTYPE: DType;

    /// The value as f32. Exact.
    fn to_f32(self) -> f32;

    /// The nearest value, ties to even; overflow gives infinity.
    fn from_f32(value: f32) -> Self;
}

/// What kernels need of an element, beside what users see.
pub(crate) mod private {
    use super::*;

    pub trait Sealed: Copy {
        /// `src` as f32: itself where it is, else widened into the front of `buffer`, which is at least as long.
        #[doc(hidden)]
        fn widened<'a, T: WidenToken>(token: T, src: &'a [Self], buffer: &'a mut [f32]) -> &'a [f32];

        /// The view, with its type as data.
        #[doc(hidden)]
        #[allow(private_interfaces)]
        fn float_view(view: ArrayView2<'_, Self>) -> FloatView<'_>;

        /// Rounds `src` into `dst`.
        #[doc(hidden)]
        fn narrow<T: WidenToken>(token: T, src: &[f32], dst: &mut [Self]);

        /// `src`, rounded. By value, so that it need not leave the registers.
        #[doc(hidden)]
        fn narrowed<T: WidenToken, const N: usize>(token: T, src: [f32; N]) -> [Self; N];
    }

    /// A matrix of any element type. Only layers look into it.
    #[derive(Clone, Copy)]
    #[cfg_attr(not(feature = "linear"), allow(dead_code))]
    pub(crate) enum FloatView<'a> {
        F32(ArrayView2<'a, f32>),
        F16(ArrayView2<'a, f16>),
        Bf16(ArrayView2<'a, bf16>),
    }

    /// [`Token`], seen through the sealed trait (which is public in name only).
    #[allow(private_bounds)]
    pub trait WidenToken: Token {}
    impl<T: Token> WidenToken for T {}
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
    #[inline]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl private::Sealed for f32 {
    #[inline(always)]
    fn widened<'a, T: private::WidenToken>(_token: T, src: &'a [Self], _buffer: &'a mut [f32]) -> &'a [f32] {
        src
    }
    #[inline(always)]
    #[allow(private_interfaces)]
    fn float_view(view: ArrayView2<'_, Self>) -> private::FloatView<'_> {
        private::FloatView::F32(view)
    }
    #[inline(always)]
    fn narrow<T: private::WidenToken>(_token: T, src: &[f32], dst: &mut [Self]) {
        for (src, dst) in src.iter().zip(dst) {
            *dst = *src;
        }
    }
    #[inline(always)]
    fn narrowed<T: private::WidenToken, const N: usize>(_token: T, src: [f32; N]) -> [Self; N] {
        src
    }
}

macro_rules! half_element {
    ($type:ident, $dtype:ident, $widen:ident, $narrow:ident) => {
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            #[inline]
            fn to_f32(self) -> f32 {
                $type::to_f32(self)
            }
            #[inline]
            fn from_f32(value: f32) -> Self {
                $type::from_f32(value)
            }
        }

        impl private::Sealed for $type {
            #[inline(always)]
            #[allow(private_interfaces)]
            fn float_view(view: ArrayView2<'_, Self>) -> private::FloatView<'_> {
                private::FloatView::$dtype(view)
            }
            #[inline(always)]
            fn widened<'a, T: private::WidenToken>(
                token: T,
                src: &'a [Self],
                buffer: &'a mut [f32],
            ) -> &'a [f32] {
                let len = src.len().min(buffer.len());
                token.$widen(&src[..len], &mut buffer[..len]);
                &buffer[..len]
            }
            #[inline(always)]
            fn narrow<T: private::WidenToken>(token: T, src: &[f32], dst: &mut [Self]) {
                let len = src.len().min(dst.len());
                token.$narrow(&src[..len], &mut dst[..len]);
            }
            #[inline(always)]
            fn narrowed<T: private::WidenToken, const N: usize>(token: T, src: [f32; N]) -> [Self; N] {
                let mut dst = [$type::ZERO; N];
                token.$narrow(&src, &mut dst);
                dst
            }
        }
    };
}
half_element!(f16, F16, widen_f16, narrow_f16);
half_element!(bf16, Bf16, widen_bf16, narrow_bf16);
