//! How rows are laid side by side, for kernels that multiply one weight with several rows.

use super::activations::{CHUNK, Row, as_f32, contiguous};
use super::codes::{CodeRows, StagedBytes};
use super::layout::{GROUP, LANES};
use crate::context::Context;
use crate::element::Element;
use crate::kernels::{Operation, TileMut, Token, for_each_tile};
use bytemuck::Zeroable as _;
use ndarray::{ArrayView2, ArrayViewMut2};

/// The cut of rows into panels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    /// Panels of so many rows; what is missing in the last has no meaning.
    Padded(usize),
    /// Panels of so many rows; what is left goes into panels of the next lower powers of two, down to one.
    Halved(usize),
}

/// Some rows, side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Panel {
    /// Its first row, counted from where the cut begins.
    pub(super) first: usize,
    /// How many rows it has.
    pub(super) rows: usize,
    /// How many it has room for.
    pub(super) width: usize,
}

impl Cut {
    /// How many rows lie side by side at most.
    pub(super) fn most(self) -> usize {
        match self {
            Cut::Padded(width) | Cut::Halved(width) => width.max(1),
        }
    }

    /// How many rows there is room for when there are `rows`: whole panels.
    pub(super) fn room(self, rows: usize) -> usize {
        rows.div_ceil(self.most()) * self.most()
    }

    /// The panels of the next `rows` rows, at most [`most`](Cut::most) of them.
    #[inline(always)]
    pub(super) fn panels(self, rows: usize) -> impl Iterator<Item = Panel> {
        let rows = rows.min(self.most());
        let mut first = 0;
        std::iter::from_fn(move || {
            let left = rows - first;
            let width = match self {
                _ if left == 0 => return None,
                Cut::Padded(width) => width,
                Cut::Halved(width) if left >= width => width,
                Cut::Halved(_) => 1 << left.ilog2(),
            };
            let panel = Panel { first, rows: width.min(left), width };
            first += panel.rows;
            Some(panel)
        })
    }
}

/// Lays rows side by side, as `cut` says: `turned[panel][k][row]`.
pub(super) fn turn_floats(context: &Context, x: &ArrayView2<'_, impl Element>, cut: Cut, turned: &mut [f32]) {
    let (rows, inputs) = x.dim();
    let shape = (rows.div_ceil(cut.most()), inputs.saturating_mul(cut.most()));
    let turned = turned.get_mut(..shape.0.saturating_mul(shape.1)).unwrap_or_default();
    let Ok(matrix) = ArrayViewMut2::from_shape(shape, turned) else { return };
    for_each_tile(context, matrix, (1, usize::MAX), |(block, _), tile| {
        context.isa().run(Turn { x, cut, first: block * cut.most(), tile });
    });
}

struct Turn<'a, 'x, X> {
    x: &'a ArrayView2<'x, X>,
    cut: Cut,
    first: usize,
    tile: TileMut<'a, f32>,
}

impl<X: Element> Operation for Turn<'_, '_, X> {
    type Output = ();
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let (mut raw, mut buffer) = ([X::default(); CHUNK], [0.0; CHUNK]);
        let mut out = self.tile.row_mut(0);
        for panel in self.cut.panels(self.x.nrows() - self.first) {
            let (columns, rest) = out.split_at_mut((self.x.ncols() * panel.width).min(out.len()));
            out = rest;
            if panel.width > panel.rows {
                columns.fill(0.0);
            }
            let mut done = 0;
            if let Some(x) = as_f32(self.x).filter(|x| contiguous(x, 0).is_some()) {
                let row = |r: usize| {
                    bytemuck::cast_slice(contiguous(&x, self.first + panel.first + r).unwrap_or_default())
                };
                done = interleave(token, panel, row, bytemuck::cast_slice_mut(columns));
            }
            for row in done..panel.rows {
                let source = Row { x: self.x, row: self.first + panel.first + row };
                for start in (0..self.x.ncols()).step_by(source.step()) {
                    let values = source.chunk(token, start, &mut raw, &mut buffer);
                    let columns = columns.chunks_exact_mut(panel.width).skip(start);
                    for (column, value) in columns.zip(values) {
                        column[row] = *value;
                    }
                }
            }
        }
    }
}

/// Lays rows of staged codes side by side, as `cut` says: `turned[panel][group][row][i]`.
pub(super) fn turn_codes(context: &Context, codes: &CodeRows<'_>, rows: usize, cut: Cut, turned: &mut [u8]) {
    let size = context.isa().run(StagedBytes);
    let shape = (rows.div_ceil(cut.most()), codes.padded * cut.most() * size);
    let Ok(matrix) = ArrayViewMut2::from_shape(shape, turned) else { return };
    for_each_tile(context, matrix, (1, usize::MAX), |(block, _), tile| {
        context.isa().run(TurnCodes { codes, rows, cut, first: block * cut.most(), tile });
    });
}

