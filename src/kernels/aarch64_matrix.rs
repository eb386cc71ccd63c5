//! AArch64: exact products of int8 matrices, by SMMLA.
//!
//! SMMLA adds the products of two rows with two outputs, eight inputs deep: twice as many as SDOT does at a time. Packed
//! weights have four inputs of an output side by side, not eight, so two groups are zipped first; over four rows or more that
//! costs less than it saves. Fewer rows, and outputs one by one, are left to SDOT. (USDOT and USMMLA would take activations as
//! uint8, but do no more at a time, and moving a zero point is free.)
//!
//! # Safety
//! Every function needs NEON, dotprod and i8mm.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::aarch64_dot::{DEPTH, Dot, Sdot, add_to, bits, load};
use super::dot::{Group, LANES, TILE};
use std::arch::aarch64::*;
use std::arch::asm;

/// SMMLA where there are pairs of rows and of outputs, else SDOT.
#[derive(Clone, Copy)]
pub(super) struct Smmla;

impl Dot for Smmla {
    #[inline(always)]
    unsafe fn dot<const R: usize>(
        rows: [&[Group<i8>]; R],
        tile: &[[Group<i8>; TILE]],
        sums: &mut [[i32; TILE]; R],
    ) {
        // SAFETY: the caller vouches for the features. 16 of the 32 registers hold sums.
        unsafe {
            match R {
                8 => dot::<R, 2>(&rows, tile, sums),
                4 => dot::<R, 4>(&rows, tile, sums),
                _ => Sdot::dot(rows, tile, sums),
            }
        }
    }

    #[inline(always)]
    unsafe fn dot_blocks<const G: usize>(
        columns: &[[[Group<i8>; LANES]; G]],
        places: &[[u8; 2]],
        blocks: &[Group<i8>],
        sums: &mut [[i32; LANES]; G],
    ) {
        // SAFETY: the caller vouches for the features.
        unsafe { Sdot::dot_blocks(columns, places, blocks, sums) }
    }

    #[inline(always)]
    unsafe fn dot_tiles<const R: usize>(
        panel: &[[Group<i8>; R]],
        places: &[[u8; 2]],
        tiles: &[[Group<i8>; LANES]],
        sums: &mut [[i32; LANES]; R],
    ) {
        // SAFETY: the caller vouches for the features. 16 of the 32 registers hold sums.
        unsafe {
            match R {
                8 => dot_tiles::<R, 2>(panel, places, tiles, sums),
                4 => dot_tiles::<R, 4>(panel, places, tiles, sums),
                _ => Sdot::dot_tiles(panel, places, tiles, sums),
            }
        }
    }
}

/// Two rows of eight in `a` times two of eight in `b`: four sums, those of the first row of `a` first.
#[target_feature(enable = "neon,i8mm")]
#[inline]
fn smmla(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: as in `sdot`.
    unsafe {
        asm!(
            "smmla {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Sums of `R` rows and `C` times four outputs, in pairs: `[2 p][c]` holds those of rows `2 p` and `2 p + 1` with the first
/// two of the four outputs, `[2 p + 1][c]` those with the last two.
type Sums<const R: usize, const C: usize> = [[int32x4_t; C]; R];

/// Adds the products of eight inputs: `x[p]` holds those of rows `2 p` and `2 p + 1`, `w[c]` two groups of four outputs each.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn add<const R: usize, const C: usize>(
    x: &[int8x16_t; R],
    w: &[[int8x16_t; 2]; C],
    acc: &mut Sums<R, C>,
) {
    for c in 0..C {
        // SAFETY: the caller vouches for the features.
        unsafe {
            let [low, high] = zip_groups(w[c][0], w[c][1]);
            for pair in 0..R / 2 {
                acc[2 * pair][c] = smmla(acc[2 * pair][c], x[pair], low);
                acc[2 * pair + 1][c] = smmla(acc[2 * pair + 1][c], x[pair], high);
            }
        }
    }
}

/// Of the groups `a0 a1 a2 a3` and `b0 b1 b2 b3`: `a0 b0 a1 b1`, and `a2 b2 a3 b3`.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn zip_groups(a: int8x16_t, b: int8x16_t) -> [int8x16_t; 2] {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let (a, b) = (vreinterpretq_s32_s8(a), vreinterpretq_s32_s8(b));
        [vreinterpretq_s8_s32(vzip1q_s32(a, b)), vreinterpretq_s8_s32(vzip2q_s32(a, b))]
    }
}

/// The first halves of `a` and `b`, and the second ones.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn zip_halves(a: int64x2_t, b: int64x2_t) -> [int64x2_t; 2] {
    // SAFETY: the caller vouches for the features.
    unsafe { [vzip1q_s64(a, b), vzip2q_s64(a, b)] }
}

/// Adds to the sums of each row from output `first` on.
///
/// # Safety
/// See above; `first + 4 * C` is at most `N`.
#[inline(always)]
unsafe fn finish<const N: usize, const R: usize, const C: usize>(
    acc: &Sums<R, C>,
    first: usize,
    sums: &mut [[i32; N]; R],
) {
    for pair in 0..R / 2 {
        for c in 0..C {
            // SAFETY: the caller vouches for the features and `first`; `add_to` takes four sums.
            unsafe {
                let (low, high) = (acc[2 * pair][c], acc[2 * pair + 1][c]);
                let rows = zip_halves(vreinterpretq_s64_s32(low), vreinterpretq_s64_s32(high));
                for r in 0..2 {
                    let at = sums[2 * pair + r].as_mut_ptr().add(first + 4 * c);
                    add_to(at, vreinterpretq_s32_s64(rows[r]));
                }
            }
        }
    }
}

