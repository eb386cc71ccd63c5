//! x86-64: exact dot products of uint8 activations and int8 weights, by VNNI and by AVX2.
//!
//! VNNI's `vpdpbusd` adds four products to an int32 without an intermediate that could saturate. AVX2 has nothing alike:
//! its `vpmaddubsw` saturates at 16 bits, so codes are widened to i16 and multiplied by `vpmaddwd`, which is exact.
//!
//! # Safety
//! Every function needs the features of the token that calls it: AVX-512 F, BW and VNNI for `*_vnni`, AVX2 for `*_avx2`.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::dot::{BLOCK, Group, LANES, RowBlock, TILE};
use super::prefetch::{self, RUN, for_runs};
use std::arch::x86_64::*;

/// Groups between two jumps of a loop over several rows: a loop that jumps less often has its end predicted, so that what comes
/// after it begins early.
pub(super) const STEPS: usize = 8;

/// Four codes as the i32 with the same bytes.
#[inline(always)]
pub(super) fn bits<T: bytemuck::Pod>(group: &Group<T>) -> i32 {
    bytemuck::pod_read_unaligned(bytemuck::bytes_of(group))
}

/// See [`Token::stage`](super::Token::stage). The compiler's own narrowing store is several times slower than packing.
///
/// # Safety
/// Needs AVX-512 F and BW.
#[inline(always)]
pub(super) unsafe fn stage_avx512(steps: [[i32; LANES]; BLOCK / LANES], zero_point: i32) -> [u8; BLOCK] {
    // SAFETY: the caller vouches for the features; loads and the store take whole arrays, at any alignment.
    unsafe {
        let zero_point = _mm512_set1_epi32(zero_point);
        let [a, b, c, d] =
            steps.map(|steps| _mm512_add_epi32(_mm512_loadu_si512(steps.as_ptr().cast()), zero_point));
        // Packing works within quarters of 128 bits, each of which ends up with four codes of every vector.
        let packed = _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d));
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let mut codes = [0; BLOCK];
        _mm512_storeu_si512(codes.as_mut_ptr().cast(), _mm512_permutexvar_epi32(order, packed));
        codes
    }
}

/// See [`Token::stage_products`](super::Token::stage_products).
///
/// # Safety
/// Needs AVX-512 F and BW.
#[inline(always)]
pub(super) unsafe fn stage_products_avx512(
    values: &[f32; BLOCK],
    factors: [f32; 2],
    zero_point: i32,
    codes: &mut [u8; BLOCK],
) -> bool {
    // SAFETY: the caller vouches for the features; loads and the store stay within the arrays, at any alignment.
    unsafe {
        let [below, above] = [_mm512_set1_ps(factors[0]), _mm512_set1_ps(factors[1])];
        let mut steps = [_mm512_setzero_si512(); BLOCK / LANES];
        // One question for the whole block: a branch for each vector takes longer than its rounding.
        let mut differ = _mm512_setzero_si512();
        for i in 0..BLOCK / LANES {
            let values = _mm512_loadu_ps(values.as_ptr().add(LANES * i));
            steps[i] = _mm512_cvtps_epi32(_mm512_mul_ps(values, below));
            let other = _mm512_cvtps_epi32(_mm512_mul_ps(values, above));
            // differ | (step ^ other)
            differ = _mm512_ternarylogic_epi32::<0xf6>(differ, steps[i], other);
        }
        let zero_point = _mm512_set1_epi16(zero_point as i16);
        let low = _mm512_adds_epi16(_mm512_packs_epi32(steps[0], steps[1]), zero_point);
        let high = _mm512_adds_epi16(_mm512_packs_epi32(steps[2], steps[3]), zero_point);
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let packed = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
        _mm512_storeu_si512(codes.as_mut_ptr().cast(), packed);
        _mm512_test_epi32_mask(differ, differ) == 0
    }
}

