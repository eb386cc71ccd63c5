//! Quantization per channel along any axis of an array with any number of axes, contiguous and row-major. To these
//! functions it is `outer` x `channels` x `inner`: the axis has `channels` indices, `outer` is the product of the sizes of
//! the axes before it and `inner` of those after it (1 where there are none). Of convolution weights
//! [outputs, inputs, height, width], for instance, the outputs are 1 x outputs x (inputs * height * width), and the inputs
//! are outputs x inputs x (height * width). The `axis` of the options is not read.

use crate::context::tersor_context;
use crate::ffi::{Caller, Options, Plain};
use crate::panic::export;
use crate::quantize::{Given, given, scheme, tersor_quantize_options, zero_points};
use crate::status::{Failure, Rename, tersor_status};
use tersor::Error;
use tersor::ndarray::{ArrayView3, ArrayViewMut3, Axis};
use tersor::quant::{Code, FakeQuantizeView, Params};

/// Chooses, for each channel, the scale and zero point that represent every one of its values, and quantizes to int8.
///
/// @param src          `outer` x `channels` x `inner`, all finite
/// @param options      NULL means the defaults
/// @param dst          receives the codes
/// @param scales       receives `channels` scales
/// @param zero_points  receives `channels` zero points; NULL means symmetric: all are 0
/// @return as `tersor_quantize_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_i8_along_axis(
    context: *const tersor_context,
    src: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    options: *const tersor_quantize_options,
    dst: *mut i8,
    scales: *mut f32,
    zero_points: *mut i32,
) -> tersor_status {
    export(|caller| {
        let shape = [outer, channels, inner];
        quantize::<i8>(caller, context, src, shape, options, Some(dst), (scales, zero_points))
    })
}

/// As `tersor_quantize_i8_along_axis`, to uint8. `zero_points` may not be NULL: they are 128 when `options->symmetric` is 1.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_u8_along_axis(
    context: *const tersor_context,
    src: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    options: *const tersor_quantize_options,
    dst: *mut u8,
    scales: *mut f32,
    zero_points: *mut i32,
) -> tersor_status {
    export(|caller| {
        let shape = [outer, channels, inner];
        quantize::<u8>(caller, context, src, shape, options, Some(dst), (scales, zero_points))
    })
}

/// The scales and zero points of `tersor_quantize_i8_along_axis`, without codes.
///
/// @param zero_points  NULL means symmetric
/// @return as `tersor_quantize_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_choose_params_i8_along_axis(
    context: *const tersor_context,
    src: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    options: *const tersor_quantize_options,
    scales: *mut f32,
    zero_points: *mut i32,
) -> tersor_status {
    export(|caller| {
        let shape = [outer, channels, inner];
        quantize::<i8>(caller, context, src, shape, options, None, (scales, zero_points))
    })
}

/// The scales and zero points of `tersor_quantize_u8_along_axis`, without codes.
///
/// @return as `tersor_quantize_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_choose_params_u8_along_axis(
    context: *const tersor_context,
    src: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    options: *const tersor_quantize_options,
    scales: *mut f32,
    zero_points: *mut i32,
) -> tersor_status {
    export(|caller| {
        let shape = [outer, channels, inner];
        quantize::<u8>(caller, context, src, shape, options, None, (scales, zero_points))
    })
}

/// Quantizes to int8 with given scales and zero points. What is too large saturates, infinities too; a NaN becomes zero.
///
/// @param src          `outer` x `channels` x `inner`
/// @param scales       `channels` scales, finite and above 0
/// @param zero_points  `channels` zero points, each a code; NULL means all are 0
/// @param options      `rules` say how to round, `lowest` and `highest` which codes to use (all, by default). NULL means the
///                     defaults
/// @param dst          receives the codes
/// @return `TERSOR_E_EMPTY` when there are no channels, `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_i8_along_axis_with_params(
    context: *const tersor_context,
    src: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    scales: *const f32,
    zero_points: *const i32,
    options: *const tersor_quantize_options,
    dst: *mut i8,
) -> tersor_status {
    export(|caller| {
        let given = Given { scales, zero_points, channels };
        with_params::<i8>(caller, context, src, [outer, channels, inner], given, options, dst)
    })
}

/// As `tersor_quantize_i8_along_axis_with_params`, to uint8.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_u8_along_axis_with_params(
    context: *const tersor_context,
    src: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    scales: *const f32,
    zero_points: *const i32,
    options: *const tersor_quantize_options,
    dst: *mut u8,
) -> tersor_status {
    export(|caller| {
        let given = Given { scales, zero_points, channels };
        with_params::<u8>(caller, context, src, [outer, channels, inner], given, options, dst)
    })
}

