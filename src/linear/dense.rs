//! Dense products: tiles of 32 outputs, several rows at a time so that a weight is used more than once in a register.

use super::by_matrix::{self, End};
use super::codes::CodeRows;
use super::finish::{AHEAD, Epilogue, Finish, Outputs, numbers};
use super::layer::PackedLinear;
use super::layout::{Format, GROUP, TILE};
use super::operand::Written;
use super::panels::Cut;
use crate::context::Context;
use crate::element::DType;
use crate::kernels::{
    Ahead, Beside, Codes, Group, Matrix, Operation, RowBlock, StackBuffer, TileMut, Token, for_each_tile,
};
use ndarray::ArrayViewMut2;

/// Rows of a piece of a product of codes, a multiple of every panel's. Also how many sums a product keeps on the stack.
pub(super) const ROWS: usize = 128;

/// The same of a product of floats.
pub(super) const FLOAT_ROWS: usize = 144;

/// Inputs that a float product takes at a time where their weights, in f32, are to fit the first cache.
const DEPTH: usize = 128;

/// Inputs whose widened weights a float product keeps on the stack: more of them, and fewer sums wait in memory.
const WIDENED_DEPTH: usize = 256;

/// Inputs that a float product takes at a time of weights that are f32 where they lie: they stay in the second cache, beside as
/// many that come next and the rows.
pub(super) const READY_DEPTH: usize = 512;

/// Bytes of weights that a last cache is not likely to keep. From memory, eight streams come faster than four, and weights that
/// are asked for ahead; from a cache, both are slower.
const FAR: usize = 36 << 20;

/// From how many inputs on a single row takes several int8 tiles at a time: streams of weights that are shorter begin too
/// often.
const LONG: usize = 1024;

/// Products in a piece, about: some 5 to 50 microseconds of work.
const PIECE: usize = 1 << 21;

/// The tile of `y` that one thread computes at a time. Depends on shapes alone.
pub(super) fn piece(rows: usize, inputs: usize) -> (usize, usize) {
    let products = (rows.clamp(1, ROWS) * TILE).saturating_mul(inputs.max(1));
    let cols = PIECE.div_ceil(products) * TILE;
    // A single row takes tiles in eights.
    (ROWS, if rows == 1 { cols.next_multiple_of(8 * TILE) } else { cols })
}

/// Whether weights are read from memory in every product.
pub(super) fn is_far(layer: &PackedLinear<'_>) -> bool {
    layer.values(0).len() >= FAR
}

/// The [`piece`] of a float product. Its rows, of up to some 2000 inputs, fit the second cache beside the weights that pass by.
pub(super) fn float_piece(rows: usize, inputs: usize) -> (usize, usize) {
    (FLOAT_ROWS, piece(rows, inputs).1)
}

/// Bytes of floats that are turned before they are multiplied: the second cache has them still.
const STRETCH: usize = 1 << 20;

/// Pieces of a stretch, at least: several threads share them, and wait for each other at its end.
const STRETCH_PIECES: usize = 16;

/// How many rows of so many floats are turned at a time: whole [pieces](float_piece), more of them where a layer has few outputs.
pub(super) fn stretch(outputs: usize, inputs: usize) -> usize {
    let near = STRETCH / inputs.saturating_mul(4 * FLOAT_ROWS).max(1);
    let across = outputs.div_ceil(float_piece(FLOAT_ROWS, inputs).1).max(1);
    near.max(STRETCH_PIECES.div_ceil(across)) * FLOAT_ROWS
}

/// The most rows that lie side by side, on any instruction set.
pub(super) const MOST_ROWS: usize = 12;

/// For how many rows there must be room to lay `rows` side by side, on any instruction set: in panels of 4 or 8, or of 12.
pub(super) fn room(rows: usize) -> Option<usize> {
    Some(rows.checked_next_multiple_of(8)?.max(rows.checked_next_multiple_of(MOST_ROWS)?))
}

/// How `rows` rows of `x` are laid side by side for [`float`] on the instruction set.
pub(super) fn cut_for(context: &Context, rows: usize) -> Cut {
    context.isa().run(Rows(rows))
}

/// The same, on the instruction set of a token.
pub(super) fn cut<T: Token>(rows: usize) -> Cut {
    // A single row needs no company; two panels of eight rather than one of twelve and the rest.
    Cut::Halved(match rows {
        1 => 1,
        2..=16 => T::ROWS.min(8),
        _ => T::ROWS,
    })
}

struct Rows(usize);

impl Operation for Rows {
    type Output = Cut;
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(self, _token: T) -> Cut {
        cut::<T>(self.0)
    }
}