/// See [`Token::less`](super::Token::less). The compiler takes apart the 16 lanes of rows that are written one by one.
///
/// # Safety
/// Needs AVX-512 F.
#[inline(always)]
pub(super) unsafe fn less_avx512<const N: usize>(
    mut products: [i32; N],
    factor: i32,
    sums: &[i32; N],
) -> [i32; N] {
    const { assert!(N.is_multiple_of(LANES)) };
    // SAFETY: the caller vouches for the features; loads and stores take 64 of the arrays' bytes, at any alignment.
    unsafe {
        let factor = _mm512_set1_epi32(factor);
        for v in 0..N / LANES {
            let place = products.as_mut_ptr().add(LANES * v).cast();
            let part = _mm512_mullo_epi32(factor, _mm512_loadu_si512(sums.as_ptr().add(LANES * v).cast()));
            _mm512_storeu_si512(place, _mm512_sub_epi32(_mm512_loadu_si512(place), part));
        }
    }
    products
}

/// See [`Token::scaled`](super::Token::scaled).
///
/// # Safety
/// Needs AVX-512 F.
#[inline(always)]
pub(super) unsafe fn scaled_avx512<const N: usize>(
    sums: [i32; N],
    scale: f32,
    scales: &[f32; N],
    bias: &[f32; N],
) -> [f32; N] {
    const { assert!(N.is_multiple_of(LANES)) };
    let mut values = [0.0; N];
    // SAFETY: the caller vouches for the features; loads and stores take 64 of the arrays' bytes, at any alignment.
    unsafe {
        let scale = _mm512_set1_ps(scale);
        for v in 0..N / LANES {
            let scale = _mm512_mul_ps(scale, _mm512_loadu_ps(scales.as_ptr().add(LANES * v)));
            let sums = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums.as_ptr().add(LANES * v).cast()));
            let bias = _mm512_loadu_ps(bias.as_ptr().add(LANES * v));
            let value = _mm512_add_ps(_mm512_mul_ps(sums, scale), bias);
            _mm512_storeu_ps(values.as_mut_ptr().add(LANES * v), value);
        }
    }
    values
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_vnni<const R: usize>(
    rows: RowBlock<'_, u8, R>,
    tile: &[[Group<i8>; TILE]],
    sums: &mut [[i32; TILE]; R],
) {
    let (start, stride, len) = rows.groups();
    let len = len.min(tile.len());
    // One row alone would wait for each sum: several partial sums let the processor overlap them. Integers do not mind.
    let mut first = 0;
    if R == 1 {
        // SAFETY: the caller vouches for the features.
        first = unsafe { dot_one_row_vnni(rows.rows()[0], &tile[..len], &mut sums[0]) };
    }
    // SAFETY: the caller vouches for the features; each load and store stays within an element of `tile` (128 bytes), of a
    // row (4 bytes), both below `len`, or of `sums` (128 bytes), and takes any alignment.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); 2]; R];
        for (acc, sums) in acc.iter_mut().zip(sums.iter()) {
            acc[0] = _mm512_loadu_si512(sums.as_ptr().cast());
            acc[1] = _mm512_loadu_si512(sums.as_ptr().add(16).cast());
        }
        let mut k = first;
        while k + STEPS <= len {
            for step in 0..STEPS {
                add_group_vnni(start.add(k + step), stride, tile.as_ptr().add(k + step), &mut acc);
            }
            k += STEPS;
        }
        while k < len {
            add_group_vnni(start.add(k), stride, tile.as_ptr().add(k), &mut acc);
            k += 1;
        }
        for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), acc[0]);
            _mm512_storeu_si512(sums.as_mut_ptr().add(16).cast(), acc[1]);
        }
    }
}

