//! Running linear layers: y = x * w^T + bias for packed layers of any kind, and products of codes and of plain matrices. Layers that
//! come from elsewhere are checked by `tersor_packed_check`, once; here only their headers are, and where weights begin.

use crate::context::tersor_context;
use crate::ffi::{Caller, Plain};
use crate::mask::{tersor_bf16, tersor_f16};
use crate::packed::layer;
use crate::panic::export;
use crate::quantize::Matrix;
use crate::status::{Failure, Rename, tersor_status};
use std::ffi::c_void;
use tersor::linear::{Operand, matmul};
use tersor::ndarray::ArrayView2;
use tersor::{bf16, f16};

/// How many bytes of scratch memory `tersor_linear_forward_*` and `tersor_matmul_i8` and `_u8` need.
///
/// @param m          how many rows the input will have
/// @param out_bytes  receives the size; it can be 0
/// @return `TERSOR_E_LAYOUT`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_linear_forward_size(
    context: *const tersor_context,
    packed: *const c_void,
    packed_bytes: usize,
    m: usize,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| {
        let context = caller.context(context)?;
        let out = caller.out("out_bytes", out_bytes)?;
        let layer = layer(caller, packed, packed_bytes)?;
        out.set(context.scope(|| layer.scratch_bytes(m))?);
        Ok(())
    })
}

/// y = x * w^T + bias, in f32, for a layer of any kind.
///
/// @param x              `m` rows of `k` numbers; finite for an integer layer that quantizes each row
/// @param packed         the layer
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_linear_forward_size` says
/// @param y              receives `m` rows of `n` numbers
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`;
///         `TERSOR_E_OUT_OF_RANGE` for a stride
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_linear_forward_f32(
    context: *const tersor_context,
    x: *const f32,
    m: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut f32,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        forward::<f32, f32>(caller, context, (x, m, x_stride), (packed, packed_bytes), scratch, (y, y_stride))
    })
}

/// y = x * w^T + bias, in f16 with f32 sums, for a layer of any kind.
///
/// @param x              `m` rows of `k` numbers; finite for an integer layer that quantizes each row
/// @param packed         the layer
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_linear_forward_size` says
/// @param y              receives `m` rows of `n` numbers
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`;
///         `TERSOR_E_OUT_OF_RANGE` for a stride
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_linear_forward_f16(
    context: *const tersor_context,
    x: *const tersor_f16,
    m: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut tersor_f16,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        forward::<f16, f16>(caller, context, (x, m, x_stride), (packed, packed_bytes), scratch, (y, y_stride))
    })
}

/// y = x * w^T + bias, in bf16 with f32 sums, for a layer of any kind.
///
/// @param x              `m` rows of `k` numbers; finite for an integer layer that quantizes each row
/// @param packed         the layer
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_linear_forward_size` says
/// @param y              receives `m` rows of `n` numbers
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`;
///         `TERSOR_E_OUT_OF_RANGE` for a stride
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_linear_forward_bf16(
    context: *const tersor_context,
    x: *const tersor_bf16,
    m: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut tersor_bf16,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        forward::<bf16, bf16>(
            caller,
            context,
            (x, m, x_stride),
            (packed, packed_bytes),
            scratch,
            (y, y_stride),
        )
    })
}

/// As `tersor_linear_forward_f32`, from int8 codes to int8 codes: x is quantized as `tersor_packed_set_input_i8` said, and y
/// becomes what quantizing the f32 y as `tersor_packed_set_output_i8` said would give, to the bit. So a chain of layers need
/// not leave int8.
///
/// @param x              `m` rows of `k` codes
/// @param packed         the layer
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_linear_forward_size` says
/// @param y              receives `m` rows of `n` codes
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_OUT_OF_RANGE`
///         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_input_i8` or `tersor_packed_set_output_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_linear_forward_i8(
    context: *const tersor_context,
    x: *const i8,
    m: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut i8,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        forward::<i8, i8>(caller, context, (x, m, x_stride), (packed, packed_bytes), scratch, (y, y_stride))
    })
}

