//! Dense products: tiles of 32 outputs, several rows at a time so that a weight is used more than once in a register.

use super::codes::CodeRows;
use super::finish::{Epilogue, Finish, Outputs};
use super::layer::PackedLinear;
use super::layout::{GROUP, TILE};
use super::operand::Operand;
use super::panels::Cut;
use crate::context::Context;
use crate::element::Element;
use crate::kernels::{Group, Operation, TileMut, Token, for_each_tile};
use ndarray::ArrayViewMut2;
use std::marker::PhantomData;

/// Rows of a piece, a multiple of every panel's. Also how many sums a float product keeps on the stack.
const ROWS: usize = 128;

/// Inputs whose widened weights a float product keeps on the stack.
const DEPTH: usize = 128;

/// Products in a piece, about: some 5 to 50 microseconds of work.
const PIECE: usize = 1 << 21;

/// The tile of `y` that one thread computes at a time. Depends on shapes alone.
pub(super) fn piece(rows: usize, inputs: usize) -> (usize, usize) {
    let products = (rows.clamp(1, ROWS) * TILE).saturating_mul(inputs.max(1));
    (ROWS, PIECE.div_ceil(products) * TILE)
}

/// The most rows that lie side by side, on any instruction set.
pub(super) const MOST_ROWS: usize = 8;

/// How rows of `x` are laid side by side for [`float`] on the instruction set.
pub(super) fn cut(context: &Context) -> Cut {
    context.isa().run(Rows)
}

struct Rows;

impl Operation for Rows {
    type Output = Cut;
    #[inline(always)]
    fn run<T: Token>(self, _token: T) -> Cut {
        Cut::Halved(T::ROWS)
    }
}

/// A float layer; `turned` as `turn_floats` made it, or a single row.
pub(super) fn float<W: Element, Y: Operand>(
    context: &Context,
    layer: &PackedLinear<'_>,
    turned: &[f32],
    y: ArrayViewMut2<'_, Y>,
) {
    let epilogue = Epilogue::of(layer);
    let piece = piece(y.nrows(), layer.in_features());
    for_each_tile(context, y, piece, |at, tile| {
        context.isa().run(Float::<W, Y> { layer, epilogue, turned, at, tile, weights: PhantomData });
    });
}

struct Float<'a, W, Y> {
    layer: &'a PackedLinear<'a>,
    epilogue: Epilogue,
    turned: &'a [f32],
    at: (usize, usize),
    tile: TileMut<'a, Y>,
    weights: PhantomData<W>,
}

/// What begins at a cache line: a vector that lies across two takes twice as long.
#[repr(align(64))]
struct Aligned<T>(T);

impl<W: Element, Y: Operand> Operation for Float<'_, W, Y> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let (row, col) = self.at;
        let inputs = self.layer.in_features();
        let (rows, cols) = (self.tile.rows().min(ROWS), self.tile.cols());
        let mut raw = Aligned([W::default(); DEPTH * TILE]);
        let mut buffer = Aligned([0.0_f32; DEPTH * TILE]);
        let mut sums = Aligned([[0.0_f32; TILE]; ROWS]);
        let sums = &mut sums.0;
        let x = self.turned.get(row * inputs..(row + rows) * inputs).unwrap_or_default();
        let done = if rows == 1 { self.row(token, x) } else { 0 };
        for start in (done..cols).step_by(TILE) {
            let tile = (col + start) / TILE;
            let weights = self.layer.values(tile * inputs * TILE * W::DTYPE.size());
            sums[..rows].fill([0.0; TILE]);
            for first in (0..inputs).step_by(DEPTH) {
                let len = (inputs - first).min(DEPTH);
                let bytes = weights.get(first * TILE * W::DTYPE.size()..).unwrap_or_default();
                let bytes = bytes.get(..len * TILE * W::DTYPE.size()).unwrap_or_default();
                // Bytes of a caller may begin anywhere.
                let stored: &[W] = match bytemuck::try_cast_slice(bytes) {
                    Ok(stored) => stored,
                    Err(_) => {
                        let raw = &mut raw.0[..len * TILE];
                        bytemuck::cast_slice_mut::<W, u8>(raw).copy_from_slice(bytes);
                        raw
                    }
                };
                let weights = W::widened(token, stored, &mut buffer.0).as_chunks::<TILE>().0;
                for block in (0..rows).step_by(T::ROWS) {
                    for panel in Cut::Halved(T::ROWS).panels(rows - block) {
                        let at = block + panel.first;
                        let x = x.get(at * inputs..(at + panel.width) * inputs).unwrap_or_default();
                        let sums = sums.get_mut(at..).unwrap_or_default();
                        if first + DEPTH >= inputs {
                            for row in 0..panel.rows {
                                self.tile.expect_store(at + row, start, TILE);
                            }
                        }
                        match panel.width {
                            8 => multiply::<T, 8>(token, x, first, weights, sums),
                            4 => multiply::<T, 4>(token, x, first, weights, sums),
                            2 => multiply::<T, 2>(token, x, first, weights, sums),
                            _ => multiply::<T, 1>(token, x, first, weights, sums),
                        }
                    }
                }
            }
            let bias = Outputs::<TILE>::of(self.layer, tile).bias;
            for (offset, sums) in sums.iter().enumerate().take(rows) {
                let mut sums = *sums;
                for (sum, bias) in sums.iter_mut().zip(bias) {
                    *sum += bias;
                }
                self.tile.store(offset, start, self.epilogue.finish(token, sums));
            }
        }
    }
}

