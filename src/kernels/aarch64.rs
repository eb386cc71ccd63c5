//! AArch64: the bodies under NEON, NEON with dot products, and NEON with int8 matrix products; 16-bit conversions.
//!
//! The three differ in how they multiply integers; floats have the same instructions on all.
//!
//! The conversion instructions belong to every ARMv8 processor, but their intrinsics want a nightly compiler, hence the
//! inline assembly.

use super::aarch64_dot::{Dot, Sdot, Widening};
use super::aarch64_float;
use super::aarch64_int4_float;
use super::aarch64_matrix::Smmla;
use super::cast;
use super::dispatch::{Operation, Token, interleave};
use super::dot::{Group, LANES, List, RowBlock, TILE};
use super::int4::{Int4Tile, Nibbles};
use super::matrix::NoMatrix;
use super::prefetch::Ahead;
use crate::element::DType;
use half::f16;
use std::arch::aarch64::*;
use std::arch::asm;
use std::marker::PhantomData;

/// The body of an operation under the features of an instruction set.
///
/// Methods of the operation, so that rustc puts each beside its operation and compiles several at once; what functions of this
/// file were instantiated for would be one unit.
pub(super) trait Run: Operation + Sized {
    /// # Safety
    /// The processor has every feature enabled here (`isa::detect` checks the same list).
    #[target_feature(enable = "neon")]
    unsafe fn run_neon(self) -> Self::Output {
        self.run(Neon::<Widening>(PhantomData))
    }

    /// # Safety
    /// The processor has every feature enabled here (`isa::detect` checks the same list).
    #[target_feature(enable = "neon,dotprod")]
    unsafe fn run_neon_dotprod(self) -> Self::Output {
        self.run(Neon::<Sdot>(PhantomData))
    }

    /// # Safety
    /// The processor has every feature enabled here (`isa::detect` checks the same list).
    #[target_feature(enable = "neon,dotprod,i8mm")]
    unsafe fn run_neon_i8mm(self) -> Self::Output {
        self.run(Neon::<Smmla>(PhantomData))
    }
}

impl<O: Operation> Run for O {}

/// Made only by the functions above, each of which enables what its `D` needs.
#[derive(Clone, Copy)]
struct Neon<D>(PhantomData<D>);

impl<D: Dot> Token for Neon<D> {
    type Staged = i8;
    type Matrix = NoMatrix;

    const WIDE: bool = true;
    const ROWS: usize = 8;
    const PANEL: usize = 8;

