//! Kernels of every type of `y`, compiled with the library instead of with each program that calls them.
//!
//! At opt-level 1 rustc takes generic functions from a library that has them: the test programs then share these, which take
//! longer to compile than everything else in them. At opt-level 2 and 3 rustc shares nothing, and nothing is here (`build.rs`).

use super::{Conv2d, DepthwiseConv2d, Operand, PackedLinear};
use crate::error::Result;
use half::{bf16, f16};
use ndarray::{ArrayView, ArrayViewMut, Ix2, Ix4};

type View<X, D> = ArrayView<'static, X, D>;
type ViewMut<Y, D> = ArrayViewMut<'static, Y, D>;
type Forward<L, X, Y, D> = fn(&L, View<X, D>, ViewMut<Y, D>, &mut [u8]) -> Result<()>;
type Codes<X> = fn(&PackedLinear<'static>, View<X, Ix2>, &[i32], ViewMut<i32, Ix2>, &mut [u8]) -> Result<()>;

struct Shared<Y: Operand> {
    linear: Forward<PackedLinear<'static>, f32, Y, Ix2>,
    conv: Forward<Conv2d<'static>, f32, Y, Ix4>,
    depthwise: Forward<DepthwiseConv2d<'static>, f32, Y, Ix4>,
}

impl<Y: Operand> Shared<Y> {
    const NEW: Self = Shared {
        linear: PackedLinear::forward_with,
        conv: Conv2d::forward_with,
        depthwise: DepthwiseConv2d::forward_with,
    };
}

static F32: Shared<f32> = Shared::NEW;
static F16: Shared<f16> = Shared::NEW;
static BF16: Shared<bf16> = Shared::NEW;
static I8: Shared<i8> = Shared::NEW;
static U8: Shared<u8> = Shared::NEW;
static CODES: (Codes<i8>, Codes<u8>) = (PackedLinear::forward_codes_with, PackedLinear::forward_codes_with);
