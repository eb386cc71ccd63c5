//! Sparse products of single outputs: for each its surviving weights, each multiplied with many rows at once.
//!
//! Activations are turned first, so that the rows of an input lie side by side. A weight is then one broadcast and one
//! multiply-add for every 4 to 16 rows, and its place only chooses which input to read.

use super::finish::{Epilogue, Finish, Scaled};
use super::layer::PackedLinear;
use super::layout::{GROUP, TILE};
use super::operand::Written;
use super::panels::Cut;
use crate::context::Context;
use crate::kernels::{Group, LANES, Operation, TileMut, Token, for_each_tile};
use bytemuck::Pod;
use ndarray::ArrayViewMut2;

/// Products in a piece, about.
const PIECE: usize = 1 << 19;

/// The outputs whose weights are multiplied at the same time.
const TOGETHER: usize = 4;

/// Bytes of `x`: when the weights of an output read fewer, the first cache still has them for the outputs that follow.
const REREAD: usize = 20 << 10;

/// How rows of codes are laid side by side.
pub(super) fn int8_cut(rows: usize) -> Cut {
    Cut::Padded(match rows.div_ceil(LANES) {
        0 | 1 => LANES,
        2 => 2 * LANES,
        _ => 4 * LANES,
    })
}

/// How rows of floats are laid side by side. More than two groups would read the weights less often, but an input of more rows
/// is less likely to be in the first cache still when another output needs it.
pub(super) fn float_cut(rows: usize) -> Cut {
    Cut::Padded(if rows <= LANES { LANES } else { 2 * LANES })
}

/// Bytes of floats that are turned before the products of any: the second cache and the last have them still, and there are
/// panels for several threads.
const STRETCH: usize = 2 << 20;

/// How many rows of so many floats are turned at a time: whole panels.
pub(super) fn stretch(inputs: usize) -> usize {
    let panel = 2 * LANES;
    (STRETCH / (inputs * 4).max(1)).max(4 * panel).next_multiple_of(panel)
}

/// The tile of `y` that one thread computes at a time, for so many weights of an output that are not zero, and so many rows
/// side by side.
pub(super) fn piece(non_zeros: usize, lanes: usize) -> (usize, usize) {
    let work = non_zeros.saturating_mul(lanes);
    (lanes, (PIECE / work.max(1) + 1).next_multiple_of(WAITING))
}

/// A sparse f32 layer; `turned` as `turn_floats` made it for `lanes`.
pub(super) fn float<Y: Written>(
    context: &Context,
    layer: &PackedLinear<'_>,
    turned: &[f32],
    y: ArrayViewMut2<'_, Y>,
) {
    let finish = Scaled::new(Epilogue::of(layer));
    let lanes = float_cut(y.nrows()).most();
    for_each_tile(context, y, piece(layer.non_zeros_of_output(), lanes), |at, tile| {
        let block = turned.get(at.0 * layer.in_features()..).unwrap_or_default();
        let operation = Float { layer, finish, block, lanes, first: at.1, tile };
        context.isa().run(operation);
    });
}

struct Float<'a, Y> {
    layer: &'a PackedLinear<'a>,
    finish: Scaled<Y>,
    /// From the block of lanes on.
    block: &'a [f32],
    lanes: usize,
    first: usize,
    tile: TileMut<'a, Y>,
}

impl<Y: Written> Operation for Float<'_, Y> {
    type Output = ();
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        match self.lanes / LANES {
            1 => self.multiply::<T, 1>(token),
            _ => self.multiply::<T, 2>(token),
        }
    }
}

