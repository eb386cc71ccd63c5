//! Convolutions: packed layers, fed with the windows of images. Images are pixels in rows, each with its channels side by side (NHWC).
//! The weights of a layer are those of a window, `height * width * channels` for each output (OHWI, as TFLite stores them),
//! or, depthwise, `height * width` for each channel. Every packed layer can convolve, with all that `tersor_packed_set_*` gave it.

use crate::context::tersor_context;
use crate::ffi::{Caller, Options, Plain};
use crate::packed::layer;
use crate::panic::export;
use crate::status::{Failure, tersor_status};
use std::ffi::c_void;
use tersor::linear::{Conv2d, DepthwiseConv2d, Operand, Window};

/// The window of a convolution, and how it moves. Fill it with `tersor_conv2d_options_init`, then change fields.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_conv2d_options {
    /// The size of this struct, set by `tersor_conv2d_options_init`.
    pub struct_size: u32,
    /// Not 0: each channel is convolved by itself; the layer is one of int8 codes without zero points. Default 0.
    pub depthwise: u32,
    /// Taps. Default 1.
    pub window_height: u32,
    /// Taps. Default 1.
    pub window_width: u32,
    /// How far the window moves down. Default 1.
    pub stride_height: u32,
    /// How far the window moves to the right. Default 1.
    pub stride_width: u32,
    /// How far taps are apart. Default 1.
    pub dilation_height: u32,
    /// How far taps are apart. Default 1.
    pub dilation_width: u32,
    /// Rows of zeros above. Default 0.
    pub padding_top: u32,
    /// Rows of zeros below. Default 0.
    pub padding_bottom: u32,
    /// Columns of zeros to the left. Default 0.
    pub padding_left: u32,
    /// Columns of zeros to the right. Default 0.
    pub padding_right: u32,
}

// SAFETY: `repr(C)`, begins with `struct_size`; numbers.
unsafe impl Options for tersor_conv2d_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        tersor_conv2d_options {
            struct_size: size_of::<Self>() as u32,
            depthwise: 0,
            window_height: 1,
            window_width: 1,
            stride_height: 1,
            stride_width: 1,
            dilation_height: 1,
            dilation_width: 1,
            padding_top: 0,
            padding_bottom: 0,
            padding_left: 0,
            padding_right: 0,
        }
    }
}

impl tersor_conv2d_options {
    fn window(&self) -> Window {
        let pair = |height: u32, width: u32| (height as usize, width as usize);
        Window::new(pair(self.window_height, self.window_width))
            .stride(pair(self.stride_height, self.stride_width))
            .dilation(pair(self.dilation_height, self.dilation_width))
            .padding_each(
                pair(self.padding_top, self.padding_bottom),
                pair(self.padding_left, self.padding_right),
            )
    }
}

/// Fills `options` with the defaults: a window of one pixel.
///
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_conv2d_options_init(
    options: *mut tersor_conv2d_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_options("options", options, struct_size))
}

/// The size of the output for an image of `height` x `width`.
///
/// @param options     NULL means the defaults
/// @param out_height  receives the number of rows
/// @param out_width   receives the number of columns
/// @return `TERSOR_E_OUT_OF_RANGE` for a size, stride or dilation of 0, and when the image with its padding is smaller than the
///         window; `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_conv2d_output_size(
    height: usize,
    width: usize,
    options: *const tersor_conv2d_options,
    out_height: *mut usize,
    out_width: *mut usize,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let (height_out, width_out) =
            (caller.out("out_height", out_height)?, caller.out("out_width", out_width)?);
        let (height, width) = options.window().output_size((height, width))?;
        height_out.set(height);
        width_out.set(width);
        Ok(())
    })
}

/// How many bytes of scratch memory `tersor_conv2d_forward_*` need.
///
/// @param options    NULL means the defaults
/// @param out_bytes  receives the size; it can be 0
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE` for an option, or a layer whose inputs are not those of the window;
///         `TERSOR_E_UNSUPPORTED` for a depthwise layer that is not of int8 codes; `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_conv2d_forward_size(
    context: *const tersor_context,
    batch: usize,
    height: usize,
    width: usize,
    packed: *const c_void,
    packed_bytes: usize,
    options: *const tersor_conv2d_options,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| {
        caller.context(context)?;
        let out = caller.out("out_bytes", out_bytes)?;
        out.set(match convolution(caller, packed, packed_bytes, options)? {
            Convolution::All(conv) => conv.scratch_bytes([batch, height, width])?,
            Convolution::Depthwise(conv) => conv.scratch_bytes([batch, height, width])?,
        });
        Ok(())
    })
}

