//! x86-64: products of an f32 row and 4-bit weights in groups, by AVX-512 and by AVX2.
//!
//! A nibble at bit `p` of a word becomes a number in place: with the exponent of `2^(23 - p)` above it, and all other bits 0,
//! the word is `2^(23 - p) + nibble` in f32. So a mask and an exponent convert it, and subtracting `2^(23 - p) + zero` leaves
//! its distance from the zero point, exactly. Five of the eight nibbles of a word lie where that works, the others after one
//! shift that they share.
//!
//! # Safety
//! Every function needs the features of the token that calls it: AVX-512 F for `*_avx512`, AVX2 and FMA for `*_avx2`.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::dot::TILE;
use super::int4::{HALF, Int4Tile, Nibbles};
use super::int4_float::{self, INPUTS};
use std::arch::x86_64::*;

/// Outputs of an AVX2 register.
const WIDTH: usize = 8;

/// See [`Token::multiply_int4_floats`](super::Token::multiply_int4_floats).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_avx512<const N: usize>(
    row: &[f32],
    tiles: [Int4Tile<'_>; N],
    sums: &mut [[f32; TILE]; N],
) {
    let mut len = row.len();
    for t in 0..N {
        len = tiles[t].inputs(len);
    }
    let mut first = 0;
    while first < len {
        let (group, end) = tiles[0].span(first, len);
        // SAFETY: the caller vouches for the features; `k` is below `end`, which is at most `len`, so each load stays within
        // one element of a slice (64 bytes of nibbles, 128 of scales, 4 of the row), each access of `sums` within a tile's
        // 128 bytes; all take any alignment.
        unsafe {
            let (mut zeros, mut bases) = ([[_mm512_setzero_ps(); 2]; N], [[_mm512_setzero_ps(); 5]; N]);
            for t in 0..N {
                let zero = tiles[t].zeros(group);
                zeros[t] = [_mm512_loadu_ps(zero.as_ptr()), _mm512_loadu_ps(zero.as_ptr().add(HALF))];
                bases[t] = bases_avx512(zeros[t]);
            }
            let mut acc = [[_mm512_setzero_ps(); 2]; N];
            let mut k = first;
            while k + INPUTS <= end {
                let x = row.as_ptr().add(k);
                let x = [
                    _mm512_set1_ps(*x),
                    _mm512_set1_ps(*x.add(1)),
                    _mm512_set1_ps(*x.add(2)),
                    _mm512_set1_ps(*x.add(3)),
                ];
                for t in 0..N {
                    let words = _mm512_loadu_si512(tiles[t].codes.as_ptr().add(k / INPUTS).cast());
                    let upper = _mm512_srli_epi32::<16>(words);
                    let base = &bases[t];
                    let mut low = acc[t][0];
                    low = _mm512_fmadd_ps(x[0], steps_avx512::<0>(words, base[0]), low);
                    low = _mm512_fmadd_ps(x[1], steps_avx512::<8>(words, base[1]), low);
                    low = _mm512_fmadd_ps(x[2], steps_avx512::<16>(words, base[2]), low);
                    acc[t][0] = _mm512_fmadd_ps(x[3], steps_avx512::<8>(upper, base[1]), low);
                    let mut high = acc[t][1];
                    high = _mm512_fmadd_ps(x[0], steps_avx512::<4>(words, base[3]), high);
                    high = _mm512_fmadd_ps(x[1], steps_avx512::<12>(words, base[4]), high);
                    high = _mm512_fmadd_ps(x[2], steps_avx512::<4>(upper, base[3]), high);
                    acc[t][1] = _mm512_fmadd_ps(x[3], steps_avx512::<12>(upper, base[4]), high);
                }
                k += INPUTS;
            }
            while k < end {
                let x = _mm512_set1_ps(*row.as_ptr().add(k));
                for t in 0..N {
                    let words = _mm512_loadu_si512(tiles[t].codes.as_ptr().add(k / INPUTS).cast());
                    for half in 0..2 {
                        let place = _mm_cvtsi32_si128((8 * (k % INPUTS) + 4 * half) as i32);
                        let nibbles = _mm512_and_si512(_mm512_srl_epi32(words, place), _mm512_set1_epi32(15));
                        let steps = _mm512_sub_ps(_mm512_cvtepi32_ps(nibbles), zeros[t][half]);
                        acc[t][half] = _mm512_fmadd_ps(x, steps, acc[t][half]);
                    }
                }
                k += 1;
            }
            for t in 0..N {
                let scales = tiles[t].scales.as_ptr().add(group).cast::<f32>();
                for half in 0..2 {
                    let slot = sums[t].as_mut_ptr().add(HALF * half);
                    let scale = _mm512_loadu_ps(scales.add(HALF * half));
                    _mm512_storeu_ps(slot, _mm512_fmadd_ps(acc[t][half], scale, _mm512_loadu_ps(slot)));
                }
            }
        }
        first = end;
    }
}

