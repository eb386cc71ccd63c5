//! x86-64: f32 products by fused multiply-add.
//!
//! The generic bodies compile to code that keeps sums in memory; here they stay in registers.
//!
//! # Safety
//! Every function needs the features of the token that calls it: AVX-512F for `*_avx512`, AVX and FMA for `*_avx2`.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::dot::{LANES, TILE};
use super::prefetch::{self, Ahead, RUN, for_runs};
use crate::element::DType;
use std::arch::x86_64::*;

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_panel_avx512<const R: usize>(
    panel: &[[f32; R]],
    weights: &[[f32; TILE]],
    ahead: Ahead,
    sums: &mut [[f32; TILE]; R],
) {
    // SAFETY: the caller vouches for the features; `k` is below the lengths of `panel` and `weights`, and `r` below the `R` floats
    // of an element of `panel`; each vector is half of the 128 bytes of an element of `weights` or of `sums`, at any alignment.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); 2]; R];
        for r in 0..R {
            acc[r] = [_mm512_loadu_ps(sums[r].as_ptr()), _mm512_loadu_ps(sums[r].as_ptr().add(16))];
        }
        for_runs!(panel.len().min(weights.len()), RUN, |first, count| {
            ahead.ask(first);
            for k in first..first + count {
                let (rows, weights) = (panel.as_ptr().add(k).cast::<f32>(), weights.as_ptr().add(k).cast());
                let w = [_mm512_loadu_ps(weights), _mm512_loadu_ps(weights.add(16))];
                for r in 0..R {
                    let x = _mm512_set1_ps(*rows.add(r));
                    acc[r] = [_mm512_fmadd_ps(x, w[0], acc[r][0]), _mm512_fmadd_ps(x, w[1], acc[r][1])];
                }
            }
        });
        for r in 0..R {
            _mm512_storeu_ps(sums[r].as_mut_ptr(), acc[r][0]);
            _mm512_storeu_ps(sums[r].as_mut_ptr().add(16), acc[r][1]);
        }
    }
}

/// See [`Token::multiply_stored`](super::Token::multiply_stored).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_stored_avx512<const R: usize>(
    panel: &[[f32; R]],
    weights: DType,
    stored: &[u8],
    ahead: Ahead,
    widened: &mut [[f32; TILE]],
    sums: &mut [[f32; TILE]; R],
) {
    // SAFETY: the caller vouches for the features; each loader reads the 16 elements of its type at the pointer.
    unsafe {
        match weights {
            DType::F32 => {
                stored_avx512::<4, R>(panel, stored, ahead, widened, sums, |at| _mm512_loadu_ps(at.cast()))
            }
            DType::F16 => stored_avx512::<2, R>(panel, stored, ahead, widened, sums, |at| {
                _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()))
            }),
            DType::Bf16 => stored_avx512::<2, R>(panel, stored, ahead, widened, sums, |at| {
                let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
            }),
        }
    }
}

