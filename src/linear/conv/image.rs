//! Images as the kernels want them: each pixel's channels side by side, in f32 or as staged codes.

use super::window::Geometry;
use crate::context::Context;
use crate::element::Element;
use crate::element::private::FloatView;
use crate::error::{Error, Result};
use crate::kernels::{Operation, Staged as _, Token, reduce_pieces};
use crate::linear::activations::{CHUNK, ROWS, Row, stage_floats};
use crate::linear::codes::{CodeRows, Spans, StagedBytes, parameters_of};
use crate::linear::layout::Quantization;
use crate::linear::operand::{Operand, Source};
use crate::linear::scratch::Scratch;
use crate::quant::{CodeType, Extrema};
use ndarray::{ArrayBase, ArrayView2, ArrayView3, ArrayView4, Axis, Ix2, Ix4, RawData};
use std::ops::Range;

/// Images as staged codes.
pub(super) struct CodeImages<'a> {
    /// `[image][pixel][stride]`, then for each image a pixel of zeros; of the token's staged type.
    pub(super) codes: &'a mut [u8],
    /// Elements from a pixel to the next.
    pub(super) stride: usize,
    /// A scale for each image.
    pub(super) scales: &'a mut [f32],
    /// A zero point for each image, as codes are staged.
    pub(super) zero_points: &'a mut [i32],
}

impl<'a> CodeImages<'a> {
    /// The scratch that any instruction set needs at most.
    pub(super) fn scratch_bytes(geometry: &Geometry, images: usize, stride: usize) -> Option<usize> {
        let pixels = images.checked_mul(geometry.pixels().checked_add(1)?)?;
        let codes = Scratch::bytes_for(pixels.checked_mul(stride)?, size_of::<i16>())?;
        let rows = Scratch::bytes_for(geometry.pixels(), 4)?.checked_mul(2)?;
        Scratch::bytes_for(images, 4)?.checked_mul(2)?.checked_add(rows)?.checked_add(codes)
    }

    /// Takes codes as they are, or quantizes numbers: with `input`, else (dynamic) with the range of each image. `x` is
    /// `[image, height, width, channels]`.
    pub(super) fn new<X: Operand>(
        context: &Context,
        geometry: &Geometry,
        x: ArrayView4<'_, X>,
        stride: usize,
        input: Option<Quantization>,
        scratch: &mut Scratch<'a>,
    ) -> Result<Self> {
        let (count, pixels) = (x.dim().0, geometry.pixels());
        let size = context.isa().run(StagedBytes);
        let images = CodeImages {
            codes: scratch.take(count * (pixels + 1) * stride * size),
            stride,
            scales: scratch.take(count),
            zero_points: scratch.take(count),
        };
        // What `CodeRows` writes for each row of a part: here they all have the image's.
        let (scales, zero_points) = (scratch.take::<f32>(pixels), scratch.take::<i32>(pixels));
        for (index, image) in x.outer_iter().enumerate() {
            let input = match input {
                Some(input) => input,
                None => range_of(context, image, index * image.len())?,
            };
            for_each_part(image, stride == geometry.channels, |first, part| {
                let (rows, columns) = part.dim();
                let padded = if columns == geometry.channels { stride } else { columns };
                let start = (index * pixels + first / geometry.channels.max(1)) * stride * size;
                let codes = images.codes.get_mut(start..start + rows * padded * size);
                CodeRows {
                    codes: codes.unwrap_or_default(),
                    scales: scales.get_mut(..rows).unwrap_or_default(),
                    zero_points: zero_points.get_mut(..rows).unwrap_or_default(),
                    sums: &mut [],
                    spans: Spans::NONE,
                    padded,
                    stride: padded,
                }
                .fill(context, X::source(part), Some(input))
            })?;
            let start = (count * pixels + index) * stride * size;
            let zeros = images.codes.get_mut(start..start + stride * size).unwrap_or_default();
            let zero_point = input.zero_point + input.shift();
            images.scales[index] = input.scale;
            images.zero_points[index] = context.isa().run(Zeros { codes: zeros, zero_point });
        }
        Ok(images)
    }
}

/// Writes a pixel of zeros, uint8 codes that are the zero point; returns that as it is staged.
struct Zeros<'a> {
    codes: &'a mut [u8],
    zero_point: i32,
}

impl Operation for Zeros<'_> {
    type Output = i32;
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(self, _token: T) -> i32 {
        let codes: &mut [T::Staged] = bytemuck::try_cast_slice_mut(self.codes).unwrap_or_default();
        codes.fill(T::Staged::from_code(self.zero_point));
        self.zero_point - T::Staged::OFFSET
    }
}

