//! Dense products with int4 weights in groups: as [`dense`](super::dense), but scales belong to groups of inputs, so sums are
//! exact within a group and f32 between groups.

use super::by_matrix::{Piece, unit_for_codes};
use super::codes::CodeRows;
use super::dense::{ROWS, piece};
use super::finish::{AHEAD, Epilogue, numbers};
use super::layer::PackedLinear;
use super::layout::{GROUP, TILE};
use super::operand::Written;
use crate::context::Context;
use crate::kernels::{
    Beside, Codes, Group, Int4Row, Int4Tile, MIDDLE, Matrix, Nibbles, Operation, StackBuffer, Staged as _,
    TileMut, Token, for_each_tile,
};
use ndarray::ArrayViewMut2;

/// Tiles at a time for a single row.
const TILES: usize = 4;

/// Groups of inputs whose weights a matrix unit finds as int8 on the stack, 8 KiB.
const DEPTH: usize = 64;

/// From how many groups of inputs with the same scales on a matrix unit pays: as many as it takes in a step.
const FEWEST: usize = 16;

/// How many rows do without a matrix unit: it would wait for weights that are made int8 for so few.
const FEW_ROWS: usize = 8;

/// An int4 layer; `x` with a sum for each group, multiplied as [`Int4Row`] wants it.
pub(super) fn int4<Y: Written>(
    context: &Context,
    layer: &PackedLinear<'_>,
    x: &CodeRows<'_>,
    y: ArrayViewMut2<'_, Y>,
) {
    let epilogue = Epilogue::of(layer);
    let (rows, inputs) = (y.nrows(), layer.in_features());
    let piece = match gains_by_matrix(rows, layer.group_size()) {
        true => context.isa().run(Piece { rows, inputs, most: ROWS }),
        false => piece(rows, inputs),
    };
    for_each_tile(context, y, piece, |at, tile| {
        context.isa().run(Int4 { layer, epilogue, x, at, tile });
    });
}

/// Whether a matrix unit pays, if there is one.
pub(super) fn gains_by_matrix(rows: usize, group_size: usize) -> bool {
    rows > FEW_ROWS && fills_steps(group_size)
}

/// Whether it pays for groups of so many inputs and many rows.
pub(super) fn fills_steps(group_size: usize) -> bool {
    group_size / GROUP >= FEWEST
}

struct Int4<'a, Y> {
    layer: &'a PackedLinear<'a>,
    epilogue: Epilogue,
    x: &'a CodeRows<'a>,
    at: (usize, usize),
    tile: TileMut<'a, Y>,
}

impl<Y: Written> Operation for Int4<'_, Y> {
    type Output = ();
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        if T::Matrix::EXISTS
            && gains_by_matrix(self.tile.rows(), self.layer.group_size())
            && self.fits_int8()
            && let Some(unit) = unit_for_codes(token, self.tile.rows())
        {
            return self.blocks(token, &unit);
        }
        let done = if self.tile.rows() == 1 { self.row(token) } else { 0 };
        for start in (done..self.tile.cols()).step_by(TILE) {
            let index = (self.at.1 + start) / TILE;
            let tile = self.layer.int4_tile(index);
            let outputs = Outputs::of(self.layer, index);
            let mut done = 0;
            if T::WIDE {
                done = self.rows::<T, 8>(token, tile, &outputs, start, done);
                done = self.rows::<T, 4>(token, tile, &outputs, start, done);
            }
            done = self.rows::<T, 3>(token, tile, &outputs, start, done);
            self.rows::<T, 1>(token, tile, &outputs, start, done);
        }
    }
}

/// What belongs to the outputs of a tile.
struct Outputs {
    /// The sum of each output's weights.
    weight_sums: [f32; TILE],
    bias: [f32; TILE],
}

impl Outputs {
    #[inline(always)]
    fn of(layer: &PackedLinear<'_>, index: usize) -> Self {
        Outputs { weight_sums: numbers(layer.sums(), index), bias: numbers(layer.bias(), index) }
    }
}

impl<'a, Y: Written> Int4<'a, Y> {
    /// A single row, [`TILES`] at a time; returns up to which column whole ones went.
    #[inline(always)]
    fn row<T: Token>(&mut self, token: T) -> usize {
        let row = self.activations::<T>(self.at.0);
        let mut start = 0;
        while start + TILES * TILE <= self.tile.cols() {
            let first = (self.at.1 + start) / TILE;
            let mut tiles = [self.layer.int4_tile(first); TILES];
            for (t, tile) in tiles.iter_mut().enumerate().skip(1) {
                *tile = self.layer.int4_tile(first + t);
            }
            let mut sums = [[0.0; TILE]; TILES];
            token.multiply_int4_row(row, tiles, &mut sums);
            for (t, sums) in sums.into_iter().enumerate() {
                let outputs = Outputs::of(self.layer, first + t);
                self.finish(token, sums, &outputs, 0, start + t * TILE);
            }
            start += TILES * TILE;
        }
        start
    }

