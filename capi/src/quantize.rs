//! Quantization: values become 8-bit codes and back, value = (code - zero_point) * scale. A scale and a zero point are for
//! all values, or for each row or column ("per channel"); for channels of arrays with more axes see the functions that end
//! in `_along_axis`. Zero always has an exact code, so a pruned weight stays zero.

use crate::context::tersor_context;
use crate::ffi::{Caller, Options, Plain};
use crate::panic::export;
use crate::status::{Failure, Names, Rename, tersor_status};
use tersor::ndarray::{ArrayView2, Axis};
use tersor::quant::{Code, CodeType, Compat, Params, ParamsView, Scheme};

/// Whose rules make scales and zero points, and round: one of `TERSOR_RULES_*`.
///
/// Since 0.1.
pub type tersor_rules = u32;
/// tersor's own: half to even, true division; symmetric int8 in -127..127 with scale max|x| / 127. Since 0.1.
pub const TERSOR_RULES_TERSOR: tersor_rules = 0;
/// torch's observers and fake quantization: symmetric scale max|x| / 127.5, and x * (1 / scale) is rounded. Since 0.1.
pub const TERSOR_RULES_TORCH: tersor_rules = 1;
/// onnxruntime's quantization tool. Since 0.1.
pub const TERSOR_RULES_ONNXRUNTIME: tersor_rules = 2;
/// The ONNX operator DynamicQuantizeLinear as onnxruntime runs it. Affine only. Since 0.1.
pub const TERSOR_RULES_ONNX_DYNAMIC: tersor_rules = 3;
/// TensorFlow's fake_quant_with_min_max_vars. Affine only. Since 0.1.
pub const TERSOR_RULES_TENSORFLOW: tersor_rules = 4;

/// How to quantize. Fill it with `tersor_quantize_options_init`, then change fields.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_quantize_options {
    /// The size of this struct, set by `tersor_quantize_options_init`.
    pub struct_size: u32,
    /// Default `TERSOR_RULES_TERSOR`.
    pub rules: tersor_rules,
    /// 1: the zero point lies in the middle (0 of int8, 128 of uint8), and values are represented as far to one side as
    /// to the other. 0 (the default): it lies where the range of the values, widened to hold 0, wastes no code.
    pub symmetric: u32,
    /// Per channel: 0 (the default) for a scale for each row, 1 for each column.
    pub axis: u32,
    /// The lowest code in use. When it equals `highest` (both are 0 by default), the rules choose both.
    pub lowest: i32,
    /// The highest code in use.
    pub highest: i32,
}

// SAFETY: `repr(C)`, begins with `struct_size`; numbers.
unsafe impl Options for tersor_quantize_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        tersor_quantize_options {
            struct_size: size_of::<Self>() as u32,
            rules: TERSOR_RULES_TERSOR,
            symmetric: 0,
            axis: 0,
            lowest: 0,
            highest: 0,
        }
    }
}

/// Fills `options` with the defaults.
///
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_options_init(
    options: *mut tersor_quantize_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_options("options", options, struct_size))
}

/// Chooses the scale and zero point that represent every one of the values, and quantizes them to int8.
///
/// @param src             `rows` x `cols`, all finite
/// @param options         NULL means the defaults
/// @param dst             receives the codes
/// @param out_scale       receives the scale
/// @param out_zero_point  receives the zero point; NULL means symmetric: it is 0
/// @return `TERSOR_E_EMPTY`; `TERSOR_E_NOT_FINITE` naming the value; `TERSOR_E_OUT_OF_RANGE` for an option or a stride;
///         `TERSOR_E_UNSUPPORTED` for rules that cannot be symmetric; `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_i8(
    context: *const tersor_context,
    src: *const f32,
    rows: usize,
    cols: usize,
    src_stride: usize,
    options: *const tersor_quantize_options,
    dst: *mut i8,
    dst_stride: usize,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let found = Found { scales: out_scale, zero_points: out_zero_point, per_channel: false };
        quantize::<i8>(caller, context, src, options, Some((dst, dst_stride)), found)
    })
}

