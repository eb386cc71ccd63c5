//! AArch64: the bodies under NEON, NEON with dot products, and NEON with int8 matrix products; 16-bit conversions.
//!
//! The conversion instructions belong to every ARMv8 processor, but their intrinsics want a nightly compiler, hence the
//! inline assembly.

use super::cast;
use super::dispatch::{Operation, Token};
use half::f16;
use std::arch::aarch64::*;
use std::arch::asm;

/// # Safety
/// The processor has every feature enabled here (`isa::detect` checks the same list).
#[target_feature(enable = "neon")]
pub(super) unsafe fn run_neon<O: Operation>(operation: O) -> O::Output {
    operation.run(Neon(()))
}

/// # Safety
/// The processor has every feature enabled here (`isa::detect` checks the same list).
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn run_neon_dotprod<O: Operation>(operation: O) -> O::Output {
    operation.run(Neon(()))
}

/// # Safety
/// The processor has every feature enabled here (`isa::detect` checks the same list).
#[target_feature(enable = "neon,dotprod,i8mm")]
pub(super) unsafe fn run_neon_i8mm<O: Operation>(operation: O) -> O::Output {
    operation.run(Neon(()))
}

/// Made only by the functions above.
#[derive(Clone, Copy)]
struct Neon(());

impl Token for Neon {
    type Staged = i16;

    const WIDE: bool = true;

    #[inline(always)]
    fn multiply_add(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
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
                    options(nostack, preserves_flags),
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
                    options(nostack, preserves_flags),
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
