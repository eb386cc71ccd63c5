//! Blocks of rows that a matrix unit multiplies: how many it takes at a time, and what becomes of their sums.

use super::codes::CodeRows;
use super::dense::{self, ROWS};
use super::finish::{Finish, Outputs};
use super::layer::PackedLinear;
use super::layout::TILE;
use crate::kernels::{Matrix, Operation, TileMut, Token};

/// Up to how many groups of inputs a matrix unit takes at once: the weights of a tile and of the rows that pass by fit the first cache.
const DEPTH: usize = 256;

/// Of more inputs, how many groups it takes at a time: their weights stay in the first cache for all rows.
const STEP: usize = 128;

/// Rows of a block of a matrix unit.
pub(super) const BLOCK_ROWS: usize = 16;

/// From how many rows of codes on a matrix unit is worth setting up.
const FEWEST: usize = 2;

/// Products in a piece where a matrix unit computes them, about.
const PIECE: usize = 1 << 24;

/// Bytes of weights that stay in the second cache from a block of rows to the next, beside the rows and their results.
pub(super) const NEAR: usize = 1 << 20;

/// The [`piece`](dense::piece) of a product of codes on the instruction set; of `most` rows where a matrix unit computes it.
pub(super) struct Piece {
    pub(super) rows: usize,
    pub(super) inputs: usize,
    pub(super) most: usize,
}

/// Rows of a piece of an int8 layer with so many bytes of weights. Threads that cut a product between its rows multiply codes that are
/// still in their caches; but each then reads all weights.
pub(super) fn int8_rows(bytes: usize) -> usize {
    if bytes <= NEAR { ROWS / 2 } else { ROWS }
}

impl Operation for Piece {
    type Output = (usize, usize);
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(self, token: T) -> (usize, usize) {
        let by_matrix = unit_for_codes(token, self.rows).is_some();
        self.cut(by_matrix)
    }
}

impl Piece {
    /// Where a matrix unit computes it, or not.
    pub(super) fn cut(self, by_matrix: bool) -> (usize, usize) {
        match by_matrix {
            false => dense::piece(self.rows, self.inputs),
            true => piece(self.rows.min(self.most), self.inputs),
        }
    }
}

/// The [`piece`](dense::piece) of products by a matrix unit.
pub(super) fn piece(rows: usize, inputs: usize) -> (usize, usize) {
    // Each block of rows reads all weights anew.
    let rows = rows.max(1);
    // Weights take as long for few rows as for a block of them.
    let products = (rows.max(BLOCK_ROWS) * TILE).saturating_mul(inputs.max(1));
    (rows, PIECE.div_ceil(products) * TILE)
}

/// The matrix unit for so many rows of codes, if there is one and they gain by it.
#[inline(always)]
pub(super) fn unit_for_codes<T: Token>(token: T, rows: usize) -> Option<T::Matrix> {
    if rows < FEWEST { None } else { token.matrix(rows) }
}

/// Whether blocks of so many rows ask for the weights that come next. Weights of fewer bytes stay in the second cache; beside fewer rows
/// so many lines with each step only keep the rows from being loaded.
pub(super) fn asks(layer: &PackedLinear<'_>, rows: usize) -> bool {
    rows >= 4 * BLOCK_ROWS && layer.values(0).len() > NEAR
}

/// How many of `blocks` of rows a matrix unit takes at a time, and how many of `groups` of inputs: a pair of blocks and all inputs; or
/// more and some, where the weights of all are more than the first cache should hold.
#[inline(always)]
pub(super) fn steps<T: Token>(unit: &T::Matrix, blocks: usize, groups: usize) -> (usize, usize) {
    if groups > DEPTH { (blocks.min(ROWS / unit.block()), STEP) } else { (2, groups) }
}

/// How many of the groups that are left are taken next: the last ones with those before.
#[inline(always)]
pub(super) fn depth(left: usize, step: usize) -> usize {
    if left >= 2 * step { step } else { left }
}

/// What becomes of sums of blocks of rows.
pub(super) struct End<'a, F> {
    pub(super) finish: F,
    pub(super) x: &'a CodeRows<'a>,
    /// The row of `x` that is the first of the tile of `y`.
    pub(super) top: usize,
    pub(super) inputs: usize,
}

impl<F: Finish> End<'_, F> {
    /// Those of blocks from one on, into the tile of `y` from a column on.
    #[inline(always)]
    pub(super) fn blocks<T: Token>(
        &self,
        token: T,
        unit: &T::Matrix,
        outputs: &Outputs<TILE>,
        sums: &[[i32; TILE]],
        (first, start): (usize, usize),
        tile: &mut TileMut<'_, F::Out>,
    ) {
        for (block, sums) in sums.chunks_exact(unit.block()).enumerate() {
            // The last block may begin with rows of the one before.
            let row = (first + block) * unit.block();
            let begin = unit.start(first + block, tile.rows());
            let sums = sums.get(row - begin..).unwrap_or_default();
            let parameters = self.x.strip(self.top + row, sums.len(), self.inputs);
            let strip = tile.strip::<TILE>((row, sums.len()), start);
            outputs.finish_strip(self.finish, token, sums, parameters, strip);
        }
    }
}