/// A float layer; `turned` as `turn_floats` made it, or a single row.
pub(super) fn float<Y: Written>(
    context: &Context,
    layer: &PackedLinear<'_>,
    turned: &[f32],
    y: ArrayViewMut2<'_, Y>,
) {
    let epilogue = Epilogue::of(layer);
    let weights = match layer.format() {
        Format::F16 => DType::F16,
        Format::Bf16 => DType::Bf16,
        _ => DType::F32,
    };
    let piece = float_piece(y.nrows(), layer.in_features());
    let cut = cut_for(context, y.nrows());
    for_each_tile(context, y, piece, |at, tile| {
        context.isa().run(Float { layer, weights, epilogue, turned, cut, at, tile });
    });
}

struct Float<'a, Y> {
    layer: &'a PackedLinear<'a>,
    /// What weights are stored in.
    weights: DType,
    epilogue: Epilogue,
    turned: &'a [f32],
    cut: Cut,
    at: (usize, usize),
    tile: TileMut<'a, Y>,
}

impl<Y: Written> Operation for Float<'_, Y> {
    type Output = ();
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let (row, col) = self.at;
        let inputs = self.layer.in_features();
        let (rows, cols) = (self.tile.rows(), self.tile.cols());
        let x = self.turned.get(row * inputs..(row + rows) * inputs).unwrap_or_default();
        let mut done = 0;
        if rows == 1 {
            if is_far(self.layer) {
                if self.weights == DType::F32 {
                    done = self.row::<T, 8, true>(token, x, done);
                }
                done = self.row::<T, 4, true>(token, x, done);
            } else {
                done = self.row::<T, 4, false>(token, x, done);
            }
        }
        let weight_bytes = self.weights.size();
        let bytes_of = |inputs: usize| inputs * TILE * weight_bytes;
        let tiles = self.layer.values(col / TILE * bytes_of(inputs));
        let ready = self.weights == DType::F32 && bytemuck::try_cast_slice::<u8, f32>(tiles).is_ok();
        let depth = match (T::ONE_PASS, ready) {
            (false, _) => DEPTH,
            (true, false) => WIDENED_DEPTH,
            (true, true) => READY_DEPTH,
        };
        let (mut sums, mut widened) =
            (StackBuffer::<_, FLOAT_ROWS>::new(), StackBuffer::<_, WIDENED_DEPTH>::new());
        let sums = sums.filled(if inputs > depth { rows } else { 0 }, [0.0; TILE]);
        let widened = widened.filled(if ready { 0 } else { inputs.min(depth) }, [0.0; TILE]);
        for start in (done..cols).step_by(TILE) {
            let tile = tiles.get(start / TILE * bytes_of(inputs)..).unwrap_or_default();
            let bias = numbers(self.layer.bias(), (col + start) / TILE);
            let mut first = 0;
            loop {
                let end = (first + depth).min(inputs);
                let stored = tile.get(bytes_of(first)..bytes_of(end)).unwrap_or_default();
                let next = tile.get(bytes_of(end)..).unwrap_or_default();
                let next = next.get(..stored.len()).unwrap_or_default();
                for block in (0..rows).step_by(self.cut.most()) {
                    for panel in self.cut.panels(rows - block) {
                        let at = block + panel.first;
                        let weights = match bytemuck::try_cast_slice::<u8, f32>(stored) {
                            Ok(weights) if ready => Weights::Ready(weights.as_chunks::<TILE>().0),
                            _ if at == 0 => Weights::Stored(stored, &mut *widened),
                            _ => Weights::Ready(widened.get(..end - first).unwrap_or_default()),
                        };
                        let part = (block / self.cut.most(), rows.div_ceil(self.cut.most()));
                        let step = Step {
                            row: at,
                            start,
                            first,
                            bias: &bias,
                            weights,
                            ahead: Ahead::part(next, end - first, part),
                            sums: sums.get_mut(at..).unwrap_or_default(),
                        };
                        match panel.width {
                            12 if T::ROWS >= 12 => self.multiply::<T, 12>(token, x, step),
                            8 if T::ROWS >= 8 => self.multiply::<T, 8>(token, x, step),
                            4 => self.multiply::<T, 4>(token, x, step),
                            2 => self.multiply::<T, 2>(token, x, step),
                            _ => self.multiply::<T, 1>(token, x, step),
                        }
                    }
                }
                first = end;
                if first >= inputs {
                    break;
                }
            }
        }
    }
}

/// Some inputs of a tile of weights.
enum Weights<'a> {
    /// In f32.
    Ready(&'a [[f32; TILE]]),
    /// As they are stored, and where they go in f32.
    Stored(&'a [u8], &'a mut [[f32; TILE]]),
}

