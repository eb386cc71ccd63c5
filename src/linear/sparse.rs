//! Sparse products of single outputs: for each its surviving weights, each multiplied with many rows at once.
//!
//! Activations are turned first, so that the rows of an input lie side by side. A weight is then one broadcast and one
//! multiply-add for every 4 to 16 rows, and its place only chooses which input to read.

use super::finish::{Epilogue, Finish};
use super::layer::PackedLinear;
use super::layout::{GROUP, TILE};
use super::operand::Operand;
use super::panels::Cut;
use crate::context::Context;
use crate::kernels::{Group, LANES, Operation, TileMut, Token, for_each_tile};
use bytemuck::Pod;
use ndarray::ArrayViewMut2;

/// Products in a piece, about.
const PIECE: usize = 1 << 19;

/// The most rows side by side.
const MOST: usize = 4 * LANES;

/// How many rows lie side by side when there are `rows`.
fn lanes(rows: usize) -> usize {
    match rows.div_ceil(LANES) {
        0 | 1 => LANES,
        2 => 2 * LANES,
        _ => MOST,
    }
}

/// How `rows` rows are laid side by side.
pub(super) fn cut(rows: usize) -> Cut {
    Cut::Padded(lanes(rows))
}

/// The tile of `y` that one thread computes at a time, for so many weights of an output that are not zero, and so many rows
/// side by side.
pub(super) fn piece(non_zeros: usize, lanes: usize) -> (usize, usize) {
    let work = non_zeros.saturating_mul(lanes);
    (lanes, PIECE / work.max(1) + 1)
}

/// A sparse f32 layer; `turned` as `turn_floats` made it for `lanes`.
pub(super) fn float<Y: Operand>(
    context: &Context,
    layer: &PackedLinear<'_>,
    turned: &[f32],
    y: ArrayViewMut2<'_, Y>,
) {
    let epilogue = Epilogue::of(layer);
    let lanes = lanes(y.nrows());
    for_each_tile(context, y, piece(layer.non_zeros_of_output(), lanes), |at, tile| {
        let block = turned.get(at.0 * layer.in_features()..).unwrap_or_default();
        let operation = Float { layer, epilogue, block, lanes, first: at.1, tile };
        context.isa().run(operation);
    });
}

struct Float<'a, Y> {
    layer: &'a PackedLinear<'a>,
    epilogue: Epilogue,
    /// From the block of lanes on.
    block: &'a [f32],
    lanes: usize,
    first: usize,
    tile: TileMut<'a, Y>,
}

impl<Y: Operand> Operation for Float<'_, Y> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        match self.lanes {
            LANES => self.multiply::<T, 1>(token),
            MOST => self.multiply::<T, 4>(token),
            _ => self.multiply::<T, 2>(token),
        }
    }
}

impl<Y: Operand> Float<'_, Y> {
    #[inline(always)]
    fn multiply<T: Token, const G: usize>(mut self, token: T) {
        let block = self.block.get(..self.layer.in_features() * G * LANES).unwrap_or_default();
        let columns: &[[[f32; LANES]; G]] = block.as_chunks::<LANES>().0.as_chunks::<G>().0;
        let stored = self.layer.stored::<4>();
        let mut waiting = Columns::<Y, G>::new();
        for col in 0..self.tile.cols() {
            let output = self.first + col;
            let (places, values) = stored.of(output);
            // The bias is there from the start: a loop that adds it afterwards is turned into gathers across the groups.
            let mut sums = [[self.layer.bias_of(output); LANES]; G];
            token.multiply_places(columns, places, values, &mut sums);
            let mut out = [[Y::default(); LANES]; G];
            for group in 0..G {
                out[group] = self.epilogue.finish(token, sums[group]);
            }
            waiting.add(token, &mut self.tile, col, out);
        }
    }
}

/// Columns of `y` that wait until there are enough of them to be written as rows: single elements a row apart would all
/// fall into a few sets of the first cache.
struct Columns<Y, const G: usize> {
    columns: [[[Y; LANES]; G]; WAITING],
}

/// How many columns wait.
const WAITING: usize = LANES;

impl<Y: Pod + Default, const G: usize> Columns<Y, G> {
    #[inline(always)]
    fn new() -> Self {
        Columns { columns: [[[Y::default(); LANES]; G]; WAITING] }
    }

    /// Adds column `col` (they come in order), and writes what waits when it is the last.
    #[inline(always)]
    fn add<T: Token>(&mut self, token: T, tile: &mut TileMut<'_, Y>, col: usize, column: [[Y; LANES]; G]) {
        let place = col % WAITING;
        self.columns[place] = column;
        if place + 1 < WAITING && col + 1 < tile.cols() {
            return;
        }
        for group in 0..tile.rows().div_ceil(LANES).min(G) {
            let mut rows = [[Y::default(); WAITING]; LANES];
            if size_of::<Y>() == 4 {
                let mut columns: [&[[u8; 4]]; WAITING] = [&[]; WAITING];
                for (slot, column) in columns.iter_mut().zip(&self.columns) {
                    *slot = bytemuck::cast_slice(&column[group]);
                }
                let rows: &mut [[u8; 4]] = bytemuck::cast_slice_mut(rows.as_flattened_mut());
                token.interleave(columns, rows.as_chunks_mut().0, 1);
            } else {
                for (c, column) in self.columns.iter().enumerate() {
                    for (row, value) in rows.iter_mut().zip(&column[group]) {
                        row[c] = *value;
                    }
                }
            }
            for (row, values) in rows.into_iter().enumerate() {
                if place + 1 == WAITING {
                    tile.store(group * LANES + row, col - place, values);
                } else {
                    tile.store_row(group * LANES + row, col - place, &values[..=place]);
                }
            }
        }
    }
}

