//! Choosing scales and zero points without making codes: of values, or of a range.

use crate::context::tersor_context;
use crate::ffi::Caller;
use crate::panic::export;
use crate::quantize::{Found, Matrix, quantize, scheme, tersor_quantize_options, zero_points};
use crate::status::{Failure, Rename, tersor_status};
use tersor::quant::{Code, Interval, Params, Scheme};

/// The scale and zero point of `tersor_quantize_i8`, without codes.
///
/// @param out_zero_point  NULL means symmetric
/// @return as `tersor_quantize_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_choose_params_i8(
    context: *const tersor_context,
    src: *const f32,
    rows: usize,
    cols: usize,
    src_stride: usize,
    options: *const tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let found = Found { scales: out_scale, zero_points: out_zero_point, per_channel: false };
        quantize::<i8>(caller, context, src, options, None, found)
    })
}

/// The scales and zero points of `tersor_quantize_i8_per_channel`, without codes.
///
/// @param zero_points  NULL means symmetric
/// @return as `tersor_quantize_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_choose_params_i8_per_channel(
    context: *const tersor_context,
    src: *const f32,
    rows: usize,
    cols: usize,
    src_stride: usize,
    options: *const tersor_quantize_options,
    scales: *mut f32,
    zero_points: *mut i32,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let found = Found { scales, zero_points, per_channel: true };
        quantize::<i8>(caller, context, src, options, None, found)
    })
}

/// The scale and zero point of `tersor_quantize_u8`, without codes.
///
/// @return as `tersor_quantize_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_choose_params_u8(
    context: *const tersor_context,
    src: *const f32,
    rows: usize,
    cols: usize,
    src_stride: usize,
    options: *const tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let found = Found { scales: out_scale, zero_points: out_zero_point, per_channel: false };
        quantize::<u8>(caller, context, src, options, None, found)
    })
}

/// The scales and zero points of `tersor_quantize_u8_per_channel`, without codes.
///
/// @return as `tersor_quantize_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_choose_params_u8_per_channel(
    context: *const tersor_context,
    src: *const f32,
    rows: usize,
    cols: usize,
    src_stride: usize,
    options: *const tersor_quantize_options,
    scales: *mut f32,
    zero_points: *mut i32,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let found = Found { scales, zero_points, per_channel: true };
        quantize::<u8>(caller, context, src, options, None, found)
    })
}

/// The scale and zero point that represent the values from `min` to `max` as int8.
///
/// @param min             finite
/// @param max             finite, at least `min`
/// @param options         NULL means the defaults
/// @param out_zero_point  NULL means symmetric
/// @return `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_choose_params_i8_from_range(
    min: f32,
    max: f32,
    options: *const tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> tersor_status {
    export(|caller| from_range::<i8>(caller, min, max, options, out_scale, out_zero_point))
}

/// As `tersor_choose_params_i8_from_range`, for uint8. `out_zero_point` may not be NULL.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_choose_params_u8_from_range(
    min: f32,
    max: f32,
    options: *const tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> tersor_status {
    export(|caller| from_range::<u8>(caller, min, max, options, out_scale, out_zero_point))
}

fn from_range<C: Code>(
    caller: Caller,
    min: f32,
    max: f32,
    options: *const tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> Result<(), Failure> {
    let options = caller.options("options", options)?;
    let interval = Interval::new(min, max).renamed(&[("interval", "min..=max")])?;
    choose::<C>(caller, &options, out_scale, out_zero_point, |scheme| scheme.params_for(&[interval]))
}

/// Writes the one scale and zero point that `params` makes by the scheme that the options mean.
pub(crate) fn choose<C: Code>(
    caller: Caller,
    options: &tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
    params: impl FnOnce(Scheme) -> tersor::Result<Params>,
) -> Result<(), Failure> {
    let scale: &mut [f32] = caller.output("out_scale", out_scale, 1)?;
    let zero_point = zero_points::<C>(caller, "out_zero_point", out_zero_point, 1)?;
    let params = params(scheme::<C>(options, "out_zero_point", zero_point.is_none())?);
    let params = params.renamed(&[("interval", "min..=max"), ("limits", "options.lowest..=highest")])?;
    scale.copy_from_slice(params.scales());
    if let Some(zero_point) = zero_point {
        zero_point.copy_from_slice(params.zero_points());
    }
    Ok(())
}