/// As `tersor_quantize_i8`, with a scale and a zero point for each row (or column, see `options`).
///
/// @param dst          receives the codes
/// @param scales       receives a scale for each row
/// @param zero_points  receives a zero point for each row; NULL means symmetric: all are 0
/// @return as `tersor_quantize_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_i8_per_channel(
    context: *const tersor_context,
    src: *const f32,
    rows: usize,
    cols: usize,
    src_stride: usize,
    options: *const tersor_quantize_options,
    dst: *mut i8,
    dst_stride: usize,
    scales: *mut f32,
    zero_points: *mut i32,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let found = Found { scales, zero_points, per_channel: true };
        quantize::<i8>(caller, context, src, options, Some((dst, dst_stride)), found)
    })
}

/// As `tersor_quantize_i8`, to uint8. `out_zero_point` may not be NULL: it is 128 when `options->symmetric` is 1.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_u8(
    context: *const tersor_context,
    src: *const f32,
    rows: usize,
    cols: usize,
    src_stride: usize,
    options: *const tersor_quantize_options,
    dst: *mut u8,
    dst_stride: usize,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let found = Found { scales: out_scale, zero_points: out_zero_point, per_channel: false };
        quantize::<u8>(caller, context, src, options, Some((dst, dst_stride)), found)
    })
}

/// As `tersor_quantize_i8_per_channel`, to uint8. `zero_points` may not be NULL.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_u8_per_channel(
    context: *const tersor_context,
    src: *const f32,
    rows: usize,
    cols: usize,
    src_stride: usize,
    options: *const tersor_quantize_options,
    dst: *mut u8,
    dst_stride: usize,
    scales: *mut f32,
    zero_points: *mut i32,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let found = Found { scales, zero_points, per_channel: true };
        quantize::<u8>(caller, context, src, options, Some((dst, dst_stride)), found)
    })
}

/// Quantizes to int8 with given scales and zero points. What is too large saturates, infinities too; a NaN becomes zero.
///
/// @param src          `rows` x `cols`
/// @param scales       `channels` scales, finite and above 0
/// @param zero_points  `channels` zero points, each a code; NULL means all are 0
/// @param channels     1, or the number of rows (of columns, if `options->axis` is 1)
/// @param options      `rules` say how to round, `lowest` and `highest` which codes to use (all, by default). NULL means
///                     the defaults
/// @param dst          receives the codes
/// @return `TERSOR_E_SHAPE` or `TERSOR_E_LENGTH` when there are not that many channels, `TERSOR_E_OUT_OF_RANGE`,
///         `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_i8_with_params(
    context: *const tersor_context,
    src: *const f32,
    rows: usize,
    cols: usize,
    src_stride: usize,
    scales: *const f32,
    zero_points: *const i32,
    channels: usize,
    options: *const tersor_quantize_options,
    dst: *mut i8,
    dst_stride: usize,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let given = Given { scales, zero_points, channels };
        with_params::<i8>(caller, context, src, given, options, (dst, dst_stride))
    })
}

/// As `tersor_quantize_i8_with_params`, to uint8.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_quantize_u8_with_params(
    context: *const tersor_context,
    src: *const f32,
    rows: usize,
    cols: usize,
    src_stride: usize,
    scales: *const f32,
    zero_points: *const i32,
    channels: usize,
    options: *const tersor_quantize_options,
    dst: *mut u8,
    dst_stride: usize,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let given = Given { scales, zero_points, channels };
        with_params::<u8>(caller, context, src, given, options, (dst, dst_stride))
    })
}

/// The values of int8 codes: (code - zero_point) * scale.
///
/// @param src       `rows` x `cols`
/// @param channels  1, or the number of rows (of columns, if `options->axis` is 1)
/// @param options   only `axis` is read. NULL means the defaults
/// @param dst       receives the values
/// @return as `tersor_quantize_i8_with_params`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_dequantize_i8(
    context: *const tersor_context,
    src: *const i8,
    rows: usize,
    cols: usize,
    src_stride: usize,
    scales: *const f32,
    zero_points: *const i32,
    channels: usize,
    options: *const tersor_quantize_options,
    dst: *mut f32,
    dst_stride: usize,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let given = Given { scales, zero_points, channels };
        dequantize::<i8>(caller, context, src, given, options, (dst, dst_stride))
    })
}

