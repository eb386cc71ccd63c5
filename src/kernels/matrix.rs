//! Units that multiply blocks of rows by tiles of weights.

use super::bf16_dot::{Pair, StoredPair};
use super::dot::{Group, LANES, Staged, TILE};
use super::prefetch::Beside;

/// What a sparse layer stores of [`LANES`] outputs: places, little-endian u16, and the blocks at them.
pub(crate) type Band<'a> = (&'a [[u8; 2]], &'a [[Group<i8>; LANES]]);

/// Rows that a [`Matrix`] multiplies, of groups of codes or of pairs of bf16: `rows` of `len` each, `stride` apart.
#[cfg_attr(not(kernels = "x86_64"), allow(dead_code, reason = "no other instruction set has a unit yet"))]
#[derive(Clone, Copy)]
pub(crate) struct Codes<'a, G> {
    groups: &'a [G],
    pub(super) rows: usize,
    pub(super) stride: usize,
    pub(super) len: usize,
}

impl<'a, G: Copy> Codes<'a, G> {
    /// The first `rows` rows of `len` groups, at most `stride`, each as far from the next; of none if there are fewer.
    #[inline(always)]
    pub(crate) fn of(groups: &'a [G], rows: usize, len: usize, stride: usize) -> Self {
        let whole = len <= stride && stride.checked_mul(rows).is_some_and(|needed| needed <= groups.len());
        let len = if whole { len } else { 0 };
        Codes { groups, rows, stride, len }
    }

    /// `len` groups of each row, from group `first` on; none if there are fewer.
    #[inline(always)]
    pub(crate) fn part(self, first: usize, len: usize) -> Self {
        let whole = first.checked_add(len).is_some_and(|end| end <= self.len);
        let groups = self.groups.get(first..).unwrap_or_default();
        Codes { groups, len: if whole { len } else { 0 }, ..self }
    }

    /// Group `index` of row `row`, if there are both.
    #[inline(always)]
    fn group(&self, row: usize, index: usize) -> Option<G> {
        let is_inside = row < self.rows && index < self.len;
        if is_inside { self.groups.get(row * self.stride + index).copied() } else { None }
    }

    /// Where row `row` begins: `len` groups from there on are in the slice if `row` is below `rows`.
    #[cfg_attr(not(kernels = "x86_64"), allow(dead_code, reason = "no other instruction set has a unit yet"))]
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> *const G {
        self.groups.as_ptr().wrapping_add(row * self.stride)
    }
}

/// A unit for products of 8-bit codes, and of bf16 in pairs, set up for the thread that holds it and for a number of rows.
///
/// It takes blocks of as many rows as [`block`](Matrix::block) says. Where the number of rows is no multiple of that, the last
/// block begins earlier, and has rows of the one before once more.
pub(crate) trait Matrix<S>: Sized {
    /// Whether any processor of this instruction set has one.
    const EXISTS: bool;

    /// Rows of a block; at most what it was set up for.
    fn block(&self) -> usize;

    /// The first row of block `index`, of `rows` rows.
    #[inline(always)]
    fn start(&self, index: usize, rows: usize) -> usize {
        (index * self.block()).min(rows.saturating_sub(self.block()))
    }

    /// `sums[r][n] = sum over k and i of codes[r][k][i] * tile[k][n][i]`, exact, added to what `sums` hold if `add`, of as many whole
    /// blocks as `sums` have room for, from block `first` on; over the shorter of the depths. What is `beside` is asked for meanwhile.
    fn dot(
        &self,
        codes: Codes<'_, Group<S>>,
        first: usize,
        tile: &[[Group<i8>; TILE]],
        add: bool,
        sums: &mut [[i32; TILE]],
        beside: Beside,
    );

    /// As [`dot`](Matrix::dot), of bf16 in pairs: `pairs[r][k][i] * tile[k][n][i]`, summed in f32. Of 16 `k` at a time, from the first on,
    /// the products of each `i` are added in the order of `k`, each rounded once; then the sum of these two sums is added.
    fn dot_pairs(
        &self,
        pairs: Codes<'_, Pair>,
        first: usize,
        tile: &[[StoredPair; TILE]],
        add: bool,
        sums: &mut [[f32; TILE]],
        beside: Beside,
    );

    /// `sums[r][16 * b + n] = sum over j and i of codes[r][places[j]][i] * blocks[j][n][i]` of band `b`, exact, of as many whole blocks of
    /// rows as `sums` have room for, from block `first` on. Places past the last group count nothing. Fast only where 16 places each
    /// follow each other, and those that are left end with the last group.
    fn dot_runs(
        &self,
        codes: Codes<'_, Group<S>>,
        first: usize,
        bands: [Band<'_>; 2],
        sums: &mut [[i32; TILE]],
    );
}

/// The sums of a row and a band, by the definition of [`Matrix::dot_runs`].
pub(crate) fn dot_places<S: Staged>(
    codes: Codes<'_, Group<S>>,
    row: usize,
    (places, blocks): Band<'_>,
) -> [i32; LANES] {
    let mut sums = [0_i32; LANES];
    for (place, block) in places.iter().zip(blocks) {
        let Some(x) = codes.group(row, usize::from(u16::from_le_bytes(*place))) else { continue };
        for (sum, weights) in sums.iter_mut().zip(block) {
            for i in 0..4 {
                *sum = sum.wrapping_add(x[i].into() * i32::from(weights[i]));
            }
        }
    }
    sums
}

/// Where there is no such unit.
pub(crate) enum NoMatrix {}

impl<S> Matrix<S> for NoMatrix {
    const EXISTS: bool = false;

    #[inline(always)]
    fn block(&self) -> usize {
        match *self {}
    }

    #[inline(always)]
    fn dot(
        &self,
        _: Codes<'_, Group<S>>,
        _: usize,
        _: &[[Group<i8>; TILE]],
        _: bool,
        _: &mut [[i32; TILE]],
        _: Beside,
    ) {
        match *self {}
    }

    #[inline(always)]
    fn dot_pairs(
        &self,
        _: Codes<'_, Pair>,
        _: usize,
        _: &[[StoredPair; TILE]],
        _: bool,
        _: &mut [[f32; TILE]],
        _: Beside,
    ) {
        match *self {}
    }

    #[inline(always)]
    fn dot_runs(&self, _: Codes<'_, Group<S>>, _: usize, _: [Band<'_>; 2], _: &mut [[i32; TILE]]) {
        match *self {}
    }
}
