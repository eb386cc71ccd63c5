//! x86-64: products of bf16 numbers in pairs, by `vdpbf16ps`.
//!
//! Not all processors with VNNI have AVX-512 BF16, so it is no part of the instruction set `avx512`; without it numbers are
//! widened, in the order of the instruction.
//!
//! # Safety
//! Functions ending in `_widened` need AVX2 and FMA, all others AVX-512F and AVX-512 BF16.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::bf16_dot::{Pair, StoredPair};
use super::dot::TILE;
use super::prefetch::{self, Ahead, RUN, for_runs};
use std::arch::x86_64::*;

/// Whether the processor has the instruction, besides what the AVX-512 token proves.
#[inline(always)]
pub(super) fn has_bf16_dot() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

/// 16 pairs.
///
/// # Safety
/// See above; 64 bytes can be read at the pointer.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn load(pairs: *const StoredPair) -> __m512bh {
    // SAFETY: the caller vouches for the bytes; both types are 64 bytes of any value.
    unsafe { std::mem::transmute(_mm512_loadu_si512(pairs.cast())) }
}

/// A pair, 16 times.
///
/// # Safety
/// See above; the pointer is that of a pair.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn broadcast(pair: *const Pair) -> __m512bh {
    // SAFETY: a pair is four bytes, read at any alignment; both types are 64 bytes of any value.
    unsafe { std::mem::transmute(_mm512_set1_epi32(pair.cast::<i32>().read_unaligned())) }
}

/// See [`Token::multiply_pairs`](super::Token::multiply_pairs).
///
/// # Safety
/// See above.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn multiply<const R: usize>(
    panel: &[[Pair; R]],
    weights: &[[StoredPair; TILE]],
    ahead: Ahead,
    sums: &mut [[f32; TILE]; R],
) {
    // SAFETY: the caller vouches for the features; `k` is below the lengths of `panel` and `weights`; each load and store takes half
    // of the 128 bytes of an element of `weights` or of `sums`, or one of the `R` pairs of an element of `panel`, at any alignment.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); 2]; R];
        for r in 0..R {
            acc[r] = [_mm512_loadu_ps(sums[r].as_ptr()), _mm512_loadu_ps(sums[r].as_ptr().add(16))];
        }
        for_runs!(panel.len().min(weights.len()), RUN, |first, count| {
            ahead.ask(first);
            for k in first..first + count {
                let rows = panel.as_ptr().add(k).cast::<Pair>();
                let weights = weights.as_ptr().add(k).cast::<StoredPair>();
                let w = [load(weights), load(weights.add(16))];
                for r in 0..R {
                    let x = broadcast(rows.add(r));
                    acc[r] = [_mm512_dpbf16_ps(acc[r][0], x, w[0]), _mm512_dpbf16_ps(acc[r][1], x, w[1])];
                }
            }
        });
        for r in 0..R {
            _mm512_storeu_ps(sums[r].as_mut_ptr(), acc[r][0]);
            _mm512_storeu_ps(sums[r].as_mut_ptr().add(16), acc[r][1]);
        }
    }
}

/// See [`Token::multiply_pairs_row`](super::Token::multiply_pairs_row).
///
/// # Safety
/// See above.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn multiply_row<const N: usize, const FAR: bool>(
    row: &[Pair],
    tiles: [&[[StoredPair; TILE]]; N],
    sums: &mut [[f32; TILE]; N],
) {
    let mut len = row.len();
    for t in 0..N {
        len = len.min(tiles[t].len());
    }
    // SAFETY: the caller vouches for the features; `k + i` is below `len`, so it is a pair of the row and an element of each
    // tile, of whose 128 bytes each load takes half, as each load and store does of a tile of sums; all take any alignment.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); 2]; N];
        for t in 0..N {
            acc[t] = [_mm512_loadu_ps(sums[t].as_ptr()), _mm512_loadu_ps(sums[t].as_ptr().add(16))];
        }
        for_runs!(len, RUN, |k, count| {
            for t in 0..N {
                let at = tiles[t].as_ptr().add(k).cast::<StoredPair>();
                if FAR {
                    prefetch::far(at.cast(), count * size_of::<[StoredPair; TILE]>());
                }
                for i in 0..count {
                    let x = broadcast(row.as_ptr().add(k + i));
                    let at = at.add(i * TILE);
                    acc[t][0] = _mm512_dpbf16_ps(acc[t][0], x, load(at));
                    acc[t][1] = _mm512_dpbf16_ps(acc[t][1], x, load(at.add(16)));
                }
            }
        });
        for t in 0..N {
            _mm512_storeu_ps(sums[t].as_mut_ptr(), acc[t][0]);
            _mm512_storeu_ps(sums[t].as_mut_ptr().add(16), acc[t][1]);
        }
    }
}