/// Convolves images of f32.
///
/// @param x              `batch` x `height` x `width` pixels, each of the numbers of its channels, `x_stride` elements apart; finite where the layer has no fixed quantization of its input
/// @param options        the window
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_conv2d_forward_size` says
/// @param y              receives the numbers of as many pixels as `tersor_conv2d_output_size` says for each image, `y_stride` elements
///                       apart
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE` for an option, a stride, or a layer whose inputs are not those of the
///         window; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_NOT_FINITE`; `TERSOR_E_UNSUPPORTED` for a depthwise
///         layer that is not of int8 codes
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_conv2d_forward_f32(
    context: *const tersor_context,
    x: *const f32,
    batch: usize,
    height: usize,
    width: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    options: *const tersor_conv2d_options,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut f32,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        let conv = convolution(caller, packed, packed_bytes, options)?;
        forward::<f32>(caller, context, (x, [batch, height, width], x_stride), &conv, scratch, (y, y_stride))
    })
}

/// Convolves images of int8 codes, as `tersor_linear_forward_i8` multiplies rows of them.
///
/// @param x              `batch` x `height` x `width` pixels, each of the codes of its channels, `x_stride` elements apart
/// @param options        the window
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_conv2d_forward_size` says
/// @param y              receives the codes of as many pixels as `tersor_conv2d_output_size` says for each image, `y_stride` elements
///                       apart
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE` for an option, a stride, or a layer whose inputs are not those of the
///         window; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_UNSUPPORTED` for a depthwise
///         layer that is not of int8 codes, and for a layer without `tersor_packed_set_input_i8` and `tersor_packed_set_output_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_conv2d_forward_i8(
    context: *const tersor_context,
    x: *const i8,
    batch: usize,
    height: usize,
    width: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    options: *const tersor_conv2d_options,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut i8,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        let conv = convolution(caller, packed, packed_bytes, options)?;
        forward::<i8>(caller, context, (x, [batch, height, width], x_stride), &conv, scratch, (y, y_stride))
    })
}

/// Convolves images of uint8 codes, as `tersor_linear_forward_u8` multiplies rows of them.
///
/// @param x              `batch` x `height` x `width` pixels, each of the codes of its channels, `x_stride` elements apart
/// @param options        the window
/// @param scratch        memory that the call may use; any alignment
/// @param scratch_bytes  at least what `tersor_conv2d_forward_size` says
/// @param y              receives the codes of as many pixels as `tersor_conv2d_output_size` says for each image, `y_stride` elements
///                       apart
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE` for an option, a stride, or a layer whose inputs are not those of the
///         window; `TERSOR_E_LENGTH` for too little scratch memory; `TERSOR_E_UNSUPPORTED` for a depthwise
///         layer that is not of int8 codes, and for a layer without `tersor_packed_set_input_u8` and `tersor_packed_set_output_u8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_conv2d_forward_u8(
    context: *const tersor_context,
    x: *const u8,
    batch: usize,
    height: usize,
    width: usize,
    x_stride: usize,
    packed: *const c_void,
    packed_bytes: usize,
    options: *const tersor_conv2d_options,
    scratch: *mut c_void,
    scratch_bytes: usize,
    y: *mut u8,
    y_stride: usize,
) -> tersor_status {
    export(|caller| {
        let scratch = caller.bytes_mut("scratch", scratch, scratch_bytes)?;
        let conv = convolution(caller, packed, packed_bytes, options)?;
        forward::<u8>(caller, context, (x, [batch, height, width], x_stride), &conv, scratch, (y, y_stride))
    })
}

/// Either kind.
enum Convolution<'a> {
    All(Conv2d<'a>),
    Depthwise(DepthwiseConv2d<'a>),
}

fn convolution<'a>(
    caller: Caller,
    packed: *const c_void,
    packed_bytes: usize,
    options: *const tersor_conv2d_options,
) -> Result<Convolution<'a>, Failure> {
    let options = caller.options("options", options)?;
    let layer = layer(caller, packed, packed_bytes)?;
    Ok(match options.depthwise {
        0 => Convolution::All(Conv2d::new(layer, options.window())?),
        _ => Convolution::Depthwise(DepthwiseConv2d::new(layer, options.window())?),
    })
}

fn forward<T: Operand + Plain>(
    caller: Caller,
    context: *const tersor_context,
    (x, sizes, x_stride): (*const T::C, [usize; 3], usize),
    conv: &Convolution<'_>,
    scratch: &mut [u8],
    (y, y_stride): (*mut T::C, usize),
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let [batch, height, width] = sizes;
    let (window, channels, outputs) = match conv {
        Convolution::All(conv) => (conv.window(), conv.channels(), conv.layer().out_features()),
        Convolution::Depthwise(conv) => {
            (conv.window(), conv.layer().out_features(), conv.layer().out_features())
        }
    };
    let (out_height, out_width) = window.output_size((height, width))?;
    let x = caller.images::<T>("x", x, sizes, channels, x_stride)?;
    let y = caller.images_mut::<T>("y", y, [batch, out_height, out_width], outputs, y_stride)?;
    Ok(context.scope(|| match conv {
        Convolution::All(conv) => conv.forward_with(x, y, scratch),
        Convolution::Depthwise(conv) => conv.forward_with(x, y, scratch),
    })?)
}