/// `C` times 4 outputs at a time. `C` divides 8, 2 divides `R`.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot<const R: usize, const C: usize>(
    rows: &[&[Group<i8>]; R],
    tile: &[[Group<i8>; TILE]],
    sums: &mut [[i32; TILE]; R],
) {
    let len = rows.iter().map(|row| row.len()).min().unwrap_or(0).min(tile.len());
    for start in (0..len).step_by(DEPTH) {
        let end = len.min(start + DEPTH);
        let fours = end - (end - start) % 4;
        for first in (0..TILE).step_by(4 * C) {
            // SAFETY: the caller vouches for the features; `k`, and `k + 3` where four are taken, is below `end`, so below
            // `len`; each load takes four groups of a row or of an element of `tile`, in which `first + 4 * c + 4 <= TILE`.
            unsafe {
                let zero = vdupq_n_s8(0);
                let weights =
                    |k: usize, c: usize| load(tile.as_ptr().add(k).cast::<Group<i8>>().add(first + 4 * c));
                let mut acc = [[vdupq_n_s32(0); C]; R];
                for k in (start..fours).step_by(4) {
                    let (mut x, mut later_x) = ([zero; R], [zero; R]);
                    for pair in 0..R / 2 {
                        let a = vreinterpretq_s64_s8(load(rows[2 * pair].as_ptr().add(k)));
                        let b = vreinterpretq_s64_s8(load(rows[2 * pair + 1].as_ptr().add(k)));
                        let [low, high] = zip_halves(a, b);
                        x[pair] = vreinterpretq_s8_s64(low);
                        later_x[pair] = vreinterpretq_s8_s64(high);
                    }
                    let (mut w, mut later_w) = ([[zero; 2]; C], [[zero; 2]; C]);
                    for c in 0..C {
                        w[c] = [weights(k, c), weights(k + 1, c)];
                        later_w[c] = [weights(k + 2, c), weights(k + 3, c)];
                    }
                    add(&x, &w, &mut acc);
                    add(&later_x, &later_w, &mut acc);
                }
                // One group at a time, beside one of zeros.
                for k in fours..end {
                    let (mut x, mut w) = ([zero; R], [[zero; 2]; C]);
                    for pair in 0..R / 2 {
                        let both = vsetq_lane_s32::<0>(bits(rows[2 * pair].get_unchecked(k)), vdupq_n_s32(0));
                        let both = vsetq_lane_s32::<2>(bits(rows[2 * pair + 1].get_unchecked(k)), both);
                        x[pair] = vreinterpretq_s8_s32(both);
                    }
                    for c in 0..C {
                        w[c][0] = weights(k, c);
                    }
                    add(&x, &w, &mut acc);
                }
                finish(&acc, first, sums);
            }
        }
    }
}

/// `C` times 4 outputs at a time. `C` divides 4, 4 divides `R`.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot_tiles<const R: usize, const C: usize>(
    panel: &[[Group<i8>; R]],
    places: &[[u8; 2]],
    tiles: &[[Group<i8>; LANES]],
    sums: &mut [[i32; LANES]; R],
) {
    // What stands where a place is past the end, or where the last tile has no neighbour.
    let nothing = [[0; 4]; R];
    let rows_at = |place: [u8; 2]| panel.get(usize::from(u16::from_le_bytes(place))).unwrap_or(&nothing);
    let len = places.len().min(tiles.len());
    let (places, place_rest) = places[..len].as_chunks::<2>();
    let (tiles, tile_rest) = tiles[..len].as_chunks::<2>();
    for first in (0..LANES).step_by(4 * C) {
        // SAFETY: the caller vouches for the features; `first + 4 * C` is at most `LANES`.
        unsafe {
            let mut acc = [[vdupq_n_s32(0); C]; R];
            for (places, [tile, next]) in places.iter().zip(tiles) {
                add_tiles([rows_at(places[0]), rows_at(places[1])], [tile, next], first, &mut acc);
            }
            if let ([place], [tile]) = (place_rest, tile_rest) {
                add_tiles([rows_at(*place), &nothing], [tile, tile], first, &mut acc);
            }
            finish(&acc, first, sums);
        }
    }
}

/// Two tiles.
///
/// # Safety
/// See above; `first + 4 * C` is at most `LANES`.
#[inline(always)]
unsafe fn add_tiles<const R: usize, const C: usize>(
    rows: [&[Group<i8>; R]; 2],
    tiles: [&[Group<i8>; LANES]; 2],
    first: usize,
    acc: &mut Sums<R, C>,
) {
    // SAFETY: the caller vouches for the features and `first`; each load takes four groups of a tile, or those of four rows
    // of the `R`.
    unsafe {
        let zero = vdupq_n_s8(0);
        let (mut x, mut w) = ([zero; R], [[zero; 2]; C]);
        for quad in 0..R / 4 {
            let [a, b] = rows.map(|rows| load(rows.as_ptr().add(4 * quad)));
            let [low, high] = zip_groups(a, b);
            x[2 * quad] = low;
            x[2 * quad + 1] = high;
        }
        for c in 0..C {
            w[c] = tiles.map(|tile| load(tile.as_ptr().add(first + 4 * c)));
        }
        add(&x, &w, acc);
    }
}