impl<Y: Written> Float<'_, Y> {
    #[inline(always)]
    fn multiply<T: Token, const G: usize>(mut self, token: T) {
        let block = self.block.get(..self.layer.in_features() * G * LANES).unwrap_or_default();
        let columns: &[[[f32; LANES]; G]] = block.as_chunks::<LANES>().0.as_chunks::<G>().0;
        let stored = self.layer.stored::<4>();
        let together = self.layer.non_zeros_of_output() * G * LANES * 4 > REREAD;
        let mut waiting = Waiting::<f32, G>::new();
        for start in (0..self.tile.cols()).step_by(WAITING) {
            for (place, sums) in waiting.values.as_chunks_mut::<TOGETHER>().0.iter_mut().enumerate() {
                let place = place * TOGETHER;
                self.tile.expect_store((place * G, TOGETHER * G), (start, WAITING));
                let mut lists: [(&[_], &[_]); TOGETHER] = [(&[], &[]); TOGETHER];
                for p in 0..TOGETHER {
                    let output = self.first + start + place + p;
                    if start + place + p < self.tile.cols() {
                        lists[p] = stored.of(output);
                    }
                    // The bias is there from the start: a loop that adds it afterwards is turned into gathers across groups.
                    sums[p] = [[self.layer.bias_of(output); LANES]; G];
                }
                if together {
                    token.multiply_places(columns, lists, sums);
                } else {
                    for p in 0..TOGETHER {
                        token.multiply_places(columns, [lists[p]], std::array::from_mut(&mut sums[p]));
                    }
                }
            }
            waiting.write(token, self.finish, &mut self.tile, start);
        }
    }
}

/// Sums that wait until those of enough outputs are there to be written as rows: single elements a row apart would all fall
/// into a few sets of the first cache.
struct Waiting<V, const G: usize> {
    values: [[[V; LANES]; G]; WAITING],
}

/// The sums of how many outputs wait. As many as there are lanes, so each brings the cache lines of `G` rows.
const WAITING: usize = LANES;

impl<V: Pod + Default, const G: usize> Waiting<V, G> {
    fn new() -> Self {
        Waiting { values: [[[V::default(); LANES]; G]; WAITING] }
    }

    /// Writes those of the outputs from `start` on, as many as the tile has.
    #[inline(always)]
    fn write<T: Token, F: Finish<Value = V>>(
        &self,
        token: T,
        finish: F,
        tile: &mut TileMut<'_, F::Out>,
        start: usize,
    ) {
        for group in 0..tile.rows().div_ceil(LANES).min(G) {
            let mut columns: [&[[u8; 4]]; WAITING] = [&[]; WAITING];
            for (column, values) in columns.iter_mut().zip(&self.values) {
                *column = bytemuck::cast_slice(&values[group]);
            }
            let mut rows = [[V::default(); WAITING]; LANES];
            token.interleave(columns, bytemuck::cast_slice_mut(rows.as_flattened_mut()).as_chunks_mut().0, 1);
            let mut block = tile.block::<LANES, WAITING>(group * LANES, start);
            for (row, values) in rows.into_iter().enumerate() {
                block.store(row, finish.convert(token, values));
            }
        }
    }
}

/// A sparse f32 layer and a single row: nothing to turn, each weight reads its input where it is.
pub(super) fn float_row<Y: Written>(
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

impl<Y: Written> Operation for FloatRow<'_, Y> {
    type Output = ();
    const CODES: bool = false;
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
    let lanes = int8_cut(y.nrows()).most();
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
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        match self.lanes / LANES {
            1 => self.multiply::<T, 1>(token),
            2 => self.multiply::<T, 2>(token),
            _ => self.multiply::<T, 4>(token),
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
        let mut waiting = Waiting::<F::Value, G>::new();
        for start in (0..self.tile.cols()).step_by(WAITING) {
            for place in 0..WAITING.min(self.tile.cols() - start) {
                self.tile.expect_store((place * G, G), (start, WAITING));
                let output = self.at.1 + start + place;
                let (places, blocks) = stored.of(output);
                let mut sums = [[0; LANES]; G];
                token.dot_blocks(columns, places, bytemuck::cast_slice(blocks), &mut sums);
                let (column_sum, column_scale) = self.layer.sum_and_scale_of(output);
                let bias = self.layer.bias_of(output);
                // One loop over all lanes: inside one over groups, the lanes would be gathered across the groups.
                let values = waiting.values[place].as_flattened_mut();
                let sums = sums.as_flattened();
                let zero_points = zero_points.as_flattened();
                let scales = scales.as_flattened();
                for i in 0..G * LANES {
                    let sum = sums[i].wrapping_sub(zero_points[i].wrapping_mul(column_sum));
                    values[i] = F::value(sum, scales[i] * column_scale, bias);
                }
            }
            waiting.write(token, self.finish, &mut self.tile, start);
        }
    }
}
