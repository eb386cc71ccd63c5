//! Convolutions of all channels, by lowering.

use super::image::{CodeImages, float_images};
use super::window::{Geometry, Window};
use super::{check, check_scratch, for_each_chunk};
use crate::context::Context;
use crate::element::private::FloatView;
use crate::error::{Error, Result};
use crate::kernels::{Operation, Staged as _, TileMut, Token, for_each_tile};
use crate::linear::bytes::affordable;
use crate::linear::codes::{StagedBytes, Staging};
use crate::linear::layer::PackedLinear;
use crate::linear::operand::{Operand, Written};
use crate::linear::scratch::Scratch;
use ndarray::{ArrayView2, ArrayView4, ArrayViewMut2, ArrayViewMut4};

/// Elements of a chunk of lowered rows, about: some hundred kilobytes, which stay in a cache until they are multiplied.
const CHUNK: usize = 1 << 18;

/// Rows of a chunk: enough that weights are used many times, and that threads have pieces to take.
const ROWS: std::ops::RangeInclusive<usize> = 64..=1024;

/// A two-dimensional convolution: `y[n, oy, ox, o] = sum over ky, kx, c of x[n, iy, ix, c] * w[o, ky, kx, c] + bias[o]`.
///
/// It is a [`PackedLinear`] and the [`Window`] that feeds it, so that every format, sparsity and epilogue of a layer is one of
/// a convolution. The layer's weights are `[outputs, height * width * channels]`, in the order of `[outputs, height, width,
/// channels]` (as TFLite stores them; torch's `[outputs, channels, height, width]` are permuted first).
///
/// Images are `[batch, height, width, channels]` views of any strides, so `[batch, channels, height, width]` ones are read
/// and written after `permuted_axes([0, 2, 3, 1])`. Channels side by side are faster.
///
/// The windows of some hundred outputs at a time are copied into rows (of codes, where the layer has integer weights: each
/// pixel is quantized once), and those multiplied as the rows of a layer are; windows of one pixel are not copied at all.
/// Results are those of the layer for these rows, to the bit (in sparse float formats within the error of their sums), but
/// for dynamic quantization, which takes the range of a whole image. What is in the padding is an exact zero.
///
/// Strides change the bits of `y` in sparse float formats alone, within that error: how many rows are multiplied at a time depends on
/// the strides of `y` (pixels that are equally far apart go on from line to line, others end with theirs).
///
/// For groups of channels run one convolution for each, on slices of `x` and `y`; where each channel is a group, a
/// [`DepthwiseConv2d`](super::DepthwiseConv2d).
///
/// ```
/// use ndarray::{Array4, array};
/// use tersor::linear::{Conv2d, PackedLinear, Window};
///
/// // One output of one channel: the sum of a 2x2 window.
/// let layer = PackedLinear::new(array![[1.0_f32, 1.0, 1.0, 1.0]].view())?;
/// let conv = Conv2d::new(layer, Window::new((2, 2)))?;
/// let x = Array4::from_shape_fn((1, 3, 3, 1), |(_, y, x, _)| (3 * y + x) as f32);
/// let mut y = Array4::<f32>::zeros((1, 2, 2, 1));
/// conv.forward(x.view(), y.view_mut())?;
/// assert_eq!(y.iter().copied().collect::<Vec<_>>(), [8.0, 12.0, 20.0, 24.0]);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Conv2d<'a> {
    layer: PackedLinear<'a>,
    window: Window,
    channels: usize,
}

impl<'a> Conv2d<'a> {
    /// A convolution with the weights of `layer`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a size, stride or dilation of 0, and when the layer's inputs are not whole windows;
    /// [`Error::SizeOverflow`] for a window of more taps than can be.
    pub fn new(layer: PackedLinear<'a>, window: Window) -> Result<Self> {
        let taps = window.taps()?;
        if !layer.in_features().is_multiple_of(taps) {
            let limit = format!("a multiple of the taps of the window, {:?}", window.size());
            return Err(Error::out_of_range("in_features", layer.in_features(), limit));
        }
        let channels = layer.in_features() / taps;
        Ok(Conv2d { layer, window, channels })
    }