/// Adds the products of one group of each of `R` rows, the first at `x`, and of a tile's `weights`.
///
/// # Safety
/// See above; the groups and the weights can be read.
#[inline(always)]
unsafe fn add_group_vnni<const R: usize>(
    x: *const Group<u8>,
    stride: usize,
    weights: *const [Group<i8>; TILE],
    acc: &mut [[__m512i; 2]; R],
) {
    // SAFETY: the caller vouches for the features and the memory; loads take any alignment.
    unsafe {
        let w0 = _mm512_loadu_si512(weights.cast());
        let w1 = _mm512_loadu_si512(weights.cast::<i8>().add(64).cast());
        for r in 0..R {
            let x = _mm512_set1_epi32(x.add(r * stride).cast::<i32>().read_unaligned());
            acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], x, w0);
            acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], x, w1);
        }
    }
}

/// As many groups as come in fours; returns how many those were.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot_one_row_vnni(row: &[Group<u8>], tile: &[[Group<i8>; TILE]], sums: &mut [i32; TILE]) -> usize {
    let (rows, _) = row.as_chunks::<4>();
    let (tiles, _) = tile.as_chunks::<4>();
    // SAFETY: the caller vouches for the features; each load and store stays within 128 bytes of `tiles` or `sums`.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); 2]; 4];
        for (row, tile) in rows.iter().zip(tiles) {
            for ((acc, x), weights) in acc.iter_mut().zip(row).zip(tile) {
                let weights = weights.as_ptr().cast::<i8>();
                let x = _mm512_set1_epi32(bits(x));
                acc[0] = _mm512_dpbusd_epi32(acc[0], x, _mm512_loadu_si512(weights.cast()));
                acc[1] = _mm512_dpbusd_epi32(acc[1], x, _mm512_loadu_si512(weights.add(64).cast()));
            }
        }
        let [a, b, c, d] = acc;
        for (half, (((a, b), c), d)) in a.into_iter().zip(b).zip(c).zip(d).enumerate() {
            let sums = sums.as_mut_ptr().add(16 * half);
            let sum = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
            _mm512_storeu_si512(sums.cast(), _mm512_add_epi32(sum, _mm512_loadu_si512(sums.cast())));
        }
    }
    4 * rows.len().min(tiles.len())
}