    /// Whether nibbles less their zero points are int8: also those that are no nibbles, in bytes that nobody packed.
    #[inline(always)]
    fn fits_int8(&self) -> bool {
        let (first, end) = (self.at.1 / TILE, (self.at.1 + self.tile.cols()).div_ceil(TILE));
        let zero_points = self.layer.zero_points().as_chunks::<TILE>().0;
        let zero_points = zero_points.get(first * self.layer.groups()..end * self.layer.groups());
        let most = |zero_points: &[[u8; TILE]]| zero_points.as_flattened().iter().copied().max();
        zero_points.and_then(most).unwrap_or(0) <= i8::MIN.unsigned_abs()
    }

    /// All rows and columns, by a matrix unit: its sums of a group are scaled and added to those in f32, of blocks below each other.
    #[inline(always)]
    fn blocks<T: Token>(&mut self, token: T, unit: &T::Matrix) {
        let (rows, stride) = (self.tile.rows(), self.x.stride);
        let codes: &[T::Staged] = bytemuck::try_cast_slice(self.x.codes).unwrap_or_default();
        let codes = codes.get(self.at.0 * stride..).unwrap_or_default().as_chunks::<GROUP>().0;
        let codes = Codes::of(codes, rows, self.x.padded / GROUP, stride / GROUP);
        let pair = 2 * unit.block();
        let room = rows.next_multiple_of(unit.block());
        let (mut sums, mut products) = (StackBuffer::<_, ROWS>::new(), StackBuffer::<_, ROWS>::new());
        let mut weights = StackBuffer::<_, DEPTH>::new();
        let products = products.filled(room, [0; TILE]);
        let weights = weights.filled(DEPTH, [[0; GROUP]; TILE]);
        for start in (0..self.tile.cols()).step_by(TILE) {
            let index = (self.at.1 + start) / TILE;
            let tile = self.layer.int4_tile(index);
            let outputs = Outputs::of(self.layer, index);
            let sums = sums.filled(room, [0.0; TILE]);
            for (group, nibbles) in tile.codes.chunks(tile.depth.max(1)).enumerate() {
                let zeros = zeros(tile, group);
                let mut first = 0;
                while first < nibbles.len() {
                    let depth = (nibbles.len() - first).min(DEPTH);
                    let weights = weights.get_mut(..depth).unwrap_or_default();
                    widen_nibbles(&nibbles[first..], &zeros, weights);
                    let codes = codes.part(group * tile.depth + first, depth);
                    let is_last = first + depth == nibbles.len();
                    for (index, (products, sums)) in
                        products.chunks_mut(pair).zip(sums.chunks_mut(pair)).enumerate()
                    {
                        unit.dot(codes, 2 * index, weights, first > 0, products, Beside::NOTHING);
                        if is_last {
                            scale(token, tile, group, products, sums);
                        }
                    }
                    first += depth;
                }
            }
            for (block, sums) in sums.chunks(unit.block()).enumerate() {
                // The last block may begin with rows of the one before.
                let begin = unit.start(block, rows);
                for (offset, sums) in sums.iter().enumerate().skip(block * unit.block() - begin) {
                    self.tile.expect_store((begin + offset + AHEAD, 1), (start, TILE));
                    self.finish(token, *sums, &outputs, begin + offset, start);
                }
            }
        }
    }

    /// Computes `R` rows at a time, from row `done` on; returns up to where whole `R` went.
    #[inline(always)]
    fn rows<T: Token, const R: usize>(
        &mut self,
        token: T,
        tile: Int4Tile<'_>,
        outputs: &Outputs,
        start: usize,
        mut done: usize,
    ) -> usize {
        while done + R <= self.tile.rows() {
            let mut rows: [Int4Row<'_, T::Staged>; R] = [Int4Row { codes: &[], starts: &[] }; R];
            for (offset, row) in rows.iter_mut().enumerate() {
                *row = self.activations::<T>(self.at.0 + done + offset);
            }
            self.tile.expect_store((done, R), (start, TILE));
            let mut sums = [[0.0; TILE]; R];
            token.multiply_int4(rows, tile, &mut sums);
            for (offset, sums) in sums.into_iter().enumerate() {
                self.finish(token, sums, outputs, done + offset, start);
            }
            done += R;
        }
        done
    }

    /// Row `row` of `x`.
    #[inline(always)]
    fn activations<T: Token>(&self, row: usize) -> Int4Row<'a, T::Staged> {
        let (padded, spans) = (self.x.padded, self.x.spans.count);
        let codes: &[T::Staged] = bytemuck::try_cast_slice(self.x.codes).unwrap_or_default();
        let start = row * self.x.stride;
        let codes = codes.get(start..start + padded).unwrap_or_default();
        let starts = self.x.sums.get(row * spans..(row + 1) * spans).unwrap_or_default();
        Int4Row { codes: codes.as_chunks::<GROUP>().0, starts }
    }

