//! The operations of AVX-VNNI: those of AVX2, but for the products of 8-bit codes.

use super::bf16_dot::{Pair, StoredPair};
use super::dispatch::Token;
use super::dot::{BLOCK, Group, LANES, List, RowBlock, TILE};
use super::int4::{Int4Row, Int4Tile, Nibbles};
use super::matrix::NoMatrix;
use super::prefetch::Ahead;
use super::x86_64::AvxVnni;
use super::{x86_64_channels, x86_64_dot_avx_vnni, x86_64_int4};
use crate::element::DType;
use half::f16;

impl Token for AvxVnni {
    type Staged = u8;
    type Matrix = NoMatrix;

    #[inline(always)]
    fn multiply_add(self, a: f32, b: f32, c: f32) -> f32 {
        self.avx2().multiply_add(a, b, c)
    }

    #[inline(always)]
    fn multiply_panel<const R: usize>(
        self,
        panel: &[[f32; R]],
        weights: &[[f32; TILE]],
        ahead: Ahead,
        sums: &mut [[f32; TILE]; R],
    ) {
        self.avx2().multiply_panel(panel, weights, ahead, sums);
    }

    #[inline(always)]
    fn multiply_scaled<const R: usize>(
        self,
        panel: &[[f32; R]],
        weights: &[[f32; TILE]],
        scales: &[f32; TILE],
        sums: &mut [[f32; TILE]; R],
    ) {
        self.avx2().multiply_scaled(panel, weights, scales, sums);
    }

    #[inline(always)]
    fn multiply_row<const N: usize, const FAR: bool>(
        self,
        row: &[f32],
        weights: DType,
        tiles: [&[u8]; N],
        sums: &mut [[f32; TILE]; N],
    ) -> bool {
        self.avx2().multiply_row::<N, FAR>(row, weights, tiles, sums)
    }

    #[inline(always)]
    fn multiply_pairs<const R: usize>(
        self,
        panel: &[[Pair; R]],
        weights: &[[StoredPair; TILE]],
        ahead: Ahead,
        sums: &mut [[f32; TILE]; R],
    ) {
        self.avx2().multiply_pairs(panel, weights, ahead, sums);
    }

    #[inline(always)]
    fn multiply_pairs_row<const N: usize, const FAR: bool>(
        self,
        row: &[Pair],
        tiles: [&[[StoredPair; TILE]]; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        self.avx2().multiply_pairs_row::<N, FAR>(row, tiles, sums);
    }

    #[inline(always)]
    fn multiply_places<const P: usize, const G: usize>(
        self,
        columns: &[[[f32; LANES]; G]],
        lists: [List<'_>; P],
        sums: &mut [[[f32; LANES]; G]; P],
    ) {
        self.avx2().multiply_places(columns, lists, sums);
    }

    #[inline(always)]
    fn multiply_row_places(self, row: &[f32], places: &[[u8; 2]], values: &[[u8; 4]]) -> f32 {
        self.avx2().multiply_row_places(row, places, values)
    }

    #[inline(always)]
    fn multiply_tiles<const R: usize>(
        self,
        panel: &[[f32; R]],
        places: &[[u8; 2]],
        tiles: &[[u8; 4 * LANES]],
        sums: &mut [[f32; LANES]; R],
    ) {
        self.avx2().multiply_tiles(panel, places, tiles, sums);
    }

    #[inline(always)]
    fn multiply_int4_floats<const N: usize>(
        self,
        row: &[f32],
        tiles: [Int4Tile<'_>; N],
        sums: &mut [[f32; TILE]; N],
    ) {
        self.avx2().multiply_int4_floats(row, tiles, sums);
    }

    #[inline(always)]
    fn widen_steps(self, codes: &[Nibbles], zeros: &[f32; TILE], steps: &mut [[f32; TILE]]) {
        self.avx2().widen_steps(codes, zeros, steps);
    }

    #[inline(always)]
    fn widen_f16(self, src: &[f16], dst: &mut [f32]) {
        self.avx2().widen_f16(src, dst);
    }

    #[inline(always)]
    fn narrow_f16(self, src: &[f32], dst: &mut [f16]) {
        self.avx2().narrow_f16(src, dst);
    }

    #[inline(always)]
    fn keep_u32(self, word: u64, elements: &mut [u32; 64]) {
        self.avx2().keep_u32(word, elements);
    }

    #[inline(always)]
    fn keep_u16(self, word: u64, elements: &mut [u16; 64]) {
        self.avx2().keep_u16(word, elements);
    }

    #[inline(always)]
    fn expand(self, stream: &[u8], tile: &mut [[Group<i8>; TILE]]) -> usize {
        self.avx2().expand(stream, tile)
    }

    #[inline(always)]
    fn dot<const R: usize>(
        self,
        rows: RowBlock<'_, u8, R>,
        tile: &[[Group<i8>; TILE]],
        sums: &mut [[i32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot_avx_vnni::dot(rows, tile, sums) }
    }

    #[inline(always)]
    fn dot_row<const N: usize, const FAR: bool>(
        self,
        row: &[Group<u8>],
        tiles: [&[[Group<i8>; TILE]]; N],
        sums: &mut [[i32; TILE]; N],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot_avx_vnni::dot_row::<N, FAR>(row, tiles, sums) }
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
        unsafe { x86_64_dot_avx_vnni::dot_blocks(columns, places, blocks, sums) }
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
        unsafe { x86_64_dot_avx_vnni::dot_tiles(panel, places, tiles, sums) }
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
        unsafe { x86_64_channels::dot_channels_avx_vnni(codes, taps, weights, sums) }
    }

    #[inline(always)]
    fn multiply_int4<const R: usize>(
        self,
        rows: [Int4Row<'_, u8>; R],
        tile: Int4Tile<'_>,
        sums: &mut [[f32; TILE]; R],
    ) {
        // SAFETY: the token proves the features.
        unsafe { x86_64_int4::multiply_avx_vnni(rows, tile, sums) }
    }

    #[inline(always)]
    fn stage(self, steps: [[i32; LANES]; BLOCK / LANES], zero_point: i32) -> [u8; BLOCK] {
        // SAFETY: the token proves the features.
        unsafe { x86_64_dot_avx_vnni::stage(steps, zero_point) }
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
        unsafe { x86_64_dot_avx_vnni::stage_products(values, factors, zero_point, codes) }
    }
}