/// The values of int8 codes: (code - zero_point) * scale.
///
/// @param src          `outer` x `channels` x `inner`
/// @param scales       `channels` scales, finite and above 0
/// @param zero_points  `channels` zero points, each a code; NULL means all are 0
/// @param dst          receives the values
/// @return `TERSOR_E_EMPTY` when there are no channels, `TERSOR_E_OUT_OF_RANGE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_dequantize_i8_along_axis(
    context: *const tersor_context,
    src: *const i8,
    outer: usize,
    channels: usize,
    inner: usize,
    scales: *const f32,
    zero_points: *const i32,
    dst: *mut f32,
) -> tersor_status {
    export(|caller| {
        let given = Given { scales, zero_points, channels };
        dequantize::<i8>(caller, context, src, [outer, channels, inner], given, dst)
    })
}

/// As `tersor_dequantize_i8_along_axis`, of uint8 codes.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_dequantize_u8_along_axis(
    context: *const tersor_context,
    src: *const u8,
    outer: usize,
    channels: usize,
    inner: usize,
    scales: *const f32,
    zero_points: *const i32,
    dst: *mut f32,
) -> tersor_status {
    export(|caller| {
        let given = Given { scales, zero_points, channels };
        dequantize::<u8>(caller, context, src, [outer, channels, inner], given, dst)
    })
}

/// The value of the int8 code of each `x`: what `tersor_quantize_i8_along_axis_with_params` and
/// `tersor_dequantize_i8_along_axis`, one after the other, give.
///
/// @param x            `outer` x `channels` x `inner`. A NaN becomes 0, an infinity the value of the last code
/// @param scales       `channels` scales, finite and above 0
/// @param zero_points  `channels` zero points, each a code; NULL means all are 0
/// @param options      `rules` say how to round, `lowest` and `highest` which codes to use. NULL means the defaults
/// @param y            receives the values
/// @return as `tersor_quantize_i8_along_axis_with_params`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_fake_quantize_i8_along_axis(
    context: *const tersor_context,
    x: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    scales: *const f32,
    zero_points: *const i32,
    options: *const tersor_quantize_options,
    y: *mut f32,
) -> tersor_status {
    export(|caller| {
        let given = Given { scales, zero_points, channels };
        forward::<i8>(caller, context, x, [outer, channels, inner], given, options, y)
    })
}

/// As `tersor_fake_quantize_i8_along_axis`, of the uint8 codes.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_fake_quantize_u8_along_axis(
    context: *const tersor_context,
    x: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    scales: *const f32,
    zero_points: *const i32,
    options: *const tersor_quantize_options,
    y: *mut f32,
) -> tersor_status {
    export(|caller| {
        let given = Given { scales, zero_points, channels };
        forward::<u8>(caller, context, x, [outer, channels, inner], given, options, y)
    })
}

/// The gradient of `tersor_fake_quantize_i8_along_axis`: `dy` where the code of `x` lies within the limits before it is
/// saturated, else 0 (also where `x` is a NaN).
///
/// @param x   what the forward pass was given
/// @param dy  the gradient with respect to its `y`
/// @param dx  receives the gradient with respect to `x`
/// @return as `tersor_quantize_i8_along_axis_with_params`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_fake_quantize_backward_i8_along_axis(
    context: *const tersor_context,
    x: *const f32,
    dy: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    scales: *const f32,
    zero_points: *const i32,
    options: *const tersor_quantize_options,
    dx: *mut f32,
) -> tersor_status {
    export(|caller| {
        let given = Given { scales, zero_points, channels };
        backward::<i8>(caller, context, (x, dy), [outer, channels, inner], given, options, dx)
    })
}

/// As `tersor_fake_quantize_backward_i8_along_axis`, the gradient of `tersor_fake_quantize_u8_along_axis`.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_fake_quantize_backward_u8_along_axis(
    context: *const tersor_context,
    x: *const f32,
    dy: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    scales: *const f32,
    zero_points: *const i32,
    options: *const tersor_quantize_options,
    dx: *mut f32,
) -> tersor_status {
    export(|caller| {
        let given = Given { scales, zero_points, channels };
        backward::<u8>(caller, context, (x, dy), [outer, channels, inner], given, options, dx)
    })
}

/// `outer` x `channels` x `inner`.
pub(crate) type Shape = [usize; 3];

/// How many elements there are. Shapes that no array has are refused, also where an axis is empty.
fn count(argument: &'static str, shape: Shape) -> Result<usize, Failure> {
    let extent = shape.iter().try_fold(1_usize, |extent, &size| extent.checked_mul(size.max(1)));
    match extent.filter(|&extent| extent <= isize::MAX as usize / size_of::<f32>()) {
        Some(_) => Ok(shape.iter().product()),
        None => Err(overflow(argument, shape)),
    }
}