/// Widening and multiplying in one pass: conversions run beside the multiplications.
///
/// # Safety
/// See above; `load` reads 16 elements of `SIZE` bytes.
#[inline(always)]
unsafe fn stored_avx512<const SIZE: usize, const R: usize>(
    panel: &[[f32; R]],
    stored: &[u8],
    ahead: Ahead,
    widened: &mut [[f32; TILE]],
    sums: &mut [[f32; TILE]; R],
    load: impl Fn(*const u8) -> __m512,
) {
    let len = panel.len().min(stored.len() / (TILE * SIZE)).min(widened.len());
    // SAFETY: the caller vouches for the features; `k` is below `len`, so it is an element of `panel`, of which `r` is one of `R`
    // floats, and the two loads stay within the `TILE * SIZE` bytes of element `k` of `stored`; the others, and the stores, take
    // half of the 128 bytes of an element of `widened` or of `sums`; all at any alignment.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); 2]; R];
        for r in 0..R {
            acc[r] = [_mm512_loadu_ps(sums[r].as_ptr()), _mm512_loadu_ps(sums[r].as_ptr().add(16))];
        }
        for_runs!(len, RUN, |first, count| {
            ahead.ask(first);
            for k in first..first + count {
                let at = stored.as_ptr().add(k * TILE * SIZE);
                let w = [load(at), load(at.add(16 * SIZE))];
                let widened = widened.as_mut_ptr().add(k).cast();
                _mm512_storeu_ps(widened, w[0]);
                _mm512_storeu_ps(widened.add(16), w[1]);
                let rows = panel.as_ptr().add(k).cast::<f32>();
                for r in 0..R {
                    let x = _mm512_set1_ps(*rows.add(r));
                    acc[r] = [_mm512_fmadd_ps(x, w[0], acc[r][0]), _mm512_fmadd_ps(x, w[1], acc[r][1])];
                }
            }
        });
        for r in 0..R {
            _mm512_storeu_ps(sums[r].as_mut_ptr(), acc[r][0]);
            _mm512_storeu_ps(sums[r].as_mut_ptr().add(16), acc[r][1]);
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_panel_avx2<const R: usize>(
    panel: &[[f32; R]],
    weights: &[[f32; TILE]],
    ahead: Ahead,
    sums: &mut [[f32; TILE]; R],
) {
    // Two halves of a tile: 8 registers of sums for four rows.
    for half in [0, 16] {
        // SAFETY: as in `multiply_panel_avx512`, with quarters of those bytes.
        unsafe {
            let mut acc = [[_mm256_setzero_ps(); 2]; R];
            for r in 0..R {
                let sums = sums[r].as_ptr().add(half);
                acc[r] = [_mm256_loadu_ps(sums), _mm256_loadu_ps(sums.add(8))];
            }
            for_runs!(panel.len().min(weights.len()), RUN, |first, count| {
                if half == 0 {
                    ahead.ask(first);
                }
                for k in first..first + count {
                    let rows = panel.as_ptr().add(k).cast::<f32>();
                    let weights = weights.as_ptr().add(k).cast::<f32>().add(half);
                    let w = [_mm256_loadu_ps(weights), _mm256_loadu_ps(weights.add(8))];
                    for r in 0..R {
                        let x = _mm256_set1_ps(*rows.add(r));
                        acc[r] = [_mm256_fmadd_ps(x, w[0], acc[r][0]), _mm256_fmadd_ps(x, w[1], acc[r][1])];
                    }
                }
            });
            for r in 0..R {
                let sums = sums[r].as_mut_ptr().add(half);
                _mm256_storeu_ps(sums, acc[r][0]);
                _mm256_storeu_ps(sums.add(8), acc[r][1]);
            }
        }
    }
}

/// See [`Token::multiply_scaled`](super::Token::multiply_scaled).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_scaled_avx512<const R: usize>(
    panel: &[[f32; R]],
    weights: &[[f32; TILE]],
    scales: &[f32; TILE],
    sums: &mut [[f32; TILE]; R],
) {
    // SAFETY: as in `multiply_panel_avx512`.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); 2]; R];
        for (rows, weights) in panel.iter().zip(weights) {
            let w = [_mm512_loadu_ps(weights.as_ptr()), _mm512_loadu_ps(weights.as_ptr().add(16))];
            for r in 0..R {
                let x = _mm512_set1_ps(rows[r]);
                acc[r] = [_mm512_fmadd_ps(x, w[0], acc[r][0]), _mm512_fmadd_ps(x, w[1], acc[r][1])];
            }
        }
        for half in 0..2 {
            let scale = _mm512_loadu_ps(scales.as_ptr().add(16 * half));
            for r in 0..R {
                let slot = sums[r].as_mut_ptr().add(16 * half);
                _mm512_storeu_ps(slot, _mm512_fmadd_ps(acc[r][half], scale, _mm512_loadu_ps(slot)));
            }
        }
    }
}