/// Images in f32, `[image][pixel][channel]`: where they are, or in scratch.
pub(super) fn float_images<'a, X: Operand>(
    context: &Context,
    x: ArrayView4<'a, X>,
    scratch: &mut Scratch<'a>,
) -> &'a [f32] {
    if let Some(Source::Numbers(FloatView::F32(pixels))) = merged(x).map(X::source)
        && let Some(pixels) = pixels.to_slice()
    {
        return pixels;
    }
    if x.is_empty() {
        return &[];
    }
    let staged = scratch.take::<f32>(x.len());
    for (index, image) in x.outer_iter().enumerate() {
        // Only fails where the body does.
        let _ = for_each_part(image, true, |first, part| {
            let start = index * image.len() + first;
            let out = staged.get_mut(start..start + part.len()).unwrap_or_default();
            match X::source(part) {
                Source::Numbers(FloatView::F32(x)) => stage_floats(context, &x, out),
                Source::Numbers(FloatView::F16(x)) => stage_floats(context, &x, out),
                Source::Numbers(FloatView::Bf16(x)) => stage_floats(context, &x, out),
                Source::I8(_) | Source::U8(_) => {}
            }
            Ok(())
        });
    }
    staged
}

/// `[pixel, channel]` of all images, where pixels are equally far apart and there are any.
pub(super) fn merged<S: RawData>(mut x: ArrayBase<S, Ix4>) -> Option<ArrayBase<S, Ix2>> {
    let is_merged = !x.is_empty() && x.merge_axes(Axis(0), Axis(1)) && x.merge_axes(Axis(1), Axis(2));
    is_merged.then(|| x.index_axis_move(Axis(0), 0).index_axis_move(Axis(0), 0))
}

/// Calls `body(first, part)` with matrices that together are the image, where `first` is the index of the part's first element:
/// as few as its strides allow. Columns are the channels of a pixel or, where `lines` are welcome, of a line.
fn for_each_part<X>(
    image: ArrayView3<'_, X>,
    lines: bool,
    mut body: impl FnMut(usize, ArrayView2<'_, X>) -> Result<()>,
) -> Result<()> {
    if image.is_empty() {
        return Ok(());
    }
    let (mut by_line, mut by_pixel) = (image, image);
    if lines && by_line.merge_axes(Axis(1), Axis(2)) {
        return body(0, by_line.index_axis_move(Axis(1), 0));
    }
    if by_pixel.merge_axes(Axis(0), Axis(1)) {
        return body(0, by_pixel.index_axis_move(Axis(0), 0));
    }
    for (y, line) in image.outer_iter().enumerate() {
        body(y * line.len(), line)?;
    }
    Ok(())
}

/// The quantization of an image by its own range, as that of a row in a linear layer. `first` is the index of its first
/// element in `x`.
fn range_of<X: Operand>(context: &Context, image: ArrayView3<'_, X>, first: usize) -> Result<Quantization> {
    let mut range = Extrema::ZERO;
    let mut not_finite = None;
    for_each_part(image, true, |start, part| {
        let found = match X::source(part) {
            Source::Numbers(FloatView::F32(x)) => extrema(context, &x),
            Source::Numbers(FloatView::F16(x)) => extrema(context, &x),
            Source::Numbers(FloatView::Bf16(x)) => extrema(context, &x),
            // Codes have parameters, so nobody asks for theirs.
            Source::I8(_) | Source::U8(_) => Extrema::ZERO,
        };
        range = range.union(found);
        if !found.is_finite() && not_finite.is_none() {
            not_finite = first_not_finite(X::source(part)).map(|(at, value)| (first + start + at, value));
        }
        Ok(())
    })?;
    if let Some((index, value)) = not_finite {
        return Err(Error::NotFinite { argument: "x".into(), index, value });
    }
    let (scale, zero_point) = parameters_of(range.min, range.max);
    Ok(Quantization { scale, zero_point, code_type: CodeType::U8, limits: (0, 255) })
}

fn first_not_finite(x: Source<'_>) -> Option<(usize, f32)> {
    fn first(x: ArrayView2<'_, impl Element>) -> Option<(usize, f32)> {
        x.iter().map(|&x| Element::to_f32(x)).enumerate().find(|(_, x)| !x.is_finite())
    }
    match x {
        Source::Numbers(FloatView::F32(x)) => first(x),
        Source::Numbers(FloatView::F16(x)) => first(x),
        Source::Numbers(FloatView::Bf16(x)) => first(x),
        Source::I8(_) | Source::U8(_) => None,
    }
}

fn extrema(context: &Context, x: &ArrayView2<'_, impl Element>) -> Extrema {
    let map = |rows: Range<usize>| context.isa().run(ExtremaOf { x, rows });
    reduce_pieces(context, x.nrows(), ROWS, Extrema::ZERO, map, Extrema::union)
}

struct ExtremaOf<'a, 'x, X> {
    x: &'a ArrayView2<'x, X>,
    rows: Range<usize>,
}

impl<X: Element> Operation for ExtremaOf<'_, '_, X> {
    type Output = Extrema;
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(self, token: T) -> Extrema {
        let (mut raw, mut buffer) = ([X::default(); CHUNK], [0.0; CHUNK]);
        let mut range = Extrema::ZERO.wide();
        for row in self.rows {
            let source = Row { x: self.x, row };
            for start in (0..self.x.ncols()).step_by(source.step()) {
                range.add(source.chunk(token, start, &mut raw, &mut buffer));
            }
        }
        range.all()
    }
}
