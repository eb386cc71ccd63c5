//! AArch64: exact dot products of int8 codes, by widening multiplies and by SDOT.
//!
//! Activations are staged as int8 as well: no instruction of these multiplies mixed signs.
//!
//! The intrinsic of SDOT wants a nightly compiler, hence the inline assembly: one instruction, on values, so that the
//! compiler still chooses registers and order.
//!
//! # Safety
//! Every function needs NEON, and dotprod where its [`Products`] are [`Sdot`].

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::dot::{Group, LANES, TILE};
use std::arch::aarch64::*;
use std::arch::asm;

/// The integer products of an instruction set, as [`Token`](super::Token) describes them.
pub(super) trait Dot: Copy {
    /// # Safety
    /// See above.
    unsafe fn dot<const R: usize>(
        rows: [&[Group<i8>]; R],
        tile: &[[Group<i8>; TILE]],
        sums: &mut [[i32; TILE]; R],
    );

    /// # Safety
    /// See above.
    unsafe fn dot_blocks<const G: usize>(
        columns: &[[[Group<i8>; LANES]; G]],
        places: &[[u8; 2]],
        blocks: &[Group<i8>],
        sums: &mut [[i32; LANES]; G],
    );

    /// # Safety
    /// See above.
    unsafe fn dot_tiles<const R: usize>(
        panel: &[[Group<i8>; R]],
        places: &[[u8; 2]],
        tiles: &[[Group<i8>; LANES]],
        sums: &mut [[i32; LANES]; R],
    );
}

/// NEON alone: 8-bit products in 16 bits, where every one fits, then added in pairs to int32.
#[derive(Clone, Copy)]
pub(super) struct Widening;

/// SDOT.
#[derive(Clone, Copy)]
pub(super) struct Sdot;