struct TurnCodes<'a> {
    codes: &'a CodeRows<'a>,
    rows: usize,
    cut: Cut,
    first: usize,
    tile: TileMut<'a, u8>,
}

impl Operation for TurnCodes<'_> {
    type Output = ();
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let codes: &[T::Staged] = bytemuck::try_cast_slice(self.codes.codes).unwrap_or_default();
        let (padded, stride) = (self.codes.padded, self.codes.stride);
        let out: &mut [T::Staged] = bytemuck::try_cast_slice_mut(self.tile.row_mut(0)).unwrap_or_default();
        let mut out = out.as_chunks_mut::<GROUP>().0;
        for panel in self.cut.panels(self.rows - self.first) {
            let (columns, rest) = out.split_at_mut((padded / GROUP * panel.width).min(out.len()));
            out = rest;
            if panel.width > panel.rows {
                columns.fill([T::Staged::zeroed(); GROUP]);
            }
            let mut done = 0;
            if size_of::<T::Staged>() == 1
                && let Ok(columns) = bytemuck::try_cast_slice_mut(columns)
            {
                let row = |r: usize| {
                    let start = (self.first + panel.first + r) * stride;
                    let codes = codes.get(start..start + padded).unwrap_or_default();
                    bytemuck::try_cast_slice(codes).unwrap_or_default()
                };
                done = interleave(token, panel, row, columns);
            }
            for row in done..panel.rows {
                let start = (self.first + panel.first + row) * stride;
                let groups = codes.get(start..start + padded).unwrap_or_default().as_chunks::<GROUP>().0;
                for (slot, group) in columns.iter_mut().skip(row).step_by(panel.width).zip(groups) {
                    *slot = *group;
                }
            }
        }
    }
}

/// `columns[k][r] = row(r)[k]`, for so many rows as come in the numbers that instruction sets have something for; returns how
/// many those were.
#[inline(always)]
fn interleave<'a, T: Token>(
    token: T,
    panel: Panel,
    row: impl Fn(usize) -> &'a [[u8; 4]],
    columns: &mut [[u8; 4]],
) -> usize {
    if panel.width == 8 && panel.rows == 8 {
        interleave_rows::<T, 8>(token, row, 0, columns, 1);
        return 8;
    }
    if T::ROWS == 12 && panel.width == 12 && panel.rows == 12 {
        interleave_rows::<T, 12>(token, row, 0, columns, 1);
        return 12;
    }
    if !panel.width.is_multiple_of(LANES) {
        return 0;
    }
    // Where rows are missing the last stands for them: turning a vector that is not full takes no longer.
    let row = |r: usize| row(r.min(panel.rows - 1));
    for first in (0..panel.rows).step_by(LANES) {
        let columns = columns.get_mut(first..).unwrap_or_default();
        interleave_rows::<T, LANES>(token, row, first, columns, panel.width / LANES);
    }
    panel.rows
}

#[inline(always)]
fn interleave_rows<'a, T: Token, const R: usize>(
    token: T,
    row: impl Fn(usize) -> &'a [[u8; 4]],
    first: usize,
    columns: &mut [[u8; 4]],
    step: usize,
) {
    let mut rows: [&[[u8; 4]]; R] = [&[]; R];
    for (r, slot) in rows.iter_mut().enumerate() {
        *slot = row(first + r);
    }
    token.interleave(rows, columns.as_chunks_mut().0, step);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_hold_every_row_once() {
        for width in [1, 4, 12, 16] {
            for rows in 0..=width {
                for cut in [Cut::Padded(width), Cut::Halved(width)] {
                    let mut next = 0;
                    for panel in cut.panels(rows) {
                        assert_eq!(panel.first, next, "{cut:?} {rows}");
                        assert!(panel.rows >= 1 && panel.rows <= panel.width && panel.width <= width);
                        next += panel.rows;
                    }
                    assert_eq!(next, rows, "{cut:?}");
                }
            }
        }
        let widths: Vec<usize> = Cut::Halved(16).panels(13).map(|panel| panel.width).collect();
        assert_eq!(widths, [8, 4, 1]);
        let widths: Vec<usize> = Cut::Halved(12).panels(11).map(|panel| panel.width).collect();
        assert_eq!(widths, [8, 2, 1]);
    }
}