/// The second and the first number of eight pairs.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn widened(pairs: __m256i) -> [__m256; 2] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let odd = _mm256_and_si256(pairs, _mm256_set1_epi32(!0xffff));
        [_mm256_castsi256_ps(odd), _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs))]
    }
}

/// See [`Token::multiply_pairs`](super::Token::multiply_pairs).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_widened<const R: usize>(
    panel: &[[Pair; R]],
    weights: &[[StoredPair; TILE]],
    sums: &mut [[f32; TILE]; R],
) {
    // Two halves of a tile: 8 registers of sums for four rows.
    for half in [0, 16] {
        // SAFETY: as in `multiply`, with quarters of those bytes.
        unsafe {
            let mut acc = [[_mm256_setzero_ps(); 2]; R];
            for r in 0..R {
                let sums = sums[r].as_ptr().add(half);
                acc[r] = [_mm256_loadu_ps(sums), _mm256_loadu_ps(sums.add(8))];
            }
            for (rows, weights) in panel.iter().zip(weights) {
                let weights = weights.as_ptr().add(half);
                let w = [
                    widened(_mm256_loadu_si256(weights.cast())),
                    widened(_mm256_loadu_si256(weights.add(8).cast())),
                ];
                for r in 0..R {
                    let x = widened(_mm256_set1_epi32(rows.as_ptr().add(r).cast::<i32>().read_unaligned()));
                    for i in 0..2 {
                        acc[r] = [
                            _mm256_fmadd_ps(x[i], w[0][i], acc[r][0]),
                            _mm256_fmadd_ps(x[i], w[1][i], acc[r][1]),
                        ];
                    }
                }
            }
            for r in 0..R {
                let sums = sums[r].as_mut_ptr().add(half);
                _mm256_storeu_ps(sums, acc[r][0]);
                _mm256_storeu_ps(sums.add(8), acc[r][1]);
            }
        }
    }
}

/// See [`Token::multiply_pairs_row`](super::Token::multiply_pairs_row).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_row_widened<const N: usize>(
    row: &[Pair],
    tiles: [&[[StoredPair; TILE]]; N],
    sums: &mut [[f32; TILE]; N],
) {
    let mut len = row.len();
    for t in 0..N {
        len = len.min(tiles[t].len());
    }
    // Two tiles at a time: 8 registers of sums.
    for (tiles, sums) in tiles.as_chunks::<2>().0.iter().zip(sums.as_chunks_mut::<2>().0) {
        // SAFETY: as in `multiply_row`, with quarters of those bytes.
        unsafe {
            let mut acc = [[_mm256_setzero_ps(); 4]; 2];
            for t in 0..2 {
                for q in 0..4 {
                    acc[t][q] = _mm256_loadu_ps(sums[t].as_ptr().add(8 * q));
                }
            }
            for k in 0..len {
                let x = widened(_mm256_set1_epi32(row.as_ptr().add(k).cast::<i32>().read_unaligned()));
                for t in 0..2 {
                    let at = tiles[t].as_ptr().add(k).cast::<StoredPair>();
                    for q in 0..4 {
                        let w = widened(_mm256_loadu_si256(at.add(8 * q).cast()));
                        let sum = _mm256_fmadd_ps(x[0], w[0], acc[t][q]);
                        acc[t][q] = _mm256_fmadd_ps(x[1], w[1], sum);
                    }
                }
            }
            for t in 0..2 {
                for q in 0..4 {
                    _mm256_storeu_ps(sums[t].as_mut_ptr().add(8 * q), acc[t][q]);
                }
            }
        }
    }
}
