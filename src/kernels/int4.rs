//! Products of 8-bit codes and 4-bit weights in groups that share a scale: the arrangement, and the reference body.

use super::dot::{Group, Staged, TILE};

/// The nibble of a weight of 0 where there are no zero points: nibbles are int4 codes moved by 8.
pub(crate) const MIDDLE: u8 = 8;

/// How many outputs lie in the low halves of the bytes of [`Nibbles`]; the others lie in the high halves.
pub(super) const HALF: usize = TILE / 2;

/// Four inputs of the 32 outputs of a tile, two in a byte: byte `4 * n + i` holds input `i` of output `n` in its low half,
/// and that of output `n + 16` in its high half. So one load becomes the two vectors that a dot product takes.
pub(crate) type Nibbles = [u8; 2 * TILE];

/// The weights of 32 outputs.
#[derive(Clone, Copy)]
pub(crate) struct Int4Tile<'a> {
    pub(crate) codes: &'a [Nibbles],
    /// How many of `codes` share scales and zero points; the last group may have fewer. Above 0.
    pub(crate) depth: usize,
    /// Little-endian f32, for each group.
    pub(crate) scales: &'a [[[u8; 4]; TILE]],
    /// The nibbles that stand for 0, for each group; [`MIDDLE`] where there are none.
    pub(crate) zero_points: Option<&'a [[u8; TILE]]>,
}

/// A row of activations.
#[derive(Clone, Copy)]
pub(crate) struct Int4Row<'a, S> {
    pub(crate) codes: &'a [Group<S>],
    /// What the products of each group begin with: the sum of its uint8 codes, times -1 where the tile has zero points, else times
    /// -[`MIDDLE`].
    pub(crate) starts: &'a [i32],
}

/// How many [`Nibbles`] and how many groups all of the slices have. Kernels stay below both.
#[inline(always)]
pub(super) fn extent<S, const R: usize>(rows: &[Int4Row<'_, S>; R], tile: &Int4Tile<'_>) -> (usize, usize) {
    let mut len = tile.codes.len();
    let mut groups = tile.scales.len();
    if let Some(zero_points) = tile.zero_points {
        groups = groups.min(zero_points.len());
    }
    for row in rows {
        len = len.min(row.codes.len());
        groups = groups.min(row.starts.len());
    }
    (len, groups.min(len.div_ceil(tile.depth.max(1))))
}

/// See [`Token::multiply_int4`](super::Token::multiply_int4).
#[inline(always)]
pub(super) fn multiply<S: Staged, const R: usize>(
    rows: [Int4Row<'_, S>; R],
    tile: Int4Tile<'_>,
    sums: &mut [[f32; TILE]; R],
) {
    let (len, groups) = extent(&rows, &tile);
    for group in 0..groups {
        let (first, end) = (group * tile.depth, ((group + 1) * tile.depth).min(len));
        let factors = tile.zero_points.map_or([1; TILE], |zero_points| zero_points[group]);
        for (row, sums) in rows.iter().zip(sums.iter_mut()) {
            let mut products = factors.map(|factor| row.starts[group].wrapping_mul(i32::from(factor)));
            for (x, nibbles) in row.codes[first..end].iter().zip(&tile.codes[first..end]) {
                let x = x.map(|code| Into::<i32>::into(code) + S::OFFSET);
                let (low, high) = products.split_at_mut(HALF);
                for n in 0..HALF {
                    for i in 0..4 {
                        let byte = nibbles[4 * n + i];
                        low[n] = low[n].wrapping_add(x[i] * i32::from(byte & 15));
                        high[n] = high[n].wrapping_add(x[i] * i32::from(byte >> 4));
                    }
                }
            }
            for n in 0..TILE {
                sums[n] += products[n] as f32 * f32::from_le_bytes(tile.scales[group][n]);
            }
        }
    }
}
