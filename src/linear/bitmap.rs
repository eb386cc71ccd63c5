//! Products with int8 weights that are stored one by one, behind bits that say which of a tile's they are. They become a dense
//! tile on the stack, or in registers, so they take fewer bytes and as many products as a dense layer's. And the check that such bits
//! lead to their weights.

use super::by_matrix::{End, Piece};
use super::codes::CodeRows;
use super::dense::{ROWS, piece};
use super::finish::{AHEAD, Finish, Outputs};
use super::layer::PackedLinear;
use super::layout::{GROUP, TILE};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::kernels::{
    Beside, CHUNK, Codes, GROUP_BITS, Group, Matrix, Operation, RowBlock, StackBuffer, TileMut, Token,
    for_each_tile,
};
use ndarray::ArrayViewMut2;

/// The most bytes that a group of a tile takes: its bits, and every weight.
pub(super) const MOST_OF_GROUP: usize = GROUP_BITS + TILE * GROUP;

/// Groups of inputs of a tile that are on the stack at a time, 32 KiB: a multiple of the chunks in which they are stored.
const DEPTH: usize = 256;

/// The same for few rows: their products are soon done, and the next weights should be on their way meanwhile.
const FEW_DEPTH: usize = 64;

/// How many rows are few.
pub(super) const FEW_ROWS: usize = 16;

/// The bits and weights of tile `index`, and what is behind them; nothing if the offset leads elsewhere.
#[inline(always)]
fn tile_of<'a>(layer: &'a PackedLinear<'_>, index: usize) -> &'a [u8] {
    layer.values(layer.offset(index))
}

/// Where the bits and weights of tile `index` end, by what its bits say.
fn end_of(layer: &PackedLinear<'_>, index: usize) -> usize {
    let stream = tile_of(layer, index);
    let mut at = 0_usize;
    for first in (0..layer.places()).step_by(CHUNK) {
        let bits = GROUP_BITS * CHUNK.min(layer.places() - first);
        let bytes = stream.get(at..at + bits).unwrap_or_default();
        at += bits + bytes.as_chunks().0.iter().map(|word| ones(*word)).sum::<usize>();
    }
    layer.values(0).len() - stream.len() + at
}

/// How many of 64 bits are set: half of a group's.
fn ones(word: [u8; GROUP_BITS / 2]) -> usize {
    u64::from_le_bytes(word).count_ones() as usize
}

/// Refuses bits that say that there are more weights than lie before the next tile, or fewer.
pub(super) fn check(layer: &PackedLinear<'_>) -> Result<()> {
    let tiles = layer.out_features().div_ceil(TILE);
    match (0..tiles).find(|&tile| end_of(layer, tile) != layer.offset(tile + 1)) {
        None => Ok(()),
        Some(tile) => {
            let output = tile * TILE;
            let reason = format!("the places of the weights from output {output} on lead elsewhere");
            Err(Error::layout("packed", reason))
        }
    }
}

