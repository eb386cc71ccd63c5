//! One pass over the scores of a tensor's units, as ordered integer keys in small chunks on the stack.
//!
//! Nothing keeps an array of scores: each pass reads the weights, scores them and hands the keys to a [`Visit`]. That costs
//! arithmetic, which is cheap beside memory, and saves an array as large as the weights.

use super::criterion::{Chunk, Criterion, Moments};
use super::pattern::{Grid, Pooling};
use crate::element::Element;
use crate::error::Error;
use crate::kernels::{Isa, Operation, Token};
use crate::mask::Mask;
use std::borrow::Cow;
use std::ops::Range;

/// At most so many weights or units are on the stack at a time.
pub(super) const CHUNK: usize = 256;

/// The key of what is dead: below that of every finite score.
pub(super) const DEAD: u32 = 0;

/// A tensor, ready to be scored.
pub(super) struct Tensor<'a, E: Element> {
    /// As errors call it.
    pub(super) name: Cow<'static, str>,
    /// Its place among the tensors that are pruned together.
    pub(super) index: usize,
    pub(super) shape: &'a [usize],
    /// Row-major.
    pub(super) weights: Cow<'a, [E]>,
    pub(super) moments: Moments,
    pub(super) grid: Grid,
    /// A bit for each unit of the grid.
    pub(super) alive: Option<Cow<'a, Mask>>,
}

/// What a pass does with the keys.
pub(super) trait Visit {
    /// The keys of the units from `first` on; at most [`CHUNK`]. Mark the implementation `#[inline(always)]`.
    fn keys(&mut self, first: usize, keys: &[u32]);
}

/// A pass over the units `units` of `tensor`, whose keys come in chunks of `chunk` at most. Gives whether every weight and
/// every score was finite; if not, the visitor has seen nonsense.
pub(super) fn scan<C: Criterion, E: Element, V: Visit>(
    isa: Isa,
    criterion: &C,
    tensor: &Tensor<'_, E>,
    units: Range<usize>,
    chunk: usize,
    visitor: &mut V,
) -> bool {
    isa.run(Scan { isa, criterion, tensor, units, chunk, visitor: &mut Dispatched { isa, visitor } })
}

/// A visitor whose body is compiled for an instruction set. Called once a chunk, not inlined into the scan: else there
/// would be a scan for each criterion, element, instruction set *and* visitor.
struct Dispatched<'v, V> {
    isa: Isa,
    visitor: &'v mut V,
}

impl<V: Visit> Visit for Dispatched<'_, V> {
    fn keys(&mut self, first: usize, keys: &[u32]) {
        self.isa.run(Feed { visitor: &mut *self.visitor, first, keys });
    }
}

struct Feed<'f, V> {
    visitor: &'f mut V,
    first: usize,
    keys: &'f [u32],
}

impl<V: Visit> Operation for Feed<'_, V> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, _token: T) {
        self.visitor.keys(self.first, self.keys);
    }
}

/// The integer that orders as the score does. Both zeros have the same.
#[inline(always)]
pub(super) fn key_of(score: f32) -> u32 {
    // -0 + 0 is +0, and nothing else changes.
    let bits = (score + 0.0).to_bits();
    bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000)
}

/// The score that has this key.
pub(super) fn score_of(key: u32) -> f32 {
    f32::from_bits(if key & 0x8000_0000 != 0 { key ^ 0x8000_0000 } else { !key })
}

/// The arguments of [`scan`].
struct Scan<'s, 'a, C, E: Element> {
    isa: Isa,
    criterion: &'s C,
    tensor: &'s Tensor<'a, E>,
    units: Range<usize>,
    chunk: usize,
    visitor: &'s mut dyn Visit,
}

impl<C: Criterion, E: Element> Operation for Scan<'_, '_, C, E> {
    type Output = bool;
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) -> bool {
        if self.tensor.grid.is_single() { self.singles(token) } else { self.pooled(token) }
    }
}

