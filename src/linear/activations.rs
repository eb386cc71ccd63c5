//! Float activations: rows of any type and stride, read in chunks or widened into scratch.

use crate::context::Context;
use crate::element::private::FloatView;
use crate::element::{DType, Element};
use crate::kernels::{Operation, TileMut, Token, for_each_tile};
use ndarray::{ArrayView2, ArrayViewMut2};

/// How many elements of a row wait on the stack.
pub(super) const CHUNK: usize = 256;

/// Rows that one thread takes at a time.
pub(super) const ROWS: usize = 8;

/// A row of activations, of any type and stride.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, 'x, X> {
    pub(super) x: &'a ArrayView2<'x, X>,
    pub(super) row: usize,
}

impl<'a, 'x, X: Element> Row<'a, 'x, X> {
    /// How many elements [`chunk`](Row::chunk) gives: all where they are f32 already.
    #[inline(always)]
    pub(super) fn step(self) -> usize {
        if is_ready(self.x) { self.x.ncols().max(1) } else { CHUNK }
    }

    /// The elements from `start` on, at most [`step`](Row::step), as f32.
    #[inline(always)]
    pub(super) fn chunk<'b, T: Token>(
        self,
        token: T,
        start: usize,
        raw: &'b mut [X; CHUNK],
        buffer: &'b mut [f32; CHUNK],
    ) -> &'b [f32]
    where
        'x: 'b,
    {
        let len = (self.x.ncols() - start).min(self.step());
        if let Some(slice) = contiguous(self.x, self.row) {
            return X::widened(token, &slice[start..start + len], buffer);
        }
        for (offset, raw) in raw.iter_mut().enumerate().take(len) {
            *raw = self.x[[self.row, start + offset]];
        }
        X::widened(token, &raw[..len], buffer)
    }
}

/// A row as a slice, where its elements lie side by side.
#[inline(always)]
pub(super) fn contiguous<'a, X>(x: &ArrayView2<'a, X>, row: usize) -> Option<&'a [X]> {
    x.index_axis_move(ndarray::Axis(0), row).to_slice()
}

/// The view itself, if it is one of f32.
pub(super) fn as_f32<'a, X: Element>(x: &ArrayView2<'a, X>) -> Option<ArrayView2<'a, f32>> {
    match X::float_view(*x) {
        FloatView::F32(x) => Some(x),
        _ => None,
    }
}

/// Whether rows can be read as slices of f32 where they are.
fn is_ready<X: Element>(x: &ArrayView2<'_, X>) -> bool {
    X::DTYPE == DType::F32 && (x.nrows() == 0 || contiguous(x, 0).is_some())
}

/// The activations of `rows` as f32 rows.
pub(super) fn stage_floats(context: &Context, x: &ArrayView2<'_, impl Element>, staged: &mut [f32]) {
    let Ok(matrix) = ArrayViewMut2::from_shape(x.dim(), staged) else { return };
    for_each_tile(context, matrix, (ROWS, usize::MAX), |(first, _), tile| {
        context.isa().run(Widen { x, first, tile });
    });
}

struct Widen<'a, 'x, X> {
    x: &'a ArrayView2<'x, X>,
    first: usize,
    tile: TileMut<'a, f32>,
}

impl<X: Element> Operation for Widen<'_, '_, X> {
    type Output = ();
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let (mut raw, mut buffer) = ([X::default(); CHUNK], [0.0; CHUNK]);
        for row in 0..self.tile.rows() {
            let source = Row { x: self.x, row: self.first + row };
            for start in (0..self.x.ncols()).step_by(source.step()) {
                let values = source.chunk(token, start, &mut raw, &mut buffer);
                self.tile.store_row(row, start, values);
            }
        }
    }
}