/// A sparse f32 layer and a single row: nothing to turn, each weight reads its input where it is.
pub(super) fn float_row<Y: Operand>(
    context: &Context,
    layer: &PackedLinear<'_>,
    row: &[f32],
    y: ArrayViewMut2<'_, Y>,
) {
    let epilogue = Epilogue::of(layer);
    for_each_tile(context, y, piece(layer.non_zeros_of_output(), 1), |(_, first), tile| {
        context.isa().run(FloatRow { layer, epilogue, row, first, tile });
    });
}

struct FloatRow<'a, Y> {
    layer: &'a PackedLinear<'a>,
    epilogue: Epilogue,
    row: &'a [f32],
    first: usize,
    tile: TileMut<'a, Y>,
}

impl<Y: Operand> Operation for FloatRow<'_, Y> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let stored = self.layer.stored::<4>();
        for start in (0..self.tile.cols()).step_by(TILE) {
            let mut sums = [0.0; TILE];
            for (offset, slot) in sums.iter_mut().enumerate().take(self.tile.cols() - start) {
                let output = self.first + start + offset;
                let (places, values) = stored.of(output);
                *slot = token.multiply_row_places(self.row, places, values) + self.layer.bias_of(output);
            }
            self.tile.store(0, start, self.epilogue.finish(token, sums));
        }
    }
}

/// A sparse int8 layer; `turned` as `turn_codes` made it for `lanes`.
pub(super) fn int8<F: Finish>(
    context: &Context,
    layer: &PackedLinear<'_>,
    finish: F,
    turned: &[u8],
    (scales, zero_points): (&[f32], &[i32]),
    padded: usize,
    y: ArrayViewMut2<'_, F::Out>,
) {
    let lanes = lanes(y.nrows());
    for_each_tile(context, y, piece(layer.non_zeros_of_output(), lanes), |at, tile| {
        let scales = scales.get(at.0..).unwrap_or_default();
        let zero_points = zero_points.get(at.0..).unwrap_or_default();
        context.isa().run(Int8 { layer, finish, turned, padded, lanes, scales, zero_points, at, tile });
    });
}

struct Int8<'a, F: Finish> {
    layer: &'a PackedLinear<'a>,
    finish: F,
    turned: &'a [u8],
    padded: usize,
    lanes: usize,
    /// From the first row of the tile on, as the zero points.
    scales: &'a [f32],
    zero_points: &'a [i32],
    at: (usize, usize),
    tile: TileMut<'a, F::Out>,
}

impl<F: Finish> Operation for Int8<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        match self.lanes {
            LANES => self.multiply::<T, 1>(token),
            MOST => self.multiply::<T, 4>(token),
            _ => self.multiply::<T, 2>(token),
        }
    }
}

impl<F: Finish> Int8<'_, F> {
    #[inline(always)]
    fn multiply<T: Token, const G: usize>(mut self, token: T) {
        let turned: &[T::Staged] = bytemuck::try_cast_slice(self.turned).unwrap_or_default();
        let block = turned.get(self.at.0 * self.padded..).unwrap_or_default();
        let block = block.get(..self.padded * G * LANES).unwrap_or_default();
        let columns: &[[[Group<T::Staged>; LANES]; G]] =
            block.as_chunks::<GROUP>().0.as_chunks::<LANES>().0.as_chunks::<G>().0;
        let (mut scales, mut zero_points) = ([[1.0; LANES]; G], [[0; LANES]; G]);
        for (slot, scale) in scales.as_flattened_mut().iter_mut().zip(self.scales) {
            *slot = *scale;
        }
        for (slot, zero) in zero_points.as_flattened_mut().iter_mut().zip(self.zero_points) {
            *slot = *zero;
        }
        let stored = self.layer.stored::<GROUP>();
        let mut waiting = Columns::<F::Out, G>::new();
        for col in 0..self.tile.cols() {
            let output = self.at.1 + col;
            let (places, blocks) = stored.of(output);
            let mut sums = [[0; LANES]; G];
            token.dot_blocks(columns, places, bytemuck::cast_slice(blocks), &mut sums);
            let (column_sum, column_scale) = self.layer.sum_and_scale_of(output);
            let bias = self.layer.bias_of(output);
            // One loop over all lanes: inside one over groups, the lanes would be gathered across the groups.
            let mut values = [[F::Value::default(); LANES]; G];
            {
                let values = values.as_flattened_mut();
                let sums = sums.as_flattened();
                let zero_points = zero_points.as_flattened();
                let scales = scales.as_flattened();
                for i in 0..G * LANES {
                    let sum = sums[i].wrapping_sub(zero_points[i].wrapping_mul(column_sum));
                    values[i] = F::value(sum, scales[i] * column_scale, bias);
                }
            }
            let mut out = [[F::Out::default(); LANES]; G];
            for group in 0..G {
                out[group] = self.finish.convert(token, values[group]);
            }
            waiting.add(token, &mut self.tile, col, out);
        }
    }
}
