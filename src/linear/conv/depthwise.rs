//! Convolutions of each channel by itself.

use super::image::CodeImages;
use super::window::{Geometry, Window};
use super::{check, check_scratch, for_each_chunk};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::kernels::{Group, Operation, TILE, TileMut, Token, for_each_tile};
use crate::linear::bytes::affordable;
use crate::linear::finish::{Epilogue, Finish, Outputs, RowParameters, Scaled};
use crate::linear::layer::PackedLinear;
use crate::linear::layout::{Format, GROUP};
use crate::linear::operand::{Operand, Written};
use crate::linear::scratch::Scratch;
use ndarray::{ArrayView4, ArrayViewMut4};

/// The most taps of a window: what a table on the stack has room for.
const TAPS: usize = 128;

/// Outputs that one thread computes at a time, and those whose taps are in the table at once.
const PIECE: usize = 64;
const ROWS: usize = 8;

/// A two-dimensional convolution of each channel with a window of its own, in int8:
/// `y[n, oy, ox, c] = sum over ky, kx of x[n, iy, ix, c] * w[c, ky, kx] + bias[c]`.
///
/// It is a [`PackedLinear`] of int8 weights `[channels, height * width]` without zero points (torch's
/// `[channels, 1, height, width]`, flattened; TFLite's `[1, height, width, channels]`, transposed) and a [`Window`]. Bias,
/// clamp, input and output parameters are those of the layer. Products are exact int32, and rounding is that of the layer, so `y` is
/// the same bytes on every instruction set and at any thread count. Dynamic quantization takes the range of a whole image.
///
/// Images are `[batch, height, width, channels]` views of any strides; channels side by side are faster.
///
/// ```
/// use ndarray::{Array4, array};
/// use tersor::linear::{DepthwiseConv2d, PackedLinear, Weights, Window};
///
/// // Two channels: one is added up along the width, the other subtracted.
/// let layer = PackedLinear::new(Weights::int8(array![[1_i8, 1], [1, -1]].view(), &[1.0], &[]))?;
/// let conv = DepthwiseConv2d::new(layer, Window::new((1, 2)))?;
/// let x = Array4::from_shape_fn((1, 1, 3, 2), |(_, _, x, _)| [255.0_f32, 100.0, 0.0][x]);
/// let mut y = Array4::<f32>::zeros((1, 1, 2, 2));
/// conv.forward(x.view(), y.view_mut())?;
/// assert_eq!(y.iter().copied().collect::<Vec<_>>(), [355.0, 155.0, 100.0, 100.0]);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DepthwiseConv2d<'a> {
    layer: PackedLinear<'a>,
    window: Window,
}

impl<'a> DepthwiseConv2d<'a> {
    /// A convolution with the weights of `layer`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a layer of another format than dense int8, or with zero points of its weights;
    /// [`Error::OutOfRange`] for a size, stride or dilation of 0, and when its inputs are not the taps of the window, or these are
    /// more than 128; [`Error::SizeOverflow`] for more than can be.
    pub fn new(layer: PackedLinear<'a>, window: Window) -> Result<Self> {
        if layer.format() != Format::Int8 || layer.has_zero_points() {
            let with = if layer.has_zero_points() { " with zero points" } else { "" };
            return Err(Error::Unsupported {
                what: format!("a depthwise convolution with {} weights{with}", layer.format()),
                instead: "pack symmetric int8 codes, dense".into(),
            });
        }
        let taps = window.taps()?;
        if taps > TAPS {
            let limit = format!("1 to {TAPS} taps in a depthwise convolution");
            return Err(Error::out_of_range("window", format!("{:?}", window.size()), limit));
        }
        if layer.in_features() != taps {
            let limit = format!("{taps}, the taps of the window, {:?}", window.size());
            return Err(Error::out_of_range("in_features", layer.in_features(), limit));
        }
        Ok(DepthwiseConv2d { layer, window })
    }