    /// The layer.
    pub fn layer(&self) -> &PackedLinear<'a> {
        &self.layer
    }

    /// The window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// The channels of `x`.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// How many bytes [`forward_with`](Conv2d::forward_with) needs for images of `[batch, height, width]`: the same on every
    /// machine.
    ///
    /// # Errors
    /// Those of [`Window::output_size`], and [`Error::SizeOverflow`].
    pub fn scratch_bytes(&self, [batch, height, width]: [usize; 3]) -> Result<usize> {
        let overflow =
            || Error::SizeOverflow { argument: "x".into(), sizes: vec![batch, height, width, self.channels] };
        let geometry = Geometry::new(self.window, (height, width), self.channels)?;
        let rows = self.chunk(&geometry, batch);
        let inputs = self.layer.in_features();
        let images = if self.layer.quantizes_input() {
            CodeImages::scratch_bytes(&geometry, batch, self.channels)
        } else {
            let pixels = batch.checked_mul(geometry.pixels());
            let images = pixels.and_then(|pixels| Scratch::bytes_for(pixels.checked_mul(self.channels)?, 4));
            images.and_then(|images| Scratch::bytes_for(rows.checked_mul(inputs)?, 4)?.checked_add(images))
        };
        images
            .and_then(|images| self.layer.scratch_bytes(rows).ok()?.checked_add(images))
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or_else(overflow)
    }

    /// `x[batch, height, width, channels]` to `y[batch, out_height, out_width, outputs]`, numbers or codes as in
    /// [`PackedLinear::forward`]. Views may have any strides.
    ///
    /// Allocates what [`forward_with`](Conv2d::forward_with) would be given.
    ///
    /// # Errors
    /// Those of [`PackedLinear::forward`], also [`Error::Isa`], and of [`scratch_bytes`](Conv2d::scratch_bytes). `y` is untouched then.
    pub fn forward<X: Operand, Y: Operand>(
        &self,
        x: ArrayView4<'_, X>,
        y: ArrayViewMut4<'_, Y>,
    ) -> Result<()> {
        let (batch, height, width, channels) = x.dim();
        let geometry = check(&self.layer, self.window, self.channels, &x, &y)?;
        let bytes = self.scratch_bytes([batch, height, width])?;
        let bytes = affordable(bytes, "x", &[batch, height, width, channels])?;
        self.run(geometry, x, Y::written(y), &mut vec![0; bytes])
    }

    /// As [`forward`](Conv2d::forward), and allocates nothing. What `scratch` holds, before and after, means nothing.
    ///
    /// # Errors
    /// As [`forward`](Conv2d::forward), and [`Error::Length`] when `scratch` is shorter than
    /// [`scratch_bytes`](Conv2d::scratch_bytes).
    pub fn forward_with<X: Operand, Y: Operand>(
        &self,
        x: ArrayView4<'_, X>,
        y: ArrayViewMut4<'_, Y>,
        scratch: &mut [u8],
    ) -> Result<()> {
        let (batch, height, width, _) = x.dim();
        let geometry = check(&self.layer, self.window, self.channels, &x, &y)?;
        check_scratch(scratch, self.scratch_bytes([batch, height, width])?)?;
        self.run(geometry, x, Y::written(y), scratch)
    }

    /// How many rows are lowered at a time. Depends on shapes alone.
    fn chunk(&self, geometry: &Geometry, batch: usize) -> usize {
        let rows = CHUNK / self.layer.in_features().max(1);
        rows.clamp(*ROWS.start(), *ROWS.end()).min(batch.saturating_mul(geometry.outputs()))
    }

    /// Everything is checked but the numbers of `x`.
    fn run<'s, X: Operand, Y: Written>(
        &self,
        geometry: Geometry,
        x: ArrayView4<'s, X>,
        y: ArrayViewMut4<'_, Y>,
        scratch: &'s mut [u8],
    ) -> Result<()> {
        let context = &Context::current()?;
        let chunk = self.chunk(&geometry, x.dim().0);
        let mut scratch = Scratch::new(scratch);
        if !self.layer.quantizes_input() {
            let images = float_images(context, x, &mut scratch);
            self.run_floats(context, &geometry, images, chunk, y, scratch);
            return Ok(());
        }
        let images = CodeImages::new(context, &geometry, x, self.channels, self.layer.input(), &mut scratch)?;
        let mut rows = self.layer.code_rows(context, chunk, &mut scratch);
        let rest = scratch.into_bytes();
        let pixel_bytes = self.channels * context.isa().run(StagedBytes);
        let is_direct = geometry.is_pixel() && rows.padded == self.channels && rows.spans.count == 0;
        for_each_chunk(y, chunk, |first, y| {
            let mut rows = rows.first(context, y.nrows());
            if is_direct {
                let end = (first + y.nrows()) * pixel_bytes;
                rows.codes = images.codes.get_mut(first * pixel_bytes..end).unwrap_or_default();
                rows.stride = self.channels;
                for (at, (scale, zero_point)) in
                    rows.scales.iter_mut().zip(&mut *rows.zero_points).enumerate()
                {
                    let image = geometry.image_of(first + at);
                    (*scale, *zero_point) = (images.scales[image], images.zero_points[image]);
                }
            } else {
                let (geometry, images) = (&geometry, &images);
                rows.for_each_rows(context, |at, rows| {
                    context.isa().run(LowerCodes { geometry, images, first: first + at, rows });
                });
            }
            self.layer.multiply(context, rows, y, Scratch::new(rest));
        });
        Ok(())
    }

    fn run_floats<Y: Written>(
        &self,
        context: &Context,
        geometry: &Geometry,
        images: &[f32],
        chunk: usize,
        y: ArrayViewMut4<'_, Y>,
        mut scratch: Scratch<'_>,
    ) {
        let inputs = self.layer.in_features();
        let rows = scratch.take::<f32>(if geometry.is_pixel() { 0 } else { chunk * inputs });
        let rest = scratch.into_bytes();
        for_each_chunk(y, chunk, |first, y| {
            let x = if geometry.is_pixel() {
                images.get(first * inputs..(first + y.nrows()) * inputs).unwrap_or_default()
            } else {
                let rows = rows.get_mut(..y.nrows() * inputs).unwrap_or_default();
                if let Ok(matrix) = ArrayViewMut2::from_shape((y.nrows(), inputs), &mut *rows) {
                    for_each_tile(
                        context,
                        matrix,
                        (LOWERED, usize::MAX),
                        |(at, _), mut tile: TileMut<'_, f32>| {
                            for row in 0..tile.rows() {
                                geometry.lower(first + at + row, images, 0.0, tile.row_mut(row));
                            }
                        },
                    );
                }
                rows
            };
            if let Ok(x) = ArrayView2::from_shape((y.nrows(), inputs), x) {
                self.layer.multiply_floats(context, FloatView::F32(x), y, Scratch::new(rest));
            }
        });
    }
}

/// Rows that one thread lowers at a time.
const LOWERED: usize = 8;

/// Copies the windows of some outputs into rows of codes.
struct LowerCodes<'a, 'i> {
    geometry: &'a Geometry,
    images: &'a CodeImages<'i>,
    first: usize,
    rows: Staging<'a>,
}

impl Operation for LowerCodes<'_, '_> {
    type Output = ();
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(mut self, _token: T) {
        let pixels: &[T::Staged] = bytemuck::try_cast_slice(&*self.images.codes).unwrap_or_default();
        for at in 0..self.rows.len() {
            let row = self.first + at;
            let image = self.geometry.image_of(row);
            let scale = self.images.scales.get(image).copied().unwrap_or(1.0);
            let zero_point = self.images.zero_points.get(image).copied().unwrap_or(0) + T::Staged::OFFSET;
            let inputs = self.geometry.window_inputs();
            let codes = self.rows.codes::<T::Staged>(at);
            self.geometry.lower(row, pixels, T::Staged::from_code(zero_point), codes);
            self.rows.finish::<T::Staged>(at, inputs, (scale, zero_point));
        }
    }
}