fn overflow(argument: &'static str, shape: Shape) -> Failure {
    Error::SizeOverflow { argument: argument.into(), sizes: shape.to_vec() }.into()
}

pub(crate) fn view<'a, T: Plain>(
    caller: Caller,
    argument: &'static str,
    pointer: *const T::C,
    shape: Shape,
) -> Result<ArrayView3<'a, T>, Failure> {
    let elements = caller.input(argument, pointer, count(argument, shape)?)?;
    ArrayView3::from_shape(shape, elements).map_err(|_| overflow(argument, shape))
}

fn view_mut<'a, T: Plain>(
    caller: Caller,
    argument: &'static str,
    pointer: *mut T::C,
    shape: Shape,
) -> Result<ArrayViewMut3<'a, T>, Failure> {
    let elements = caller.output(argument, pointer, count(argument, shape)?)?;
    ArrayViewMut3::from_shape(shape, elements).map_err(|_| overflow(argument, shape))
}

fn quantize<C: Code + Plain<C = C>>(
    caller: Caller,
    context: *const tersor_context,
    src: *const f32,
    shape: Shape,
    options: *const tersor_quantize_options,
    dst: Option<*mut C>,
    (scales, zero_points_out): (*mut f32, *mut i32),
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let options = caller.options("options", options)?;
    let src = view::<f32>(caller, "src", src, shape)?;
    let dst = dst.map(|dst| view_mut::<C>(caller, "dst", dst, shape)).transpose()?;
    let channels = shape[1];
    let scales: &mut [f32] = caller.output("scales", scales, channels)?;
    let zero_points = zero_points::<C>(caller, "zero_points", zero_points_out, channels)?;
    let scheme = scheme::<C>(&options, "zero_points", zero_points.is_none())?.per_channel(Axis(1));
    let params = context.scope(|| -> tersor::Result<Params> {
        let params = scheme.params(src)?;
        if let Some(dst) = dst {
            params.quantize_into(src, dst)?;
        }
        Ok(params)
    });
    let params = params.renamed(&[("values", "src"), ("limits", "options.lowest..=highest")])?;
    scales.copy_from_slice(params.scales());
    if let Some(zero_points) = zero_points {
        zero_points.copy_from_slice(params.zero_points());
    }
    Ok(())
}

fn with_params<C: Code + Plain<C = C>>(
    caller: Caller,
    context: *const tersor_context,
    src: *const f32,
    shape: Shape,
    parameters: Given,
    options: *const tersor_quantize_options,
    dst: *mut C,
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let options = caller.options("options", options)?;
    let src = view::<f32>(caller, "src", src, shape)?;
    let params = given(caller, C::TYPE, &parameters, Some(Axis(1)), &options)?;
    let dst = view_mut::<C>(caller, "dst", dst, shape)?;
    context.scope(|| params.quantize_into(src, dst)).renamed(&[("values", "src"), ("codes", "dst")])
}

fn dequantize<C: Code + Plain<C = C>>(
    caller: Caller,
    context: *const tersor_context,
    src: *const C,
    shape: Shape,
    parameters: Given,
    dst: *mut f32,
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let src = view::<C>(caller, "src", src, shape)?;
    let params = given(caller, C::TYPE, &parameters, Some(Axis(1)), &tersor_quantize_options::defaults())?;
    let dst = view_mut::<f32>(caller, "dst", dst, shape)?;
    context.scope(|| params.dequantize_into(src, dst)).renamed(&[("codes", "src"), ("values", "dst")])
}

fn forward<C: Code>(
    caller: Caller,
    context: *const tersor_context,
    x: *const f32,
    shape: Shape,
    parameters: Given,
    options: *const tersor_quantize_options,
    y: *mut f32,
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let options = caller.options("options", options)?;
    let x = view::<f32>(caller, "x", x, shape)?;
    let fake = FakeQuantizeView::new(given(caller, C::TYPE, &parameters, Some(Axis(1)), &options)?);
    let y = view_mut::<f32>(caller, "y", y, shape)?;
    Ok(context.scope(|| fake.forward(x, y))?)
}

fn backward<C: Code>(
    caller: Caller,
    context: *const tersor_context,
    (x, dy): (*const f32, *const f32),
    shape: Shape,
    parameters: Given,
    options: *const tersor_quantize_options,
    dx: *mut f32,
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let options = caller.options("options", options)?;
    let (x, dy) = (view::<f32>(caller, "x", x, shape)?, view::<f32>(caller, "dy", dy, shape)?);
    let fake = FakeQuantizeView::new(given(caller, C::TYPE, &parameters, Some(Axis(1)), &options)?);
    let dx = view_mut::<f32>(caller, "dx", dx, shape)?;
    Ok(context.scope(|| fake.backward(x, dy, dx))?)
}
