//! The operations of AVX-512 with VNNI.

use super::bf16_dot::{Pair, StoredPair};
use super::cast;
use super::dispatch::{Token, interleave};
use super::dot::{BLOCK, Group, LANES, List, RowBlock, TILE};
use super::int4::{Int4Row, Int4Tile, Nibbles};
use super::prefetch::Ahead;
use super::x86_64::Avx512;
use super::x86_64_amx::Tiles;
use super::{
    x86_64_bf16_dot, x86_64_bitmap, x86_64_channels, x86_64_dot, x86_64_float, x86_64_int4,
    x86_64_int4_float, x86_64_places,
};
use crate::element::DType;
use half::f16;
use std::arch::x86_64::*;

impl Token for Avx512 {
    type Staged = u8;
    type Matrix = Tiles;
    const WIDE: bool = true;
    const ROWS: usize = 12;
    const ONE_PASS: bool = true;
    const PANEL: usize = 16;

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
        unsafe { x86_64_float::multiply_panel_avx512(panel, weights, ahead, sums) }
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
        unsafe { x86_64_float::multiply_scaled_avx512(panel, weights, scales, sums) }
    }

    #[inline(always)]
    fn multiply_stored<const R: usize>(
        self,
        panel: &[[f32; R]],
        weights: DType,
        stored: &[u8],
        ahead: Ahead,
        widened: &mut [[f32; TILE]],
        sums: &mut [[f32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_float::multiply_stored_avx512(panel, weights, stored, ahead, widened, sums) }
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
        unsafe { x86_64_float::multiply_row_avx512::<N, FAR>(row, weights, tiles, sums) };
        true
    }

    #[inline(always)]
    fn multiply_pairs<const R: usize>(
        self,
        panel: &[[Pair; R]],
        weights: &[[StoredPair; TILE]],
        ahead: Ahead,
        sums: &mut [[f32; TILE]; R],
    ) {
        if x86_64_bf16_dot::has_bf16_dot() {
            // SAFETY: the token proves AVX-512F, and the processor has AVX-512 BF16.
            unsafe { x86_64_bf16_dot::multiply(panel, weights, ahead, sums) }
        } else {
            // SAFETY: the token proves the features.
            unsafe { x86_64_bf16_dot::multiply_widened(panel, weights, sums) }
        }
    }

    #[inline(always)]
    fn multiply_pairs_row<const N: usize, const FAR: bool>(
        self,
        row: &[Pair],
        tiles: [&[[StoredPair; TILE]]; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        if x86_64_bf16_dot::has_bf16_dot() {
            // SAFETY: the token proves AVX-512F, and the processor has AVX-512 BF16.
            unsafe { x86_64_bf16_dot::multiply_row::<N, FAR>(row, tiles, sums) }
        } else {
            // SAFETY: the token proves the features.
            unsafe { x86_64_bf16_dot::multiply_row_widened(row, tiles, sums) }
        }
    }

    #[inline(always)]
    fn multiply_places<const P: usize, const G: usize>(
        self,
        columns: &[[[f32; LANES]; G]],
        lists: [List<'_>; P],
        sums: &mut [[[f32; LANES]; G]; P],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_places::multiply_places_avx512(columns, lists, sums) }
    }

    #[inline(always)]
    fn multiply_row_places(self, row: &[f32], places: &[[u8; 2]], values: &[[u8; 4]]) -> f32 {
        // SAFETY: the token proves the features.
        unsafe { x86_64_places::multiply_row_places(row, places, values) }
    }

    #[inline(always)]
    fn matrix(self, rows: usize) -> Option<Tiles> {
        if !self.has_amx() {
            return None;
        }
        // SAFETY: the token proves the features, AMX among them.
        unsafe { Tiles::new(rows) }
    }

    #[inline(always)]
    fn dot<const R: usize>(
        self,
        rows: RowBlock<'_, u8, R>,
        tile: &[[Group<i8>; TILE]],
        sums: &mut [[i32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::dot_vnni(rows, tile, sums) }
    }

    #[inline(always)]
    fn dot_row<const N: usize, const FAR: bool>(
        self,
        row: &[Group<u8>],
        tiles: [&[[Group<i8>; TILE]]; N],
        sums: &mut [[i32; TILE]; N],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::dot_row_vnni::<N, FAR>(row, tiles, sums) }
    }

    #[inline(always)]
    fn expand(self, stream: &[u8], tile: &mut [[Group<i8>; TILE]]) -> usize {
        if x86_64_bitmap::has_vbmi2() {
            // SAFETY: the token proves the features but VBMI2, which was found.
            unsafe { x86_64_bitmap::expand_vbmi2(stream, tile) }
        } else {
            // SAFETY: the token proves the features.
            unsafe { x86_64_bitmap::expand_avx2(stream, tile) }
        }
    }

    #[inline(always)]
    fn dot_bitmaps<const R: usize, const N: usize>(
        self,
        rows: RowBlock<'_, u8, R>,
        streams: &mut [&[u8]; N],
        sums: &mut [[[i32; TILE]; R]; N],
    ) -> Option<usize> {
        if !x86_64_bitmap::has_vbmi2() {
            return None;
        }
        // SAFETY: the token proves the features but VBMI2, which was found.
        Some(unsafe { x86_64_bitmap::dot_bitmaps_vbmi2(rows, streams, sums) })
    }

    #[inline(always)]
    fn dot_blocks<const G: usize>(
        self,
        columns: &[[[Group<u8>; LANES]; G]],
        places: &[[u8; 2]],
        blocks: &[Group<i8>],
        sums: &mut [[i32; LANES]; G],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::dot_blocks_vnni(columns, places, blocks, sums) }
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
        unsafe { x86_64_float::multiply_tiles_avx512(panel, places, tiles, sums) }
    }

    #[inline(always)]
    fn dot_tiles<const R: usize>(
        self,
        panel: &[[Group<u8>; R]],
        places: &[[u8; 2]],
        tiles: &[[Group<i8>; LANES]],
        sums: &mut [[i32; LANES]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::dot_tiles_vnni(panel, places, tiles, sums) }
    }

    #[inline(always)]
    fn dot_channels<const K: usize>(
        self,
        codes: &[u8],
        taps: &[[usize; K]],
        weights: &[[Group<i8>; TILE]],
        sums: &mut [[i32; TILE]],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_channels::dot_channels_vnni(codes, taps, weights, sums) }
    }

    #[inline(always)]
    fn multiply_int4<const R: usize>(
        self,
        rows: [Int4Row<'_, u8>; R],
        tile: Int4Tile<'_>,
        sums: &mut [[f32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_int4::multiply_vnni(rows, tile, sums) }
    }

    #[inline(always)]
    fn multiply_int4_row<const N: usize>(
        self,
        row: Int4Row<'_, u8>,
        tiles: [Int4Tile<'_>; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_int4::multiply_row_vnni(row, tiles, sums) }
    }

    #[inline(always)]
    fn multiply_int4_floats<const N: usize>(
        self,
        row: &[f32],
        tiles: [Int4Tile<'_>; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_int4_float::multiply_avx512(row, tiles, sums) }
    }

    #[inline(always)]
    fn widen_steps(self, codes: &[Nibbles], zeros: &[f32; TILE], steps: &mut [[f32; TILE]]) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_int4_float::widen_steps_avx512(codes, zeros, steps) }
    }

    #[inline(always)]
    fn stage(self, steps: [[i32; LANES]; BLOCK / LANES], zero_point: i32) -> [u8; BLOCK] {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::stage_avx512(steps, zero_point) }
    }

    #[inline(always)]
    fn stage_products(
        self,
        values: &[f32; BLOCK],
        factors: [f32; 2],
        zero_point: i32,
        codes: &mut [u8; BLOCK],
    ) -> bool {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::stage_products_avx512(values, factors, zero_point, codes) }
    }

    #[inline(always)]
    fn less<const N: usize>(self, products: [i32; N], factor: i32, sums: &[i32; N]) -> [i32; N] {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::less_avx512(products, factor, sums) }
    }

    #[inline(always)]
    fn scaled<const N: usize>(
        self,
        sums: [i32; N],
        scale: f32,
        scales: &[f32; N],
        bias: &[f32; N],
    ) -> [f32; N] {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot::scaled_avx512(sums, scale, scales, bias) }
    }

    #[inline(always)]
    fn interleave<const R: usize>(self, rows: [&[[u8; 4]]; R], panel: &mut [[[u8; 4]; R]], step: usize) {
        let len = rows.iter().map(|row| row.len()).min().unwrap_or(0).min(panel.len().div_ceil(step));
        // 16 vectors of 16 elements: of eight rows, those of two stretches; of twelve, four hold nothing.
        let stretches = match R {
            16 | 12 => 1,
            8 => 2,
            _ => return interleave(rows, panel, step),
        };
        let width = 16 * stretches;
        for first in (0..len - len % width).step_by(width) {
            // SAFETY: the token proves AVX-512F; each load takes 16 elements of a row, each store the `R` elements of column
            // `k * step` for a `k` below `len`, which is below the panel's length; at any alignment.
            unsafe {
                let mut vectors = [_mm512_setzero_si512(); 16];
                for stretch in 0..stretches {
                    for r in 0..R {
                        let at = rows[r].as_ptr().add(first + 16 * stretch);
                        vectors[stretch * R + r] = _mm512_loadu_si512(at.cast());
                    }
                }
                let vectors = transpose(vectors);
                let start = panel.as_mut_ptr().add(first * step);
                for (c, vector) in vectors.into_iter().enumerate() {
                    if R == 16 {
                        _mm512_storeu_si512(start.add(c * step).cast(), vector);
                        continue;
                    }
                    let high = _mm512_extracti64x4_epi64::<1>(vector);
                    _mm256_storeu_si256(start.add(c * step).cast(), _mm512_castsi512_si256(vector));
                    if R == 12 {
                        let at = start.add(c * step).cast::<__m128i>().add(2);
                        _mm_storeu_si128(at, _mm256_castsi256_si128(high));
                    } else {
                        _mm256_storeu_si256(start.add((16 + c) * step).cast(), high);
                    }
                }
            }
        }
        let done = len - len % width;
        if done < len {
            interleave(rows.map(|row| &row[done..]), panel.get_mut(done * step..).unwrap_or_default(), step);
        }
    }

    #[inline(always)]
    fn widen_f16(self, src: &[f16], dst: &mut [f32]) {
        let (src, src_tail) = src.as_chunks::<16>();
        let (dst, dst_tail) = dst.as_chunks_mut::<16>();
        for (src, dst) in src.iter().zip(dst) {
            // SAFETY: the token proves AVX-512F; both arrays hold exactly the 16 elements that are read and written, and
            // the unaligned forms are used.
            unsafe {
                let halves = _mm256_loadu_si256(src.as_ptr().cast());
                _mm512_storeu_ps(dst.as_mut_ptr(), _mm512_cvtph_ps(halves));
            }
        }
        cast::widen_f16(src_tail, dst_tail);
    }

    #[inline(always)]
    fn narrow_f16(self, src: &[f32], dst: &mut [f16]) {
        let (src, src_tail) = src.as_chunks::<16>();
        let (dst, dst_tail) = dst.as_chunks_mut::<16>();
        for (src, dst) in src.iter().zip(dst) {
            // SAFETY: as in `widen_f16`.
            unsafe {
                let wide = _mm512_loadu_ps(src.as_ptr());
                _mm256_storeu_si256(
                    dst.as_mut_ptr().cast(),
                    _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(wide),
                );
            }
        }
        cast::narrow_f16(src_tail, dst_tail);
    }

    #[inline(always)]
    fn keep_u32(self, word: u64, elements: &mut [u32; 64]) {
        for (index, lanes) in elements.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            // SAFETY: the token proves AVX-512F; exactly the 16 lanes are read and written, unaligned.
            unsafe {
                let pointer = lanes.as_mut_ptr().cast();
                let kept = _mm512_maskz_loadu_epi32((word >> (16 * index)) as u16, pointer);
                _mm512_storeu_si512(pointer.cast(), kept);
            }
        }
    }

    #[inline(always)]
    fn keep_u16(self, word: u64, elements: &mut [u16; 64]) {
        for (index, lanes) in elements.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            // SAFETY: the token proves AVX-512BW; exactly the 32 lanes are read and written, unaligned.
            unsafe {
                let pointer = lanes.as_mut_ptr().cast();
                let kept = _mm512_maskz_loadu_epi16((word >> (32 * index)) as u32, pointer);
                _mm512_storeu_si512(pointer.cast(), kept);
            }
        }
    }
}

