//! The operations of AVX2, with FMA and F16C.

use super::bf16_dot::{Pair, StoredPair};
use super::cast;
use super::dispatch::Token;
use super::dot::{Group, LANES, List, RowBlock, TILE};
use super::int4::{Int4Row, Int4Tile, Nibbles};
use super::matrix::NoMatrix;
use super::prefetch::Ahead;
use super::x86_64::Avx2;
use super::{
    x86_64_bf16_dot, x86_64_bitmap, x86_64_dot, x86_64_float, x86_64_int4, x86_64_int4_float, x86_64_places,
};
use crate::element::DType;
use half::f16;
use std::arch::x86_64::*;

impl Token for Avx2 {
    type Staged = i16;
    type Matrix = NoMatrix;

    #[inline(always)]
    fn multiply_add(self, a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }

    #[inline(always)]
    fn multiply_panel<const R: usize>(
        self,
        panel: &[[f32; R]],
        weights: &[[f32; TILE]],
        ahead: Ahead,
        sums: &mut [[f32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_float::multiply_panel_avx2(panel, weights, ahead, sums) }
    }

    #[inline(always)]
    fn multiply_scaled<const R: usize>(
        self,
        panel: &[[f32; R]],
        weights: &[[f32; TILE]],
        scales: &[f32; TILE],
        sums: &mut [[f32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_float::multiply_scaled_avx2(panel, weights, scales, sums) }
    }

    #[inline(always)]
    fn multiply_row<const N: usize, const FAR: bool>(
        self,
        row: &[f32],
        weights: DType,
        tiles: [&[u8]; N],
        sums: &mut [[f32; TILE]; N],
    ) -> bool {
        // SAFETY: the token proves the features.
        unsafe { x86_64_float::multiply_row_avx2::<N, FAR>(row, weights, tiles, sums) };
        true
    }

    #[inline(always)]
    fn multiply_pairs<const R: usize>(
        self,
        panel: &[[Pair; R]],
        weights: &[[StoredPair; TILE]],
        _ahead: Ahead,
        sums: &mut [[f32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_bf16_dot::multiply_widened(panel, weights, sums) }
    }

    #[inline(always)]
    fn multiply_pairs_row<const N: usize, const FAR: bool>(
        self,
        row: &[Pair],
        tiles: [&[[StoredPair; TILE]]; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_bf16_dot::multiply_row_widened(row, tiles, sums) }
    }

    #[inline(always)]
    fn multiply_places<const P: usize, const G: usize>(
        self,
        columns: &[[[f32; LANES]; G]],
        lists: [List<'_>; P],
        sums: &mut [[[f32; LANES]; G]; P],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_places::multiply_places_avx2(columns, lists, sums) }
    }

    #[inline(always)]
    fn multiply_row_places(self, row: &[f32], places: &[[u8; 2]], values: &[[u8; 4]]) -> f32 {
        // SAFETY: the token proves the features.
        unsafe { x86_64_places::multiply_row_places(row, places, values) }
    }

    #[inline(always)]
    fn dot<const R: usize>(
        self,
        rows: RowBlock<'_, i16, R>,
        tile: &[[Group<i8>; TILE]],
        sums: &mut [[i32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::dot_avx2(rows, tile, sums) }
    }

    #[inline(always)]
    fn expand(self, stream: &[u8], tile: &mut [[Group<i8>; TILE]]) -> usize {
        // SAFETY: the token proves the features.
        unsafe { x86_64_bitmap::expand_avx2(stream, tile) }
    }

    #[inline(always)]
    fn dot_blocks<const G: usize>(
        self,
        columns: &[[[Group<i16>; LANES]; G]],
        places: &[[u8; 2]],
        blocks: &[Group<i8>],
        sums: &mut [[i32; LANES]; G],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::dot_blocks_avx2(columns, places, blocks, sums) }
    }

    #[inline(always)]
    fn multiply_tiles<const R: usize>(
        self,
        panel: &[[f32; R]],
        places: &[[u8; 2]],
        tiles: &[[u8; 4 * LANES]],
        sums: &mut [[f32; LANES]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_float::multiply_tiles_avx2(panel, places, tiles, sums) }
    }

    #[inline(always)]
    fn dot_tiles<const R: usize>(
        self,
        panel: &[[Group<i16>; R]],
        places: &[[u8; 2]],
        tiles: &[[Group<i8>; LANES]],
        sums: &mut [[i32; LANES]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::dot_tiles_avx2(panel, places, tiles, sums) }
    }

    #[inline(always)]
    fn multiply_int4<const R: usize>(
        self,
        rows: [Int4Row<'_, i16>; R],
        tile: Int4Tile<'_>,
        sums: &mut [[f32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_int4::multiply_avx2(rows, tile, sums) }
    }

    #[inline(always)]
    fn multiply_int4_floats<const N: usize>(
        self,
        row: &[f32],
        tiles: [Int4Tile<'_>; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_int4_float::multiply_avx2(row, tiles, sums) }
    }

    #[inline(always)]
    fn widen_steps(self, codes: &[Nibbles], zeros: &[f32; TILE], steps: &mut [[f32; TILE]]) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_int4_float::widen_steps_avx2(codes, zeros, steps) }
    }

    #[inline(always)]
    fn widen_f16(self, src: &[f16], dst: &mut [f32]) {
        let (src, src_tail) = src.as_chunks::<8>();
        let (dst, dst_tail) = dst.as_chunks_mut::<8>();
        for (src, dst) in src.iter().zip(dst) {
            // SAFETY: the token proves F16C and AVX; both arrays hold exactly the 8 elements that are read and written,
            // and the unaligned forms are used.
            unsafe {
                let halves = _mm_loadu_si128(src.as_ptr().cast());
                _mm256_storeu_ps(dst.as_mut_ptr(), _mm256_cvtph_ps(halves));
            }
        }
        cast::widen_f16(src_tail, dst_tail);
    }

    #[inline(always)]
    fn narrow_f16(self, src: &[f32], dst: &mut [f16]) {
        let (src, src_tail) = src.as_chunks::<8>();
        let (dst, dst_tail) = dst.as_chunks_mut::<8>();
        for (src, dst) in src.iter().zip(dst) {
            // SAFETY: as in `widen_f16`.
            unsafe {
                let wide = _mm256_loadu_ps(src.as_ptr());
                _mm_storeu_si128(dst.as_mut_ptr().cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide));
            }
        }
        cast::narrow_f16(src_tail, dst_tail);
    }

    #[inline(always)]
    fn keep_u32(self, word: u64, elements: &mut [u32; 64]) {
        for (index, lanes) in elements.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            // SAFETY: the token proves AVX2; exactly the 8 lanes are read and written, unaligned.
            unsafe {
                let bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                let bits = _mm256_set1_epi32((word >> (8 * index)) as i32);
                let keep = _mm256_cmpeq_epi32(_mm256_and_si256(bits, bit), bit);
                let pointer = lanes.as_mut_ptr().cast();
                _mm256_storeu_si256(pointer, _mm256_and_si256(_mm256_loadu_si256(pointer), keep));
            }
        }
    }

    #[inline(always)]
    fn keep_u16(self, word: u64, elements: &mut [u16; 64]) {
        for (index, lanes) in elements.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            // SAFETY: the token proves AVX2; exactly the 16 lanes are read and written, unaligned.
            unsafe {
                #[rustfmt::skip]
                let bit = _mm256_setr_epi16(
                    1, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 1 << 6, 1 << 7,
                    1 << 8, 1 << 9, 1 << 10, 1 << 11, 1 << 12, 1 << 13, 1 << 14, i16::MIN,
                );
                let bits = _mm256_set1_epi16((word >> (16 * index)) as i16);
                let keep = _mm256_cmpeq_epi16(_mm256_and_si256(bits, bit), bit);
                let pointer = lanes.as_mut_ptr().cast();
                _mm256_storeu_si256(pointer, _mm256_and_si256(_mm256_loadu_si256(pointer), keep));
            }
        }
    }
}
