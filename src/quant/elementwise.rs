//! Running an element-wise body over two arrays of any layout, with the grid of each element at hand.

use super::channels::{Channels, Stretch};
use super::params::ParamsView;
use super::rounding::Grid;
use crate::context::Context;
use crate::kernels::{PIECE, for_each_piece};
use crate::row_major::row_major;
use ndarray::{ArrayView, ArrayViewMut, Axis, Dimension};
use std::ops::Range;

/// Bodies see at most so many elements at a time: 16-bit ones are widened into a buffer of this size on the stack.
pub(super) const CHUNK: usize = 256;

/// For a chunk of [symmetric parameters](ParamsView::symmetric), which have no zero points.
const ZEROS: [i32; CHUNK] = [0; CHUNK];

/// The grids of a chunk of elements: one for all, or one for each.
#[derive(Clone, Copy)]
pub(super) enum Grids<'a> {
    One(Grid),
    Each { scales: &'a [f32], zero_points: &'a [i32], limits: (i32, i32) },
}

impl Grids<'_> {
    /// `dst[i] = body(src[i], grid of i)`.
    #[inline(always)]
    pub(super) fn map<A: Copy, B>(self, src: &[A], dst: &mut [B], body: impl Fn(A, Grid) -> B) {
        match self {
            Grids::One(grid) => {
                for (src, dst) in src.iter().zip(dst) {
                    *dst = body(*src, grid);
                }
            }
            Grids::Each { scales, zero_points, limits } => {
                for ((src, dst), (&scale, &zero_point)) in
                    src.iter().zip(dst).zip(scales.iter().zip(zero_points))
                {
                    *dst = body(*src, Grid::new(scale, zero_point, limits));
                }
            }
        }
    }
}

impl ParamsView<'_> {
    /// Calls `body` for chunks of the elements `start..start + len` of an array with these channels; the ranges count
    /// from `start`.
    #[inline(always)]
    pub(super) fn for_each_chunk(
        &self,
        channels: Channels,
        start: usize,
        len: usize,
        mut body: impl FnMut(Range<usize>, Grids<'_>),
    ) {
        channels.for_each(start, len, |stretch| {
            let (elements, first) = match &stretch {
                Stretch::One { elements, channel } => (elements.clone(), *channel),
                Stretch::Each { elements, channels } => (elements.clone(), channels.start),
            };
            let each = matches!(stretch, Stretch::Each { .. });
            let mut done = elements.start;
            while done < elements.end {
                let end = (done + CHUNK).min(elements.end);
                let grids = if each {
                    let from = first + (done - elements.start);
                    Grids::Each {
                        scales: &self.scales()[from..from + (end - done)],
                        zero_points: match self.zero_points() {
                            [] => &ZEROS[..end - done],
                            zero_points => &zero_points[from..from + (end - done)],
                        },
                        limits: self.limits(),
                    }
                } else {
                    Grids::One(self.grid(first))
                };
                body(done..end, grids);
                done = end;
            }
        });
    }
}

/// Calls `body(start, src, dst)` on disjoint contiguous runs that cover both arrays (of the same shape) in row-major
/// order, `start` being the row-major index of the first element.
///
/// Arrays that are contiguous, or whose rows are (a matrix with a row stride), are used where they lie. Others are
/// copied.
pub(super) fn for_each_run<A, B, D>(
    context: &Context,
    src: ArrayView<'_, A, D>,
    mut dst: ArrayViewMut<'_, B, D>,
    body: impl Fn(usize, &[A], &mut [B]) + Sync,
) where
    A: Copy + Sync + Send,
    B: Copy + Default + Sync + Send,
    D: Dimension,
{
    if let (Some(src), Some(dst)) = (src.to_slice(), dst.as_slice_mut()) {
        for_each_piece(context, (src, dst), PIECE, |start, (src, dst): (&[A], &mut [B])| {
            body(start, src, dst)
        });
        return;
    }
    if has_contiguous_rows(src.shape(), src.strides()) && has_contiguous_rows(dst.shape(), dst.strides()) {
        for_each_slab(context, (src.clone(), src), dst, |start, src, _, dst| body(start, src, dst));
        return;
    }
    let src = row_major(src);
    let mut copy = vec![B::default(); src.len()];
    for_each_piece(context, (&*src, &mut copy[..]), PIECE, |start, (src, dst): (&[A], &mut [B])| {
        body(start, src, dst);
    });
    dst.iter_mut().zip(copy).for_each(|(dst, value)| *dst = value);
}