impl<W: Element, Y: Operand> Float<'_, W, Y> {
    /// A single row, four tiles at a time: sums of different tiles need not wait for each other. Returns up to which column
    /// whole fours went.
    #[inline(always)]
    fn row<T: Token>(&mut self, token: T, x: &[f32]) -> usize {
        const TILES: usize = 4;
        let tile_bytes = self.layer.in_features() * TILE * W::DTYPE.size();
        let mut start = 0;
        while start + TILES * TILE <= self.tile.cols() {
            let first = (self.at.1 + start) / TILE;
            let mut tiles: [&[u8]; TILES] = [&[]; TILES];
            for (t, tile) in tiles.iter_mut().enumerate() {
                *tile = self.layer.values((first + t) * tile_bytes).get(..tile_bytes).unwrap_or_default();
            }
            let mut sums = [[0.0; TILE]; TILES];
            if !token.multiply_row(x, W::DTYPE, tiles, &mut sums) {
                break;
            }
            for (t, mut sums) in sums.into_iter().enumerate() {
                for (sum, bias) in sums.iter_mut().zip(Outputs::<TILE>::of(self.layer, first + t).bias) {
                    *sum += bias;
                }
                self.tile.store(0, start + t * TILE, self.epilogue.finish(token, sums));
            }
            start += TILES * TILE;
        }
        start
    }
}

/// Adds the products of the inputs from `first` on to the sums of a panel of `R` rows.
#[inline(always)]
fn multiply<T: Token, const R: usize>(
    token: T,
    x: &[f32],
    first: usize,
    weights: &[[f32; TILE]],
    sums: &mut [[f32; TILE]],
) {
    let panel = x.as_chunks::<R>().0.get(first..).unwrap_or_default();
    if let Some(sums) = sums.first_chunk_mut::<R>() {
        token.multiply_panel(panel, weights, sums);
    }
}

/// An int8 layer.
pub(super) fn int8<F: Finish>(
    context: &Context,
    layer: &PackedLinear<'_>,
    finish: F,
    x: &CodeRows<'_>,
    y: ArrayViewMut2<'_, F::Out>,
) {
    let piece = piece(y.nrows(), layer.in_features());
    for_each_tile(context, y, piece, |at, tile| {
        context.isa().run(Int8 { layer, finish, x, at, tile });
    });
}

struct Int8<'a, F: Finish> {
    layer: &'a PackedLinear<'a>,
    finish: F,
    x: &'a CodeRows<'a>,
    at: (usize, usize),
    tile: TileMut<'a, F::Out>,
}

impl<F: Finish> Operation for Int8<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let padded = self.x.padded;
        let codes: &[T::Staged] = bytemuck::try_cast_slice(self.x.codes).unwrap_or_default();
        let rows = codes.get(self.at.0 * padded..).unwrap_or_default();
        for start in (0..self.tile.cols()).step_by(TILE) {
            let tile = (self.at.1 + start) / TILE;
            let bytes = self.layer.values(tile * padded * TILE);
            let bytes = bytes.get(..padded * TILE).unwrap_or_default();
            let weights: &[[Group<i8>; TILE]] =
                bytemuck::cast_slice::<u8, i8>(bytes).as_chunks::<GROUP>().0.as_chunks::<TILE>().0;
            let outputs = Outputs::of(self.layer, tile);
            let mut done = 0;
            if T::WIDE {
                done = self.rows::<T, 8>(token, rows, weights, &outputs, start, done);
                done = self.rows::<T, 4>(token, rows, weights, &outputs, start, done);
            }
            done = self.rows::<T, 3>(token, rows, weights, &outputs, start, done);
            self.rows::<T, 1>(token, rows, weights, &outputs, start, done);
        }
    }
}

impl<F: Finish> Int8<'_, F> {
    /// Computes `R` rows at a time, from row `done` on; returns up to where whole `R` went.
    #[inline(always)]
    fn rows<T: Token, const R: usize>(
        &mut self,
        token: T,
        codes: &[T::Staged],
        weights: &[[Group<i8>; TILE]],
        outputs: &Outputs<TILE>,
        start: usize,
        mut done: usize,
    ) -> usize {
        let padded = self.x.padded;
        while done + R <= self.tile.rows() {
            let mut rows: [&[Group<T::Staged>]; R] = [&[]; R];
            for (offset, row) in rows.iter_mut().enumerate() {
                let first = (done + offset) * padded;
                *row = codes.get(first..first + padded).unwrap_or_default().as_chunks::<GROUP>().0;
            }
            for row in 0..R {
                self.tile.expect_store(done + row, start, TILE);
            }
            let mut sums = [[0; TILE]; R];
            token.dot(rows, weights, &mut sums);
            for (offset, sums) in sums.iter().enumerate() {
                let row = self.x.row(self.at.0 + done + offset, self.layer.in_features());
                let out = outputs.finish(self.finish, token, sums, row);
                self.tile.store(done + offset, start, out);
            }
            done += R;
        }
        done
    }
}