    /// The layer.
    pub fn layer(&self) -> &PackedLinear<'a> {
        &self.layer
    }

    /// The window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// How many bytes [`forward_with`](DepthwiseConv2d::forward_with) needs for images of `[batch, height, width]`: the same
    /// on every machine.
    ///
    /// # Errors
    /// Those of [`Window::output_size`], and [`Error::SizeOverflow`].
    pub fn scratch_bytes(&self, [batch, height, width]: [usize; 3]) -> Result<usize> {
        let geometry = Geometry::new(self.window, (height, width), self.layer.out_features())?;
        CodeImages::scratch_bytes(&geometry, batch, self.stride())
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or_else(|| Error::SizeOverflow {
                argument: "x".into(),
                sizes: vec![batch, height, width, geometry.channels],
            })
    }

    /// `x[batch, height, width, channels]` to `y[batch, out_height, out_width, channels]`, numbers or codes as in
    /// [`PackedLinear::forward`]. Views may have any strides.
    ///
    /// Allocates what [`forward_with`](DepthwiseConv2d::forward_with) would be given.
    ///
    /// # Errors
    /// Those of [`PackedLinear::forward`], also [`Error::Isa`], and of [`scratch_bytes`](DepthwiseConv2d::scratch_bytes). `y` is
    /// untouched then.
    pub fn forward<X: Operand, Y: Operand>(
        &self,
        x: ArrayView4<'_, X>,
        y: ArrayViewMut4<'_, Y>,
    ) -> Result<()> {
        let (batch, height, width, channels) = x.dim();
        let geometry = check(&self.layer, self.window, self.layer.out_features(), &x, &y)?;
        let bytes = self.scratch_bytes([batch, height, width])?;
        let bytes = affordable(bytes, "x", &[batch, height, width, channels])?;
        self.run(&geometry, x, Y::written(y), &mut vec![0; bytes])
    }

    /// As [`forward`](DepthwiseConv2d::forward), and allocates nothing. What `scratch` holds, before and after, means nothing.
    ///
    /// # Errors
    /// As [`forward`](DepthwiseConv2d::forward), and [`Error::Length`] when `scratch` is shorter than
    /// [`scratch_bytes`](DepthwiseConv2d::scratch_bytes).
    pub fn forward_with<X: Operand, Y: Operand>(
        &self,
        x: ArrayView4<'_, X>,
        y: ArrayViewMut4<'_, Y>,
        scratch: &mut [u8],
    ) -> Result<()> {
        let (batch, height, width, _) = x.dim();
        let geometry = check(&self.layer, self.window, self.layer.out_features(), &x, &y)?;
        check_scratch(scratch, self.scratch_bytes([batch, height, width])?)?;
        self.run(&geometry, x, Y::written(y), scratch)
    }

    /// Codes from a pixel to the next: whole tiles.
    fn stride(&self) -> usize {
        self.layer.out_features().div_ceil(TILE).saturating_mul(TILE)
    }

    /// Everything is checked but the numbers of `x`.
    fn run<X: Operand, Y: Written>(
        &self,
        geometry: &Geometry,
        x: ArrayView4<'_, X>,
        y: ArrayViewMut4<'_, Y>,
        scratch: &mut [u8],
    ) -> Result<()> {
        let context = &Context::current()?;
        let (count, input) = (x.dim().0, self.layer.input());
        let images =
            &CodeImages::new(context, geometry, x, self.stride(), input, &mut Scratch::new(scratch))?;
        let finish = Scaled::<Y>::new(Epilogue::of(&self.layer));
        let size = self.window.size();
        let zeros = count * geometry.pixels();
        for_each_chunk(y, usize::MAX, |first, y| {
            for_each_tile(context, y, (PIECE, usize::MAX), |(at, _), tile| {
                let first = first + at;
                context.isa().run(Depthwise {
                    layer: &self.layer,
                    geometry,
                    size,
                    images,
                    zeros,
                    finish,
                    first,
                    tile,
                });
            });
        });
        Ok(())
    }
}

struct Depthwise<'a, 'i, F: Finish> {
    layer: &'a PackedLinear<'a>,
    geometry: &'a Geometry,
    /// Of the window.
    size: (usize, usize),
    images: &'a CodeImages<'i>,
    /// The first pixel of zeros.
    zeros: usize,
    finish: F,
    /// The first output.
    first: usize,
    tile: TileMut<'a, F::Out>,
}

impl<F: Finish> Operation for Depthwise<'_, '_, F> {
    type Output = ();
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        match self.size.0 * self.size.1 {
            0..=12 => self.multiply::<T, 12>(token),
            13..=28 => self.multiply::<T, 28>(token),
            _ => self.multiply::<T, TAPS>(token),
        }
    }
}

impl<F: Finish> Depthwise<'_, '_, F> {
    /// With a table of `K` taps for each output.
    #[inline(always)]
    fn multiply<T: Token, const K: usize>(&mut self, token: T) {
        let codes: &[T::Staged] = bytemuck::try_cast_slice(&*self.images.codes).unwrap_or_default();
        let count = self.size.0 * self.size.1;
        let depth = count.div_ceil(GROUP);
        let stride = self.images.stride;
        let mut steps = [0; K];
        self.geometry.steps(&mut steps[..count]);
        let mut taps = [[0; K]; ROWS];
        let mut rows = [RowParameters::default(); ROWS];
        for done in (0..self.tile.rows()).step_by(ROWS) {
            let len = (self.tile.rows() - done).min(ROWS);
            for row in 0..len {
                let start = self.geometry.start(self.first + done + row);
                // Taps in the padding, and those that fill the last group, see zeros.
                let zeros = self.zeros + start.image;
                let taps = &mut taps[row];
                if let Some(first) = self.geometry.first_pixel(start) {
                    for k in 0..K {
                        taps[k] = (first + steps[k]) * stride;
                    }
                } else {
                    self.geometry.pixels_of(start, zeros, &mut taps[..count]);
                    for tap in &mut taps[..count] {
                        *tap *= stride;
                    }
                }
                taps[count..].fill(zeros * stride);
                rows[row] = RowParameters {
                    scale: self.images.scales.get(start.image).copied().unwrap_or(1.0),
                    zero_point: self.images.zero_points.get(start.image).copied().unwrap_or(0),
                    centred: 0,
                };
            }
            for start in (0..self.tile.cols()).step_by(TILE) {
                let index = start / TILE;
                let bytes = self.layer.values(index * depth * GROUP * TILE);
                let bytes = bytes.get(..depth * GROUP * TILE).unwrap_or_default();
                let weights: &[[Group<i8>; TILE]] =
                    bytemuck::cast_slice::<u8, i8>(bytes).as_chunks::<GROUP>().0.as_chunks::<TILE>().0;
                let outputs = Outputs::<TILE>::of(self.layer, index);
                let codes = codes.get(start..).unwrap_or_default();
                let mut sums = [[0; TILE]; ROWS];
                token.dot_channels(codes, &taps[..len], weights, &mut sums);
                for row in 0..len {
                    let out = outputs.finish(self.finish, token, &sums[row], rows[row]);
                    self.tile.store(done + row, start, out);
                }
            }
        }
    }
}