impl<P: Products> Dot for P {
    #[inline(always)]
    unsafe fn dot<const R: usize>(
        rows: [&[Group<i8>]; R],
        tile: &[[Group<i8>; TILE]],
        sums: &mut [[i32; TILE]; R],
    ) {
        // SAFETY: the caller vouches for the features. 16 of the 32 registers hold sums, or 12.
        unsafe {
            match (R, P::REGISTERS) {
                (8, 1) => dot::<P, R, 2>(&rows, tile, sums),
                (8, _) => {
                    for (rows, sums) in rows.as_chunks::<4>().0.iter().zip(sums.as_chunks_mut::<4>().0) {
                        dot::<P, 4, 2>(rows, tile, sums);
                    }
                }
                (3 | 4, 1) => dot::<P, R, 4>(&rows, tile, sums),
                (3 | 4, _) => dot::<P, R, 2>(&rows, tile, sums),
                _ => dot::<P, R, 8>(&rows, tile, sums),
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
        // SAFETY: the caller vouches for the features. 16 of the 32 registers hold sums.
        unsafe {
            match (G, P::REGISTERS) {
                (1, 1) => dot_blocks::<P, G, G, 4>(columns, 0, places, blocks, sums),
                (1, _) => dot_blocks::<P, G, G, 2>(columns, 0, places, blocks, sums),
                (2, 1) => dot_blocks::<P, G, G, 2>(columns, 0, places, blocks, sums),
                (_, 1) => dot_blocks::<P, G, G, 1>(columns, 0, places, blocks, sums),
                _ => {
                    for first in (0..G).step_by(2) {
                        dot_blocks::<P, G, 2, 1>(columns, first, places, blocks, sums);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn dot_tiles<const R: usize>(
        panel: &[[Group<i8>; R]],
        places: &[[u8; 2]],
        tiles: &[[Group<i8>; LANES]],
        sums: &mut [[i32; LANES]; R],
    ) {
        // SAFETY: the caller vouches for the features. 16 of the 32 registers hold sums, of at most 8 rows.
        unsafe {
            match (R, P::REGISTERS) {
                (1, 1) => dot_tiles::<P, R, 4, 4>(panel, places, tiles, sums),
                (1, _) | (2, 1) => dot_tiles::<P, R, 4, 2>(panel, places, tiles, sums),
                (2, _) | (4, 1) => dot_tiles::<P, R, 4, 1>(panel, places, tiles, sums),
                (4, _) | (8, 1) => dot_tiles::<P, R, 2, 1>(panel, places, tiles, sums),
                _ => dot_tiles::<P, R, 1, 1>(panel, places, tiles, sums),
            }
        }
    }
}

/// Products of four groups with four groups.
pub(super) trait Products: Copy {
    /// Four sums, perhaps in parts.
    type Sums: Copy;

    /// How many registers those take.
    const REGISTERS: usize;

    /// # Safety
    /// See above, as for all of these.
    unsafe fn none() -> Self::Sums;

    /// Adds the products of each group of `a` with that of `b` in its place.
    ///
    /// # Safety
    /// See above.
    unsafe fn add(sums: Self::Sums, a: int8x16_t, b: int8x16_t) -> Self::Sums;

    /// Adds the products of each group of `a` with group `LANE` of `b`.
    ///
    /// # Safety
    /// See above.
    unsafe fn add_lane<const LANE: i32>(sums: Self::Sums, a: int8x16_t, b: int8x16_t) -> Self::Sums;

    /// The four sums.
    ///
    /// # Safety
    /// See above.
    unsafe fn total(sums: Self::Sums) -> int32x4_t;
}

impl Products for Widening {
    type Sums = [int32x4_t; 2];
    const REGISTERS: usize = 2;

    #[inline(always)]
    unsafe fn none() -> Self::Sums {
        // SAFETY: the caller vouches for NEON.
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    unsafe fn add(sums: Self::Sums, a: int8x16_t, b: int8x16_t) -> Self::Sums {
        // A second product on top, before it is widened, could overflow: 2 * 128 * 128 is 2^15.
        // SAFETY: the caller vouches for NEON.
        unsafe {
            let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
            let high = vmull_high_s8(a, b);
            [vpadalq_s16(sums[0], low), vpadalq_s16(sums[1], high)]
        }
    }

    #[inline(always)]
    unsafe fn add_lane<const LANE: i32>(sums: Self::Sums, a: int8x16_t, b: int8x16_t) -> Self::Sums {
        // SAFETY: the caller vouches for NEON.
        unsafe {
            let b = vdupq_laneq_s32::<LANE>(vreinterpretq_s32_s8(b));
            Self::add(sums, a, vreinterpretq_s8_s32(b))
        }
    }

    #[inline(always)]
    unsafe fn total(sums: Self::Sums) -> int32x4_t {
        // SAFETY: the caller vouches for NEON.
        unsafe { vpaddq_s32(sums[0], sums[1]) }
    }
}

impl Products for Sdot {
    type Sums = int32x4_t;
    const REGISTERS: usize = 1;

    #[inline(always)]
    unsafe fn none() -> Self::Sums {
        // SAFETY: the caller vouches for NEON.
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn add(sums: Self::Sums, a: int8x16_t, b: int8x16_t) -> Self::Sums {
        // SAFETY: the caller vouches for dotprod.
        unsafe { sdot(sums, a, b) }
    }

    #[inline(always)]
    unsafe fn add_lane<const LANE: i32>(sums: Self::Sums, a: int8x16_t, b: int8x16_t) -> Self::Sums {
        // SAFETY: the caller vouches for dotprod.
        unsafe { sdot_lane::<LANE>(sums, a, b) }
    }

    #[inline(always)]
    unsafe fn total(sums: Self::Sums) -> int32x4_t {
        sums
    }
}

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the processor has the instruction, by this function's features; only the register of the sums changes.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot_lane<const LANE: i32>(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: as in `sdot`.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// The four groups from `at` on.
///
/// # Safety
/// `at` points at 16 bytes.
#[inline(always)]
pub(super) unsafe fn load(at: *const Group<i8>) -> int8x16_t {
    // SAFETY: the caller vouches for NEON and the bytes; they may have any alignment.
    unsafe { vld1q_s8(at.cast()) }
}

/// A group four times.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn broadcast(group: &Group<i8>) -> int8x16_t {
    // SAFETY: the caller vouches for NEON.
    unsafe { vreinterpretq_s8_s32(vdupq_n_s32(bits(group))) }
}

/// Four codes as the i32 with the same bytes.
#[inline(always)]
pub(super) fn bits(group: &Group<i8>) -> i32 {
    bytemuck::pod_read_unaligned(bytemuck::bytes_of(group))
}

/// # Safety
/// `at` points at four sums.
#[inline(always)]
pub(super) unsafe fn add_to(at: *mut i32, sums: int32x4_t) {
    // SAFETY: the caller vouches for NEON and the four sums; they may have any alignment.
    unsafe { vst1q_s32(at, vaddq_s32(vld1q_s32(at), sums)) }
}

/// Groups of a tile that stay in the first cache while a few outputs at a time pass over them: 16 KiB.
pub(super) const DEPTH: usize = 128;

/// `C` times 4 outputs at a time. `C` divides 8.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot<P: Products, const R: usize, const C: usize>(
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
            // `len`; each load takes four groups of a row or of an element of `tile`, in which `first + 4 * c + 4 <= TILE`;
            // `add_to` takes as many sums.
            unsafe {
                let mut acc = [[P::none(); C]; R];
                for k in (start..fours).step_by(4) {
                    let mut x = [vdupq_n_s8(0); R];
                    for r in 0..R {
                        x[r] = load(rows[r].as_ptr().add(k));
                    }
                    let tile = tile.as_ptr().add(k);
                    add_input::<P, 0, R, C>(&x, tile, first, &mut acc);
                    add_input::<P, 1, R, C>(&x, tile.add(1), first, &mut acc);
                    add_input::<P, 2, R, C>(&x, tile.add(2), first, &mut acc);
                    add_input::<P, 3, R, C>(&x, tile.add(3), first, &mut acc);
                }
                for k in fours..end {
                    let mut x = [vdupq_n_s8(0); R];
                    for r in 0..R {
                        x[r] = broadcast(rows[r].get_unchecked(k));
                    }
                    add_input::<P, 0, R, C>(&x, tile.as_ptr().add(k), first, &mut acc);
                }
                for r in 0..R {
                    for c in 0..C {
                        add_to(sums[r].as_mut_ptr().add(first + 4 * c), P::total(acc[r][c]));
                    }
                }
            }
        }
    }
}

/// Adds the products of group `LANE` of each row with the groups `first` and following at `tile`.
///
/// # Safety
/// `tile` points at an element, of which `first + 4 * C` groups are there.
#[inline(always)]
unsafe fn add_input<P: Products, const LANE: i32, const R: usize, const C: usize>(
    x: &[int8x16_t; R],
    tile: *const [Group<i8>; TILE],
    first: usize,
    acc: &mut [[P::Sums; C]; R],
) {
    // SAFETY: the caller vouches for the features and for the element.
    unsafe {
        let mut w = [vdupq_n_s8(0); C];
        for c in 0..C {
            w[c] = load(tile.cast::<Group<i8>>().add(first + 4 * c));
        }
        for r in 0..R {
            for c in 0..C {
                acc[r][c] = P::add_lane::<LANE>(acc[r][c], w[c], x[r]);
            }
        }
    }
}

/// The groups of lanes `first..first + H` of `G`, with `W` partial sums, so that they need not wait for each other.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot_blocks<P: Products, const G: usize, const H: usize, const W: usize>(
    columns: &[[[Group<i8>; LANES]; G]],
    first: usize,
    places: &[[u8; 2]],
    blocks: &[Group<i8>],
    sums: &mut [[i32; LANES]; G],
) {
    let Some(sums) = sums.get_mut(first..).and_then(|sums| sums.first_chunk_mut::<H>()) else { return };
    let len = places.len().min(blocks.len());
    let (place_ways, place_rest) = places[..len].as_chunks::<W>();
    let (block_ways, block_rest) = blocks[..len].as_chunks::<W>();
    // SAFETY: the caller vouches for the features; `add_to` takes four of the 16 sums of a group.
    unsafe {
        let mut acc = [[[P::none(); 4]; H]; W];
        for (places, blocks) in place_ways.iter().zip(block_ways) {
            for way in 0..W {
                add_block::<P, G, H>(columns, first, places[way], &blocks[way], &mut acc[way]);
            }
        }
        for (place, block) in place_rest.iter().zip(block_rest) {
            add_block::<P, G, H>(columns, first, *place, block, &mut acc[0]);
        }
        for h in 0..H {
            for quarter in 0..4 {
                for acc in &acc {
                    add_to(sums[h].as_mut_ptr().add(4 * quarter), P::total(acc[h][quarter]));
                }
            }
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
unsafe fn add_block<P: Products, const G: usize, const H: usize>(
    columns: &[[[Group<i8>; LANES]; G]],
    first: usize,
    place: [u8; 2],
    block: &Group<i8>,
    acc: &mut [[P::Sums; 4]; H],
) {
    let column = columns.get(usize::from(u16::from_le_bytes(place)));
    let Some(column) = column.and_then(|column| column.get(first..)?.first_chunk::<H>()) else { return };
    // SAFETY: the caller vouches for the features; each load takes four of the 16 groups of lanes.
    unsafe {
        let w = broadcast(block);
        for h in 0..H {
            for quarter in 0..4 {
                let x = load(column[h].as_ptr().add(4 * quarter));
                acc[h][quarter] = P::add(acc[h][quarter], x, w);
            }
        }
    }
}

/// `C` times 4 outputs at a time, with `W` partial sums. `C` divides 4.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot_tiles<P: Products, const R: usize, const C: usize, const W: usize>(
    panel: &[[Group<i8>; R]],
    places: &[[u8; 2]],
    tiles: &[[Group<i8>; LANES]],
    sums: &mut [[i32; LANES]; R],
) {
    let len = places.len().min(tiles.len());
    let (place_ways, place_rest) = places[..len].as_chunks::<W>();
    let (tile_ways, tile_rest) = tiles[..len].as_chunks::<W>();
    for first in (0..LANES).step_by(4 * C) {
        // SAFETY: the caller vouches for the features; `first + 4 * c + 4` is at most `LANES`.
        unsafe {
            let mut acc = [[[P::none(); C]; R]; W];
            for (places, tiles) in place_ways.iter().zip(tile_ways) {
                for way in 0..W {
                    add_tile::<P, R, C>(panel, places[way], &tiles[way], first, &mut acc[way]);
                }
            }
            for (place, tile) in place_rest.iter().zip(tile_rest) {
                add_tile::<P, R, C>(panel, *place, tile, first, &mut acc[0]);
            }
            for r in 0..R {
                for c in 0..C {
                    for acc in &acc {
                        add_to(sums[r].as_mut_ptr().add(first + 4 * c), P::total(acc[r][c]));
                    }
                }
            }
        }
    }
}

/// # Safety
/// See above; `first + 4 * C` is at most `LANES`.
#[inline(always)]
unsafe fn add_tile<P: Products, const R: usize, const C: usize>(
    panel: &[[Group<i8>; R]],
    place: [u8; 2],
    tile: &[Group<i8>; LANES],
    first: usize,
    acc: &mut [[P::Sums; C]; R],
) {
    let Some(rows) = panel.get(usize::from(u16::from_le_bytes(place))) else { return };
    // SAFETY: the caller vouches for the features and `first`; each load takes four groups of `tile`, or those of four rows
    // of the `R`.
    unsafe {
        let mut w = [vdupq_n_s8(0); C];
        for c in 0..C {
            w[c] = load(tile.as_ptr().add(first + 4 * c));
        }
        for quad in (0..R - R % 4).step_by(4) {
            let x = load(rows.as_ptr().add(quad));
            for c in 0..C {
                acc[quad][c] = P::add_lane::<0>(acc[quad][c], w[c], x);
                acc[quad + 1][c] = P::add_lane::<1>(acc[quad + 1][c], w[c], x);
                acc[quad + 2][c] = P::add_lane::<2>(acc[quad + 2][c], w[c], x);
                acc[quad + 3][c] = P::add_lane::<3>(acc[quad + 3][c], w[c], x);
            }
        }
        for r in R - R % 4..R {
            let x = broadcast(&rows[r]);
            for c in 0..C {
                acc[r][c] = P::add(acc[r][c], w[c], x);
            }
        }
    }
}