/// See [`Token::widen_steps`](super::Token::widen_steps).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn widen_steps_avx512(codes: &[Nibbles], zeros: &[f32; TILE], steps: &mut [[f32; TILE]]) {
    let (blocks, rest) = steps.as_chunks_mut::<INPUTS>();
    let codes_rest = codes.get(blocks.len()..).unwrap_or_default();
    // SAFETY: the caller vouches for the features; each load takes the 64 bytes of nibbles or half of the zeros, each store half
    // of the 128 bytes of an element of `steps`, at any alignment.
    unsafe {
        let base = bases_avx512([_mm512_loadu_ps(zeros.as_ptr()), _mm512_loadu_ps(zeros.as_ptr().add(HALF))]);
        for (nibbles, steps) in codes.iter().zip(blocks) {
            let words = _mm512_loadu_si512(nibbles.as_ptr().cast());
            let upper = _mm512_srli_epi32::<16>(words);
            let halves = [
                [steps_avx512::<0>(words, base[0]), steps_avx512::<4>(words, base[3])],
                [steps_avx512::<8>(words, base[1]), steps_avx512::<12>(words, base[4])],
                [steps_avx512::<16>(words, base[2]), steps_avx512::<4>(upper, base[3])],
                [steps_avx512::<8>(upper, base[1]), steps_avx512::<12>(upper, base[4])],
            ];
            for i in 0..INPUTS {
                _mm512_storeu_ps(steps[i].as_mut_ptr(), halves[i][0]);
                _mm512_storeu_ps(steps[i].as_mut_ptr().add(HALF), halves[i][1]);
            }
        }
    }
    int4_float::widen_steps(codes_rest, zeros, rest);
}

/// Zero points above the powers of two that [`steps_avx512`] wants: of low nibbles at bits 0, 8 and 16, of high ones at bits 4
/// and 12.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn bases_avx512([low, high]: [__m512; 2]) -> [__m512; 5] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        [
            _mm512_add_ps(_mm512_castsi512_ps(exponent_avx512::<0>()), low),
            _mm512_add_ps(_mm512_castsi512_ps(exponent_avx512::<8>()), low),
            _mm512_add_ps(_mm512_castsi512_ps(exponent_avx512::<16>()), low),
            _mm512_add_ps(_mm512_castsi512_ps(exponent_avx512::<4>()), high),
            _mm512_add_ps(_mm512_castsi512_ps(exponent_avx512::<12>()), high),
        ]
    }
}

/// The bits of `2^(23 - P)`.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn exponent_avx512<const P: i32>() -> __m512i {
    // SAFETY: the caller vouches for the features.
    unsafe { _mm512_set1_epi32((150 - P) << 23) }
}

/// The nibbles at bit `P` of each word, less a zero point; `base` is that above `2^(23 - P)`. `P` is at most 16.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn steps_avx512<const P: i32>(words: __m512i, base: __m512) -> __m512 {
    /// `(a & b) | c`.
    const AND_OR: i32 = 0xea;
    // SAFETY: the caller vouches for the features.
    unsafe {
        let (mask, exponent) = (_mm512_set1_epi32(15 << P), exponent_avx512::<P>());
        let numbers = _mm512_ternarylogic_epi32::<AND_OR>(words, mask, exponent);
        _mm512_sub_ps(_mm512_castsi512_ps(numbers), base)
    }
}

