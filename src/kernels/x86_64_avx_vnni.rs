//! The operations of AVX-VNNI: products of 8-bit codes, and what comes before and behind them. All else runs as AVX2
//! ([`Operation::CODES`](super::dispatch::Operation::CODES)).

use super::dispatch::Token;
use super::dot::{BLOCK, Group, LANES, RowBlock, TILE};
use super::int4::{Int4Row, Int4Tile};
use super::matrix::NoMatrix;
use super::x86_64::AvxVnni;
use super::{x86_64_channels, x86_64_dot_avx_vnni, x86_64_int4};
use half::f16;

impl Token for AvxVnni {
    type Staged = u8;
    type Matrix = NoMatrix;

    #[inline(always)]
    fn multiply_add(self, a: f32, b: f32, c: f32) -> f32 {
        self.avx2().multiply_add(a, b, c)
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