/// As [`multiply_scaled_avx512`].
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_scaled_avx2<const R: usize>(
    panel: &[[f32; R]],
    weights: &[[f32; TILE]],
    scales: &[f32; TILE],
    sums: &mut [[f32; TILE]; R],
) {
    for half in [0, 16] {
        // SAFETY: as in `multiply_panel_avx2`.
        unsafe {
            let mut acc = [[_mm256_setzero_ps(); 2]; R];
            for (rows, weights) in panel.iter().zip(weights) {
                let weights = weights.as_ptr().add(half);
                let w = [_mm256_loadu_ps(weights), _mm256_loadu_ps(weights.add(8))];
                for r in 0..R {
                    let x = _mm256_set1_ps(rows[r]);
                    acc[r] = [_mm256_fmadd_ps(x, w[0], acc[r][0]), _mm256_fmadd_ps(x, w[1], acc[r][1])];
                }
            }
            for quarter in 0..2 {
                let at = half + 8 * quarter;
                let scale = _mm256_loadu_ps(scales.as_ptr().add(at));
                for r in 0..R {
                    let slot = sums[r].as_mut_ptr().add(at);
                    _mm256_storeu_ps(slot, _mm256_fmadd_ps(acc[r][quarter], scale, _mm256_loadu_ps(slot)));
                }
            }
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_tiles_avx512<const R: usize>(
    panel: &[[f32; R]],
    places: &[[u8; 2]],
    tiles: &[[u8; 4 * LANES]],
    sums: &mut [[f32; LANES]; R],
) {
    // SAFETY: the caller vouches for the features; each load and store stays within the 64 bytes of a tile or of a row of
    // sums, and takes any alignment.
    unsafe {
        let mut acc = [_mm512_setzero_ps(); R];
        for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
            *acc = _mm512_loadu_ps(sums.as_ptr());
        }
        let add = |place: &[u8; 2], tile: &[u8; 4 * LANES], acc: &mut [__m512; R]| {
            let Some(rows) = panel.get(usize::from(u16::from_le_bytes(*place))) else { return };
            let w = _mm512_loadu_ps(tile.as_ptr().cast());
            for (acc, x) in acc.iter_mut().zip(rows) {
                *acc = _mm512_fmadd_ps(_mm512_set1_ps(*x), w, *acc);
            }
        };
        let mut first = 0;
        if R == 1 {
            // One row alone would wait for each sum.
            let (place_ways, tile_ways) = (places.as_chunks::<4>().0, tiles.as_chunks::<4>().0);
            let mut ways = [[_mm512_setzero_ps(); R]; 4];
            for (places, tiles) in place_ways.iter().zip(tile_ways) {
                for way in 0..4 {
                    add(&places[way], &tiles[way], &mut ways[way]);
                }
            }
            let [a, b, c, d] = ways;
            let sum = _mm512_add_ps(_mm512_add_ps(a[0], b[0]), _mm512_add_ps(c[0], d[0]));
            acc[0] = _mm512_add_ps(acc[0], sum);
            first = 4 * place_ways.len().min(tile_ways.len());
        }
        for (place, tile) in places.iter().zip(tiles).skip(first) {
            add(place, tile, &mut acc);
        }
        for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
            _mm512_storeu_ps(sums.as_mut_ptr(), *acc);
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_tiles_avx2<const R: usize>(
    panel: &[[f32; R]],
    places: &[[u8; 2]],
    tiles: &[[u8; 4 * LANES]],
    sums: &mut [[f32; LANES]; R],
) {
    // SAFETY: as in `multiply_tiles_avx512`. Four rows are 8 registers of sums.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); 2]; R];
        for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
            *acc = [_mm256_loadu_ps(sums.as_ptr()), _mm256_loadu_ps(sums.as_ptr().add(8))];
        }
        for (place, tile) in places.iter().zip(tiles) {
            let Some(rows) = panel.get(usize::from(u16::from_le_bytes(*place))) else { continue };
            let tile = tile.as_ptr().cast::<f32>();
            let w = [_mm256_loadu_ps(tile), _mm256_loadu_ps(tile.add(8))];
            for (acc, x) in acc.iter_mut().zip(rows) {
                let x = _mm256_set1_ps(*x);
                acc[0] = _mm256_fmadd_ps(x, w[0], acc[0]);
                acc[1] = _mm256_fmadd_ps(x, w[1], acc[1]);
            }
        }
        for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
            _mm256_storeu_ps(sums.as_mut_ptr(), acc[0]);
            _mm256_storeu_ps(sums.as_mut_ptr().add(8), acc[1]);
        }
    }
}

/// See [`Token::multiply_row`](super::Token::multiply_row).
///
/// # Safety
/// See above; F16C as well.
#[inline(always)]
pub(super) unsafe fn multiply_row_avx512<const N: usize, const FAR: bool>(
    row: &[f32],
    weights: DType,
    tiles: [&[u8]; N],
    sums: &mut [[f32; TILE]; N],
) {
    // SAFETY: the caller vouches for the features; each loader reads the 16 elements of its type at the pointer.
    unsafe {
        match weights {
            DType::F32 => row_avx512::<4, N, FAR>(row, tiles, sums, |at| _mm512_loadu_ps(at.cast())),
            // Converting twice as many at a time takes more than twice as long on Zen 4. Four tiles are 16 registers of sums.
            DType::F16 => {
                for (tiles, sums) in tiles.as_chunks::<4>().0.iter().zip(sums.as_chunks_mut::<4>().0) {
                    row_avx2::<2, 4, RUN, FAR>(row, tiles, sums, |at| {
                        _mm256_cvtph_ps(_mm_loadu_si128(at.cast()))
                    });
                }
            }
            DType::Bf16 => row_avx512::<2, N, FAR>(row, tiles, sums, |at| {
                let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
            }),
        }
    }
}

/// # Safety
/// As [`multiply_row_avx512`]; `load` reads 16 elements of `SIZE` bytes.
#[inline(always)]
unsafe fn row_avx512<const SIZE: usize, const N: usize, const FAR: bool>(
    row: &[f32],
    tiles: [&[u8]; N],
    sums: &mut [[f32; TILE]; N],
    load: impl Fn(*const u8) -> __m512,
) {
    let len = tiles.iter().map(|tile| tile.len() / (TILE * SIZE)).min().unwrap_or(0).min(row.len());
    // SAFETY: the caller vouches for the features; `k + i` is below `len`, so it is an element of the row, and the two loads stay
    // within that element of each tile; those of sums stay within their 128 bytes; all take any alignment.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); 2]; N];
        for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
            *acc = [_mm512_loadu_ps(sums.as_ptr()), _mm512_loadu_ps(sums.as_ptr().add(16))];
        }
        for_runs!(len, RUN, |k, count| {
            for t in 0..N {
                let at = tiles[t].as_ptr().add(k * TILE * SIZE);
                if FAR {
                    prefetch::far(at, count * TILE * SIZE);
                }
                for i in 0..count {
                    let x = _mm512_set1_ps(*row.get_unchecked(k + i));
                    let at = at.add(i * TILE * SIZE);
                    acc[t][0] = _mm512_fmadd_ps(x, load(at), acc[t][0]);
                    acc[t][1] = _mm512_fmadd_ps(x, load(at.add(16 * SIZE)), acc[t][1]);
                }
            }
        });
        for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
            _mm512_storeu_ps(sums.as_mut_ptr(), acc[0]);
            _mm512_storeu_ps(sums.as_mut_ptr().add(16), acc[1]);
        }
    }
}

