//! Products of f32 activations and 4-bit weights in groups that share a scale: the reference bodies, and what they share with
//! the hand-written ones.

use super::dispatch::Token;
use super::dot::{Group, TILE};
use super::int4::{HALF, Int4Tile, MIDDLE, Nibbles};

/// The most inputs whose products are added before they are scaled, a multiple of four. Their weights, in f32, fit the first
/// cache.
pub(crate) const SPAN: usize = 128;

/// Inputs of an element of [`Int4Tile::codes`].
pub(super) const INPUTS: usize = size_of::<Group<u8>>();

impl Int4Tile<'_> {
    /// How many inputs all of the slices have, at most `len`. Kernels stay below it.
    #[inline(always)]
    pub(crate) fn inputs(&self, len: usize) -> usize {
        let mut groups = self.scales.len();
        if let Some(zero_points) = self.zero_points {
            groups = groups.min(zero_points.len());
        }
        let len = len.min(groups.saturating_mul(self.depth).saturating_mul(INPUTS));
        len.min(self.codes.len().saturating_mul(INPUTS))
    }

    /// The group of input `first`, where a span begins, and where that span ends: with its group, after [`SPAN`] inputs, or at
    /// `len`.
    #[inline(always)]
    pub(crate) fn span(&self, first: usize, len: usize) -> (usize, usize) {
        let size = self.depth.max(1) * INPUTS;
        let group = first / size;
        (group, ((group + 1) * size).min(first + SPAN).min(len))
    }

    /// The nibbles that stand for 0 in a group, in f32; `group` is below what [`inputs`](Int4Tile::inputs) allows.
    #[inline(always)]
    pub(crate) fn zeros(&self, group: usize) -> [f32; TILE] {
        self.zero_points.map_or([f32::from(MIDDLE); TILE], |zero_points| zero_points[group].map(f32::from))
    }

    /// The scales of a group, as [`zeros`](Int4Tile::zeros).
    #[inline(always)]
    pub(crate) fn scales_of(&self, group: usize) -> [f32; TILE] {
        self.scales[group].map(f32::from_le_bytes)
    }
}

/// See [`Token::widen_steps`].
#[inline(always)]
pub(super) fn widen_steps(codes: &[Nibbles], zeros: &[f32; TILE], steps: &mut [[f32; TILE]]) {
    for (nibbles, steps) in codes.iter().zip(steps.chunks_mut(INPUTS)) {
        let words: [u32; HALF] = bytemuck::pod_read_unaligned(nibbles);
        for (i, steps) in steps.iter_mut().enumerate() {
            for n in 0..HALF {
                let word = u32::from_le(words[n]) >> (8 * i);
                steps[n] = (word & 15) as f32 - zeros[n];
                steps[n + HALF] = (word >> 4 & 15) as f32 - zeros[n + HALF];
            }
        }
    }
}

/// See [`Token::multiply_int4_floats`].
#[inline(always)]
pub(super) fn multiply<T: Token>(token: T, row: &[f32], tile: Int4Tile<'_>, sums: &mut [f32; TILE]) {
    let len = tile.inputs(row.len());
    let mut first = 0;
    while first < len {
        let (group, end) = tile.span(first, len);
        let zeros = tile.zeros(group);
        let mut products = [0.0; TILE];
        for k in first..end {
            let nibbles = &tile.codes[k / INPUTS];
            for n in 0..HALF {
                let byte = nibbles[INPUTS * n + k % INPUTS];
                let steps = [f32::from(byte & 15) - zeros[n], f32::from(byte >> 4) - zeros[n + HALF]];
                products[n] = token.multiply_add(row[k], steps[0], products[n]);
                products[n + HALF] = token.multiply_add(row[k], steps[1], products[n + HALF]);
            }
        }
        let scales = tile.scales_of(group);
        for n in 0..TILE {
            sums[n] = token.multiply_add(products[n], scales[n], sums[n]);
        }
        first = end;
    }
}