/// A sparse int8 layer with bitmaps.
pub(super) fn int8<F: Finish>(
    context: &Context,
    layer: &PackedLinear<'_>,
    finish: F,
    x: &CodeRows<'_>,
    y: ArrayViewMut2<'_, F::Out>,
) {
    let (rows, inputs) = (y.nrows(), layer.in_features());
    let piece = match rows > FEW_ROWS {
        true => context.isa().run(Piece { rows, inputs, most: ROWS }),
        false => piece(rows, inputs),
    };
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
        let codes = codes.as_chunks::<GROUP>().0;
        let (groups, stride) = (self.x.padded / GROUP, self.x.stride / GROUP);
        let codes = codes.get(self.at.0 * stride..).unwrap_or_default();
        let most = if self.tile.rows() > FEW_ROWS { DEPTH } else { FEW_DEPTH };
        let (mut sums, mut weights) = (StackBuffer::<_, ROWS>::new(), StackBuffer::<_, DEPTH>::new());
        let sums = sums.filled(if groups > most { self.tile.rows() } else { 0 }, [0; TILE]);
        let weights = weights.filled(groups.min(most), [[0; GROUP]; TILE]);
        if T::Matrix::EXISTS
            && self.tile.rows() > FEW_ROWS
            && let Some(unit) = token.matrix(self.tile.rows())
        {
            return self.blocks(token, &unit, codes, weights);
        }
        // Sums of two tiles need not wait for each other; three rows have enough sums alone. More than eight would need the weights twice.
        let done = match self.tile.rows() {
            1 => self.few::<T, 1, 4>(token, codes, weights),
            2 => self.few::<T, 2, 2>(token, codes, weights),
            3 => self.few::<T, 3, 1>(token, codes, weights),
            4 => self.few::<T, 4, 1>(token, codes, weights),
            5 => self.few::<T, 5, 1>(token, codes, weights),
            6 => self.few::<T, 6, 1>(token, codes, weights),
            7 => self.few::<T, 7, 1>(token, codes, weights),
            8 => self.few::<T, 8, 1>(token, codes, weights),
            _ => 0,
        };
        for start in (done..self.tile.cols()).step_by(TILE) {
            let tile = (self.at.1 + start) / TILE;
            let outputs = Outputs::of(self.layer, tile);
            let mut stream = tile_of(self.layer, tile);
            let mut first = 0;
            loop {
                let depth = (groups - first).min(most);
                let weights = weights.get_mut(..depth).unwrap_or_default();
                let read = token.expand(stream, weights);
                stream = stream.get(read..).unwrap_or_default();
                let step = Step { start, first, weights, outputs: &outputs };
                let mut done = 0;
                if T::WIDE {
                    done = self.rows::<T, 8>(token, codes, &step, sums, done);
                    done = self.rows::<T, 4>(token, codes, &step, sums, done);
                    done = self.rows::<T, 3>(token, codes, &step, sums, done);
                } else {
                    done = self.rows::<T, 6>(token, codes, &step, sums, done);
                    done = self.rows::<T, 2>(token, codes, &step, sums, done);
                }
                self.rows::<T, 1>(token, codes, &step, sums, done);
                first += depth;
                if first >= groups {
                    break;
                }
            }
        }
    }
}

/// What rows are multiplied with at a time.
struct Step<'a> {
    /// The first output, in the tile of `y`.
    start: usize,
    /// The first group of inputs.
    first: usize,
    weights: &'a [[Group<i8>; TILE]],
    outputs: &'a Outputs<TILE>,
}