/// As `tersor_linear_forward_f32`, from uint8 codes to uint8 codes: x is quantized as `tersor_packed_set_input_u8` said, and y
/// becomes what quantizing the f32 y as `tersor_packed_set_output_u8` said would give, to the bit. So a chain of layers need
/// not leave uint8.
///
/// @param x              `m` rows of `k` codes
/// @param packed         the layer
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_linear_forward_size` says
/// @param y              receives `m` rows of `n` codes
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_OUT_OF_RANGE`
///         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_input_u8` or `tersor_packed_set_output_u8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_linear_forward_u8(
    context: *const tersor_context,
    x: *const u8,
    m: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut u8,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        forward::<u8, u8>(caller, context, (x, m, x_stride), (packed, packed_bytes), scratch, (y, y_stride))
    })
}

/// As `tersor_linear_forward_f32`, to int8 codes: the first of a chain of layers. See `tersor_linear_forward_i8`.
///
/// @param x              `m` rows of `k` numbers; finite for an integer layer that quantizes each row
/// @param packed         the layer
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_linear_forward_size` says
/// @param y              receives `m` rows of `n` codes
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`; `TERSOR_E_OUT_OF_RANGE`
///         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_output_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_linear_forward_f32_i8(
    context: *const tersor_context,
    x: *const f32,
    m: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut i8,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        forward::<f32, i8>(caller, context, (x, m, x_stride), (packed, packed_bytes), scratch, (y, y_stride))
    })
}

/// As `tersor_linear_forward_f32`, to uint8 codes: the first of a chain of layers. See `tersor_linear_forward_u8`.
///
/// @param x              `m` rows of `k` numbers; finite for an integer layer that quantizes each row
/// @param packed         the layer
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_linear_forward_size` says
/// @param y              receives `m` rows of `n` codes
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`; `TERSOR_E_OUT_OF_RANGE`
///         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_output_u8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_linear_forward_f32_u8(
    context: *const tersor_context,
    x: *const f32,
    m: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut u8,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        forward::<f32, u8>(caller, context, (x, m, x_stride), (packed, packed_bytes), scratch, (y, y_stride))
    })
}

/// As `tersor_linear_forward_f32`, from int8 codes: the last of a chain of layers. See `tersor_linear_forward_i8`.
///
/// @param x              `m` rows of `k` codes
/// @param packed         the layer
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_linear_forward_size` says
/// @param y              receives `m` rows of `n` numbers
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_OUT_OF_RANGE`
///         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_input_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_linear_forward_i8_f32(
    context: *const tersor_context,
    x: *const i8,
    m: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut f32,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        forward::<i8, f32>(caller, context, (x, m, x_stride), (packed, packed_bytes), scratch, (y, y_stride))
    })
}

/// As `tersor_linear_forward_f32`, from uint8 codes: the last of a chain of layers. See `tersor_linear_forward_u8`.
///
/// @param x              `m` rows of `k` codes
/// @param packed         the layer
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_linear_forward_size` says
/// @param y              receives `m` rows of `n` numbers
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_OUT_OF_RANGE`
///         for a stride; `TERSOR_E_UNSUPPORTED` for a layer without `tersor_packed_set_input_u8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_linear_forward_u8_f32(
    context: *const tersor_context,
    x: *const u8,
    m: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut f32,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        forward::<u8, f32>(caller, context, (x, m, x_stride), (packed, packed_bytes), scratch, (y, y_stride))
    })
}

