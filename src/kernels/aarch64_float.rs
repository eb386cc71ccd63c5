//! AArch64: f32 products by fused multiply-add.
//!
//! The generic bodies compile to code that keeps sums in memory; here they stay in registers.
//!
//! # Safety
//! Every function needs NEON.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::dot::{LANES, TILE};
use crate::element::DType;
use std::arch::aarch64::*;
use std::arch::asm;

/// See [`Token::multiply_panel`](super::Token::multiply_panel).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_panel<const R: usize>(
    panel: &[[f32; R]],
    weights: &[[f32; TILE]],
    sums: &mut [[f32; TILE]; R],
) {
    // SAFETY: the caller vouches for NEON. 16 of the 32 registers hold sums, or 8 of one row.
    unsafe {
        match R {
            8 => multiply_columns::<R, 2>(panel, weights, sums),
            4 => multiply_columns::<R, 4>(panel, weights, sums),
            _ => multiply_columns::<R, 8>(panel, weights, sums),
        }
    }
}

/// [`multiply_panel`], `C` times 4 outputs at a time. `C` divides 8.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn multiply_columns<const R: usize, const C: usize>(
    panel: &[[f32; R]],
    weights: &[[f32; TILE]],
    sums: &mut [[f32; TILE]; R],
) {
    for first in (0..TILE).step_by(4 * C) {
        // SAFETY: the caller vouches for NEON; `first + 4 * C` is at most the `TILE` elements of weights and sums.
        unsafe {
            let mut acc = load_sums::<TILE, R, C>(sums, first);
            for (rows, weights) in panel.iter().zip(weights) {
                add(rows, weights.as_ptr().add(first), &mut acc);
            }
            store_sums(&acc, first, sums);
        }
    }
}

/// See [`Token::multiply_scaled`](super::Token::multiply_scaled).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_scaled<const R: usize>(
    panel: &[[f32; R]],
    weights: &[[f32; TILE]],
    scales: &[f32; TILE],
    sums: &mut [[f32; TILE]; R],
) {
    let mut products = [[0.0; TILE]; R];
    // SAFETY: the caller vouches for NEON; each access takes four of the `TILE` elements of scales, products and sums.
    unsafe {
        multiply_panel(panel, weights, &mut products);
        for first in (0..TILE).step_by(4) {
            let scale = vld1q_f32(scales.as_ptr().add(first));
            for r in 0..R {
                let slot = sums[r].as_mut_ptr().add(first);
                let product = vld1q_f32(products[r].as_ptr().add(first));
                vst1q_f32(slot, vfmaq_f32(vld1q_f32(slot), product, scale));
            }
        }
    }
}

/// See [`Token::multiply_tiles`](super::Token::multiply_tiles).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_tiles<const R: usize>(
    panel: &[[f32; R]],
    places: &[[u8; 2]],
    tiles: &[[u8; 4 * LANES]],
    sums: &mut [[f32; LANES]; R],
) {
    // SAFETY: the caller vouches for NEON. 16 of the 32 registers hold sums, or 8 of two rows.
    unsafe {
        match R {
            // One row alone would wait for each sum.
            1 => tile_columns::<R, 4, 4>(panel, places, tiles, sums),
            2 | 4 => tile_columns::<R, 4, 1>(panel, places, tiles, sums),
            _ => tile_columns::<R, 2, 1>(panel, places, tiles, sums),
        }
    }
}

/// [`multiply_tiles`], `C` times 4 outputs at a time, with `W` partial sums. `C` divides 4.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn tile_columns<const R: usize, const C: usize, const W: usize>(
    panel: &[[f32; R]],
    places: &[[u8; 2]],
    tiles: &[[u8; 4 * LANES]],
    sums: &mut [[f32; LANES]; R],
) {
    let len = places.len().min(tiles.len());
    let (place_ways, place_rest) = places[..len].as_chunks::<W>();
    let (tile_ways, tile_rest) = tiles[..len].as_chunks::<W>();
    for first in (0..LANES).step_by(4 * C) {
        // SAFETY: the caller vouches for NEON; `first + 4 * C` is at most the `LANES` elements of a tile and of sums.
        unsafe {
            let mut acc = [[[vdupq_n_f32(0.0); C]; R]; W];
            acc[0] = load_sums::<LANES, R, C>(sums, first);
            let add = |place: [u8; 2], tile: &[u8; 4 * LANES], acc: &mut [[float32x4_t; C]; R]| {
                let Some(rows) = panel.get(usize::from(u16::from_le_bytes(place))) else { return };
                add(rows, tile.as_ptr().cast::<f32>().add(first), acc);
            };
            for (places, tiles) in place_ways.iter().zip(tile_ways) {
                for way in 0..W {
                    add(places[way], &tiles[way], &mut acc[way]);
                }
            }
            for (place, tile) in place_rest.iter().zip(tile_rest) {
                add(*place, tile, &mut acc[0]);
            }
            for way in 1..W {
                for r in 0..R {
                    for c in 0..C {
                        acc[0][r][c] = vaddq_f32(acc[0][r][c], acc[way][r][c]);
                    }
                }
            }
            store_sums(&acc[0], first, sums);
        }
    }
}

