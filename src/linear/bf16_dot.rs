//! Products by the dot product of bf16: `x` is rounded into scratch, two inputs of a row side by side, and sums are f32.
//!
//! What takes pairs as one number is otherwise as dense f32.

use super::activations::{CHUNK, Row, contiguous};
use super::by_matrix;
use super::dense::{self, FLOAT_ROWS, READY_DEPTH as DEPTH, ROWS};
use super::finish::{AHEAD, Epilogue, numbers};
use super::layer::PackedLinear;
use super::layout::TILE;
use super::operand::Written;
use super::panels::{Cut, Panel};
use super::scratch::Scratch;
use crate::context::Context;
use crate::element::Element;
use crate::element::private::FloatView;
use crate::kernels::{
    Ahead, Beside, Codes, Matrix, Operation, Pair, StackBuffer, StoredPair, TileMut, Token, for_each_tile,
};
use half::bf16;
use ndarray::{ArrayView2, ArrayViewMut2};

/// A layer of bf16 pairs.
pub(super) fn bf16_dot<Y: Written>(
    context: &Context,
    layer: &PackedLinear<'_>,
    x: FloatView<'_>,
    y: ArrayViewMut2<'_, Y>,
    mut scratch: Scratch<'_>,
) {
    let places = layer.places();
    let (cut, piece, stride) = context.isa().run(Layout { rows: x.rows(), places });
    let room = cut.room(x.rows());
    let pairs = scratch.take(room * stride);
    match x {
        FloatView::F32(x) => turn(context, &x, cut, stride, pairs),
        FloatView::F16(x) => turn(context, &x, cut, stride, pairs),
        FloatView::Bf16(x) => turn(context, &x, cut, stride, pairs),
    }
    let (epilogue, x) = (Epilogue::of(layer), &*pairs);
    for_each_tile(context, y, piece, |at, tile| {
        context.isa().run(Multiply { layer, epilogue, x, cut, stride, at, tile });
    });
}

/// How many pairs are room enough for `rows` rows of `places` each, on any instruction set.
pub(super) fn room(rows: usize, places: usize) -> Option<usize> {
    Some(dense::room(rows)?.checked_mul(places)?.max(rows.checked_mul(apart(places))?))
}

/// Pairs from a row that a matrix unit loads to the next: it loads 64 bytes of 16 rows at a time, which lie in one line each so. Shorter
/// rows would take much more room.
fn apart(places: usize) -> usize {
    const LINE: usize = 64 / size_of::<Pair>();
    if places < LINE { places } else { places.next_multiple_of(LINE) }
}

/// How rows lie side by side, the tile of `y` that one thread computes at a time, and the pairs that a row of a panel takes.
struct Layout {
    rows: usize,
    places: usize,
}

impl Operation for Layout {
    type Output = (Cut, (usize, usize), usize);
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(self, token: T) -> Self::Output {
        // A matrix unit takes rows as they are; also a single one, which would not be the same in company else.
        match token.matrix(self.rows) {
            Some(_) => {
                (Cut::Halved(1), by_matrix::piece(self.rows.min(ROWS), self.places), apart(self.places))
            }
            None => (dense::cut::<T>(self.rows), dense::float_piece(self.rows, self.places), self.places),
        }
    }
}

/// Rounds rows to bf16 and lays them side by side, as `cut` says: `turned[panel][k][row][i]`, with room for `stride` `k`.
fn turn(context: &Context, x: &ArrayView2<'_, impl Element>, cut: Cut, stride: usize, turned: &mut [Pair]) {
    let shape = (x.nrows().div_ceil(cut.most()), stride * cut.most());
    let turned = turned.get_mut(..shape.0 * shape.1).unwrap_or_default();
    let Ok(matrix) = ArrayViewMut2::from_shape(shape, turned) else { return };
    for_each_tile(context, matrix, (1, usize::MAX), |(block, _), tile| {
        context.isa().run(Turn { x, cut, first: block * cut.most(), tile });
    });
}

struct Turn<'a, 'x, X> {
    x: &'a ArrayView2<'x, X>,
    cut: Cut,
    first: usize,
    tile: TileMut<'a, Pair>,
}

impl<X: Element> Operation for Turn<'_, '_, X> {
    type Output = ();
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let places = self.x.ncols().div_ceil(2);
        let Turn { x, cut, first, .. } = self;
        let mut out = self.tile.row_mut(0);
        for panel in cut.panels(x.nrows() - first) {
            let (columns, rest) = out.split_at_mut((places * panel.width).min(out.len()));
            out = rest;
            match panel.width {
                12 if T::ROWS >= 12 => turn_panel::<X, T, 12>(token, x, first, panel, columns),
                8 if T::ROWS >= 8 => turn_panel::<X, T, 8>(token, x, first, panel, columns),
                4 => turn_panel::<X, T, 4>(token, x, first, panel, columns),
                2 => turn_panel::<X, T, 2>(token, x, first, panel, columns),
                _ => turn_panel::<X, T, 1>(token, x, first, panel, columns),
            }
        }
    }
}