/// Rows of 16 elements of 32 bits become columns.
///
/// # Safety
/// Needs AVX-512F.
#[inline(always)]
unsafe fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    // SAFETY: the caller vouches for the feature.
    unsafe {
        let (mut a, mut b) = (rows, rows);
        // Pairs of elements, then of pairs, within each quarter of a vector.
        for i in 0..8 {
            b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
        }
        for i in 0..4 {
            for half in 0..2 {
                let (low, high) = (b[4 * i + half], b[4 * i + half + 2]);
                a[4 * i + 2 * half] = _mm512_unpacklo_epi64(low, high);
                a[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(low, high);
            }
        }
        // Quarters of vectors four rows apart, then of those.
        for i in 0..4 {
            b[i] = _mm512_shuffle_i32x4::<0b10_00_10_00>(a[i], a[4 + i]);
            b[4 + i] = _mm512_shuffle_i32x4::<0b11_01_11_01>(a[i], a[4 + i]);
            b[8 + i] = _mm512_shuffle_i32x4::<0b10_00_10_00>(a[8 + i], a[12 + i]);
            b[12 + i] = _mm512_shuffle_i32x4::<0b11_01_11_01>(a[8 + i], a[12 + i]);
        }
        for i in 0..4 {
            a[i] = _mm512_shuffle_i32x4::<0b10_00_10_00>(b[i], b[8 + i]);
            a[8 + i] = _mm512_shuffle_i32x4::<0b11_01_11_01>(b[i], b[8 + i]);
            a[4 + i] = _mm512_shuffle_i32x4::<0b10_00_10_00>(b[4 + i], b[12 + i]);
            a[12 + i] = _mm512_shuffle_i32x4::<0b11_01_11_01>(b[4 + i], b[12 + i]);
        }
        a
    }
}