/// What is added to the outputs of a panel at a time.
struct Step<'a> {
    /// The first row of the panel and the first output, in the tile of `y`.
    row: usize,
    start: usize,
    /// The first input.
    first: usize,
    bias: &'a [f32; TILE],
    weights: Weights<'a>,
    ahead: Ahead,
    /// Sums of rows that wait for more inputs, from the panel's first on.
    sums: &'a mut [[f32; TILE]],
}

impl<Y: Written> Float<'_, Y> {
    /// Adds products to the sums of a panel of `R` rows, and stores them when they are whole.
    #[inline(always)]
    fn multiply<T: Token, const R: usize>(&mut self, token: T, x: &[f32], step: Step<'_>) {
        let inputs = self.layer.in_features();
        let Step { row, start, first, bias, weights, ahead, sums } = step;
        let panel = x.get(row * inputs..(row + R) * inputs).unwrap_or_default().as_chunks::<R>().0;
        let panel = panel.get(first..).unwrap_or_default();
        let len = match &weights {
            Weights::Ready(weights) => weights.len(),
            Weights::Stored(stored, _) => stored.len() / (TILE * self.weights.size()),
        };
        let whole = first + len >= inputs;
        if whole {
            self.tile.expect_store((row, R), (start, TILE));
        }
        let mut kept = match sums.first_chunk::<R>() {
            Some(sums) if first > 0 => *sums,
            _ => [[0.0; TILE]; R],
        };
        match weights {
            Weights::Ready(weights) => token.multiply_panel(panel, weights, ahead, &mut kept),
            Weights::Stored(stored, widened) => {
                token.multiply_stored(panel, self.weights, stored, ahead, widened, &mut kept);
            }
        }
        if !whole {
            if let Some(sums) = sums.first_chunk_mut::<R>() {
                *sums = kept;
            }
            return;
        }
        for (offset, mut sums) in kept.into_iter().enumerate() {
            for (sum, bias) in sums.iter_mut().zip(bias) {
                *sum += bias;
            }
            self.tile.store(row + offset, start, self.epilogue.finish(token, sums));
        }
    }

    /// A single row, `TILES` tiles at a time from column `start` on: sums of different tiles need not wait for each other.
    /// Returns up to which column whole `TILES` went.
    #[inline(always)]
    fn row<T: Token, const TILES: usize, const FAR: bool>(
        &mut self,
        token: T,
        x: &[f32],
        mut start: usize,
    ) -> usize {
        let tile_bytes = self.layer.in_features() * TILE * self.weights.size();
        while start + TILES * TILE <= self.tile.cols() {
            let first = (self.at.1 + start) / TILE;
            let mut tiles: [&[u8]; TILES] = [&[]; TILES];
            for (t, tile) in tiles.iter_mut().enumerate() {
                *tile = self.layer.values((first + t) * tile_bytes).get(..tile_bytes).unwrap_or_default();
            }
            let mut sums = [[0.0; TILE]; TILES];
            if !token.multiply_row::<TILES, FAR>(x, self.weights, tiles, &mut sums) {
                break;
            }
            for (t, mut sums) in sums.into_iter().enumerate() {
                for (sum, bias) in sums.iter_mut().zip(numbers::<f32, TILE>(self.layer.bias(), first + t)) {
                    *sum += bias;
                }
                self.tile.store(0, start + t * TILE, self.epilogue.finish(token, sums));
            }
            start += TILES * TILE;
        }
        start
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
    let piece = context.isa().run(by_matrix::Piece {
        rows: y.nrows(),
        inputs: layer.in_features(),
        most: by_matrix::int8_rows(layer.values(0).len()),
    });
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
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let codes: &[T::Staged] = bytemuck::try_cast_slice(self.x.codes).unwrap_or_default();
        let rows = codes.get(self.at.0 * self.x.stride..).unwrap_or_default();
        if T::Matrix::EXISTS
            && let Some(unit) = by_matrix::unit_for_codes(token, self.tile.rows())
        {
            return self.blocks(token, &unit, rows);
        }
        let is_row = self.tile.rows() == 1 && self.x.padded >= LONG;
        let mut done = 0;
        if is_row {
            if is_far(self.layer) {
                done = self.row::<T, 8, true>(token, rows, done);
            }
            done = self.row::<T, 4, false>(token, rows, done);
        }
        for start in (done..self.tile.cols()).step_by(TILE) {
            let tile = (self.at.1 + start) / TILE;
            let weights = self.layer.int8_tile(tile);
            let outputs = Outputs::of(self.layer, tile);
            let mut done = 0;
            if T::WIDE {
                done = self.rows::<T, 8>(token, rows, weights, &outputs, start, done);
                done = self.rows::<T, 4>(token, rows, weights, &outputs, start, done);
                done = self.rows::<T, 3>(token, rows, weights, &outputs, start, done);
            } else {
                done = self.rows::<T, 6>(token, rows, weights, &outputs, start, done);
                done = self.rows::<T, 2>(token, rows, weights, &outputs, start, done);
            }
            self.rows::<T, 1>(token, rows, weights, &outputs, start, done);
        }
    }
}