    #[inline(always)]
    fn multiply_add(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn multiply_panel<const R: usize>(
        self,
        panel: &[[f32; R]],
        weights: &[[f32; TILE]],
        _ahead: Ahead,
        sums: &mut [[f32; TILE]; R],
    ) {
        // SAFETY: the token proves NEON.
        unsafe { aarch64_float::multiply_panel(panel, weights, sums) }
    }

    #[inline(always)]
    fn multiply_scaled<const R: usize>(
        self,
        panel: &[[f32; R]],
        weights: &[[f32; TILE]],
        scales: &[f32; TILE],
        sums: &mut [[f32; TILE]; R],
    ) {
        // SAFETY: the token proves NEON.
        unsafe { aarch64_float::multiply_scaled(panel, weights, scales, sums) }
    }

    #[inline(always)]
    fn multiply_row<const N: usize, const FAR: bool>(
        self,
        row: &[f32],
        weights: DType,
        tiles: [&[u8]; N],
        sums: &mut [[f32; TILE]; N],
    ) -> bool {
        // SAFETY: the token proves NEON.
        unsafe { aarch64_float::multiply_row(row, weights, tiles, sums) };
        true
    }

    #[inline(always)]
    fn multiply_places<const P: usize, const G: usize>(
        self,
        columns: &[[[f32; LANES]; G]],
        lists: [List<'_>; P],
        sums: &mut [[[f32; LANES]; G]; P],
    ) {
        for (sums, (places, values)) in sums.iter_mut().zip(lists) {
            // SAFETY: the token proves NEON.
            unsafe { aarch64_float::multiply_places(columns, places, values, sums) }
        }
    }

    #[inline(always)]
    fn dot<const R: usize>(
        self,
        rows: RowBlock<'_, i8, R>,
        tile: &[[Group<i8>; TILE]],
        sums: &mut [[i32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { D::dot(rows.rows(), tile, sums) }
    }

    #[inline(always)]
    fn dot_blocks<const G: usize>(
        self,
        columns: &[[[Group<i8>; LANES]; G]],
        places: &[[u8; 2]],
        blocks: &[Group<i8>],
        sums: &mut [[i32; LANES]; G],
    ) {
        // SAFETY: the token proves the features.
        unsafe { D::dot_blocks(columns, places, blocks, sums) }
    }

    #[inline(always)]
    fn multiply_tiles<const R: usize>(
        self,
        panel: &[[f32; R]],
        places: &[[u8; 2]],
        tiles: &[[u8; 4 * LANES]],
        sums: &mut [[f32; LANES]; R],
    ) {
        // SAFETY: the token proves NEON.
        unsafe { aarch64_float::multiply_tiles(panel, places, tiles, sums) }
    }

    #[inline(always)]
    fn dot_tiles<const R: usize>(
        self,
        panel: &[[Group<i8>; R]],
        places: &[[u8; 2]],
        tiles: &[[Group<i8>; LANES]],
        sums: &mut [[i32; LANES]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { D::dot_tiles(panel, places, tiles, sums) }
    }

    #[inline(always)]
    fn multiply_int4_floats<const N: usize>(
        self,
        row: &[f32],
        tiles: [Int4Tile<'_>; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        for (tile, sums) in tiles.into_iter().zip(sums) {
            // SAFETY: the token proves NEON.
            unsafe { aarch64_int4_float::multiply(row, tile, sums) };
        }
    }

    #[inline(always)]
    fn widen_steps(self, codes: &[Nibbles], zeros: &[f32; TILE], steps: &mut [[f32; TILE]]) {
        // SAFETY: the token proves NEON.
        unsafe { aarch64_int4_float::widen_steps(codes, zeros, steps) }
    }

    #[inline(always)]
    fn interleave<const R: usize>(self, rows: [&[[u8; 4]]; R], panel: &mut [[[u8; 4]; R]], step: usize) {
        if !R.is_multiple_of(4) {
            return interleave(rows, panel, step);
        }
        let len = rows.iter().map(|row| row.len()).min().unwrap_or(0).min(panel.len().div_ceil(step));
        let done = len - len % 4;
        for first in (0..done).step_by(4) {
            for quad in (0..R).step_by(4) {
                // SAFETY: the token proves NEON; each load takes four elements of a row, all below `done`, each store four of
                // column `k * step` for a `k` below `done`, which is below the panel's length; at any alignment.
                unsafe {
                    let load =
                        |r: usize| vreinterpretq_u32_u8(vld1q_u8(rows[quad + r].as_ptr().add(first).cast()));
                    let columns = transpose([load(0), load(1), load(2), load(3)]);
                    for c in 0..4 {
                        let at = panel[(first + c) * step].as_mut_ptr().add(quad);
                        vst1q_u8(at.cast(), vreinterpretq_u8_u64(columns[c]));
                    }
                }
            }
        }
        if done < len {
            interleave(rows.map(|row| &row[done..]), panel.get_mut(done * step..).unwrap_or_default(), step);
        }
    }

    #[inline(always)]
    fn widen_f16(self, src: &[f16], dst: &mut [f32]) {
        let (src, src_tail) = src.as_chunks::<8>();
        let (dst, dst_tail) = dst.as_chunks_mut::<8>();
        for (src, dst) in src.iter().zip(dst) {
            // SAFETY: the token proves NEON; exactly 8 elements are read (16 bytes) and written (32 bytes), at any
            // alignment; only the named registers change.
            unsafe {
                asm!(
                    "ldr {h:q}, [{src}]",
                    "fcvtl {low}.4s, {h}.4h",
                    "fcvtl2 {high}.4s, {h}.8h",
                    "stp {low:q}, {high:q}, [{dst}]",
                    src = in(reg) src.as_ptr(),
                    dst = in(reg) dst.as_mut_ptr(),
                    h = out(vreg) _,
                    low = out(vreg) _,
                    high = out(vreg) _,
                    options(nostack),
                );
            }
        }
        cast::widen_f16(src_tail, dst_tail);
    }

    #[inline(always)]
    fn narrow_f16(self, src: &[f32], dst: &mut [f16]) {
        let (src, src_tail) = src.as_chunks::<8>();
        let (dst, dst_tail) = dst.as_chunks_mut::<8>();
        for (src, dst) in src.iter().zip(dst) {
            // SAFETY: as in `widen_f16`, with 32 bytes read and 16 written.
            unsafe {
                asm!(
                    "ldp {low:q}, {high:q}, [{src}]",
                    "fcvtn {h}.4h, {low}.4s",
                    "fcvtn2 {h}.8h, {high}.4s",
                    "str {h:q}, [{dst}]",
                    src = in(reg) src.as_ptr(),
                    dst = in(reg) dst.as_mut_ptr(),
                    h = out(vreg) _,
                    low = out(vreg) _,
                    high = out(vreg) _,
                    options(nostack),
                );
            }
        }
        cast::narrow_f16(src_tail, dst_tail);
    }

    #[inline(always)]
    fn keep_u32(self, word: u64, elements: &mut [u32; 64]) {
        const BIT: [u32; 4] = [1, 2, 4, 8];
        for (index, lanes) in elements.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            // SAFETY: the token proves NEON; exactly the 4 lanes are read and written.
            unsafe {
                let keep = vtstq_u32(vdupq_n_u32((word >> (4 * index)) as u32), vld1q_u32(BIT.as_ptr()));
                let pointer = lanes.as_mut_ptr();
                vst1q_u32(pointer, vandq_u32(vld1q_u32(pointer), keep));
            }
        }
    }

    #[inline(always)]
    fn keep_u16(self, word: u64, elements: &mut [u16; 64]) {
        const BIT: [u16; 8] = [1, 2, 4, 8, 16, 32, 64, 128];
        for (index, lanes) in elements.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // SAFETY: the token proves NEON; exactly the 8 lanes are read and written.
            unsafe {
                let keep = vtstq_u16(vdupq_n_u16((word >> (8 * index)) as u16), vld1q_u16(BIT.as_ptr()));
                let pointer = lanes.as_mut_ptr();
                vst1q_u16(pointer, vandq_u16(vld1q_u16(pointer), keep));
            }
        }
    }
}

/// Rows of four elements of 32 bits become columns.
///
/// # Safety
/// Needs NEON.
#[inline(always)]
unsafe fn transpose([a, b, c, d]: [uint32x4_t; 4]) -> [uint64x2_t; 4] {
    // SAFETY: the caller vouches for NEON.
    unsafe {
        let even = [vtrn1q_u32(a, b), vtrn1q_u32(c, d)].map(|pairs| vreinterpretq_u64_u32(pairs));
        let odd = [vtrn2q_u32(a, b), vtrn2q_u32(c, d)].map(|pairs| vreinterpretq_u64_u32(pairs));
        [
            vtrn1q_u64(even[0], even[1]),
            vtrn1q_u64(odd[0], odd[1]),
            vtrn2q_u64(even[0], even[1]),
            vtrn2q_u64(odd[0], odd[1]),
        ]
    }
}