impl<F: Finish> Int8<'_, F> {
    /// Adds products to the sums of `R` rows at a time, from row `done` on, and stores them when they are whole; returns up to
    /// where whole `R` went.
    #[inline(always)]
    fn rows<T: Token, const R: usize>(
        &mut self,
        token: T,
        codes: &[Group<T::Staged>],
        step: &Step<'_>,
        kept: &mut [[i32; TILE]],
        mut done: usize,
    ) -> usize {
        let (groups, stride) = (self.x.padded / GROUP, self.x.stride / GROUP);
        let depth = step.weights.len();
        let whole = step.first + depth >= groups;
        while done + R <= self.tile.rows() {
            let rows = RowBlock::<_, R>::of(codes.get(done * stride..).unwrap_or_default(), groups, stride);
            if whole {
                self.tile.expect_store((done, R), (step.start, TILE));
            }
            let kept = kept.get_mut(done..).unwrap_or_default().first_chunk_mut::<R>();
            let mut sums = match &kept {
                Some(kept) if step.first > 0 => **kept,
                _ => [[0; TILE]; R],
            };
            token.dot(rows.part(step.first, depth), step.weights, &mut sums);
            if whole {
                let parameters = self.x.rows::<R>(self.at.0 + done, self.layer.in_features());
                let block = self.tile.block::<R, TILE>(done, step.start);
                step.outputs.finish_rows(self.finish, token, sums, parameters, block);
            } else if let Some(kept) = kept {
                *kept = sums;
            }
            done += R;
        }
        done
    }

    /// All rows and columns, by a matrix unit.
    #[inline(always)]
    fn blocks<T: Token>(
        &mut self,
        token: T,
        unit: &T::Matrix,
        codes: &[Group<T::Staged>],
        weights: &mut [[Group<i8>; TILE]],
    ) {
        let (rows, groups) = (self.tile.rows(), self.x.padded / GROUP);
        let codes = Codes::of(codes, rows, groups, self.x.stride / GROUP);
        let pair = 2 * unit.block();
        let mut sums = StackBuffer::<_, ROWS>::new();
        let sums = sums.filled(rows.next_multiple_of(unit.block()), [0; TILE]);
        let end = End { finish: self.finish, x: self.x, top: self.at.0, inputs: self.layer.in_features() };
        for start in (0..self.tile.cols()).step_by(TILE) {
            let tile = (self.at.1 + start) / TILE;
            let outputs = Outputs::of(self.layer, tile);
            let mut stream = tile_of(self.layer, tile);
            let mut done = 0;
            // Once even without inputs: the outputs are the bias then.
            loop {
                let depth = (groups - done).min(weights.len());
                let weights = weights.get_mut(..depth).unwrap_or_default();
                let read = token.expand(stream, weights);
                stream = stream.get(read..).unwrap_or_default();
                for (index, sums) in sums.chunks_mut(pair).enumerate() {
                    let is_whole = done + depth >= groups;
                    if is_whole {
                        self.tile.expect_store((unit.start(2 * index, rows), AHEAD), (start, TILE));
                    }
                    unit.dot(codes.part(done, depth), 2 * index, weights, done > 0, sums, Beside::NOTHING);
                    if is_whole {
                        end.blocks(token, unit, &outputs, sums, (2 * index, start), &mut self.tile);
                    }
                }
                done += depth;
                if done >= groups {
                    break;
                }
            }
        }
    }

    /// All `R` rows, `N` tiles at a time, where no dense tile has to be made of them; returns up to which column whole `N` went.
    #[inline(always)]
    fn few<T: Token, const R: usize, const N: usize>(
        &mut self,
        token: T,
        codes: &[Group<T::Staged>],
        weights: &mut [[Group<i8>; TILE]],
    ) -> usize {
        let groups = self.x.padded / GROUP;
        let rows = RowBlock::<_, R>::of(codes, groups, self.x.stride / GROUP);
        let mut start = 0;
        while start + N * TILE <= self.tile.cols() {
            let first = (self.at.1 + start) / TILE;
            let mut streams: [&[u8]; N] = [&[]; N];
            for (t, stream) in streams.iter_mut().enumerate() {
                *stream = tile_of(self.layer, first + t);
            }
            let mut sums = [[[0; TILE]; R]; N];
            let Some(done) = token.dot_bitmaps(rows, &mut streams, &mut sums) else { break };
            for (t, sums) in sums.iter_mut().enumerate() {
                let (mut stream, mut done) = (streams[t], done);
                while done < groups {
                    let depth = (groups - done).min(FEW_DEPTH);
                    let weights = weights.get_mut(..depth).unwrap_or_default();
                    let read = token.expand(stream, weights);
                    stream = stream.get(read..).unwrap_or_default();
                    token.dot(rows.part(done, depth), weights, sums);
                    done += depth;
                }
                let outputs = Outputs::of(self.layer, first + t);
                for (r, sums) in sums.iter().enumerate() {
                    let row = self.x.row(self.at.0 + r, self.layer.in_features());
                    let out = outputs.finish(self.finish, token, sums, row);
                    self.tile.store(r, start + t * TILE, out);
                }
            }
            start += N * TILE;
        }
        start
    }
}