impl<F: Finish> Int8<'_, F> {
    /// A single row, `TILES` tiles at a time from column `start` on; returns up to which column whole `TILES` went.
    #[inline(always)]
    fn row<T: Token, const TILES: usize, const FAR: bool>(
        &mut self,
        token: T,
        codes: &[T::Staged],
        mut start: usize,
    ) -> usize {
        let codes = codes.get(..self.x.padded).unwrap_or_default().as_chunks::<GROUP>().0;
        let row = self.x.row(self.at.0, self.layer.in_features());
        while start + TILES * TILE <= self.tile.cols() {
            let first = (self.at.1 + start) / TILE;
            let mut tiles: [&[[Group<i8>; TILE]]; TILES] = [&[]; TILES];
            for (t, tile) in tiles.iter_mut().enumerate() {
                *tile = self.layer.int8_tile(first + t);
            }
            let mut sums = [[0; TILE]; TILES];
            token.dot_row::<TILES, FAR>(codes, tiles, &mut sums);
            for (t, sums) in sums.iter().enumerate() {
                let out = Outputs::of(self.layer, first + t).finish(self.finish, token, sums, row);
                self.tile.store(0, start + t * TILE, out);
            }
            start += TILES * TILE;
        }
        start
    }

    /// All rows and columns, by a matrix unit.
    #[inline(always)]
    fn blocks<T: Token>(&mut self, token: T, unit: &T::Matrix, codes: &[T::Staged]) {
        let (rows, groups) = (self.tile.rows(), self.x.padded / GROUP);
        let codes = Codes::of(codes.as_chunks::<GROUP>().0, rows, groups, self.x.stride / GROUP);
        let blocks = rows.div_ceil(unit.block());
        let (most, step) = by_matrix::steps::<T>(unit, blocks, groups);
        let tile_bytes = groups * GROUP * TILE;
        let mut sums = StackBuffer::<_, ROWS>::new();
        let sums = sums.filled(most * unit.block(), [0; TILE]);
        let end = End { finish: self.finish, x: self.x, top: self.at.0, inputs: self.layer.in_features() };
        for start in (0..self.tile.cols()).step_by(TILE) {
            let tile = (self.at.1 + start) / TILE;
            let weights = self.layer.int8_tile(tile);
            let following =
                if by_matrix::asks(self.layer, rows) { self.layer.values(tile * tile_bytes) } else { &[] };
            let outputs = Outputs::of(self.layer, tile);
            for first in (0..blocks).step_by(most) {
                let count = most.min(blocks - first);
                let sums = sums.get_mut(..count * unit.block()).unwrap_or_default();
                self.tile.expect_store((unit.start(first, rows), AHEAD), (start, TILE));
                let mut done = 0;
                while done < groups {
                    let depth = by_matrix::depth(groups - done, step);
                    let next = following.get((done + depth) * GROUP * TILE..).unwrap_or_default();
                    let next = next.get(..depth * GROUP * TILE).unwrap_or(next);
                    let weights = weights.get(done..done + depth).unwrap_or_default();
                    unit.dot(codes.part(done, depth), first, weights, done > 0, sums, Beside::of(next));
                    done += depth;
                }
                end.blocks(token, unit, &outputs, sums, (first, start), &mut self.tile);
            }
        }
    }

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
        let (padded, stride) = (self.x.padded, self.x.stride);
        while done + R <= self.tile.rows() {
            let rows = codes.get(done * stride..).unwrap_or_default().as_chunks::<GROUP>().0;
            let rows = RowBlock::<_, R>::of(rows, padded / GROUP, stride / GROUP);
            self.tile.expect_store((done, R), (start, TILE));
            let mut sums = [[0; TILE]; R];
            token.dot(rows, weights, &mut sums);
            let parameters = self.x.rows::<R>(self.at.0 + done, self.layer.in_features());
            let block = self.tile.block::<R, TILE>(done, start);
            outputs.finish_rows(self.finish, token, sums, parameters, block);
            done += R;
        }
        done
    }
}

impl PackedLinear<'_> {
    /// The weights of tile `index`; nothing where the bytes do not hold it.
    #[inline(always)]
    fn int8_tile(&self, index: usize) -> &[[Group<i8>; TILE]] {
        let len = self.padded_inputs() * TILE;
        let bytes = self.values(index * len).get(..len).unwrap_or_default();
        bytemuck::cast_slice::<u8, i8>(bytes).as_chunks::<GROUP>().0.as_chunks::<TILE>().0
    }
}
