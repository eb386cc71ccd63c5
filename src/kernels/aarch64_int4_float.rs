//! AArch64: products of an f32 row and 4-bit weights in groups.
//!
//! Nibbles become numbers where they lie in a word, as the x86-64 kernels do it: with the exponent of `2^(23 - p)` above a
//! nibble at bit `p`, and all other bits 0, the word is `2^(23 - p) + nibble` in f32.
//!
//! # Safety
//! Every function needs NEON.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::dot::TILE;
use super::int4::{HALF, Int4Tile, Nibbles};
use super::int4_float::{self, INPUTS};
use std::arch::aarch64::*;

/// Outputs of a register.
const WIDTH: usize = 4;

/// Registers of half a tile.
const QUADS: usize = HALF / WIDTH;

/// See [`Token::multiply_int4_floats`](super::Token::multiply_int4_floats).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn multiply(row: &[f32], tile: Int4Tile<'_>, sums: &mut [f32; TILE]) {
    let len = tile.inputs(row.len());
    let mut first = 0;
    while first < len {
        let (group, end) = tile.span(first, len);
        let zeros = tile.zeros(group);
        // SAFETY: the caller vouches for NEON; `k` is below `end`, which is at most `len`, so each load stays within one element
        // of a slice (64 bytes of nibbles, 128 of scales, 4 of the row), each access of `sums` within its 128 bytes; all take
        // any alignment.
        unsafe {
            let mut acc = [[vdupq_n_f32(0.0); QUADS]; 2];
            let mut k = first;
            while k + INPUTS <= end {
                let x = vreinterpretq_f32_u8(vld1q_u8(row.as_ptr().add(k).cast()));
                for q in 0..QUADS {
                    let words = load(tile.codes.as_ptr().add(k / INPUTS), q);
                    let upper = vshrq_n_u32::<16>(words);
                    let zero = vld1q_f32(zeros.as_ptr().add(WIDTH * q));
                    let mut low = acc[0][q];
                    low = vfmaq_laneq_f32::<0>(low, steps::<0>(words, zero), x);
                    low = vfmaq_laneq_f32::<1>(low, steps::<8>(words, zero), x);
                    low = vfmaq_laneq_f32::<2>(low, steps::<16>(words, zero), x);
                    acc[0][q] = vfmaq_laneq_f32::<3>(low, steps::<8>(upper, zero), x);
                    let zero = vld1q_f32(zeros.as_ptr().add(HALF + WIDTH * q));
                    let mut high = acc[1][q];
                    high = vfmaq_laneq_f32::<0>(high, steps::<4>(words, zero), x);
                    high = vfmaq_laneq_f32::<1>(high, steps::<12>(words, zero), x);
                    high = vfmaq_laneq_f32::<2>(high, steps::<4>(upper, zero), x);
                    acc[1][q] = vfmaq_laneq_f32::<3>(high, steps::<12>(upper, zero), x);
                }
                k += INPUTS;
            }
            while k < end {
                let x = vdupq_n_f32(*row.as_ptr().add(k));
                for half in 0..2 {
                    let place = vdupq_n_s32(-((8 * (k % INPUTS) + 4 * half) as i32));
                    for q in 0..QUADS {
                        let nibbles = vandq_u32(
                            vshlq_u32(load(tile.codes.as_ptr().add(k / INPUTS), q), place),
                            vdupq_n_u32(15),
                        );
                        let zero = vld1q_f32(zeros.as_ptr().add(HALF * half + WIDTH * q));
                        let steps = vsubq_f32(vcvtq_f32_u32(nibbles), zero);
                        acc[half][q] = vfmaq_f32(acc[half][q], steps, x);
                    }
                }
                k += 1;
            }
            for half in 0..2 {
                for q in 0..QUADS {
                    let at = HALF * half + WIDTH * q;
                    let scales = tile.scales.as_ptr().add(group).cast::<u8>().add(4 * at);
                    let scale = vreinterpretq_f32_u8(vld1q_u8(scales));
                    let slot = sums.as_mut_ptr().add(at);
                    vst1q_f32(slot, vfmaq_f32(vld1q_f32(slot), acc[half][q], scale));
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
pub(super) unsafe fn widen_steps(codes: &[Nibbles], zeros: &[f32; TILE], widened: &mut [[f32; TILE]]) {
    let (blocks, rest) = widened.as_chunks_mut::<INPUTS>();
    let codes_rest = codes.get(blocks.len()..).unwrap_or_default();
    for q in 0..QUADS {
        let at = WIDTH * q;
        // SAFETY: the caller vouches for NEON; each load takes a quarter of the 64 bytes of nibbles or four zeros, each store four
        // of the 32 outputs of an element.
        unsafe {
            let (low, high) = (vld1q_f32(zeros.as_ptr().add(at)), vld1q_f32(zeros.as_ptr().add(HALF + at)));
            for (nibbles, widened) in codes.iter().zip(&mut *blocks) {
                let words = load(nibbles, q);
                let upper = vshrq_n_u32::<16>(words);
                let halves = [
                    [steps::<0>(words, low), steps::<4>(words, high)],
                    [steps::<8>(words, low), steps::<12>(words, high)],
                    [steps::<16>(words, low), steps::<4>(upper, high)],
                    [steps::<8>(upper, low), steps::<12>(upper, high)],
                ];
                for i in 0..INPUTS {
                    vst1q_f32(widened[i].as_mut_ptr().add(at), halves[i][0]);
                    vst1q_f32(widened[i].as_mut_ptr().add(HALF + at), halves[i][1]);
                }
            }
        }
    }
    int4_float::widen_steps(codes_rest, zeros, rest);
}

/// The nibbles of four outputs: low ones of outputs `4 * q` and following, high ones of those 16 further.
///
/// # Safety
/// See above; `nibbles` points at such, and `q` is below [`QUADS`].
#[inline(always)]
unsafe fn load(nibbles: *const Nibbles, q: usize) -> uint32x4_t {
    // SAFETY: the caller vouches for NEON, the pointer and `q`; the load takes a quarter of the 64 bytes, at any alignment.
    unsafe { vreinterpretq_u32_u8(vld1q_u8(nibbles.cast::<u8>().add(16 * q))) }
}

/// The nibbles at bit `P` of each word, less their zero points, exactly. `P` is at most 16.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn steps<const P: i32>(words: uint32x4_t, zeros: float32x4_t) -> float32x4_t {
    // SAFETY: the caller vouches for NEON.
    unsafe {
        let exponent = vdupq_n_u32(((150 - P) as u32) << 23);
        let numbers = vreinterpretq_f32_u32(vbslq_u32(vdupq_n_u32(15 << P), words, exponent));
        vsubq_f32(numbers, vaddq_f32(vreinterpretq_f32_u32(exponent), zeros))
    }
}