/// See [`Token::multiply_row`](super::Token::multiply_row).
///
/// # Safety
/// See above; F16C as well.
#[inline(always)]
pub(super) unsafe fn multiply_row_avx2<const N: usize, const FAR: bool>(
    row: &[f32],
    weights: DType,
    tiles: [&[u8]; N],
    sums: &mut [[f32; TILE]; N],
) {
    // Two tiles at a time: 8 of the 16 registers hold sums. From memory, two streams come faster a step at a time.
    for (tiles, sums) in tiles.as_chunks::<2>().0.iter().zip(sums.as_chunks_mut::<2>().0) {
        // SAFETY: the caller vouches for the features.
        unsafe {
            if FAR {
                pair_avx2::<1, true>(row, weights, tiles, sums);
            } else {
                pair_avx2::<RUN, false>(row, weights, tiles, sums);
            }
        }
    }
}

/// # Safety
/// As [`multiply_row_avx2`].
#[inline(always)]
unsafe fn pair_avx2<const RUN: usize, const FAR: bool>(
    row: &[f32],
    weights: DType,
    tiles: &[&[u8]; 2],
    sums: &mut [[f32; TILE]; 2],
) {
    // SAFETY: the caller vouches for the features; each loader reads the 8 elements of its type at the pointer.
    unsafe {
        match weights {
            DType::F32 => row_avx2::<4, 2, RUN, FAR>(row, tiles, sums, |at| _mm256_loadu_ps(at.cast())),
            DType::F16 => {
                row_avx2::<2, 2, RUN, FAR>(row, tiles, sums, |at| _mm256_cvtph_ps(_mm_loadu_si128(at.cast())))
            }
            DType::Bf16 => row_avx2::<2, 2, RUN, FAR>(row, tiles, sums, |at| {
                let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
            }),
        }
    }
}

/// # Safety
/// As [`multiply_row_avx2`]; `load` reads 8 elements of `SIZE` bytes.
#[inline(always)]
unsafe fn row_avx2<const SIZE: usize, const TILES: usize, const RUN: usize, const FAR: bool>(
    row: &[f32],
    tiles: &[&[u8]; TILES],
    sums: &mut [[f32; TILE]; TILES],
    load: impl Fn(*const u8) -> __m256,
) {
    let len = tiles.iter().map(|tile| tile.len() / (TILE * SIZE)).min().unwrap_or(0).min(row.len());
    // SAFETY: as in `row_avx512`.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); 4]; TILES];
        for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
            for (quarter, acc) in acc.iter_mut().enumerate() {
                *acc = _mm256_loadu_ps(sums.as_ptr().add(8 * quarter));
            }
        }
        for_runs!(len, RUN, |k, count| {
            for t in 0..TILES {
                let at = tiles[t].as_ptr().add(k * TILE * SIZE);
                if FAR {
                    prefetch::far(at, count * TILE * SIZE);
                }
                for i in 0..count {
                    let x = _mm256_set1_ps(*row.get_unchecked(k + i));
                    let at = at.add(i * TILE * SIZE);
                    for quarter in 0..4 {
                        acc[t][quarter] =
                            _mm256_fmadd_ps(x, load(at.add(8 * SIZE * quarter)), acc[t][quarter]);
                    }
                }
            }
        });
        for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
            for (quarter, acc) in acc.iter().enumerate() {
                _mm256_storeu_ps(sums.as_mut_ptr().add(8 * quarter), *acc);
            }
        }
    }
}
