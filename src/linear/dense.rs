//! Dense products: tiles of 32 outputs, several rows at a time so that a weight is used more than once in a register.

use super::activations::FloatRows;
use super::codes::CodeRows;
use super::finish::{Finish, Outputs};
use super::layer::PackedLinear;
use super::layout::{GROUP, TILE};
use crate::context::Context;
use crate::element::Element;
use crate::kernels::{Group, Operation, TileMut, Token, for_each_tile};
use ndarray::ArrayViewMut2;
use std::marker::PhantomData;

/// Rows of a piece. Also how many sums a float product keeps on the stack.
const ROWS: usize = 64;

/// Inputs whose widened weights a float product keeps on the stack.
const PANEL: usize = 64;

/// Products in a piece, about: some 5 to 50 microseconds of work.
const PIECE: usize = 1 << 21;

/// The tile of `y` that one thread computes at a time. Depends on shapes alone.
fn piece(rows: usize, inputs: usize) -> (usize, usize) {
    let products = (rows.clamp(1, ROWS) * TILE).saturating_mul(inputs.max(1));
    (ROWS, PIECE.div_ceil(products) * TILE)
}

/// A float layer.
pub(super) fn float<W: Element, Y: Element>(
    context: &Context,
    layer: &PackedLinear<'_>,
    x: &FloatRows<'_>,
    y: ArrayViewMut2<'_, Y>,
) {
    let piece = piece(y.nrows(), layer.in_features());
    for_each_tile(context, y, piece, |at, tile| {
        context.isa().run(Float::<W, Y> { layer, x, at, tile, weights: PhantomData });
    });
}

struct Float<'a, 'x, W, Y> {
    layer: &'a PackedLinear<'a>,
    x: &'a FloatRows<'x>,
    at: (usize, usize),
    tile: TileMut<'a, Y>,
    weights: PhantomData<W>,
}

impl<W: Element, Y: Element> Operation for Float<'_, '_, W, Y> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let (row, col) = self.at;
        let inputs = self.layer.in_features();
        let (rows, cols) = (self.tile.rows().min(ROWS), self.tile.cols());
        let mut raw = [W::default(); PANEL * TILE];
        let mut buffer = [0.0_f32; PANEL * TILE];
        let mut sums = [[0.0_f32; TILE]; ROWS];
        let mut x: [&[f32]; ROWS] = [&[]; ROWS];
        for (offset, x) in x.iter_mut().enumerate().take(rows) {
            *x = self.x.row(row + offset);
        }
        let done = if rows == 1 { self.row(token, x[0]) } else { 0 };
        for start in (done..cols).step_by(TILE) {
            let tile = (col + start) / TILE;
            let weights = self.layer.values(tile * inputs * TILE * W::DTYPE.size());
            sums[..rows].fill([0.0; TILE]);
            for first in (0..inputs).step_by(PANEL) {
                let len = (inputs - first).min(PANEL);
                let bytes = weights.get(first * TILE * W::DTYPE.size()..).unwrap_or_default();
                let bytes = bytes.get(..len * TILE * W::DTYPE.size()).unwrap_or_default();
                // Bytes of a caller may begin anywhere.
                let stored: &[W] = match bytemuck::try_cast_slice(bytes) {
                    Ok(stored) => stored,
                    Err(_) => {
                        let raw = &mut raw[..len * TILE];
                        bytemuck::cast_slice_mut::<W, u8>(raw).copy_from_slice(bytes);
                        raw
                    }
                };
                let panel = W::widened(token, stored, &mut buffer).as_chunks::<TILE>().0;
                let mut done = 0;
                if T::WIDE {
                    done = multiply::<T, 8>(token, &x[..rows], first, panel, &mut sums, done);
                    done = multiply::<T, 4>(token, &x[..rows], first, panel, &mut sums, done);
                }
                done = multiply::<T, 3>(token, &x[..rows], first, panel, &mut sums, done);
                multiply::<T, 1>(token, &x[..rows], first, panel, &mut sums, done);
            }
            let bias = Outputs::<TILE>::of(self.layer, tile).bias;
            for (offset, sums) in sums.iter_mut().enumerate().take(rows) {
                for (sum, bias) in sums.iter_mut().zip(bias) {
                    *sum += bias;
                }
                self.tile.store(offset, start, Y::narrowed(token, *sums));
            }
        }
    }
}

impl<W: Element, Y: Element> Float<'_, '_, W, Y> {
    /// A single row, four tiles at a time: sums of different tiles need not wait for each other. Returns up to which column
    /// whole fours went.
    #[inline(always)]
    fn row<T: Token>(&mut self, token: T, x: &[f32]) -> usize {
        const TILES: usize = 4;
        let tile_bytes = self.layer.in_features() * TILE * W::DTYPE.size();
        let mut start = 0;
        while start + TILES * TILE <= self.tile.cols() {
            let first = (self.at.1 + start) / TILE;
            let tiles = std::array::from_fn(|t| {
                self.layer.values((first + t) * tile_bytes).get(..tile_bytes).unwrap_or_default()
            });
            let mut sums = [[0.0; TILE]; TILES];
            if !token.multiply_row(x, W::DTYPE, tiles, &mut sums) {
                break;
            }
            for (t, mut sums) in sums.into_iter().enumerate() {
                for (sum, bias) in sums.iter_mut().zip(Outputs::<TILE>::of(self.layer, first + t).bias) {
                    *sum += bias;
                }
                self.tile.store(0, start + t * TILE, Y::narrowed(token, sums));
            }
            start += TILES * TILE;
        }
        start
    }
}

/// Adds the products of a panel for `R` rows at a time, from row `done` on; returns up to where whole `R` went.
#[inline(always)]
fn multiply<T: Token, const R: usize>(
    token: T,
    x: &[&[f32]],
    first: usize,
    panel: &[[f32; TILE]],
    sums: &mut [[f32; TILE]; ROWS],
    mut done: usize,
) -> usize {
    while let (Some(x), Some(sums)) = (
        x.get(done..).and_then(|x| x.first_chunk::<R>()),
        sums.get_mut(done..).and_then(|sums| sums.first_chunk_mut::<R>()),
    ) {
        let mut rows: [&[f32]; R] = [&[]; R];
        for (row, x) in rows.iter_mut().zip(x) {
            *row = x.get(first..first + panel.len()).unwrap_or_default();
        }
        token.multiply_panel(rows, panel, sums);
        done += R;
    }
    done
}

/// An int8 layer.
pub(super) fn int8<F: Finish>(
    context: &Context,
    layer: &PackedLinear<'_>,
    x: &CodeRows<'_>,
    y: ArrayViewMut2<'_, F::Out>,
) {
    let piece = piece(y.nrows(), layer.in_features());
    for_each_tile(context, y, piece, |at, tile| {
        context.isa().run(Int8::<F> { layer, x, at, tile });
    });
}

struct Int8<'a, F: Finish> {
    layer: &'a PackedLinear<'a>,
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
            (0..R).for_each(|row| self.tile.expect_store(done + row, start, TILE));
            let mut sums = [[0; TILE]; R];
            token.dot(rows, weights, &mut sums);
            for (offset, sums) in sums.iter().enumerate() {
                let row = self.x.row(self.at.0 + done + offset, self.layer.in_features());
                let out = outputs.finish::<F, T>(token, sums, row);
                self.tile.store(done + offset, start, out);
            }
            done += R;
        }
        done
    }
}
