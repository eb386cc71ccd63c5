//! Convolutions, lowered to the same products as fully connected layers.

mod conv2d;
mod depthwise;
mod image;
mod window;

pub use conv2d::Conv2d;
pub use depthwise::DepthwiseConv2d;
pub use window::Window;

use super::layer::PackedLinear;
use super::operand::Operand;
use crate::error::{Error, Result};
use image::merged;
use ndarray::{ArrayView4, ArrayViewMut2, ArrayViewMut4, Axis, Slice};
use window::Geometry;

/// Refuses images of other shapes than a convolution of `channels` needs, and codes of which the layer has no parameters.
fn check<X: Operand, Y: Operand>(
    layer: &PackedLinear<'_>,
    window: Window,
    channels: usize,
    x: &ArrayView4<'_, X>,
    y: &ArrayViewMut4<'_, Y>,
) -> Result<Geometry> {
    let (batch, height, width, found) = x.dim();
    if found != channels {
        let expected = format!("[batch, height, width, {channels}], the channels of the convolution");
        return Err(Error::shape("x", x.shape(), expected));
    }
    let geometry = Geometry::new(window, (height, width), channels)?;
    let needed = [batch, geometry.out_height, geometry.out_width, layer.out_features()];
    if y.shape() != needed {
        return Err(Error::shape("y", y.shape(), format!("{needed:?}, the output of that window for x")));
    }
    layer.check_types::<X, Y>()?;
    Ok(geometry)
}

fn check_scratch(scratch: &[u8], needed: usize) -> Result<()> {
    if scratch.len() < needed {
        let expected = format!("at least {needed} for these images");
        return Err(Error::length("scratch", scratch.len(), expected));
    }
    Ok(())
}

/// Calls `body(first, rows)` with matrices of at most `chunk` outputs, one for each row, that together are `y`; `first` is the first output
/// among those of all images.
fn for_each_chunk<Y>(
    mut y: ArrayViewMut4<'_, Y>,
    chunk: usize,
    mut body: impl FnMut(usize, ArrayViewMut2<'_, Y>),
) {
    let mut cut = |first: usize, mut rows: ArrayViewMut2<'_, Y>| {
        for start in (0..rows.nrows()).step_by(chunk.max(1)) {
            let end = rows.nrows().min(start + chunk.max(1));
            body(first + start, rows.slice_axis_mut(Axis(0), Slice::from(start..end)));
        }
    };
    if merged(y.view()).is_some() {
        if let Some(rows) = merged(y) {
            cut(0, rows);
        }
        return;
    }
    let (_, height, width, _) = y.dim();
    if y.is_empty() {
        return;
    }
    for (image, mut lines) in y.outer_iter_mut().enumerate() {
        for (line, rows) in lines.outer_iter_mut().enumerate() {
            cut((image * height + line) * width, rows);
        }
    }
}