/// A panel of `R` rows, some columns at a time.
#[inline(always)]
fn turn_panel<X: Element, T: Token, const R: usize>(
    token: T,
    x: &ArrayView2<'_, X>,
    first: usize,
    panel: Panel,
    columns: &mut [Pair],
) {
    let (mut raw, mut buffer) = ([X::default(); CHUNK], [0.0; CHUNK]);
    let mut rounded = [[bf16::ZERO; CHUNK]; R];
    let columns: &mut [[u8; 4]] = bytemuck::cast_slice_mut(columns);
    let columns = columns.as_chunks_mut::<R>().0;
    for (start, columns) in (0..x.ncols()).step_by(CHUNK).zip(columns.chunks_mut(CHUNK / 2)) {
        let len = (x.ncols() - start).min(CHUNK);
        for (r, rounded) in rounded.iter_mut().enumerate() {
            let source = Row { x, row: first + panel.first + r };
            round(token, source, start, &mut raw, &mut buffer, &mut rounded[..len]);
            if len < CHUNK {
                rounded[len] = bf16::ZERO;
            }
        }
        let mut rows: [&[[u8; 4]]; R] = [&[]; R];
        for r in 0..R {
            rows[r] = &bytemuck::cast_slice(&rounded[r])[..columns.len()];
        }
        token.interleave(rows, columns, 1);
    }
}

/// The elements from `start` on, rounded; as many as there is room for.
#[inline(always)]
fn round<X: Element, T: Token>(
    token: T,
    source: Row<'_, '_, X>,
    start: usize,
    raw: &mut [X; CHUNK],
    buffer: &mut [f32; CHUNK],
    rounded: &mut [bf16],
) {
    if let FloatView::Bf16(x) = X::float_view(*source.x)
        && let Some(row) = contiguous(&x, source.row)
    {
        rounded.copy_from_slice(&row[start..start + rounded.len()]);
        return;
    }
    let values = source.chunk(token, start, raw, buffer);
    token.narrow_bf16(&values[..rounded.len()], rounded);
}

struct Multiply<'a, Y> {
    layer: &'a PackedLinear<'a>,
    epilogue: Epilogue,
    x: &'a [Pair],
    cut: Cut,
    stride: usize,
    at: (usize, usize),
    tile: TileMut<'a, Y>,
}

impl<Y: Written> Operation for Multiply<'_, Y> {
    type Output = ();
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let places = self.layer.places();
        let (row, rows) = (self.at.0, self.tile.rows());
        let x = self.x.get(row * self.stride..(row + rows) * self.stride).unwrap_or_default();
        if T::Matrix::EXISTS
            && self.cut.most() == 1
            && let Some(unit) = token.matrix(rows)
        {
            return self.blocks(token, &unit, x);
        }
        let mut done = 0;
        if rows == 1 {
            let x = x.get(..places).unwrap_or_default();
            if dense::is_far(self.layer) {
                done = self.row::<T, 8, true>(token, x, done);
                done = self.row::<T, 4, true>(token, x, done);
            } else {
                done = self.row::<T, 4, false>(token, x, done);
            }
        }
        let mut sums = StackBuffer::<_, FLOAT_ROWS>::new();
        let sums = sums.filled(if places > DEPTH { rows } else { 0 }, [0.0; TILE]);
        for start in (done..self.tile.cols()).step_by(TILE) {
            let index = (self.at.1 + start) / TILE;
            let tile = pairs_of(self.layer, index);
            let bias = numbers(self.layer.bias(), index);
            let mut first = 0;
            loop {
                let end = (first + DEPTH).min(places);
                let weights = tile.get(first..end).unwrap_or_default();
                let next = self.layer.values((index * places + end) * size_of::<[StoredPair; TILE]>());
                let next = next.get(..size_of_val(weights)).unwrap_or_default();
                for block in (0..rows).step_by(self.cut.most()) {
                    for panel in self.cut.panels(rows - block) {
                        let at = block + panel.first;
                        let sums = sums.get_mut(at..).unwrap_or_default();
                        let part = (block / self.cut.most(), rows.div_ceil(self.cut.most()));
                        let ahead = Ahead::part(next, end - first, part);
                        let step = Step { row: at, start, first, bias: &bias, weights, ahead, sums };
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
                if first >= places {
                    break;
                }
            }
        }
    }
}

/// The weights of tile `index`; nothing where the bytes do not hold it.
#[inline(always)]
fn pairs_of<'a>(layer: &'a PackedLinear<'_>, index: usize) -> &'a [[StoredPair; TILE]] {
    let len = layer.places() * size_of::<[StoredPair; TILE]>();
    let bytes = layer.values(index * len).get(..len).unwrap_or_default();
    bytes.as_chunks::<{ size_of::<StoredPair>() }>().0.as_chunks().0
}