    /// Writes row `row` of the tile of `y` from column `start` on.
    #[inline(always)]
    fn finish<T: Token>(
        &mut self,
        token: T,
        mut values: [f32; TILE],
        outputs: &Outputs,
        row: usize,
        start: usize,
    ) {
        let scale = self.x.scales.get(self.at.0 + row).copied().unwrap_or(1.0);
        // That of the uint8 code: sums in f32 would round otherwise where codes are staged otherwise.
        let zero_point = self.x.zero_points.get(self.at.0 + row).copied().unwrap_or(0) + T::Staged::OFFSET;
        // Not where it changes nothing: a sum of weights may be infinite where the products are not.
        if zero_point != 0 {
            for (value, weight_sum) in values.iter_mut().zip(&outputs.weight_sums) {
                *value -= zero_point as f32 * weight_sum;
            }
        }
        for (value, bias) in values.iter_mut().zip(&outputs.bias) {
            *value = *value * scale + bias;
        }
        self.tile.store(row, start, self.epilogue.finish(token, values));
    }
}

/// Adds the products of a group to the sums.
#[inline(always)]
fn scale<T: Token>(
    token: T,
    tile: Int4Tile<'_>,
    group: usize,
    products: &[[i32; TILE]],
    sums: &mut [[f32; TILE]],
) {
    let Some(scales) = tile.scales.get(group) else { return };
    let scales = scales.map(f32::from_le_bytes);
    for (products, sums) in products.iter().zip(sums) {
        *sums = token.scaled(*products, 1.0, &scales, sums);
    }
}

/// The nibbles that stand for 0 in a group, each four times: for the four inputs of its output.
#[inline(always)]
fn zeros(tile: Int4Tile<'_>, group: usize) -> [u32; TILE] {
    const FOUR: u32 = 0x0101_0101;
    let zero_points = tile.zero_points.and_then(|zero_points| zero_points.get(group));
    zero_points.map_or([FOUR * u32::from(MIDDLE); TILE], |zeros| zeros.map(|zero| FOUR * u32::from(zero)))
}

/// Nibbles less those that stand for 0, as int8, over the shorter of the slices. So the unit's sums need no correction.
#[inline(always)]
fn widen_nibbles(nibbles: &[Nibbles], zeros: &[u32; TILE], weights: &mut [[Group<i8>; TILE]]) {
    const HALF: usize = size_of::<Nibbles>();
    let zeros: [[u8; HALF]; 2] = bytemuck::cast(*zeros);
    for (nibbles, weights) in nibbles.iter().zip(weights) {
        let halves: &mut [[u8; HALF]; 2] = bytemuck::cast_mut(weights);
        for byte in 0..HALF {
            halves[0][byte] = (nibbles[byte] & 15).wrapping_sub(zeros[0][byte]);
        }
        for byte in 0..HALF {
            halves[1][byte] = (nibbles[byte] >> 4).wrapping_sub(zeros[1][byte]);
        }
    }
}

impl PackedLinear<'_> {
    /// The weights of tile `index`; nothing where the bytes do not hold it.
    #[inline(always)]
    pub(super) fn int4_tile(&self, index: usize) -> Int4Tile<'_> {
        let groups = self.groups();
        let depth = self.padded_inputs() / GROUP;
        let codes: &[Nibbles] = self.values(index * depth * size_of::<Nibbles>()).as_chunks().0;
        let scales = self.scales().as_chunks::<4>().0.as_chunks::<TILE>().0;
        let zero_points = self.zero_points().as_chunks::<TILE>().0;
        Int4Tile {
            codes: codes.get(..depth).unwrap_or_default(),
            depth: self.group_size() / GROUP,
            scales: scales.get(index * groups..(index + 1) * groups).unwrap_or_default(),
            zero_points: self
                .has_zero_points()
                .then(|| zero_points.get(index * groups..(index + 1) * groups).unwrap_or_default()),
        }
    }
}
