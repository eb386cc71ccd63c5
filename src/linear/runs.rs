//! Sparse products by a matrix unit, of layers whose blocks come in whole runs: each is what the unit takes of weights, where it lies.

use super::by_matrix::{BLOCK_ROWS, End, NEAR};
use super::codes::CodeRows;
use super::finish::{AHEAD, Finish, Outputs};
use super::layer::PackedLinear;
use super::layout::{GROUP, LANES, TILE};
use crate::context::Context;
use crate::kernels::{
    Band, Codes, Group, Matrix, Operation, StackBuffer, TileMut, Token, dot_places, for_each_tile,
};
use ndarray::ArrayViewMut2;

/// From how many rows on a matrix unit is faster than what multiplies blocks that do not come in runs.
pub(super) const FEWEST: usize = 3;

/// Rows of a piece; half as many where the second cache holds all weights, so that a thread multiplies rows that it quantized.
const ROWS: usize = 128;

/// The most weights in a piece: enough of them that rows, which come from the second cache, are in the first one for most.
const PIECE: usize = 1 << 17;

/// How many pieces there are at least, if these have so many products each: a few threads should have as much to do.
const SHARES: usize = 4;
const FEWEST_PRODUCTS: usize = 1 << 22;

/// Whether a matrix unit computes so many rows.
pub(super) fn is_faster(context: &Context, layer: &PackedLinear<'_>, rows: usize) -> bool {
    layer.has_runs() && rows >= FEWEST && context.isa().run(HasMatrix)
}

struct HasMatrix;

impl Operation for HasMatrix {
    type Output = bool;
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(self, token: T) -> bool {
        T::Matrix::EXISTS && token.matrix(1).is_some()
    }
}

/// The tile of `y` that one thread computes at a time, in a layer of so many weights of an output that are not zero.
pub(super) fn piece(non_zeros: usize, outputs: usize, rows: usize) -> (usize, usize) {
    let tiles = outputs.div_ceil(TILE).max(1);
    let weights = non_zeros.saturating_add(1).saturating_mul(TILE);
    let all = weights.saturating_mul(tiles);
    let height = if all > NEAR { ROWS } else { ROWS / 2 };
    let share = all / SHARES.div_ceil(rows.div_ceil(height).max(1));
    let most = share.max(FEWEST_PRODUCTS / rows.clamp(BLOCK_ROWS, height)).min(PIECE) / weights;
    (height, tiles.div_ceil(tiles.div_ceil(most.max(1))) * TILE)
}

/// A sparse int8 layer whose blocks come in runs.
pub(super) fn int8<F: Finish>(
    context: &Context,
    layer: &PackedLinear<'_>,
    finish: F,
    x: &CodeRows<'_>,
    y: ArrayViewMut2<'_, F::Out>,
) {
    let piece = piece(layer.non_zeros_of_output(), layer.out_features(), y.nrows());
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
        let (groups, stride) = (self.x.padded / GROUP, self.x.stride / GROUP);
        let codes: &[T::Staged] = bytemuck::try_cast_slice(self.x.codes).unwrap_or_default();
        let codes = codes.as_chunks::<GROUP>().0.get(self.at.0 * stride..).unwrap_or_default();
        let codes = Codes::of(codes, self.tile.rows(), groups, stride);
        match token.matrix(self.tile.rows()) {
            Some(unit) if T::Matrix::EXISTS => self.blocks(token, &unit, codes),
            _ => self.rows(token, codes),
        }
    }
}

