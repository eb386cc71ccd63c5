//! Sparse products whose blocks span 16 outputs: a block is one place, one load of weights, and one multiply-add for each
//! row. So what survives runs nearly as fast as a dense layer's weights do.

use super::codes::CodeRows;
use super::finish::{Epilogue, Finish, Outputs};
use super::layer::PackedLinear;
use super::layout::{GROUP, LANES};
use super::operand::Written;
use super::panels::Cut;
use crate::context::Context;
use crate::kernels::{Group, Operation, TileMut, Token, for_each_tile};
use ndarray::ArrayViewMut2;

/// Rows of a piece, a multiple of every panel's.
const ROWS: usize = 64;

/// Products in a piece, about.
const PIECE: usize = 1 << 21;

/// How rows of `x` are laid side by side for the instruction set.
pub(super) fn cut(context: &Context) -> Cut {
    context.isa().run(PanelRows)
}

struct PanelRows;

impl Operation for PanelRows {
    type Output = Cut;
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(self, _token: T) -> Cut {
        Cut::Halved(T::PANEL)
    }
}

/// The tile of `y` that one thread computes at a time. Depends on the weights of an output that are not zero, and on the
/// number of rows, alone.
pub(super) fn piece(non_zeros: usize, rows: usize) -> (usize, usize) {
    let products = (non_zeros.saturating_add(1) * LANES).saturating_mul(rows.clamp(1, ROWS));
    (ROWS, PIECE.div_ceil(products) * LANES)
}

/// A sparse int8 layer; `turned` as `turn_codes` made it of the codes in `x`.
pub(super) fn int8<F: Finish>(
    context: &Context,
    layer: &PackedLinear<'_>,
    finish: F,
    turned: &[u8],
    x: &CodeRows<'_>,
    y: ArrayViewMut2<'_, F::Out>,
) {
    let piece = piece(layer.non_zeros_of_output(), y.nrows());
    for_each_tile(context, y, piece, |at, tile| {
        context.isa().run(Int8 { layer, finish, turned, x, at, tile });
    });
}

struct Int8<'a, F: Finish> {
    layer: &'a PackedLinear<'a>,
    finish: F,
    turned: &'a [u8],
    x: &'a CodeRows<'a>,
    at: (usize, usize),
    tile: TileMut<'a, F::Out>,
}

impl<F: Finish> Operation for Int8<'_, F> {
    type Output = ();
    const CODES: bool = true;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let depth = self.x.padded / GROUP;
        let turned: &[T::Staged] = bytemuck::try_cast_slice(self.turned).unwrap_or_default();
        let turned = turned.as_chunks::<GROUP>().0.get(self.at.0 * depth..).unwrap_or_default();
        for block in (0..self.tile.rows()).step_by(T::PANEL) {
            for panel in Cut::Halved(T::PANEL).panels(self.tile.rows() - block) {
                let first = block + panel.first;
                let x = turned.get(first * depth..(first + panel.width) * depth).unwrap_or_default();
                match panel.width {
                    16 => self.multiply::<T, 16>(token, x, first),
                    8 => self.multiply::<T, 8>(token, x, first),
                    4 => self.multiply::<T, 4>(token, x, first),
                    2 => self.multiply::<T, 2>(token, x, first),
                    _ => self.multiply::<T, 1>(token, x, first),
                }
            }
        }
    }
}

impl<F: Finish> Int8<'_, F> {
    /// The rows from `first` on. Their panel stays in the first cache while the weights of all outputs pass by, in the order
    /// in which they lie.
    #[inline(always)]
    fn multiply<T: Token, const R: usize>(&mut self, token: T, x: &[Group<T::Staged>], first: usize) {
        let x = x.as_chunks::<R>().0;
        let stored = self.layer.stored::<{ LANES * GROUP }>();
        let rows = self.x.rows::<R>(self.at.0 + first, self.layer.in_features());
        for start in (0..self.tile.cols()).step_by(LANES) {
            self.tile.expect_store((first, R), (start, LANES));
            let band = (self.at.1 + start) / LANES;
            let (places, blocks) = stored.of(band);
            let outputs = Outputs::of(self.layer, band);
            let mut products = [[0; LANES]; R];
            token.dot_tiles(x, places, bytemuck::cast_slice(blocks), &mut products);
            let block = self.tile.block::<R, LANES>(first, start);
            outputs.finish_rows(self.finish, token, products, rows, block);
        }
    }
}

/// A sparse f32 layer; `turned` as `turn_floats` made it.
pub(super) fn float<Y: Written>(
    context: &Context,
    layer: &PackedLinear<'_>,
    turned: &[f32],
    y: ArrayViewMut2<'_, Y>,
) {
    let epilogue = Epilogue::of(layer);
    let piece = piece(layer.non_zeros_of_output(), y.nrows());
    for_each_tile(context, y, piece, |at, tile| {
        context.isa().run(Float { layer, epilogue, turned, at, tile });
    });
}

struct Float<'a, Y> {
    layer: &'a PackedLinear<'a>,
    epilogue: Epilogue,
    turned: &'a [f32],
    at: (usize, usize),
    tile: TileMut<'a, Y>,
}

impl<Y: Written> Operation for Float<'_, Y> {
    type Output = ();
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let depth = self.layer.in_features();
        let turned = self.turned.get(self.at.0 * depth..).unwrap_or_default();
        for block in (0..self.tile.rows()).step_by(T::PANEL) {
            for panel in Cut::Halved(T::PANEL).panels(self.tile.rows() - block) {
                let first = block + panel.first;
                let x = turned.get(first * depth..(first + panel.width) * depth).unwrap_or_default();
                match panel.width {
                    16 => self.multiply::<T, 16>(token, x, first),
                    8 => self.multiply::<T, 8>(token, x, first),
                    4 => self.multiply::<T, 4>(token, x, first),
                    2 => self.multiply::<T, 2>(token, x, first),
                    _ => self.multiply::<T, 1>(token, x, first),
                }
            }
        }
    }
}

impl<Y: Written> Float<'_, Y> {
    #[inline(always)]
    fn multiply<T: Token, const R: usize>(&mut self, token: T, x: &[f32], first: usize) {
        let x = x.as_chunks::<R>().0;
        let stored = self.layer.stored::<{ LANES * 4 }>();
        for start in (0..self.tile.cols()).step_by(LANES) {
            self.tile.expect_store((first, R), (start, LANES));
            let band = (self.at.1 + start) / LANES;
            let (places, blocks) = stored.of(band);
            let bias = Outputs::<LANES>::of(self.layer, band).bias;
            let mut sums = [[0.0; LANES]; R];
            token.multiply_tiles(x, places, blocks, &mut sums);
            for (offset, sums) in sums.iter().enumerate() {
                let mut sums = *sums;
                for (sum, bias) in sums.iter_mut().zip(bias) {
                    *sum += bias;
                }
                self.tile.store(first + offset, start, self.epilogue.finish(token, sums));
            }
        }
    }
}