fn has_contiguous_rows(shape: &[usize], strides: &[isize]) -> bool {
    shape.len() >= 2 && (strides.last() == Some(&1) || shape.last() == Some(&1))
}

/// As [`for_each_run`], with two arrays to read: `body(start, a, b, dst)`.
pub(super) fn for_each_run_of_two<A, B, D>(
    context: &Context,
    (a, b): (ArrayView<'_, A, D>, ArrayView<'_, A, D>),
    mut dst: ArrayViewMut<'_, B, D>,
    body: impl Fn(usize, &[A], &[A], &mut [B]) + Sync,
) where
    A: Copy + Sync + Send,
    B: Copy + Default + Sync + Send,
    D: Dimension,
{
    let rows = |strides: &[isize]| has_contiguous_rows(a.shape(), strides);
    let contiguous = a.is_standard_layout() && b.is_standard_layout() && dst.is_standard_layout();
    if !contiguous && rows(a.strides()) && rows(b.strides()) && rows(dst.strides()) {
        for_each_slab(context, (a, b), dst, body);
        return;
    }
    let (a, b) = (row_major(a), row_major(b));
    let piece = |start: usize, (a, b, dst): (&[A], &[A], &mut [B])| body(start, a, b, dst);
    if let Some(dst) = dst.as_slice_mut() {
        for_each_piece(context, (&*a, &*b, dst), PIECE, piece);
        return;
    }
    let mut copy = vec![B::default(); a.len()];
    for_each_piece(context, (&*a, &*b, &mut copy[..]), PIECE, piece);
    dst.iter_mut().zip(copy).for_each(|(dst, value)| *dst = value);
}

/// Cuts the first axis into at most [`SLABS`] slabs (by the shape alone) and goes through the rows of each.
fn for_each_slab<A, B, D>(
    context: &Context,
    (a, b): (ArrayView<'_, A, D>, ArrayView<'_, A, D>),
    mut dst: ArrayViewMut<'_, B, D>,
    body: impl Fn(usize, &[A], &[A], &mut [B]) + Sync,
) where
    A: Sync + Send,
    B: Sync + Send,
    D: Dimension,
{
    const SLABS: usize = 64;
    let outer = a.shape().first().copied().unwrap_or(1);
    let thickness = outer.div_ceil(SLABS).max(1);
    let slab_len = a.len().checked_div(outer).unwrap_or(0) * thickness;
    let mut sources = a.axis_chunks_iter(Axis(0), thickness).zip(b.axis_chunks_iter(Axis(0), thickness));
    let mut targets = dst.axis_chunks_iter_mut(Axis(0), thickness);
    let mut slabs: [_; SLABS] = std::array::from_fn(|_| sources.next().zip(targets.next()));
    for_each_piece(context, &mut slabs[..], 1, |index, slab: &mut [Option<_>]| {
        let Some(((a, b), mut dst)) = slab.first_mut().and_then(Option::take) else { return };
        let mut start = index * slab_len;
        for ((a, b), mut dst) in a.rows().into_iter().zip(b.rows()).zip(dst.rows_mut()) {
            // All are contiguous: the caller looked.
            if let (Some(a), Some(b), Some(dst)) = (a.to_slice(), b.to_slice(), dst.as_slice_mut()) {
                body(start, a, b, dst);
            }
            start += a.len();
        }
    });
}