/// # Safety
/// See above; `first + 4 * C` is at most `N`.
#[inline(always)]
unsafe fn load_sums<const N: usize, const R: usize, const C: usize>(
    sums: &[[f32; N]; R],
    first: usize,
) -> [[float32x4_t; C]; R] {
    // SAFETY: the caller vouches for NEON and `first`.
    unsafe {
        let mut acc = [[vdupq_n_f32(0.0); C]; R];
        for r in 0..R {
            for c in 0..C {
                acc[r][c] = vld1q_f32(sums[r].as_ptr().add(first + 4 * c));
            }
        }
        acc
    }
}

/// # Safety
/// As [`load_sums`].
#[inline(always)]
unsafe fn store_sums<const N: usize, const R: usize, const C: usize>(
    acc: &[[float32x4_t; C]; R],
    first: usize,
    sums: &mut [[f32; N]; R],
) {
    for r in 0..R {
        for c in 0..C {
            // SAFETY: the caller vouches for NEON and `first`.
            unsafe { vst1q_f32(sums[r].as_mut_ptr().add(first + 4 * c), acc[r][c]) };
        }
    }
}

/// Adds the products of each row with `C` times 4 weights.
///
/// # Safety
/// See above; `weights` points at those weights, at any alignment.
#[inline(always)]
unsafe fn add<const R: usize, const C: usize>(
    rows: &[f32; R],
    weights: *const f32,
    acc: &mut [[float32x4_t; C]; R],
) {
    // SAFETY: the caller vouches for NEON and the weights; loads of rows take four of the `R`.
    unsafe {
        let mut w = [vdupq_n_f32(0.0); C];
        for c in 0..C {
            w[c] = vreinterpretq_f32_u8(vld1q_u8(weights.cast::<u8>().add(16 * c)));
        }
        for quad in (0..R - R % 4).step_by(4) {
            let x = vld1q_f32(rows.as_ptr().add(quad));
            for c in 0..C {
                acc[quad][c] = vfmaq_laneq_f32::<0>(acc[quad][c], w[c], x);
                acc[quad + 1][c] = vfmaq_laneq_f32::<1>(acc[quad + 1][c], w[c], x);
                acc[quad + 2][c] = vfmaq_laneq_f32::<2>(acc[quad + 2][c], w[c], x);
                acc[quad + 3][c] = vfmaq_laneq_f32::<3>(acc[quad + 3][c], w[c], x);
            }
        }
        for r in R - R % 4..R {
            let x = vdupq_n_f32(rows[r]);
            for c in 0..C {
                acc[r][c] = vfmaq_f32(acc[r][c], w[c], x);
            }
        }
    }
}

/// See [`Token::multiply_places`](super::Token::multiply_places).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_places<const G: usize>(
    columns: &[[[f32; LANES]; G]],
    places: &[[u8; 2]],
    values: &[[u8; 4]],
    sums: &mut [[f32; LANES]; G],
) {
    // SAFETY: the caller vouches for NEON. 16 of the 32 registers hold sums.
    unsafe {
        match G {
            1 => place_ways::<G, 4>(columns, places, values, sums),
            _ => place_ways::<G, 2>(columns, places, values, sums),
        }
    }
}

