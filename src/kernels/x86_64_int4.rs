//! x86-64: products of 8-bit codes and 4-bit weights in groups, by VNNI, AVX-VNNI and AVX2.
//!
//! Nibbles become bytes in registers, by a shift and two masks for 128 weights. With them even AVX2's `vpmaddubsw` is exact:
//! two products of a code and a nibble are at most 7,650, so four such pairs fit 16 bits.
//!
//! Within a group the sums are integers. Between groups they are f32, and each group adds its own with a multiplication and
//! an addition of their own: a fused one would give other bits than machines without it.
//!
//! # Safety
//! Every function needs the features of the token that calls it: AVX-512 F, BW and VNNI for `*_vnni`, AVX2 for `*_avx2`,
//! AVX2 and AVX-VNNI for `*_avx_vnni`.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::dot::{Group, TILE};
use super::int4::{HALF, Int4Row, Int4Tile, extent};
use super::x86_64::{dpbusd, keep_loads_apart};
use std::arch::x86_64::*;

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_vnni<const R: usize>(
    rows: [Int4Row<'_, u8>; R],
    tile: Int4Tile<'_>,
    sums: &mut [[f32; TILE]; R],
) {
    // SAFETY: the caller vouches for the features. Few rows alone would wait for each sum, see `dot_vnni`.
    unsafe {
        match R {
            1 => multiply_ways_vnni::<R, 4>(rows, tile, sums),
            2 | 3 => multiply_ways_vnni::<R, 2>(rows, tile, sums),
            _ => multiply_ways_vnni::<R, 1>(rows, tile, sums),
        }
    }
}

/// [`multiply_vnni`] with `W` partial sums.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn multiply_ways_vnni<const R: usize, const W: usize>(
    rows: [Int4Row<'_, u8>; R],
    tile: Int4Tile<'_>,
    sums: &mut [[f32; TILE]; R],
) {
    let (len, groups) = extent(&rows, &tile);
    // SAFETY: the caller vouches for the features; every index of codes is below `len` and every one of a group below
    // `groups`, so each load stays within one element of a slice (64 bytes of nibbles, 128 of scales, 32 of zero points, 4 of
    // a row), each access of `sums` within a row's 128 bytes; all take any alignment.
    unsafe {
        let mask = _mm512_set1_epi8(15);
        for group in 0..groups {
            let (first, end) = (group * tile.depth, ((group + 1) * tile.depth).min(len));
            let mut acc = [[[_mm512_setzero_si512(); 2]; R]; W];
            for r in 0..R {
                acc[0][r] = start_vnni(&rows[r], &tile, group);
            }
            let mut k = first;
            while k + W <= end {
                for way in 0..W {
                    add_vnni(&rows, &tile, k + way, mask, &mut acc[way]);
                }
                k += W;
            }
            while k < end {
                add_vnni(&rows, &tile, k, mask, &mut acc[0]);
                k += 1;
            }
            let scales = tile.scales.as_ptr().add(group).cast::<f32>();
            let scales = [_mm512_loadu_ps(scales), _mm512_loadu_ps(scales.add(HALF))];
            for r in 0..R {
                for half in 0..2 {
                    let mut sum = acc[0][r][half];
                    for way in 1..W {
                        sum = _mm512_add_epi32(sum, acc[way][r][half]);
                    }
                    let slot = sums[r].as_mut_ptr().add(HALF * half);
                    let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scales[half]);
                    _mm512_storeu_ps(slot, _mm512_add_ps(_mm512_loadu_ps(slot), product));
                }
            }
        }
    }
}