impl<C: Criterion, E: Element> Scan<'_, '_, C, E> {
    #[inline(always)]
    fn singles<T: Token>(self, token: T) -> bool {
        let (mut wide, mut scores, mut keys) = ([0.0; CHUNK], [0.0; CHUNK], [DEAD; CHUNK]);
        let chunk = self.chunk.clamp(1, CHUNK);
        let mut finite = true;
        let mut start = self.units.start;
        for weights in self.tensor.weights[self.units.clone()].chunks(chunk) {
            let weights = E::widened(token, weights, &mut wide);
            let scores = &mut scores[..weights.len()];
            finite &= score(self.isa, self.criterion, self.tensor, start, weights, scores);
            let keys = &mut keys[..weights.len()];
            rank(self.tensor, start, scores, keys);
            self.visitor.keys(start, keys);
            start += weights.len();
        }
        finite
    }

    #[inline(always)]
    fn pooled<T: Token>(self, token: T) -> bool {
        let grid = &self.tensor.grid;
        let (mut pools, mut scores, mut keys) = ([0.0_f64; CHUNK], [0.0; CHUNK], [DEAD; CHUNK]);
        let per_strip = grid.units_per_strip();
        let chunk = (CHUNK / grid.block_cols).clamp(1, CHUNK);
        let mut finite = true;
        let mut unit = self.units.start;
        while unit < self.units.end {
            let (strip, first) = (unit / per_strip, unit % per_strip);
            let count = chunk.min(per_strip - first).min(self.units.end - unit);
            let pools = &mut pools[..count];
            finite &= self.pool(token, strip, first, pools);
            let rows = window(strip, grid.block_rows, grid.shift_rows, grid.rows).len();
            for (offset, (score, pool)) in scores.iter_mut().zip(pools).enumerate() {
                let cols = window(first + offset, grid.block_cols, grid.shift_cols, grid.cols).len();
                *score = match grid.pooling {
                    Pooling::Mean => (*pool / (rows * cols) as f64) as f32,
                    Pooling::Max => *pool as f32,
                };
            }
            let keys = &mut keys[..count];
            rank(self.tensor, unit, &scores[..count], keys);
            self.visitor.keys(unit, keys);
            unit += count;
        }
        finite
    }

    /// Sums, or maxima, of the scores in the windows of the units from `first` on of a strip.
    #[inline(always)]
    fn pool<T: Token>(&self, token: T, strip: usize, first: usize, pools: &mut [f64]) -> bool {
        let grid = &self.tensor.grid;
        let (mut wide, mut scores) = ([0.0; CHUNK], [0.0; CHUNK]);
        pools.fill(match grid.pooling {
            Pooling::Mean => 0.0,
            Pooling::Max => f64::NEG_INFINITY,
        });
        let mut finite = true;
        let begin = window(first, grid.block_cols, grid.shift_cols, grid.cols).start;
        let end = window(first + pools.len() - 1, grid.block_cols, grid.shift_cols, grid.cols).end;
        for row in window(strip, grid.block_rows, grid.shift_rows, grid.rows) {
            let mut col = begin;
            for weights in self.tensor.weights[row * grid.cols..][begin..end].chunks(CHUNK) {
                let weights = E::widened(token, weights, &mut wide);
                let scores = &mut scores[..weights.len()];
                let start = row * grid.cols + col;
                finite &= score(self.isa, self.criterion, self.tensor, start, weights, scores);
                gather(grid, first, col, scores, pools);
                col += weights.len();
            }
        }
        finite
    }
}

/// The rows (or columns) of the window of unit `index`: a block, moved by `shift` and cut to the matrix.
#[inline(always)]
fn window(index: usize, block: usize, shift: usize, len: usize) -> Range<usize> {
    let start = (index * block).saturating_sub(shift);
    start..((index + 1) * block - shift).min(len)
}

/// Adds the scores of one row, from column `col` on, to the pools of the units from `first` on.
#[inline(always)]
fn gather(grid: &Grid, first: usize, mut col: usize, mut scores: &[f32], pools: &mut [f64]) {
    if grid.block_cols == 1 {
        for (pool, &score) in pools[col - first..].iter_mut().zip(scores) {
            let score = f64::from(score);
            *pool = match grid.pooling {
                Pooling::Mean => *pool + score,
                Pooling::Max => pool.max(score),
            };
        }
        return;
    }
    if grid.block_cols == 4 && grid.shift_cols == 0 && grid.pooling == Pooling::Mean && col.is_multiple_of(4)
    {
        // The commonest block: the same sums as below, of a length that the compiler knows.
        let (fours, rest) = scores.as_chunks::<4>();
        for (pool, four) in pools[col / 4 - first..].iter_mut().zip(fours) {
            *pool += four.iter().map(|&score| f64::from(score)).sum::<f64>();
        }
        col += scores.len() - rest.len();
        scores = rest;
    }
    while !scores.is_empty() {
        let unit = (col + grid.shift_cols) / grid.block_cols;
        let end = window(unit, grid.block_cols, grid.shift_cols, grid.cols).end;
        let (own, rest) = scores.split_at((end - col).min(scores.len()));
        let pool = &mut pools[unit - first];
        *pool = match grid.pooling {
            Pooling::Mean => *pool + sum(own),
            Pooling::Max => own.iter().fold(*pool, |max, &score| max.max(f64::from(score))),
        };
        col += own.len();
        scores = rest;
    }
}

