//! Decisions become bits: comparisons 64 at a time, and the units of a grid as runs of weights.

use super::pattern::Grid;
use super::scan::{DEAD, Visit};
use crate::context::Context;
use crate::kernels::{PIECE, for_each_piece};
use crate::mask::Mask;
use std::ops::Range;

/// The words of a piece of a mask: a multiple of a cache line, so that threads do not share one.
pub(super) const PIECE_WORDS: usize = PIECE / 64 * 4;

/// Who survives: keys above `key`, and those equal to it whose unit is below `tie_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) key: u32,
    pub(super) tie_end: usize,
}

impl Rule {
    /// Nobody: no finite score has this key.
    pub(super) const NOBODY: Rule = Rule { key: u32::MAX, tie_end: 0 };
}

/// Writes a bit for each key that it sees.
pub(super) struct WriteBits<'w> {
    /// All 0 where nothing was written yet.
    pub(super) words: &'w mut [u64],
    /// The unit of the first bit.
    pub(super) first: usize,
    pub(super) rule: Rule,
}

impl Visit for WriteBits<'_> {
    #[inline(always)]
    fn keys(&mut self, first: usize, keys: &[u32]) {
        let Rule { key, tie_end } = self.rule;
        let ties = tie_end.saturating_sub(first).min(keys.len());
        let (with_ties, without) = keys.split_at(ties);
        let at = first - self.first;
        write_at_least(self.words, at, with_ties, key);
        write_at_least(self.words, at + ties, without, key.saturating_add(1));
    }
}

#[inline(always)]
fn write_at_least(words: &mut [u64], mut at: usize, keys: &[u32], limit: u32) {
    let mut survives = [0; 64];
    for keys in keys.chunks(64) {
        for (survives, &key) in survives.iter_mut().zip(keys) {
            *survives = u8::from(key >= limit);
        }
        or_bits(words, at, word_of(&survives), keys.len());
        at += keys.len();
    }
}

/// Writes the best n of each group of m.
pub(super) struct WriteNOfM<'w> {
    pub(super) words: &'w mut [u64],
    /// The weights whose bits are in `words`; groups may begin before and end after them.
    pub(super) weights: Range<usize>,
    pub(super) n: usize,
    pub(super) m: usize,
}

impl Visit for WriteNOfM<'_> {
    #[inline(always)]
    fn keys(&mut self, first: usize, keys: &[u32]) {
        let mut survives = [0; super::scan::CHUNK];
        let survives = &mut survives[..keys.len()];
        match self.m {
            2 => best_of_fixed::<2>(self.n, keys, survives),
            4 => best_of_fixed::<4>(self.n, keys, survives),
            8 => best_of_fixed::<8>(self.n, keys, survives),
            16 => best_of_fixed::<16>(self.n, keys, survives),
            m => best_of(self.n, m, keys, survives),
        }
        let mine = self.weights.start.saturating_sub(first)
            ..self.weights.end.saturating_sub(first).min(survives.len());
        let mut at = first + mine.start - self.weights.start;
        for survives in survives.get(mine).unwrap_or(&[]).chunks(64) {
            let mut padded = [0; 64];
            padded[..survives.len()].copy_from_slice(survives);
            or_bits(self.words, at, word_of(&padded), survives.len());
            at += survives.len();
        }
    }
}

/// 1 for the best n of each m keys; the last group may be shorter. What is dead is never among them.
#[inline(always)]
fn best_of(n: usize, m: usize, keys: &[u32], survives: &mut [u8]) {
    for (keys, survives) in keys.chunks(m).zip(survives.chunks_mut(m)) {
        for (index, (&key, survives)) in keys.iter().zip(survives).enumerate() {
            let (before, after) = keys.split_at(index);
            let better = before.iter().filter(|&&other| other >= key).count()
                + after.iter().filter(|&&other| other > key).count();
            *survives = u8::from(better < n && key != DEAD);
        }
    }
}

/// [`best_of`] for a group size that the compiler knows.
#[inline(always)]
fn best_of_fixed<const M: usize>(n: usize, keys: &[u32], survives: &mut [u8]) {
    let (groups, rest) = keys.as_chunks::<M>();
    let (decisions, last) = survives.as_chunks_mut::<M>();
    let n = n as u32;
    for (keys, survives) in groups.iter().zip(decisions) {
        let mut better = [0_u32; M];
        for other in 0..M {
            for index in 0..M {
                let wins = if other < index { keys[other] >= keys[index] } else { keys[other] > keys[index] };
                better[index] += u32::from(wins);
            }
        }
        for index in 0..M {
            survives[index] = u8::from(better[index] < n && keys[index] != DEAD);
        }
    }
    best_of(n as usize, M, rest, last);
}

/// 64 bytes, each 0 or 1, as 64 bits.
#[inline(always)]
fn word_of(bytes: &[u8; 64]) -> u64 {
    let mut word = 0;
    for (index, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
        // The product moves bit 8i to bit 56 + i; no two partial products meet there, and none below carries.
        let byte = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        word |= byte << (8 * index);
    }
    word
}

/// Sets the bits from `at` on that are set among the first `len` of `word`.
#[inline(always)]
fn or_bits(words: &mut [u64], at: usize, word: u64, len: usize) {
    let word = if len < 64 { word & ((1 << len) - 1) } else { word };
    let shift = at % 64;
    if let Some(low) = words.get_mut(at / 64) {
        *low |= word << shift;
    }
    if shift > 0
        && let Some(high) = words.get_mut(at / 64 + 1)
    {
        *high |= word >> (64 - shift);
    }
}

/// Sets the bits of `range`.
fn set_bits(words: &mut [u64], range: Range<usize>) {
    let mut at = range.start;
    while at < range.end {
        let len = (64 - at % 64).min(range.end - at);
        or_bits(words, at, u64::MAX, len);
        at += len;
    }
}

/// The mask of a tensor of `shape` from the bits of its units.
pub(super) fn expand(context: &Context, grid: &Grid, units: &Mask, mask: &mut Mask) {
    let weights = mask.len();
    let units = units.bits();
    for_each_piece(context, mask.words_mut(), PIECE_WORDS, |start, words: &mut [u64]| {
        let first = start * 64;
        let end = (first + words.len() * 64).min(weights);
        let mut index = first;
        while index < end {
            let (row, col) = (index / grid.cols, index % grid.cols);
            let strip = row / grid.block_rows * grid.units_per_strip();
            if grid.block_cols == 1 {
                // A row of the mask is the strip's bits as they are.
                let count = (grid.cols - col).min(64).min(end - index);
                let bits = units.slice(strip + col, strip + col + count);
                or_bits(words, index - first, bits.word(0), count);
                index += count;
            } else {
                let unit = col / grid.block_cols;
                let run = ((unit + 1) * grid.block_cols).min(grid.cols) - col;
                let run = run.min(end - index);
                if units.get(strip + unit) == Some(true) {
                    set_bits(words, index - first..index - first + run);
                }
                index += run;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_bits_in_order() {
        for pattern in [0, u64::MAX, 1, 1 << 63, 0x0123_4567_89ab_cdef, 0xaaaa_aaaa_aaaa_aaaa] {
            let bytes = std::array::from_fn(|i| (pattern >> i & 1) as u8);
            assert_eq!(word_of(&bytes), pattern);
        }
    }

    #[test]
    fn runs_cross_words() {
        let mut words = [0; 3];
        set_bits(&mut words, 60..130);
        assert_eq!(words, [0xf << 60, u64::MAX, 0b11]);
    }
}