/// Adds the products of four inputs.
///
/// # Safety
/// See above; `k` is below the length of the codes of `tile` and of each row.
#[inline(always)]
unsafe fn add_vnni<const R: usize>(
    rows: &[Int4Row<'_, u8>; R],
    tile: &Int4Tile<'_>,
    k: usize,
    mask: __m512i,
    acc: &mut [[__m512i; 2]; R],
) {
    // SAFETY: the caller vouches for the features and for `k`; the loads take 64 bytes of nibbles and 4 of a row.
    unsafe {
        let nibbles = _mm512_loadu_si512(tile.codes.as_ptr().add(k).cast());
        let low = _mm512_and_si512(nibbles, mask);
        let high = _mm512_and_si512(_mm512_srli_epi16::<4>(nibbles), mask);
        for r in 0..R {
            let x = _mm512_set1_epi32(rows[r].codes.as_ptr().add(k).cast::<i32>().read_unaligned());
            acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], x, low);
            acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], x, high);
        }
    }
}

/// One row and `N` tiles: as many streams of weights, each product's row read once for all of them.
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_row_vnni<const N: usize>(
    row: Int4Row<'_, u8>,
    tiles: [Int4Tile<'_>; N],
    sums: &mut [[f32; TILE]; N],
) {
    let (mut len, mut groups) = (usize::MAX, usize::MAX);
    for tile in &tiles {
        let extent = extent(&[row], tile);
        (len, groups) = (len.min(extent.0), groups.min(extent.1));
    }
    let depth = tiles[0].depth;
    // SAFETY: as in `multiply_ways_vnni`, for each tile.
    unsafe {
        let mask = _mm512_set1_epi8(15);
        for group in 0..groups {
            let (first, end) = (group * depth, ((group + 1) * depth).min(len));
            let mut acc = [[_mm512_setzero_si512(); 2]; N];
            for t in 0..N {
                acc[t] = start_vnni(&row, &tiles[t], group);
            }
            for k in first..end {
                let x = _mm512_set1_epi32(row.codes.as_ptr().add(k).cast::<i32>().read_unaligned());
                for t in 0..N {
                    let nibbles = _mm512_loadu_si512(tiles[t].codes.as_ptr().add(k).cast());
                    let low = _mm512_and_si512(nibbles, mask);
                    let high = _mm512_and_si512(_mm512_srli_epi16::<4>(nibbles), mask);
                    acc[t][0] = _mm512_dpbusd_epi32(acc[t][0], x, low);
                    acc[t][1] = _mm512_dpbusd_epi32(acc[t][1], x, high);
                }
            }
            for t in 0..N {
                let scales = tiles[t].scales.as_ptr().add(group).cast::<f32>();
                for half in 0..2 {
                    let slot = sums[t].as_mut_ptr().add(HALF * half);
                    let scale = _mm512_loadu_ps(scales.add(HALF * half));
                    let product = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[t][half]), scale);
                    _mm512_storeu_ps(slot, _mm512_add_ps(_mm512_loadu_ps(slot), product));
                }
            }
        }
    }
}