/// See [`Token::dot_row`](super::Token::dot_row).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_row_vnni<const N: usize, const FAR: bool>(
    row: &[Group<u8>],
    tiles: [&[[Group<i8>; TILE]]; N],
    sums: &mut [[i32; TILE]; N],
) {
    let mut len = row.len();
    for tile in tiles {
        len = len.min(tile.len());
    }
    // SAFETY: the caller vouches for the features; each load stays within 4 bytes of the row or 128 of a tile, at indices below
    // `len`, each access of `sums` within the 128 bytes of a tile's; all take any alignment.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); 2]; N];
        for_runs!(len, if FAR { RUN } else { 1 }, |k, count| {
            for t in 0..N {
                let at = tiles[t].as_ptr().add(k);
                if FAR {
                    prefetch::far(at.cast(), count * TILE * size_of::<Group<i8>>());
                }
                for i in 0..count {
                    let x = _mm512_set1_epi32(bits(row.get_unchecked(k + i)));
                    let weights = at.add(i).cast::<i8>();
                    acc[t][0] = _mm512_dpbusd_epi32(acc[t][0], x, _mm512_loadu_si512(weights.cast()));
                    acc[t][1] = _mm512_dpbusd_epi32(acc[t][1], x, _mm512_loadu_si512(weights.add(64).cast()));
                }
            }
        });
        for t in 0..N {
            for half in 0..2 {
                let sums = sums[t].as_mut_ptr().add(LANES * half);
                let sum = _mm512_add_epi32(acc[t][half], _mm512_loadu_si512(sums.cast()));
                _mm512_storeu_si512(sums.cast(), sum);
            }
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_avx2<const R: usize>(
    rows: RowBlock<'_, i16, R>,
    tile: &[[Group<i8>; TILE]],
    sums: &mut [[i32; TILE]; R],
) {
    // Few registers of sums, so that weights, activations and products have room beside them. One row takes a tile at once:
    // weights that pass by once come in the order in which they lie.
    // SAFETY: the caller vouches for the feature.
    unsafe {
        match R {
            1 => dot_part_avx2::<R, 8>(rows, tile, 0, sums),
            2 | 3 => {
                for half in 0..2 {
                    dot_part_avx2::<R, 4>(rows, tile, half, sums);
                }
            }
            _ => {
                for quarter in 0..4 {
                    dot_part_avx2::<R, 2>(rows, tile, quarter, sums);
                }
            }
        }
    }
}

/// [`dot_avx2`] for part `part` of the outputs, `V` vectors of four.
///
/// # Safety
/// See above; the part lies within the tile.
#[inline(always)]
unsafe fn dot_part_avx2<const R: usize, const V: usize>(
    rows: RowBlock<'_, i16, R>,
    tile: &[[Group<i8>; TILE]],
    part: usize,
    sums: &mut [[i32; TILE]; R],
) {
    let (start, stride, len) = rows.groups();
    let len = len.min(tile.len());
    // SAFETY: the caller vouches for the feature and the part; each load stays within an element of `tile` (`16 * V` of its
    // 128 bytes) or of a row (8 bytes), both below `len`, each access of sums within `4 * V` of the 32; all take any alignment.
    unsafe {
        let mut acc = [[_mm256_setzero_si256(); V]; R];
        for k in 0..len {
            let weights = tile.as_ptr().add(k).cast::<i8>().add(16 * V * part);
            let mut w = [_mm256_setzero_si256(); V];
            for v in 0..V {
                w[v] = _mm256_cvtepi8_epi16(_mm_loadu_si128(weights.add(16 * v).cast()));
            }
            for r in 0..R {
                let x = _mm256_set1_epi64x(start.add(r * stride + k).cast::<i64>().read_unaligned());
                for v in 0..V {
                    acc[r][v] = _mm256_add_epi32(acc[r][v], _mm256_madd_epi16(x, w[v]));
                }
            }
        }
        for r in 0..R {
            for pair in 0..V / 2 {
                let sums = sums[r].as_mut_ptr().add(4 * V * part + 8 * pair);
                let sum = add_pairs(acc[r][2 * pair], acc[r][2 * pair + 1]);
                _mm256_storeu_si256(sums.cast(), _mm256_add_epi32(sum, _mm256_loadu_si256(sums.cast())));
            }
        }
    }
}

/// The sums of neighbours: of the four pairs in `low`, then of those in `high`.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn add_pairs(low: __m256i, high: __m256i) -> __m256i {
    // SAFETY: the caller vouches for the feature.
    unsafe { _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high)) }
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_blocks_vnni<const G: usize>(
    columns: &[[[Group<u8>; LANES]; G]],
    places: &[[u8; 2]],
    blocks: &[Group<i8>],
    sums: &mut [[i32; LANES]; G],
) {
    // Partial sums, as in `dot_vnni`: four for one group of lanes; several groups keep the processor busier by themselves.
    // SAFETY: the caller vouches for the features.
    unsafe {
        match G {
            1 => dot_blocks_ways_vnni::<G, 4>(columns, places, blocks, sums),
            _ => dot_blocks_ways_vnni::<G, 2>(columns, places, blocks, sums),
        }
    }
}