/// [`multiply_places`] with `W` partial sums, so that they need not wait for each other.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn place_ways<const G: usize, const W: usize>(
    columns: &[[[f32; LANES]; G]],
    places: &[[u8; 2]],
    values: &[[u8; 4]],
    sums: &mut [[f32; LANES]; G],
) {
    let len = places.len().min(values.len());
    let (ways, rest) = places[..len].as_chunks::<W>();
    let (value_ways, value_rest) = values[..len].as_chunks::<W>();
    // SAFETY: the caller vouches for NEON; each load takes four of the 16 lanes of a group.
    unsafe {
        let add = |place: [u8; 2], value: [u8; 4], acc: &mut [[float32x4_t; 4]; G]| {
            let Some(column) = columns.get(usize::from(u16::from_le_bytes(place))) else { return };
            let value = vdupq_n_f32(f32::from_le_bytes(value));
            for g in 0..G {
                for quarter in 0..4 {
                    let x = vld1q_f32(column[g].as_ptr().add(4 * quarter));
                    acc[g][quarter] = vfmaq_f32(acc[g][quarter], x, value);
                }
            }
        };
        let mut acc = [[[vdupq_n_f32(0.0); 4]; G]; W];
        acc[0] = load_sums::<LANES, G, 4>(sums, 0);
        for (places, values) in ways.iter().zip(value_ways) {
            for way in 0..W {
                add(places[way], values[way], &mut acc[way]);
            }
        }
        for (place, value) in rest.iter().zip(value_rest) {
            add(*place, *value, &mut acc[0]);
        }
        for way in 1..W {
            for g in 0..G {
                for quarter in 0..4 {
                    acc[0][g][quarter] = vaddq_f32(acc[0][g][quarter], acc[way][g][quarter]);
                }
            }
        }
        store_sums(&acc[0], 0, sums);
    }
}

/// See [`Token::multiply_row`](super::Token::multiply_row).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply_row<const N: usize>(
    row: &[f32],
    weights: DType,
    tiles: [&[u8]; N],
    sums: &mut [[f32; TILE]; N],
) {
    // Two tiles at a time: 16 of the 32 registers hold sums.
    for (tiles, sums) in tiles.as_chunks::<2>().0.iter().zip(sums.as_chunks_mut::<2>().0) {
        // SAFETY: the caller vouches for NEON; each loader reads the 8 elements of its type at the pointer.
        unsafe {
            match weights {
                DType::F32 => row_of::<4>(row, tiles, sums, |at| {
                    [vld1q_u8(at), vld1q_u8(at.add(16))].map(|bytes| vreinterpretq_f32_u8(bytes))
                }),
                DType::F16 => row_of::<2>(row, tiles, sums, |at| widen_f16(vld1q_u8(at))),
                DType::Bf16 => row_of::<2>(row, tiles, sums, |at| {
                    let halves = vreinterpretq_u16_u8(vld1q_u8(at));
                    [vshll_n_u16::<0>(vget_low_u16(halves)), vshll_high_n_u16::<0>(halves)]
                        .map(|bits| vreinterpretq_f32_u32(vshlq_n_u32::<16>(bits)))
                }),
            }
        }
    }
}

/// # Safety
/// See above; `load` reads 8 elements of `SIZE` bytes.
#[inline(always)]
unsafe fn row_of<const SIZE: usize>(
    row: &[f32],
    tiles: &[&[u8]; 2],
    sums: &mut [[f32; TILE]; 2],
    load: impl Fn(*const u8) -> [float32x4_t; 2],
) {
    let len = tiles.iter().map(|tile| tile.len() / (TILE * SIZE)).min().unwrap_or(0).min(row.len());
    // SAFETY: the caller vouches for NEON; `k` is below `len`, so the loads stay within element `k` of each tile.
    unsafe {
        let mut acc = load_sums::<TILE, 2, 8>(sums, 0);
        for k in 0..len {
            let x = vdupq_n_f32(row[k]);
            for t in 0..2 {
                let at = tiles[t].as_ptr().add(k * TILE * SIZE);
                for pair in 0..4 {
                    let [low, high] = load(at.add(8 * SIZE * pair));
                    acc[t][2 * pair] = vfmaq_f32(acc[t][2 * pair], low, x);
                    acc[t][2 * pair + 1] = vfmaq_f32(acc[t][2 * pair + 1], high, x);
                }
            }
        }
        store_sums(&acc, 0, sums);
    }
}

/// Exact. The bits of 8 f16 become f32.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn widen_f16(halves: uint8x16_t) -> [float32x4_t; 2] {
    let (low, high);
    // SAFETY: the caller vouches for NEON; only the two named registers change.
    unsafe {
        asm!(
            "fcvtl {low:v}.4s, {halves:v}.4h",
            "fcvtl2 {high:v}.4s, {halves:v}.8h",
            halves = in(vreg) halves,
            low = out(vreg) low,
            high = lateout(vreg) high,
            options(pure, nomem, nostack),
        );
    }
    [low, high]
}