/// As `tersor_dequantize_i8`, of uint8 codes.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_dequantize_u8(
    context: *const tersor_context,
    src: *const u8,
    rows: usize,
    cols: usize,
    src_stride: usize,
    scales: *const f32,
    zero_points: *const i32,
    channels: usize,
    options: *const tersor_quantize_options,
    dst: *mut f32,
    dst_stride: usize,
) -> tersor_status {
    export(|caller| {
        let src = Matrix { pointer: src, rows, cols, stride: src_stride };
        let given = Given { scales, zero_points, channels };
        dequantize::<u8>(caller, context, src, given, options, (dst, dst_stride))
    })
}

/// Where chosen parameters go.
pub(crate) struct Found {
    pub(crate) scales: *mut f32,
    pub(crate) zero_points: *mut i32,
    pub(crate) per_channel: bool,
}

impl Found {
    /// What the header calls the two.
    fn names(&self) -> (&'static str, &'static str) {
        if self.per_channel { ("scales", "zero_points") } else { ("out_scale", "out_zero_point") }
    }
}

/// Parameters that the caller has.
#[derive(Clone, Copy)]
pub(crate) struct Given {
    pub(crate) scales: *const f32,
    pub(crate) zero_points: *const i32,
    pub(crate) channels: usize,
}

pub(crate) struct Matrix<T> {
    pub(crate) pointer: *const T,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) stride: usize,
}

impl<T: Plain<C = T>> Matrix<T> {
    pub(crate) fn view<'a>(
        &self,
        caller: Caller,
        argument: &'static str,
    ) -> Result<ArrayView2<'a, T>, Failure> {
        caller.matrix::<T>(argument, self.pointer, self.rows, self.cols, self.stride)
    }
}

pub(crate) fn quantize<C: Code + Plain<C = C>>(
    caller: Caller,
    context: *const tersor_context,
    src: Matrix<f32>,
    options: *const tersor_quantize_options,
    dst: Option<(*mut C, usize)>,
    found: Found,
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let options = caller.options("options", options)?;
    let axis = axis(&options)?;
    let channels = match (found.per_channel, axis) {
        (false, _) => 1,
        (true, Axis(0)) => src.rows,
        (true, _) => src.cols,
    };
    let (rows, cols) = (src.rows, src.cols);
    let src = src.view(caller, "src")?;
    let dst = dst.map(|(dst, stride)| caller.matrix_mut::<C>("dst", dst, rows, cols, stride)).transpose()?;
    let (scales_name, zero_points_name) = found.names();
    let scales: &mut [f32] = caller.output(scales_name, found.scales, channels)?;
    let zero_points = zero_points::<C>(caller, zero_points_name, found.zero_points, channels)?;
    let scheme = scheme::<C>(&options, zero_points_name, zero_points.is_none())?;
    let scheme = if found.per_channel { scheme.per_channel(axis) } else { scheme };
    let params = context.scope(|| -> tersor::Result<Params> {
        let params = scheme.params(src)?;
        if let Some(dst) = dst {
            params.quantize_into(src, dst)?;
        }
        Ok(params)
    });
    let params = params.renamed(&[("values", "src"), ("codes", "dst"), LIMITS[0]])?;
    scales.copy_from_slice(params.scales());
    if let Some(zero_points) = zero_points {
        zero_points.copy_from_slice(params.zero_points());
    }
    Ok(())
}

/// NULL is allowed where a symmetric zero point is 0.
pub(crate) fn zero_points<'a, C: Code>(
    caller: Caller,
    argument: &'static str,
    zero_points: *mut i32,
    channels: usize,
) -> Result<Option<&'a mut [i32]>, Failure> {
    match C::TYPE {
        CodeType::I8 => caller.optional_output(argument, zero_points, channels),
        _ => caller.output(argument, zero_points, channels).map(Some),
    }
}