/// See [`Token::multiply_int4_floats`](super::Token::multiply_int4_floats).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_avx2<const N: usize>(
    row: &[f32],
    tiles: [Int4Tile<'_>; N],
    sums: &mut [[f32; TILE]; N],
) {
    // Two tiles at a time: 8 of the 16 registers hold sums.
    let ((pairs, rest), (sum_pairs, sum_rest)) = (tiles.as_chunks::<2>(), sums.as_chunks_mut::<2>());
    // SAFETY: the caller vouches for the features.
    unsafe {
        for (tiles, sums) in pairs.iter().zip(sum_pairs) {
            multiply_tiles_avx2(row, tiles, sums);
        }
        for (tile, sums) in rest.iter().zip(sum_rest) {
            multiply_tiles_avx2(row, &[*tile], std::array::from_mut(sums));
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
unsafe fn multiply_tiles_avx2<const N: usize>(
    row: &[f32],
    tiles: &[Int4Tile<'_>; N],
    sums: &mut [[f32; TILE]; N],
) {
    let mut len = row.len();
    for t in 0..N {
        len = tiles[t].inputs(len);
    }
    let mut first = 0;
    while first < len {
        let (group, end) = tiles[0].span(first, len);
        // SAFETY: as in `multiply_avx512`, with halves of those loads; quarter `q` of a tile are outputs `8 * q` and following,
        // whose nibbles are the low ones of the first or second 32 bytes, then the high ones of them.
        unsafe {
            let (mut zeros, mut bases) = ([[_mm256_setzero_ps(); 4]; N], [[[_mm256_setzero_ps(); 3]; 4]; N]);
            for t in 0..N {
                let zero = tiles[t].zeros(group);
                for q in 0..4 {
                    zeros[t][q] = _mm256_loadu_ps(zero.as_ptr().add(WIDTH * q));
                    bases[t][q] = bases_avx2(q, zeros[t][q]);
                }
            }
            let mut acc = [[_mm256_setzero_ps(); 4]; N];
            let mut k = first;
            while k + INPUTS <= end {
                let x = row.as_ptr().add(k);
                let x = [
                    _mm256_set1_ps(*x),
                    _mm256_set1_ps(*x.add(1)),
                    _mm256_set1_ps(*x.add(2)),
                    _mm256_set1_ps(*x.add(3)),
                ];
                for t in 0..N {
                    for part in 0..2 {
                        let nibbles = tiles[t].codes.as_ptr().add(k / INPUTS).cast::<u8>();
                        let words = _mm256_loadu_si256(nibbles.add(32 * part).cast());
                        let upper = _mm256_srli_epi32::<16>(words);
                        let base = &bases[t][part];
                        let mut low = acc[t][part];
                        low = _mm256_fmadd_ps(x[0], steps_avx2::<0>(words, base[0]), low);
                        low = _mm256_fmadd_ps(x[1], steps_avx2::<8>(words, base[1]), low);
                        low = _mm256_fmadd_ps(x[2], steps_avx2::<16>(words, base[2]), low);
                        acc[t][part] = _mm256_fmadd_ps(x[3], steps_avx2::<8>(upper, base[1]), low);
                        let base = &bases[t][2 + part];
                        let mut high = acc[t][2 + part];
                        high = _mm256_fmadd_ps(x[0], steps_avx2::<4>(words, base[0]), high);
                        high = _mm256_fmadd_ps(x[1], steps_avx2::<12>(words, base[1]), high);
                        high = _mm256_fmadd_ps(x[2], steps_avx2::<4>(upper, base[0]), high);
                        acc[t][2 + part] = _mm256_fmadd_ps(x[3], steps_avx2::<12>(upper, base[1]), high);
                    }
                }
                k += INPUTS;
            }
            while k < end {
                let x = _mm256_set1_ps(*row.as_ptr().add(k));
                for t in 0..N {
                    let nibbles = tiles[t].codes.as_ptr().add(k / INPUTS).cast::<u8>();
                    for q in 0..4 {
                        let words = _mm256_loadu_si256(nibbles.add(32 * (q % 2)).cast());
                        let place = _mm_cvtsi32_si128((8 * (k % INPUTS) + 4 * (q / 2)) as i32);
                        let nibbles = _mm256_and_si256(_mm256_srl_epi32(words, place), _mm256_set1_epi32(15));
                        let steps = _mm256_sub_ps(_mm256_cvtepi32_ps(nibbles), zeros[t][q]);
                        acc[t][q] = _mm256_fmadd_ps(x, steps, acc[t][q]);
                    }
                }
                k += 1;
            }
            for t in 0..N {
                let scales = tiles[t].scales.as_ptr().add(group).cast::<f32>();
                for q in 0..4 {
                    let slot = sums[t].as_mut_ptr().add(WIDTH * q);
                    let scale = _mm256_loadu_ps(scales.add(WIDTH * q));
                    _mm256_storeu_ps(slot, _mm256_fmadd_ps(acc[t][q], scale, _mm256_loadu_ps(slot)));
                }
            }
        }
        first = end;
    }
}

/// See [`Token::widen_steps`](super::Token::widen_steps).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn widen_steps_avx2(codes: &[Nibbles], zeros: &[f32; TILE], steps: &mut [[f32; TILE]]) {
    let (blocks, rest) = steps.as_chunks_mut::<INPUTS>();
    let codes_rest = codes.get(blocks.len()..).unwrap_or_default();
    // SAFETY: as in `widen_steps_avx512`, with halves of those loads and stores.
    unsafe {
        for part in 0..2 {
            let at = WIDTH * part;
            let low = bases_avx2(part, _mm256_loadu_ps(zeros.as_ptr().add(at)));
            let high = bases_avx2(2 + part, _mm256_loadu_ps(zeros.as_ptr().add(HALF + at)));
            for (nibbles, steps) in codes.iter().zip(&mut *blocks) {
                let words = _mm256_loadu_si256(nibbles.as_ptr().add(4 * at).cast());
                let upper = _mm256_srli_epi32::<16>(words);
                let halves = [
                    [steps_avx2::<0>(words, low[0]), steps_avx2::<4>(words, high[0])],
                    [steps_avx2::<8>(words, low[1]), steps_avx2::<12>(words, high[1])],
                    [steps_avx2::<16>(words, low[2]), steps_avx2::<4>(upper, high[0])],
                    [steps_avx2::<8>(upper, low[1]), steps_avx2::<12>(upper, high[1])],
                ];
                for i in 0..INPUTS {
                    _mm256_storeu_ps(steps[i].as_mut_ptr().add(at), halves[i][0]);
                    _mm256_storeu_ps(steps[i].as_mut_ptr().add(HALF + at), halves[i][1]);
                }
            }
        }
    }
    int4_float::widen_steps(codes_rest, zeros, rest);
}

/// Zero points of quarter `q` of a tile above the powers of two that [`steps_avx2`] wants: of low nibbles at bits 0, 8 and 16, of
/// high ones at bits 4 and 12.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn bases_avx2(q: usize, zeros: __m256) -> [__m256; 3] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let exponents = match q {
            0 | 1 => [exponent_avx2::<0>(), exponent_avx2::<8>(), exponent_avx2::<16>()],
            _ => [exponent_avx2::<4>(), exponent_avx2::<12>(), _mm256_setzero_si256()],
        };
        let mut bases = [zeros; 3];
        for e in 0..3 {
            bases[e] = _mm256_add_ps(_mm256_castsi256_ps(exponents[e]), zeros);
        }
        bases
    }
}

/// The bits of `2^(23 - P)`.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn exponent_avx2<const P: i32>() -> __m256i {
    // SAFETY: the caller vouches for the features.
    unsafe { _mm256_set1_epi32((150 - P) << 23) }
}

/// As [`steps_avx512`].
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn steps_avx2<const P: i32>(words: __m256i, base: __m256) -> __m256 {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let nibbles = _mm256_and_si256(words, _mm256_set1_epi32(15 << P));
        let numbers = _mm256_or_si256(nibbles, exponent_avx2::<P>());
        _mm256_sub_ps(_mm256_castsi256_ps(numbers), base)
    }
}