/// What is added to the outputs of a panel at a time.
struct Step<'a> {
    /// The first row of the panel and the first output, in the tile of `y`.
    row: usize,
    start: usize,
    /// The first pair.
    first: usize,
    bias: &'a [f32; TILE],
    weights: &'a [[StoredPair; TILE]],
    ahead: Ahead,
    /// Sums of rows that wait for more inputs, from the panel's first on.
    sums: &'a mut [[f32; TILE]],
}

impl<Y: Written> Multiply<'_, Y> {
    /// All rows and columns, by a matrix unit.
    #[inline(always)]
    fn blocks<T: Token>(&mut self, token: T, unit: &T::Matrix, x: &[Pair]) {
        let (rows, places) = (self.tile.rows(), self.layer.places());
        let x = Codes::of(x, rows, places, self.stride);
        let blocks = rows.div_ceil(unit.block());
        let (most, step) = by_matrix::steps::<T>(unit, blocks, places);
        let mut sums = StackBuffer::<_, ROWS>::new();
        let sums = sums.filled(most * unit.block(), [0.0; TILE]);
        for start in (0..self.tile.cols()).step_by(TILE) {
            let index = (self.at.1 + start) / TILE;
            let tile = pairs_of(self.layer, index);
            let bias = numbers(self.layer.bias(), index);
            for first in (0..blocks).step_by(most) {
                let count = most.min(blocks - first);
                let sums = sums.get_mut(..count * unit.block()).unwrap_or_default();
                self.tile.expect_store((unit.start(first, rows), AHEAD), (start, TILE));
                let mut done = 0;
                while done < places {
                    let depth = by_matrix::depth(places - done, step);
                    let weights = tile.get(done..done + depth).unwrap_or_default();
                    unit.dot_pairs(x.part(done, depth), first, weights, done > 0, sums, Beside::NOTHING);
                    done += depth;
                }
                for (block, sums) in sums.chunks_exact(unit.block()).enumerate() {
                    // The last block may begin with rows of the one before.
                    let (row, begin) = ((first + block) * unit.block(), unit.start(first + block, rows));
                    for (offset, sums) in sums.iter().enumerate().skip(row - begin) {
                        self.tile.expect_store((begin + offset + AHEAD, 1), (start, TILE));
                        self.store(token, (begin + offset, start), *sums, &bias);
                    }
                }
            }
        }
    }

    /// Adds products to the sums of a panel of `R` rows, and stores them when they are whole.
    #[inline(always)]
    fn multiply<T: Token, const R: usize>(&mut self, token: T, x: &[Pair], step: Step<'_>) {
        let places = self.layer.places();
        let Step { row, start, first, bias, weights, ahead, sums } = step;
        let panel = x.get(row * self.stride..(row + R) * self.stride).unwrap_or_default().as_chunks::<R>().0;
        let panel = panel.get(first..).unwrap_or_default();
        let whole = first + weights.len() >= places;
        if whole {
            self.tile.expect_store((row, R), (start, TILE));
        }
        let mut kept = match sums.first_chunk::<R>() {
            Some(sums) if first > 0 => *sums,
            _ => [[0.0; TILE]; R],
        };
        token.multiply_pairs(panel, weights, ahead, &mut kept);
        if !whole {
            if let Some(sums) = sums.first_chunk_mut::<R>() {
                *sums = kept;
            }
            return;
        }
        for (offset, sums) in kept.into_iter().enumerate() {
            self.store(token, (row + offset, start), sums, bias);
        }
    }

    /// A single row, `TILES` tiles at a time from column `start` on; returns up to which column whole `TILES` went.
    #[inline(always)]
    fn row<T: Token, const TILES: usize, const FAR: bool>(
        &mut self,
        token: T,
        x: &[Pair],
        mut start: usize,
    ) -> usize {
        while start + TILES * TILE <= self.tile.cols() {
            let first = (self.at.1 + start) / TILE;
            let mut tiles: [&[[StoredPair; TILE]]; TILES] = [&[]; TILES];
            for (t, tile) in tiles.iter_mut().enumerate() {
                *tile = pairs_of(self.layer, first + t);
            }
            let mut sums = [[0.0; TILE]; TILES];
            token.multiply_pairs_row::<TILES, FAR>(x, tiles, &mut sums);
            for (t, sums) in sums.into_iter().enumerate() {
                let bias = numbers(self.layer.bias(), first + t);
                self.store(token, (0, start + t * TILE), sums, &bias);
            }
            start += TILES * TILE;
        }
        start
    }

    #[inline(always)]
    fn store<T: Token>(
        &mut self,
        token: T,
        (row, start): (usize, usize),
        mut sums: [f32; TILE],
        bias: &[f32; TILE],
    ) {
        for (sum, bias) in sums.iter_mut().zip(bias) {
            *sum += bias;
        }
        self.tile.store(row, start, self.epilogue.finish(token, sums));
    }
}
