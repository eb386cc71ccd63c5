//! Products of float activations and int4 weights in groups: sums are f32, within a span of inputs that share a scale, and
//! between spans.
//!
//! A single row reads the weights once and widens them in registers. For several rows the weights of a span are widened once,
//! to steps of their scale, and the float kernel does the rest. Both add in the same order, so that a row of `y` is the same
//! in any company.

use super::dense::{self, FLOAT_ROWS};
use super::finish::{Epilogue, numbers};
use super::layer::PackedLinear;
use super::layout::{GROUP, TILE};
use super::operand::Written;
use super::panels::Cut;
use crate::context::Context;
use crate::kernels::{Operation, SPAN, StackBuffer, TileMut, Token, for_each_tile};
use ndarray::ArrayViewMut2;

/// An int4 layer; `turned` as `turn_floats` made it for [`dense::cut`](super::dense::cut), or a single row.
pub(super) fn int4_float<Y: Written>(
    context: &Context,
    layer: &PackedLinear<'_>,
    turned: &[f32],
    y: ArrayViewMut2<'_, Y>,
) {
    let epilogue = Epilogue::of(layer);
    let piece = dense::float_piece(y.nrows(), layer.in_features());
    let cut = dense::cut_for(context, y.nrows());
    for_each_tile(context, y, piece, |at, tile| {
        context.isa().run(Int4Float { layer, epilogue, turned, cut, at, tile });
    });
}

struct Int4Float<'a, Y> {
    layer: &'a PackedLinear<'a>,
    epilogue: Epilogue,
    turned: &'a [f32],
    cut: Cut,
    at: (usize, usize),
    tile: TileMut<'a, Y>,
}

impl<Y: Written> Operation for Int4Float<'_, Y> {
    type Output = ();
    const CODES: bool = false;
    #[inline(always)]
    fn run<T: Token>(mut self, token: T) {
        let inputs = self.layer.in_features();
        let (row, rows) = (self.at.0, self.tile.rows());
        let x = self.turned.get(row * inputs..(row + rows) * inputs).unwrap_or_default();
        if rows == 1 {
            let done = self.row::<T, 2>(token, x, 0);
            self.row::<T, 1>(token, x, done);
            return;
        }
        let (mut sums, mut steps) = (StackBuffer::<_, FLOAT_ROWS>::new(), StackBuffer::<_, SPAN>::new());
        let steps = steps.filled(inputs.min(SPAN), [0.0; TILE]);
        for start in (0..self.tile.cols()).step_by(TILE) {
            let index = (self.at.1 + start) / TILE;
            let tile = self.layer.int4_tile(index);
            let bias = numbers::<f32, TILE>(self.layer.bias(), index);
            let len = tile.inputs(inputs);
            let sums = sums.filled(rows, [0.0; TILE]);
            let mut first = 0;
            while first < len {
                let (group, end) = tile.span(first, len);
                let steps = steps.get_mut(..end - first).unwrap_or_default();
                let codes = tile.codes.get(first / GROUP..).unwrap_or_default();
                token.widen_steps(codes, &tile.zeros(group), steps);
                let span = Span { first, steps, scales: &tile.scales_of(group) };
                for block in (0..rows).step_by(self.cut.most()) {
                    for panel in self.cut.panels(rows - block) {
                        let at = block + panel.first;
                        let x = x.get(at * inputs..).unwrap_or_default();
                        let sums = sums.get_mut(at..).unwrap_or_default();
                        match panel.width {
                            12 if T::ROWS >= 12 => span.multiply::<T, 12>(token, inputs, x, sums),
                            8 if T::ROWS >= 8 => span.multiply::<T, 8>(token, inputs, x, sums),
                            4 => span.multiply::<T, 4>(token, inputs, x, sums),
                            2 => span.multiply::<T, 2>(token, inputs, x, sums),
                            _ => span.multiply::<T, 1>(token, inputs, x, sums),
                        }
                    }
                }
                first = end;
            }
            for (offset, sums) in sums.iter().enumerate() {
                self.store(token, (offset, start), *sums, &bias);
            }
        }
    }
}

impl<Y: Written> Int4Float<'_, Y> {
    /// A single row, `TILES` tiles at a time from column `start` on; returns up to which column whole `TILES` went.
    #[inline(always)]
    fn row<T: Token, const TILES: usize>(&mut self, token: T, x: &[f32], mut start: usize) -> usize {
        while start + (TILES - 1) * TILE < self.tile.cols() {
            let first = (self.at.1 + start) / TILE;
            let mut tiles = [self.layer.int4_tile(first); TILES];
            for (t, tile) in tiles.iter_mut().enumerate().skip(1) {
                *tile = self.layer.int4_tile(first + t);
            }
            let mut sums = [[0.0; TILE]; TILES];
            token.multiply_int4_floats(x, tiles, &mut sums);
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

/// Inputs of a tile that share a scale.
struct Span<'a> {
    /// The first input.
    first: usize,
    /// The weights in steps of their scale.
    steps: &'a [[f32; TILE]],
    scales: &'a [f32; TILE],
}

impl Span<'_> {
    /// Adds the products of a panel of `R` rows, with which `x` begins, to their sums.
    #[inline(always)]
    fn multiply<T: Token, const R: usize>(
        &self,
        token: T,
        inputs: usize,
        x: &[f32],
        sums: &mut [[f32; TILE]],
    ) {
        let panel = x.get(..inputs * R).unwrap_or_default().as_chunks::<R>().0;
        let panel = panel.get(self.first..).unwrap_or_default();
        if let Some(sums) = sums.first_chunk_mut::<R>() {
            token.multiply_scaled(panel, self.steps, self.scales, sums);
        }
    }
}
