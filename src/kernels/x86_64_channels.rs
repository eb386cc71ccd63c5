//! x86-64: exact sums of products of channels with taps of their own, by VNNI.
//!
//! # Safety
//! Every function needs the features of the token that calls it: AVX-512 F, BW, VL and VNNI for `*_vnni`, AVX2 and AVX-VNNI for
//! `*_avx_vnni`.

use super::dot::{Group, TILE};
use super::x86_64::dpbusd;
use std::arch::x86_64::*;

/// See [`Token::dot_channels`](super::Token::dot_channels). Four taps of 32 channels are interleaved, so that each channel has
/// them side by side, as its weights are.
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_channels_vnni<const K: usize>(
    codes: &[u8],
    taps: &[[usize; K]],
    weights: &[[Group<i8>; TILE]],
    sums: &mut [[i32; TILE]],
) {
    // Where a load of 32 codes still fits; what is at no such place counts nothing.
    let Some(last) = codes.len().checked_sub(TILE) else { return };
    let nothing = [0_u8; TILE];
    for (taps, sums) in taps.iter().zip(sums) {
        // SAFETY: the caller vouches for the features, and there are `TILE` codes from `last` on; loads of weights and sums and the
        // stores stay within arrays of 128 bytes, at any alignment.
        unsafe {
            let mut low = _mm512_loadu_si512(sums.as_ptr().cast());
            let mut high = _mm512_loadu_si512(sums.as_ptr().add(16).cast());
            for (taps, weights) in taps.as_chunks::<4>().0.iter().zip(weights) {
                let q = interleaved(codes, taps, last, &nothing);
                // Quarters of channels 0, 16, 4, 20 and 8, 24, 12, 28: in order again.
                let first = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(q[0]), q[1]);
                let second = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(q[2]), q[3]);
                let x_low = _mm512_shuffle_i64x2::<0b10_00_10_00>(first, second);
                let x_high = _mm512_shuffle_i64x2::<0b11_01_11_01>(first, second);
                let weights = weights.as_ptr().cast::<i8>();
                low = _mm512_dpbusd_epi32(low, x_low, _mm512_loadu_si512(weights.cast()));
                high = _mm512_dpbusd_epi32(high, x_high, _mm512_loadu_si512(weights.add(64).cast()));
            }
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), low);
            _mm512_storeu_si512(sums.as_mut_ptr().add(16).cast(), high);
        }
    }
}

/// As [`dot_channels_vnni`].
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_channels_avx_vnni<const K: usize>(
    codes: &[u8],
    taps: &[[usize; K]],
    weights: &[[Group<i8>; TILE]],
    sums: &mut [[i32; TILE]],
) {
    let Some(last) = codes.len().checked_sub(TILE) else { return };
    let nothing = [0_u8; TILE];
    for (taps, sums) in taps.iter().zip(sums) {
        // SAFETY: as in `dot_channels_vnni`.
        unsafe {
            let mut acc = [_mm256_setzero_si256(); 4];
            for (v, acc) in acc.iter_mut().enumerate() {
                *acc = _mm256_loadu_si256(sums.as_ptr().add(8 * v).cast());
            }
            for (taps, weights) in taps.as_chunks::<4>().0.iter().zip(weights) {
                let q = interleaved(codes, taps, last, &nothing);
                let x = [
                    _mm256_permute2x128_si256::<0x20>(q[0], q[1]),
                    _mm256_permute2x128_si256::<0x20>(q[2], q[3]),
                    _mm256_permute2x128_si256::<0x31>(q[0], q[1]),
                    _mm256_permute2x128_si256::<0x31>(q[2], q[3]),
                ];
                for (v, (acc, x)) in acc.iter_mut().zip(x).enumerate() {
                    *acc = dpbusd(*acc, x, _mm256_loadu_si256(weights.as_ptr().add(8 * v).cast()));
                }
            }
            for (v, acc) in acc.into_iter().enumerate() {
                _mm256_storeu_si256(sums.as_mut_ptr().add(8 * v).cast(), acc);
            }
        }
    }
}

/// Four taps of each of 32 channels side by side: of channels 0 to 3 and 16 to 19, 4 to 7 and 20 to 23, 8 to 11 and 24 to 27, and
/// of the others.
///
/// # Safety
/// Needs AVX2; 32 codes can be read at any tap up to `last`.
#[inline(always)]
unsafe fn interleaved(codes: &[u8], taps: &[usize; 4], last: usize, nothing: &[u8; TILE]) -> [__m256i; 4] {
    // SAFETY: the caller vouches for the feature; a load is of codes from a tap up to `last`, or of `nothing`; at any alignment.
    unsafe {
        let mut x = [_mm256_setzero_si256(); 4];
        for (x, tap) in x.iter_mut().zip(taps) {
            let at = if *tap <= last { codes.as_ptr().add(*tap) } else { nothing.as_ptr() };
            *x = _mm256_loadu_si256(at.cast());
        }
        // Within halves of 128 bits: channels 0 to 7 and 16 to 23, 8 to 15 and 24 to 31.
        let (a0, a1) = (_mm256_unpacklo_epi8(x[0], x[1]), _mm256_unpackhi_epi8(x[0], x[1]));
        let (b0, b1) = (_mm256_unpacklo_epi8(x[2], x[3]), _mm256_unpackhi_epi8(x[2], x[3]));
        [
            _mm256_unpacklo_epi16(a0, b0),
            _mm256_unpackhi_epi16(a0, b0),
            _mm256_unpacklo_epi16(a1, b1),
            _mm256_unpackhi_epi16(a1, b1),
        ]
    }
}