/// What the sums of a group begin with: the part of the zero points.
///
/// # Safety
/// See above; `group` is within what [`extent`] gives.
#[inline(always)]
unsafe fn start_vnni(row: &Int4Row<'_, u8>, tile: &Int4Tile<'_>, group: usize) -> [__m512i; 2] {
    // SAFETY: the caller vouches for the features and for `group`; the loads take the 32 bytes of its zero points.
    unsafe {
        let start = _mm512_set1_epi32(*row.starts.get_unchecked(group));
        let Some(zero_points) = tile.zero_points else { return [start; 2] };
        let zeros = zero_points.as_ptr().add(group).cast::<u8>();
        let low = _mm512_cvtepu8_epi32(_mm_loadu_si128(zeros.cast()));
        let high = _mm512_cvtepu8_epi32(_mm_loadu_si128(zeros.add(HALF).cast()));
        [_mm512_mullo_epi32(low, start), _mm512_mullo_epi32(high, start)]
    }
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_avx2<const R: usize>(
    rows: [Int4Row<'_, i16>; R],
    tile: Int4Tile<'_>,
    sums: &mut [[f32; TILE]; R],
) {
    let (len, groups) = extent(&rows, &tile);
    for group in 0..groups {
        let range = (group * tile.depth, ((group + 1) * tile.depth).min(len));
        // Half of a tile at a time: 12 registers of sums for three rows.
        // SAFETY: the caller vouches for the feature; `group` is below `groups`, and the range ends at `len`.
        unsafe {
            multiply_half_avx2::<R, false>(&rows, &tile, group, range, sums);
            multiply_half_avx2::<R, true>(&rows, &tile, group, range, sums);
        }
    }
}

/// The low or the high nibbles of a group.
///
/// # Safety
/// See above; `group` and the end of the range are within what [`extent`] gives.
#[inline(always)]
unsafe fn multiply_half_avx2<const R: usize, const HIGH: bool>(
    rows: &[Int4Row<'_, i16>; R],
    tile: &Int4Tile<'_>,
    group: usize,
    (first, end): (usize, usize),
    sums: &mut [[f32; TILE]; R],
) {
    /// Pairs of products that 16 bits hold.
    const FIT: usize = 4;
    let half = if HIGH { HALF } else { 0 };
    // SAFETY: the caller vouches for the feature and the range; each load stays within one element of a slice (64 bytes of
    // nibbles, 128 of scales, 32 of zero points, 8 of a row), each access of `sums` within a row's 128 bytes; all take any
    // alignment.
    unsafe {
        let (mask, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
        let mut acc = [[_mm256_setzero_si256(); 2]; R];
        for r in 0..R {
            acc[r] = start_avx2(&rows[r], tile, group, half);
        }
        for start in (first..end).step_by(FIT) {
            let mut pairs = [[_mm256_setzero_si256(); 2]; R];
            for k in start..(start + FIT).min(end) {
                let nibbles = tile.codes.as_ptr().add(k).cast::<u8>();
                let mut w = [_mm256_loadu_si256(nibbles.cast()), _mm256_loadu_si256(nibbles.add(32).cast())];
                for w in &mut w {
                    *w = _mm256_and_si256(if HIGH { _mm256_srli_epi16::<4>(*w) } else { *w }, mask);
                }
                for r in 0..R {
                    let x: *const Group<i16> = rows[r].codes.as_ptr().add(k);
                    let x = _mm256_set1_epi64x(x.cast::<i64>().read_unaligned());
                    let x = _mm256_packus_epi16(x, x);
                    pairs[r][0] = _mm256_add_epi16(pairs[r][0], _mm256_maddubs_epi16(x, w[0]));
                    pairs[r][1] = _mm256_add_epi16(pairs[r][1], _mm256_maddubs_epi16(x, w[1]));
                }
            }
            for r in 0..R {
                acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(pairs[r][0], ones));
                acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(pairs[r][1], ones));
            }
        }
        for r in 0..R {
            finish_avx2(acc[r], tile, group, half, &mut sums[r]);
        }
    }
}

/// As [`start_vnni`], of the 16 outputs from `half` on.
///
/// # Safety
/// Needs AVX2; `group` is within what [`extent`] gives, `half` is 0 or [`HALF`].
#[inline(always)]
unsafe fn start_avx2<S>(
    row: &Int4Row<'_, S>,
    tile: &Int4Tile<'_>,
    group: usize,
    half: usize,
) -> [__m256i; 2] {
    // SAFETY: the caller vouches for the feature and for `group`; the loads take 16 of the 32 bytes of its zero points.
    unsafe {
        let start = _mm256_set1_epi32(*row.starts.get_unchecked(group));
        let Some(zero_points) = tile.zero_points else { return [start; 2] };
        let zeros = zero_points.as_ptr().add(group).cast::<u8>().add(half);
        let low = _mm256_cvtepu8_epi32(_mm_loadl_epi64(zeros.cast()));
        let high = _mm256_cvtepu8_epi32(_mm_loadl_epi64(zeros.add(8).cast()));
        [_mm256_mullo_epi32(low, start), _mm256_mullo_epi32(high, start)]
    }
}

/// Adds what a group's sums come to, for the 16 outputs from `half` on.
///
/// # Safety
/// As [`start_avx2`].
#[inline(always)]
unsafe fn finish_avx2(
    acc: [__m256i; 2],
    tile: &Int4Tile<'_>,
    group: usize,
    half: usize,
    sums: &mut [f32; TILE],
) {
    // SAFETY: the caller vouches for the feature and for `group`; each access stays within the 128 bytes of a group's scales or of
    // `sums`, at any alignment.
    unsafe {
        let scales = tile.scales.as_ptr().add(group).cast::<f32>().add(half);
        for quarter in 0..2 {
            let slot = sums.as_mut_ptr().add(half + 8 * quarter);
            let scale = _mm256_loadu_ps(scales.add(8 * quarter));
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[quarter]), scale);
            _mm256_storeu_ps(slot, _mm256_add_ps(_mm256_loadu_ps(slot), product));
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_avx_vnni<const R: usize>(
    rows: [Int4Row<'_, u8>; R],
    tile: Int4Tile<'_>,
    sums: &mut [[f32; TILE]; R],
) {
    // SAFETY: the caller vouches for the features. One row alone would wait for each sum; three fill 12 registers.
    unsafe {
        match R {
            1 => multiply_ways_avx_vnni::<R, 2>(rows, tile, sums),
            _ => multiply_ways_avx_vnni::<R, 1>(rows, tile, sums),
        }
    }
}

/// [`multiply_avx_vnni`] with `W` partial sums.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn multiply_ways_avx_vnni<const R: usize, const W: usize>(
    rows: [Int4Row<'_, u8>; R],
    tile: Int4Tile<'_>,
    sums: &mut [[f32; TILE]; R],
) {
    let (len, groups) = extent(&rows, &tile);
    for group in 0..groups {
        let (first, end) = (group * tile.depth, ((group + 1) * tile.depth).min(len));
        // SAFETY: the caller vouches for the features; every index of codes is below `len`, `group` is below `groups`.
        unsafe {
            // Of each row: the low nibbles, then the high ones.
            let mut acc = [[[[_mm256_setzero_si256(); 2]; 2]; R]; W];
            for r in 0..R {
                for half in 0..2 {
                    acc[0][r][half] = start_avx2(&rows[r], &tile, group, HALF * half);
                }
            }
            let mut k = first;
            while k + W <= end {
                for way in 0..W {
                    add_avx_vnni(&rows, &tile, k + way, &mut acc[way]);
                }
                k += W;
            }
            while k < end {
                add_avx_vnni(&rows, &tile, k, &mut acc[0]);
                k += 1;
            }
            for r in 0..R {
                for half in 0..2 {
                    let mut sum = acc[0][r][half];
                    for way in 1..W {
                        for quarter in 0..2 {
                            sum[quarter] = _mm256_add_epi32(sum[quarter], acc[way][r][half][quarter]);
                        }
                    }
                    finish_avx2(sum, &tile, group, HALF * half, &mut sums[r]);
                }
            }
        }
    }
}

/// Adds the products of four inputs. Rows are read for each half of the nibbles: so 16 registers hold 12 of sums.
///
/// # Safety
/// See above; `k` is below the length of the codes of `tile` and of each row.
#[inline(always)]
unsafe fn add_avx_vnni<const R: usize>(
    rows: &[Int4Row<'_, u8>; R],
    tile: &Int4Tile<'_>,
    k: usize,
    acc: &mut [[[__m256i; 2]; 2]; R],
) {
    // SAFETY: the caller vouches for the features and for `k`; the loads take 64 bytes of nibbles and 4 of a row.
    unsafe {
        let mask = _mm256_set1_epi8(15);
        for quarter in 0..2 {
            let nibbles = tile.codes.as_ptr().add(k).cast::<u8>().add(32 * quarter);
            let nibbles = _mm256_loadu_si256(nibbles.cast());
            let low = _mm256_and_si256(nibbles, mask);
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(nibbles), mask);
            for r in 0..R {
                let x = _mm256_set1_epi32(rows[r].codes.as_ptr().add(k).cast::<i32>().read_unaligned());
                acc[r][0][quarter] = dpbusd(acc[r][0][quarter], x, low);
                acc[r][1][quarter] = dpbusd(acc[r][1][quarter], x, high);
            }
            keep_loads_apart();
        }
    }
}