/// [`dot_blocks_vnni`] with `W` partial sums.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot_blocks_ways_vnni<const G: usize, const W: usize>(
    columns: &[[[Group<u8>; LANES]; G]],
    places: &[[u8; 2]],
    blocks: &[Group<i8>],
    sums: &mut [[i32; LANES]; G],
) {
    let (place_ways, place_rest) = places.as_chunks::<W>();
    let (block_ways, block_rest) = blocks.as_chunks::<W>();
    // SAFETY: the caller vouches for the features; each load and store stays within 64 bytes of `column` or `sums`.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); G]; W];
        for (places, blocks) in place_ways.iter().zip(block_ways) {
            for way in 0..W {
                add_block_vnni(columns, &places[way], &blocks[way], &mut acc[way]);
            }
        }
        for (place, block) in place_rest.iter().zip(block_rest) {
            add_block_vnni(columns, place, block, &mut acc[0]);
        }
        for (group, sums) in sums.iter_mut().enumerate() {
            let mut sum = _mm512_loadu_si512(sums.as_ptr().cast());
            for acc in &acc {
                sum = _mm512_add_epi32(sum, acc[group]);
            }
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), sum);
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
unsafe fn add_block_vnni<const G: usize>(
    columns: &[[[Group<u8>; LANES]; G]],
    place: &[u8; 2],
    block: &Group<i8>,
    acc: &mut [__m512i; G],
) {
    let Some(column) = columns.get(usize::from(u16::from_le_bytes(*place))) else { return };
    // SAFETY: the caller vouches for the features; each load takes the 64 bytes of one group of `column`.
    unsafe {
        let w = _mm512_set1_epi32(bits(block));
        for (acc, x) in acc.iter_mut().zip(column) {
            *acc = _mm512_dpbusd_epi32(*acc, _mm512_loadu_si512(x.as_ptr().cast()), w);
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_blocks_avx2<const G: usize>(
    columns: &[[[Group<i16>; LANES]; G]],
    places: &[[u8; 2]],
    blocks: &[Group<i8>],
    sums: &mut [[i32; LANES]; G],
) {
    // SAFETY: the caller vouches for the feature. Never more than 8 of the 16 registers hold sums.
    unsafe {
        if G == 1 {
            return dot_blocks_from_avx2::<G, 1>(columns, 0, places, blocks, sums);
        }
        for first in (0..G).step_by(2) {
            dot_blocks_from_avx2::<G, 2>(columns, first, places, blocks, sums);
        }
    }
}

/// [`dot_blocks_avx2`] for the groups `first..first + H` of `G`.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot_blocks_from_avx2<const G: usize, const H: usize>(
    columns: &[[[Group<i16>; LANES]; G]],
    first: usize,
    places: &[[u8; 2]],
    blocks: &[Group<i8>],
    sums: &mut [[i32; LANES]; G],
) {
    let Some(sums) = sums.get_mut(first..).and_then(|sums| sums.first_chunk_mut::<H>()) else { return };
    // SAFETY: the caller vouches for the feature; each load stays within the 128 bytes of a group of `column`, each store
    // within the 64 bytes of a group of `sums`.
    unsafe {
        let mut acc = [[_mm256_setzero_si256(); 4]; H];
        for (place, w) in places.iter().zip(blocks) {
            let column = columns.get(usize::from(u16::from_le_bytes(*place)));
            let column =
                column.and_then(|column| column.get(first..)).and_then(|rest| rest.first_chunk::<H>());
            let Some(column) = column else { continue };
            let w = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(bits(w))));
            for (acc, x) in acc.iter_mut().zip(column) {
                for (quarter, acc) in acc.iter_mut().enumerate() {
                    let x = _mm256_loadu_si256(x.as_ptr().add(4 * quarter).cast());
                    *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(x, w));
                }
            }
        }
        for (acc, sums) in acc.iter().zip(sums) {
            for pair in 0..2 {
                let sums = sums.as_mut_ptr().add(8 * pair);
                let sum = add_pairs(acc[2 * pair], acc[2 * pair + 1]);
                _mm256_storeu_si256(sums.cast(), _mm256_add_epi32(sum, _mm256_loadu_si256(sums.cast())));
            }
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_tiles_vnni<const R: usize>(
    panel: &[[Group<u8>; R]],
    places: &[[u8; 2]],
    tiles: &[[Group<i8>; LANES]],
    sums: &mut [[i32; LANES]; R],
) {
    // Partial sums where there are few rows, as in `dot_vnni`.
    // SAFETY: the caller vouches for the features.
    unsafe {
        match R {
            1 | 2 => dot_tiles_ways_vnni::<R, 4>(panel, places, tiles, sums),
            4 => dot_tiles_ways_vnni::<R, 2>(panel, places, tiles, sums),
            _ => dot_tiles_ways_vnni::<R, 1>(panel, places, tiles, sums),
        }
    }
}

/// [`dot_tiles_vnni`] with `W` partial sums.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot_tiles_ways_vnni<const R: usize, const W: usize>(
    panel: &[[Group<u8>; R]],
    places: &[[u8; 2]],
    tiles: &[[Group<i8>; LANES]],
    sums: &mut [[i32; LANES]; R],
) {
    let (place_ways, place_rest) = places.as_chunks::<W>();
    let (tile_ways, tile_rest) = tiles.as_chunks::<W>();
    // SAFETY: the caller vouches for the features; each load and store stays within 64 bytes of `sums`.
    unsafe {
        let mut acc = [[_mm512_setzero_si512(); R]; W];
        for (places, tiles) in place_ways.iter().zip(tile_ways) {
            for way in 0..W {
                add_tile_vnni(panel, &places[way], &tiles[way], &mut acc[way]);
            }
        }
        for (place, tile) in place_rest.iter().zip(tile_rest) {
            add_tile_vnni(panel, place, tile, &mut acc[0]);
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let mut sum = _mm512_loadu_si512(sums.as_ptr().cast());
            for acc in &acc {
                sum = _mm512_add_epi32(sum, acc[row]);
            }
            _mm512_storeu_si512(sums.as_mut_ptr().cast(), sum);
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
unsafe fn add_tile_vnni<const R: usize>(
    panel: &[[Group<u8>; R]],
    place: &[u8; 2],
    tile: &[Group<i8>; LANES],
    acc: &mut [__m512i; R],
) {
    let Some(rows) = panel.get(usize::from(u16::from_le_bytes(*place))) else { return };
    // SAFETY: the caller vouches for the features; the load takes the 64 bytes of `tile`.
    unsafe {
        let w = _mm512_loadu_si512(tile.as_ptr().cast());
        for (acc, x) in acc.iter_mut().zip(rows) {
            *acc = _mm512_dpbusd_epi32(*acc, _mm512_set1_epi32(bits(x)), w);
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_tiles_avx2<const R: usize>(
    panel: &[[Group<i16>; R]],
    places: &[[u8; 2]],
    tiles: &[[Group<i8>; LANES]],
    sums: &mut [[i32; LANES]; R],
) {
    // Two halves of a tile: 8 registers of sums for four rows.
    for half in [0, 8] {
        // SAFETY: the caller vouches for the feature; each load stays within the 64 bytes of `tile` (16 from `4 * half + 16 *
        // quarter` on) or the 8 of `x`, each store within the 64 of a row of sums; all take any alignment.
        unsafe {
            let mut acc = [[_mm256_setzero_si256(); 2]; R];
            for (place, tile) in places.iter().zip(tiles) {
                let Some(rows) = panel.get(usize::from(u16::from_le_bytes(*place))) else { continue };
                let tile = tile.as_ptr().cast::<i8>().add(4 * half);
                let w = [
                    _mm256_cvtepi8_epi16(_mm_loadu_si128(tile.cast())),
                    _mm256_cvtepi8_epi16(_mm_loadu_si128(tile.add(16).cast())),
                ];
                for (acc, x) in acc.iter_mut().zip(rows) {
                    let x = _mm256_set1_epi64x(x.as_ptr().cast::<i64>().read_unaligned());
                    acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(x, w[0]));
                    acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(x, w[1]));
                }
            }
            for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
                let sums = sums.as_mut_ptr().add(half);
                let sum = _mm256_add_epi32(add_pairs(acc[0], acc[1]), _mm256_loadu_si256(sums.cast()));
                _mm256_storeu_si256(sums.cast(), sum);
            }
        }
    }
}