pub(crate) fn scheme<C: Code>(
    options: &tersor_quantize_options,
    zero_points: &'static str,
    no_zero_points: bool,
) -> Result<Scheme, Failure> {
    let scheme = Scheme::of(C::TYPE).compat(compat(options)?);
    let symmetric = match options.symmetric {
        0 => no_zero_points,
        1 => true,
        other => return Err(Failure::out_of_range("options.symmetric", other, "0 or 1")),
    };
    let scheme = if symmetric { scheme.symmetric() } else { scheme };
    let scheme = if options.lowest == options.highest {
        scheme
    } else {
        scheme.limits(options.lowest, options.highest).renamed(LIMITS)?
    };
    let (lowest, highest) = scheme.code_limits();
    if no_zero_points && lowest + highest > 0 {
        return Err(Failure::out_of_range(
            zero_points,
            "NULL",
            format!("a pointer: the middle of the codes {lowest}..={highest} is not 0"),
        ));
    }
    Ok(scheme)
}

const LIMITS: Names = &[("limits", "options.lowest..=highest")];

fn compat(options: &tersor_quantize_options) -> Result<Compat, Failure> {
    match options.rules {
        TERSOR_RULES_TERSOR => Ok(Compat::Tersor),
        TERSOR_RULES_TORCH => Ok(Compat::Torch),
        TERSOR_RULES_ONNXRUNTIME => Ok(Compat::OnnxRuntime),
        TERSOR_RULES_ONNX_DYNAMIC => Ok(Compat::OnnxDynamic),
        TERSOR_RULES_TENSORFLOW => Ok(Compat::TensorFlow),
        other => Err(Failure::out_of_range("options.rules", other, "one of TERSOR_RULES_*")),
    }
}

fn axis(options: &tersor_quantize_options) -> Result<Axis, Failure> {
    match options.axis {
        0 => Ok(Axis(0)),
        1 => Ok(Axis(1)),
        other => Err(Failure::out_of_range("options.axis", other, "0 or 1")),
    }
}

/// Given parameters, checked, as a view of the caller's arrays.
pub(crate) fn given<'a>(
    caller: Caller,
    code_type: CodeType,
    given: &Given,
    axis: Option<Axis>,
    options: &tersor_quantize_options,
) -> Result<ParamsView<'a>, Failure> {
    let scales: &[f32] = caller.input("scales", given.scales, given.channels)?;
    let params = match caller.optional_input("zero_points", given.zero_points, given.channels)? {
        Some(zero_points) => ParamsView::new(code_type, scales, zero_points, axis)?,
        None => ParamsView::symmetric(code_type, scales, axis)?,
    };
    let params = if options.lowest == options.highest {
        params
    } else {
        params.with_limits(options.lowest, options.highest).renamed(LIMITS)?
    };
    Ok(params.with_arithmetic(compat(options)?.arithmetic())?)
}

/// Along which axis of a matrix that many channels lie.
pub(crate) fn given_axis(
    channels: usize,
    options: &tersor_quantize_options,
) -> Result<Option<Axis>, Failure> {
    if channels == 1 { Ok(None) } else { axis(options).map(Some) }
}

fn with_params<C: Code + Plain<C = C>>(
    caller: Caller,
    context: *const tersor_context,
    src: Matrix<f32>,
    parameters: Given,
    options: *const tersor_quantize_options,
    (dst, dst_stride): (*mut C, usize),
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let options = caller.options("options", options)?;
    let axis = given_axis(parameters.channels, &options)?;
    let params = given(caller, C::TYPE, &parameters, axis, &options)?;
    let dst = caller.matrix_mut::<C>("dst", dst, src.rows, src.cols, dst_stride)?;
    let src = src.view(caller, "src")?;
    context.scope(|| params.quantize_into(src, dst)).renamed(&[("values", "src"), ("codes", "dst")])
}

fn dequantize<C: Code + Plain<C = C>>(
    caller: Caller,
    context: *const tersor_context,
    src: Matrix<C>,
    parameters: Given,
    options: *const tersor_quantize_options,
    (dst, dst_stride): (*mut f32, usize),
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let options = caller.options("options", options)?;
    let options = tersor_quantize_options { axis: options.axis, ..tersor_quantize_options::defaults() };
    let axis = given_axis(parameters.channels, &options)?;
    let params = given(caller, C::TYPE, &parameters, axis, &options)?;
    let dst = caller.matrix_mut::<f32>("dst", dst, src.rows, src.cols, dst_stride)?;
    let src = src.view(caller, "src")?;
    context.scope(|| params.dequantize_into(src, dst)).renamed(&[("codes", "src"), ("values", "dst")])
}