/// The exact int32 product of int8 codes with the codes of a packed integer layer, without scales and bias:
/// out = (a - a_zero_point) * (w - w_zero_point)^T, as ONNX MatMulInteger. The same bits everywhere; it cannot overflow.
///
/// @param a                 `m` rows of `k` codes
/// @param a_zero_points     `a_zero_point_count` zero points; NULL means 0
/// @param a_zero_point_count  1, or `m` for one for each row; ignored when `a_zero_points` is NULL
/// @param packed            a layer packed by `tersor_pack_i8`, `tersor_pack_u8` or `tersor_pack_sparse_i8`
/// @param scratch           memory that the call may use; any alignment
/// @param scratch_bytes     at least what `tersor_linear_forward_size` says
/// @param out               receives `m` rows of `n` sums
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH`; `TERSOR_E_OUT_OF_RANGE`; `TERSOR_E_UNSUPPORTED` for a layer of floats
///         or int4 codes
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_matmul_i8(
    context: *const tersor_context,
    a: *const i8,
    m: usize,
    a_stride: usize,
    a_zero_points: *const i32,
    a_zero_point_count: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    out: *mut i32,
    out_stride: usize,
) -> tersor_status {
    export(|caller| {
        let context = caller.context(context)?;
        let zero_points = caller.optional_input("a_zero_points", a_zero_points, a_zero_point_count)?;
        let layer = layer(caller, packed, packed_bytes)?;
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        let a = caller.matrix::<i8>("a", a, m, layer.in_features(), a_stride)?;
        let out = caller.matrix_mut::<i32>("out", out, m, layer.out_features(), out_stride)?;
        let zero_points = zero_points.unwrap_or(&[]);
        let result = context.scope(|| layer.forward_codes_with(a, zero_points, out, scratch));
        result.renamed(&[("x", "a"), ("y", "out"), ("zero_points", "a_zero_points")])
    })
}

/// The exact int32 product of uint8 codes with the codes of a packed integer layer, without scales and bias:
/// out = (a - a_zero_point) * (w - w_zero_point)^T, as ONNX MatMulInteger. The same bits everywhere; it cannot overflow.
///
/// @param a                 `m` rows of `k` codes
/// @param a_zero_points     `a_zero_point_count` zero points; NULL means 0
/// @param a_zero_point_count  1, or `m` for one for each row; ignored when `a_zero_points` is NULL
/// @param packed            a layer packed by `tersor_pack_i8`, `tersor_pack_u8` or `tersor_pack_sparse_i8`
/// @param scratch           memory that the call may use; any alignment
/// @param scratch_bytes     at least what `tersor_linear_forward_size` says
/// @param out               receives `m` rows of `n` sums
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH`; `TERSOR_E_OUT_OF_RANGE`; `TERSOR_E_UNSUPPORTED` for a layer of floats
///         or int4 codes
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_matmul_u8(
    context: *const tersor_context,
    a: *const u8,
    m: usize,
    a_stride: usize,
    a_zero_points: *const i32,
    a_zero_point_count: usize,
    packed: *const c_void,
    packed_bytes: usize,
    scratch: *mut c_void,
    scratch_bytes: usize,
    out: *mut i32,
    out_stride: usize,
) -> tersor_status {
    export(|caller| {
        let context = caller.context(context)?;
        let zero_points = caller.optional_input("a_zero_points", a_zero_points, a_zero_point_count)?;
        let layer = layer(caller, packed, packed_bytes)?;
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        let a = caller.matrix::<u8>("a", a, m, layer.in_features(), a_stride)?;
        let out = caller.matrix_mut::<i32>("out", out, m, layer.out_features(), out_stride)?;
        let zero_points = zero_points.unwrap_or(&[]);
        let result = context.scope(|| layer.forward_codes_with(a, zero_points, out, scratch));
        result.renamed(&[("x", "a"), ("y", "out"), ("zero_points", "a_zero_points")])
    })
}

/// The plain f32 product of two matrices: c = a * b.
///
/// @param a  `m` rows of `k` numbers
/// @param b  `k` rows of `n` numbers
/// @param c  receives `m` rows of `n` numbers
/// @return `TERSOR_E_OUT_OF_RANGE` for a stride
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_matmul_f32(
    context: *const tersor_context,
    a: *const f32,
    m: usize,
    k: usize,
    a_stride: usize,
    b: *const f32,
    n: usize,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
) -> tersor_status {
    export(|caller| {
        let context = caller.context(context)?;
        let a = Matrix { pointer: a, rows: m, cols: k, stride: a_stride }.view(caller, "a")?;
        let b = Matrix { pointer: b, rows: k, cols: n, stride: b_stride }.view(caller, "b")?;
        let c = caller.matrix_mut::<f32>("c", c, m, n, c_stride)?;
        Ok(context.scope(|| matmul(a, b, c))?)
    })
}

fn forward<X: Operand + Plain, Y: Operand + Plain>(
    caller: Caller,
    context: *const tersor_context,
    (x, m, x_stride): (*const X::C, usize, usize),
    (packed, packed_bytes): (*const c_void, usize),
    scratch: &mut [u8],
    (y, y_stride): (*mut Y::C, usize),
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let layer = layer(caller, packed, packed_bytes)?;
    let x: ArrayView2<'_, X> = caller.matrix("x", x, m, layer.in_features(), x_stride)?;
    let y = caller.matrix_mut::<Y>("y", y, m, layer.out_features(), y_stride)?;
    Ok(context.scope(|| layer.forward_with(x, y, scratch))?)
}