/// Eight running sums, so that additions overlap; always the same eight.
#[inline(always)]
fn sum(scores: &[f32]) -> f64 {
    let (eights, rest) = scores.as_chunks::<8>();
    let mut lanes = [0.0_f64; 8];
    for eight in eights {
        for (lane, &score) in lanes.iter_mut().zip(eight) {
            *lane += f64::from(score);
        }
    }
    let rest: f64 = rest.iter().map(|&score| f64::from(score)).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Scores consecutive weights; gives whether all weights and scores are finite.
#[inline(always)]
fn score<C: Criterion, E: Element>(
    isa: Isa,
    criterion: &C,
    tensor: &Tensor<'_, E>,
    start: usize,
    weights: &[f32],
    scores: &mut [f32],
) -> bool {
    let Tensor { index, shape, moments, .. } = *tensor;
    criterion.scores(&Chunk { tensor: index, shape, start, weights, moments, isa }, scores);
    // No branch, so that it is a few vector instructions.
    let mut wrong = 0;
    for (score, weight) in scores.iter().zip(weights) {
        wrong |= u32::from(score.to_bits() & INFINITE == INFINITE)
            | u32::from(weight.to_bits() & INFINITE == INFINITE);
    }
    wrong == 0
}

/// The exponent of infinities and NaN.
const INFINITE: u32 = 0x7f80_0000;

/// The keys of the scores of the units from `start` on.
#[inline(always)]
fn rank<E: Element>(tensor: &Tensor<'_, E>, start: usize, scores: &[f32], keys: &mut [u32]) {
    for (key, &score) in keys.iter_mut().zip(scores) {
        *key = key_of(score);
    }
    if let Some(alive) = &tensor.alive {
        let alive = alive.bits().slice(start, start + keys.len());
        for (index, keys) in keys.chunks_mut(64).enumerate() {
            let word = alive.word(index);
            for (bit, key) in keys.iter_mut().enumerate() {
                *key = if word >> bit & 1 != 0 { *key } else { DEAD };
            }
        }
    }
}

/// The error for the first weight that is not finite or whose score is not. `None` if there is none.
pub(super) fn first_not_finite<C: Criterion, E: Element>(
    isa: Isa,
    criterion: &C,
    tensor: &Tensor<'_, E>,
) -> Option<Error> {
    let mut scores = [0.0; CHUNK];
    for (index, weights) in tensor.weights.chunks(CHUNK).enumerate() {
        let weights: Vec<f32> = weights.iter().map(|&weight| Element::to_f32(weight)).collect();
        let scores = &mut scores[..weights.len()];
        if score(isa, criterion, tensor, index * CHUNK, &weights, scores) {
            continue;
        }
        for (offset, (&weight, &score)) in weights.iter().zip(scores.iter()).enumerate() {
            let (argument, value) = match (weight.is_finite(), score.is_finite()) {
                (false, _) => (tensor.name.clone(), weight),
                (true, false) => (format!("the scores of {}", tensor.name).into(), score),
                (true, true) => continue,
            };
            return Some(Error::NotFinite { argument, index: index * CHUNK + offset, value });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_order_as_scores_do_and_lead_back() {
        let scores =
            [f32::MIN, -1.0, -f32::MIN_POSITIVE / 4.0, 0.0, f32::MIN_POSITIVE / 4.0, 1e-30, 1.0, f32::MAX];
        assert!(scores.is_sorted_by(|&a, &b| key_of(a) < key_of(b)));
        assert!(scores.iter().all(|&score| score_of(key_of(score)) == score));
        assert!(key_of(f32::MIN) > DEAD && key_of(f32::MAX) < u32::MAX);
        assert_eq!(key_of(-0.0), key_of(0.0));
    }
}
