//! 16-bit casts. f32 to 16 bits rounds to nearest, ties to even; subnormals are kept; what is too large becomes infinity;
//! a NaN stays a (quiet) NaN. 16 bits to f32 is exact.

use crate::context::tersor_context;
use crate::ffi::{Caller, Plain};
use crate::mask::{tersor_bf16, tersor_f16};
use crate::panic::export;
use crate::status::{Failure, tersor_status};
use tersor::ndarray::{ArrayView1, ArrayViewMut1};
use tersor::quant::cast_into;
use tersor::{Element, bf16, f16};

/// f32 to f16.
///
/// @param src    `count` values
/// @param count  how many
/// @param dst    receives `count` values
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_cast_f32_to_f16(
    context: *const tersor_context,
    src: *const f32,
    count: usize,
    dst: *mut tersor_f16,
) -> tersor_status {
    export(|caller| cast::<f32, f16>(caller, context, src, count, dst))
}

/// f32 to bf16.
///
/// @param src    `count` values
/// @param count  how many
/// @param dst    receives `count` values
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_cast_f32_to_bf16(
    context: *const tersor_context,
    src: *const f32,
    count: usize,
    dst: *mut tersor_bf16,
) -> tersor_status {
    export(|caller| cast::<f32, bf16>(caller, context, src, count, dst))
}

/// f16 to f32.
///
/// @param src    `count` values
/// @param count  how many
/// @param dst    receives `count` values
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_cast_f16_to_f32(
    context: *const tersor_context,
    src: *const tersor_f16,
    count: usize,
    dst: *mut f32,
) -> tersor_status {
    export(|caller| cast::<f16, f32>(caller, context, src, count, dst))
}

/// bf16 to f32.
///
/// @param src    `count` values
/// @param count  how many
/// @param dst    receives `count` values
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_cast_bf16_to_f32(
    context: *const tersor_context,
    src: *const tersor_bf16,
    count: usize,
    dst: *mut f32,
) -> tersor_status {
    export(|caller| cast::<bf16, f32>(caller, context, src, count, dst))
}

fn cast<A: Element + Plain, B: Element + Plain>(
    caller: Caller,
    context: *const tersor_context,
    src: *const A::C,
    count: usize,
    dst: *mut B::C,
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let src: &[A] = caller.input("src", src, count)?;
    let dst: &mut [B] = caller.output("dst", dst, count)?;
    Ok(context.scope(|| cast_into(ArrayView1::from(src), ArrayViewMut1::from(dst)))?)
}
