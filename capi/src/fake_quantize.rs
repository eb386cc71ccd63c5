//! Fake quantization: training against the rounding of quantization, with a straight-through gradient.

use crate::context::tersor_context;
use crate::ffi::Caller;
use crate::panic::export;
use crate::quantize::{Given, Matrix, given, given_axis, tersor_quantize_options};
use crate::status::{Failure, tersor_status};
use tersor::quant::{CodeType, FakeQuantizeView};

/// The value of the int8 code of each `x`: what `tersor_quantize_i8_with_params` and `tersor_dequantize_i8`, one after the other, give.
///
/// @param x         `rows` x `cols`. A NaN becomes 0, an infinity the value of the last code
/// @param scales    `channels` scales, finite and above 0
/// @param zero_points  `channels` zero points, each a code; NULL means all are 0
/// @param channels  1, or the number of rows (of columns, if `options->axis` is 1)
/// @param options   `rules` say how to round, `lowest` and `highest` which codes to use. NULL means the defaults
/// @param y         receives the values
/// @return `TERSOR_E_SHAPE` or `TERSOR_E_LENGTH` when there are not that many channels, `TERSOR_E_OUT_OF_RANGE`,
///         `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_fake_quantize_i8(
    context: *const tersor_context,
    x: *const f32,
    rows: usize,
    cols: usize,
    x_stride: usize,
    scales: *const f32,
    zero_points: *const i32,
    channels: usize,
    options: *const tersor_quantize_options,
    y: *mut f32,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let x = Matrix { pointer: x, rows, cols, stride: x_stride };
        let parameters = Given { scales, zero_points, channels };
        forward(caller, CodeType::I8, context, x, parameters, options, (y, y_stride))
    })
}

/// The gradient of `tersor_fake_quantize_i8`: `dy` where the code of `x` lies within the limits before it is saturated,
/// else 0 (also where `x` is a NaN).
///
/// @param x   what the forward pass was given
/// @param dy  the gradient with respect to its `y`
/// @param dx  receives the gradient with respect to `x`
/// @return as `tersor_fake_quantize_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_fake_quantize_backward_i8(
    context: *const tersor_context,
    x: *const f32,
    rows: usize,
    cols: usize,
    x_stride: usize,
    dy: *const f32,
    dy_stride: usize,
    scales: *const f32,
    zero_points: *const i32,
    channels: usize,
    options: *const tersor_quantize_options,
    dx: *mut f32,
    dx_stride: usize,
) -> tersor_status {
    export(|caller| {
        let x = Matrix { pointer: x, rows, cols, stride: x_stride };
        let dy = Matrix { pointer: dy, rows, cols, stride: dy_stride };
        let parameters = Given { scales, zero_points, channels };
        backward(caller, CodeType::I8, context, (x, dy), parameters, options, (dx, dx_stride))
    })
}

/// The value of the uint8 code of each `x`: what `tersor_quantize_u8_with_params` and `tersor_dequantize_u8`, one after the other, give.
///
/// @param x         `rows` x `cols`. A NaN becomes 0, an infinity the value of the last code
/// @param scales    `channels` scales, finite and above 0
/// @param zero_points  `channels` zero points, each a code; NULL means all are 0
/// @param channels  1, or the number of rows (of columns, if `options->axis` is 1)
/// @param options   `rules` say how to round, `lowest` and `highest` which codes to use. NULL means the defaults
/// @param y         receives the values
/// @return `TERSOR_E_SHAPE` or `TERSOR_E_LENGTH` when there are not that many channels, `TERSOR_E_OUT_OF_RANGE`,
///         `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_fake_quantize_u8(
    context: *const tersor_context,
    x: *const f32,
    rows: usize,
    cols: usize,
    x_stride: usize,
    scales: *const f32,
    zero_points: *const i32,
    channels: usize,
    options: *const tersor_quantize_options,
    y: *mut f32,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let x = Matrix { pointer: x, rows, cols, stride: x_stride };
        let parameters = Given { scales, zero_points, channels };
        forward(caller, CodeType::U8, context, x, parameters, options, (y, y_stride))
    })
}

/// The gradient of `tersor_fake_quantize_u8`: `dy` where the code of `x` lies within the limits before it is saturated,
/// else 0 (also where `x` is a NaN).
///
/// @param x   what the forward pass was given
/// @param dy  the gradient with respect to its `y`
/// @param dx  receives the gradient with respect to `x`
/// @return as `tersor_fake_quantize_u8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_fake_quantize_backward_u8(
    context: *const tersor_context,
    x: *const f32,
    rows: usize,
    cols: usize,
    x_stride: usize,
    dy: *const f32,
    dy_stride: usize,
    scales: *const f32,
    zero_points: *const i32,
    channels: usize,
    options: *const tersor_quantize_options,
    dx: *mut f32,
    dx_stride: usize,
) -> tersor_status {
    export(|caller| {
        let x = Matrix { pointer: x, rows, cols, stride: x_stride };
        let dy = Matrix { pointer: dy, rows, cols, stride: dy_stride };
        let parameters = Given { scales, zero_points, channels };
        backward(caller, CodeType::U8, context, (x, dy), parameters, options, (dx, dx_stride))
    })
}

fn forward(
    caller: Caller,
    code_type: CodeType,
    context: *const tersor_context,
    x: Matrix<f32>,
    parameters: Given,
    options: *const tersor_quantize_options,
    (y, y_stride): (*mut f32, usize),
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let fake = fake(caller, code_type, &parameters, options)?;
    let y = caller.matrix_mut::<f32>("y", y, x.rows, x.cols, y_stride)?;
    let x = x.view(caller, "x")?;
    Ok(context.scope(|| fake.forward(x, y))?)
}

fn backward(
    caller: Caller,
    code_type: CodeType,
    context: *const tersor_context,
    (x, dy): (Matrix<f32>, Matrix<f32>),
    parameters: Given,
    options: *const tersor_quantize_options,
    (dx, dx_stride): (*mut f32, usize),
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let fake = fake(caller, code_type, &parameters, options)?;
    let dx = caller.matrix_mut::<f32>("dx", dx, x.rows, x.cols, dx_stride)?;
    let (x, dy) = (x.view(caller, "x")?, dy.view(caller, "dy")?);
    Ok(context.scope(|| fake.backward(x, dy, dx))?)
}

fn fake<'a>(
    caller: Caller,
    code_type: CodeType,
    parameters: &Given,
    options: *const tersor_quantize_options,
) -> Result<FakeQuantizeView<'a>, Failure> {
    let options = caller.options("options", options)?;
    let axis = given_axis(parameters.channels, &options)?;
    Ok(FakeQuantizeView::new(given(caller, code_type, parameters, axis, &options)?))
}