impl<F: Finish> Int8<'_, F> {
    /// What is stored of the bands of a tile; nothing past the last.
    #[inline(always)]
    fn bands(&self, tile: usize) -> [Band<'_>; 2] {
        let stored = self.layer.stored::<{ LANES * GROUP }>();
        [2 * tile, 2 * tile + 1].map(|band| {
            let (places, blocks) = stored.of(band);
            (places, bytemuck::cast_slice(blocks))
        })
    }

    /// All rows and columns. A pair of blocks of rows stays in the first cache while the weights of all outputs pass by.
    #[inline(always)]
    fn blocks<T: Token>(&mut self, token: T, unit: &T::Matrix, codes: Codes<'_, Group<T::Staged>>) {
        let rows = self.tile.rows();
        let blocks = rows.div_ceil(unit.block());
        let mut sums = StackBuffer::<_, { 2 * BLOCK_ROWS }>::new();
        let sums = sums.filled(2 * unit.block(), [0; TILE]);
        let end = End { finish: self.finish, x: self.x, top: self.at.0, inputs: self.layer.in_features() };
        for first in (0..blocks).step_by(2) {
            let sums = sums.get_mut(..(blocks - first).min(2) * unit.block()).unwrap_or_default();
            for start in (0..self.tile.cols()).step_by(TILE) {
                self.tile.expect_store((unit.start(first, rows), AHEAD), (start, TILE));
                let tile = (self.at.1 + start) / TILE;
                unit.dot_runs(codes, first, self.bands(tile), sums);
                let outputs = Outputs::of(self.layer, tile);
                end.blocks(token, unit, &outputs, sums, (first, start), &mut self.tile);
            }
        }
    }

    /// Where there is no unit after all: row by row.
    #[cold]
    fn rows<T: Token>(&mut self, token: T, codes: Codes<'_, Group<T::Staged>>) {
        for start in (0..self.tile.cols()).step_by(TILE) {
            let tile = (self.at.1 + start) / TILE;
            let outputs = Outputs::<TILE>::of(self.layer, tile);
            for row in 0..self.tile.rows() {
                let mut sums = [0; TILE];
                for (sums, band) in sums.as_chunks_mut::<LANES>().0.iter_mut().zip(self.bands(tile)) {
                    *sums = dot_places(codes, row, band);
                }
                let parameters = self.x.row(self.at.0 + row, self.layer.in_features());
                let out = outputs.finish(self.finish, token, &sums, parameters);
                self.tile.store(row, start, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Weights;
    use super::super::codes::Spans;
    use super::super::finish::Exact;
    use super::super::scratch::Scratch;
    use super::*;
    use crate::Parallel;
    use crate::kernels::Isa;
    use ndarray::Array2;

    /// Holds the unit of the thread, if there is one, while a layer asks for it.
    struct Held<'a> {
        context: &'a Context,
        layer: &'a PackedLinear<'a>,
        x: &'a CodeRows<'a>,
        y: &'a mut Array2<i32>,
    }

    impl Operation for Held<'_> {
        type Output = ();
        const CODES: bool = true;
        fn run<T: Token>(self, token: T) {
            let unit = token.matrix(1);
            assert!(!is_faster(self.context, self.layer, 100) && token.matrix(2).is_none());
            int8(self.context, self.layer, Exact, self.x, self.y.view_mut());
            drop(unit);
        }
    }

    #[test]
    fn without_the_unit_sums_are_the_same() {
        let (rows, outputs, inputs) = (5, 40, 200);
        let w = Array2::from_shape_fn((outputs, inputs), |(n, k)| match (n / 16 + k / 64) % 3 {
            0 => (n + 3 * k) as i8 | 1,
            _ => 0,
        });
        let x = Array2::from_shape_fn((rows, inputs), |(m, k)| (7 * m + k) as u8);
        let layer = PackedLinear::new(Weights::int8(w.view(), &[1.0], &[]).sparse()).unwrap();
        assert!(layer.has_runs());
        let expected = x.mapv(i32::from).dot(&w.mapv(i32::from).t());
        for &isa in Isa::available() {
            let context = Context::new().unwrap().with_isa(isa).with_parallel(Parallel::Serial);
            let mut bytes = vec![0xff; layer.scratch_bytes(rows).unwrap()];
            let mut scratch = Scratch::new(&mut bytes);
            let mut codes = CodeRows::take(&context, rows, layer.padded_inputs(), Spans::NONE, &mut scratch);
            codes.copy(&context, &x.view(), 1.0, &[]);
            let mut y = Array2::zeros((rows, outputs));
            isa.run(Held { context: &context, layer: &layer, x: &codes, y: &mut y });
            assert_eq!(y, expected, "{isa}");
        }
    }
}
