//! x86-64: exact dot products of uint8 activations and int8 weights by AVX-VNNI, with 16 registers of 256 bits.
//!
//! The tiles are those of AVX-512, twice as many registers each: a kernel holds 8 to 12 registers of sums, the least that keep
//! two multipliers busy and the most that leave room for weights and activations.
//!
//! # Safety
//! Every function needs the features of the token that calls it: AVX2 and AVX-VNNI.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::dot::{BLOCK, Group, LANES, RowBlock, TILE};
use super::prefetch::{self, RUN, for_runs};
use super::x86_64::{assembled_dpbusd, dpbusd};
use super::x86_64_dot::{STEPS, bits};
use std::arch::x86_64::*;

/// Sums in a register.
const WIDTH: usize = 8;

/// Registers of sums of a tile.
const VECTORS: usize = TILE / WIDTH;

/// See [`Token::stage`](super::Token::stage).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn stage(steps: [[i32; LANES]; BLOCK / LANES], zero_point: i32) -> [u8; BLOCK] {
    let mut codes = [0; BLOCK];
    // SAFETY: the caller vouches for the features; loads and stores stay within the arrays, at any alignment.
    unsafe {
        let zero_point = _mm256_set1_epi32(zero_point);
        for half in 0..2 {
            let mut moved = [_mm256_setzero_si256(); 4];
            for v in 0..4 {
                let at = steps.as_flattened().as_ptr().add(4 * WIDTH * half + WIDTH * v);
                moved[v] = _mm256_add_epi32(_mm256_loadu_si256(at.cast()), zero_point);
            }
            let low = _mm256_packs_epi32(moved[0], moved[1]);
            let high = _mm256_packs_epi32(moved[2], moved[3]);
            _mm256_storeu_si256(codes.as_mut_ptr().add(4 * WIDTH * half).cast(), packed(low, high));
        }
    }
    codes
}

/// See [`Token::stage_products`](super::Token::stage_products).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn stage_products(
    values: &[f32; BLOCK],
    factors: [f32; 2],
    zero_point: i32,
    codes: &mut [u8; BLOCK],
) -> bool {
    // SAFETY: the caller vouches for the features; loads and stores stay within the arrays, at any alignment.
    unsafe {
        let [below, above] = [_mm256_set1_ps(factors[0]), _mm256_set1_ps(factors[1])];
        let zero_point = _mm256_set1_epi16(zero_point as i16);
        // One question for the whole block, as with AVX-512.
        let mut differ = _mm256_setzero_si256();
        for half in 0..2 {
            let mut steps = [_mm256_setzero_si256(); 4];
            for v in 0..4 {
                let values = _mm256_loadu_ps(values.as_ptr().add(4 * WIDTH * half + WIDTH * v));
                steps[v] = _mm256_cvtps_epi32(_mm256_mul_ps(values, below));
                let other = _mm256_cvtps_epi32(_mm256_mul_ps(values, above));
                differ = _mm256_or_si256(differ, _mm256_xor_si256(steps[v], other));
            }
            let low = _mm256_adds_epi16(_mm256_packs_epi32(steps[0], steps[1]), zero_point);
            let high = _mm256_adds_epi16(_mm256_packs_epi32(steps[2], steps[3]), zero_point);
            _mm256_storeu_si256(codes.as_mut_ptr().add(4 * WIDTH * half).cast(), packed(low, high));
        }
        _mm256_testz_si256(differ, differ) == 1
    }
}

/// 32 codes in order, of what packing left within halves of 128 bits: four of each of four vectors.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn packed(low: __m256i, high: __m256i) -> __m256i {
    // SAFETY: the caller vouches for the features.
    unsafe {
        let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order)
    }
}

/// See [`Token::dot`](super::Token::dot).
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot<const R: usize>(
    rows: RowBlock<'_, u8, R>,
    tile: &[[Group<i8>; TILE]],
    sums: &mut [[i32; TILE]; R],
) {
    // A whole tile at once, in the order in which its weights lie: three rows fill 12 registers with sums, and leave one for each
    // row and one for weights. One row has partial sums: alone it would wait for each.
    // SAFETY: the caller vouches for the features; the rows are below `R`.
    unsafe {
        if R == 1 {
            return dot_part::<R, 1, 2>(rows, tile, 0, sums);
        }
        let mut done = 0;
        while done + 3 <= R {
            dot_three(rows, tile, done, sums);
            done += 3;
        }
        if R % 3 == 2 {
            dot_part::<R, 2, 1>(rows, tile, done, sums);
        } else if R % 3 == 1 {
            dot_part::<R, 1, 2>(rows, tile, done, sums);
        }
    }
}

/// [`dot`] for the three rows from `first` on. In assembly: it takes all 16 registers, and the compiler, which loads the next
/// weights early, keeps sums in memory for it. A function of its own, because only one with AVX may name the registers.
///
/// # Safety
/// See above; the rows are below `R`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dot_three<const R: usize>(
    rows: RowBlock<'_, u8, R>,
    tile: &[[Group<i8>; TILE]],
    first: usize,
    sums: &mut [[i32; TILE]; R],
) {
    let (start, stride, len) = rows.groups();
    let len = len.min(tile.len());
    let mut acc = [[_mm256_setzero_si256(); VECTORS]; 3];
    // SAFETY: the caller vouches for the features and the rows; each step reads 4 bytes of three rows and the 128 of an element of
    // `tile`, at indices below `len` and any alignment, and names every register that it writes; each access of `sums` stays
    // within the 128 bytes of a row's.
    unsafe {
        let start = start.add(first * stride);
        let [[a0, a1, a2, a3], [b0, b1, b2, b3], [c0, c1, c2, c3]] = &mut acc;
        for k in 0..len {
            std::arch::asm!(
                "vpbroadcastd ymm12, dword ptr [{x}]",
                "vpbroadcastd ymm13, dword ptr [{x} + {stride}]",
                "vpbroadcastd ymm14, dword ptr [{x} + 2 * {stride}]",
                "vmovdqu ymm15, ymmword ptr [{w}]",
                assembled_dpbusd!("ymm0, ymm12, ymm15"),
                assembled_dpbusd!("ymm4, ymm13, ymm15"),
                assembled_dpbusd!("ymm8, ymm14, ymm15"),
                "vmovdqu ymm15, ymmword ptr [{w} + 32]",
                assembled_dpbusd!("ymm1, ymm12, ymm15"),
                assembled_dpbusd!("ymm5, ymm13, ymm15"),
                assembled_dpbusd!("ymm9, ymm14, ymm15"),
                "vmovdqu ymm15, ymmword ptr [{w} + 64]",
                assembled_dpbusd!("ymm2, ymm12, ymm15"),
                assembled_dpbusd!("ymm6, ymm13, ymm15"),
                assembled_dpbusd!("ymm10, ymm14, ymm15"),
                "vmovdqu ymm15, ymmword ptr [{w} + 96]",
                assembled_dpbusd!("ymm3, ymm12, ymm15"),
                assembled_dpbusd!("ymm7, ymm13, ymm15"),
                assembled_dpbusd!("ymm11, ymm14, ymm15"),
                x = in(reg) start.add(k),
                stride = in(reg) stride * size_of::<Group<u8>>(),
                w = in(reg) tile.as_ptr().add(k),
                inout("ymm0") *a0, inout("ymm1") *a1, inout("ymm2") *a2, inout("ymm3") *a3,
                inout("ymm4") *b0, inout("ymm5") *b1, inout("ymm6") *b2, inout("ymm7") *b3,
                inout("ymm8") *c0, inout("ymm9") *c1, inout("ymm10") *c2, inout("ymm11") *c3,
                out("ymm12") _, out("ymm13") _, out("ymm14") _, out("ymm15") _,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        for r in 0..3 {
            for v in 0..VECTORS {
                add_to(sums[first + r].as_mut_ptr().add(WIDTH * v), acc[r][v]);
            }
        }
    }
}

/// [`dot`] for the `B` rows from `first` on, with `W` partial sums.
///
/// # Safety
/// See above; the rows are below `R`.
#[inline(always)]
unsafe fn dot_part<const R: usize, const B: usize, const W: usize>(
    rows: RowBlock<'_, u8, R>,
    tile: &[[Group<i8>; TILE]],
    first: usize,
    sums: &mut [[i32; TILE]; R],
) {
    let (start, stride, len) = rows.groups();
    let len = len.min(tile.len());
    // SAFETY: the caller vouches for the features and the rows; each load stays within an element of `tile` (128 bytes) or of a
    // row (4 bytes), both below `len`, each access of `sums` within the 128 bytes of a row's; all take any alignment.
    unsafe {
        let start = start.add(first * stride);
        let mut acc = [[[_mm256_setzero_si256(); VECTORS]; B]; W];
        let mut k = 0;
        while k + STEPS <= len {
            for step in 0..STEPS {
                let weights = tile.as_ptr().add(k + step).cast();
                add_group(start.add(k + step), stride, weights, &mut acc[step % W]);
            }
            k += STEPS;
        }
        while k < len {
            add_group(start.add(k), stride, tile.as_ptr().add(k).cast(), &mut acc[0]);
            k += 1;
        }
        for r in 0..B {
            for v in 0..VECTORS {
                let mut sum = acc[0][r][v];
                for way in 1..W {
                    sum = _mm256_add_epi32(sum, acc[way][r][v]);
                }
                add_to(sums[first + r].as_mut_ptr().add(WIDTH * v), sum);
            }
        }
    }
}

/// Adds the products of one group of each of `R` rows, the first at `x`, and of the `weights` of `V` registers of outputs.
///
/// # Safety
/// See above; the groups and the weights can be read.
#[inline(always)]
unsafe fn add_group<const R: usize, const V: usize>(
    x: *const Group<u8>,
    stride: usize,
    weights: *const Group<i8>,
    acc: &mut [[__m256i; V]; R],
) {
    // SAFETY: the caller vouches for the features and the memory; loads take any alignment.
    unsafe {
        let mut rows = [_mm256_setzero_si256(); R];
        for r in 0..R {
            rows[r] = _mm256_set1_epi32(x.add(r * stride).cast::<i32>().read_unaligned());
        }
        for v in 0..V {
            let w = _mm256_loadu_si256(weights.add(WIDTH * v).cast());
            for r in 0..R {
                acc[r][v] = dpbusd(acc[r][v], rows[r], w);
            }
        }
    }
}

/// `sums[n] += sum[n]` for the eight at `sums`.
///
/// # Safety
/// See above; the eight can be read and written.
#[inline(always)]
unsafe fn add_to(sums: *mut i32, sum: __m256i) {
    // SAFETY: the caller vouches for the features and the memory; both accesses take any alignment.
    unsafe { _mm256_storeu_si256(sums.cast(), _mm256_add_epi32(sum, _mm256_loadu_si256(sums.cast()))) }
}

/// See [`Token::dot_row`](super::Token::dot_row). Two tiles at a time are two streams of weights, in 8 registers.
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_row<const N: usize, const FAR: bool>(
    row: &[Group<u8>],
    tiles: [&[[Group<i8>; TILE]]; N],
    sums: &mut [[i32; TILE]; N],
) {
    let (pairs, rest) = tiles.as_chunks::<2>();
    let (sum_pairs, sum_rest) = sums.as_chunks_mut::<2>();
    // SAFETY: the caller vouches for the features.
    unsafe {
        for i in 0..pairs.len() {
            dot_streams::<2, FAR>(row, pairs[i], &mut sum_pairs[i]);
        }
        for i in 0..rest.len() {
            dot_streams::<1, FAR>(row, [rest[i]], std::array::from_mut(&mut sum_rest[i]));
        }
    }
}

/// [`dot_row`] of `N` tiles at once.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot_streams<const N: usize, const FAR: bool>(
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
        let mut acc = [[_mm256_setzero_si256(); VECTORS]; N];
        for_runs!(len, if FAR { RUN } else { 1 }, |k, count| {
            for t in 0..N {
                let at = tiles[t].as_ptr().add(k);
                if FAR {
                    prefetch::far(at.cast(), count * TILE * size_of::<Group<i8>>());
                }
                for i in 0..count {
                    let x = _mm256_set1_epi32(bits(row.get_unchecked(k + i)));
                    let weights = at.add(i).cast::<Group<i8>>();
                    for v in 0..VECTORS {
                        let w = _mm256_loadu_si256(weights.add(WIDTH * v).cast());
                        acc[t][v] = dpbusd(acc[t][v], x, w);
                    }
                }
            }
        });
        for t in 0..N {
            for v in 0..VECTORS {
                add_to(sums[t].as_mut_ptr().add(WIDTH * v), acc[t][v]);
            }
        }
    }
}

/// See [`Token::dot_blocks`](super::Token::dot_blocks). Partial sums fill 8 registers where there are fewer groups.
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_blocks<const G: usize>(
    columns: &[[[Group<u8>; LANES]; G]],
    places: &[[u8; 2]],
    blocks: &[Group<i8>],
    sums: &mut [[i32; LANES]; G],
) {
    // SAFETY: the caller vouches for the features.
    unsafe {
        match G {
            1 => dot_blocks_ways::<G, 4>(columns, places, blocks, sums),
            2 => dot_blocks_ways::<G, 2>(columns, places, blocks, sums),
            _ => dot_blocks_ways::<G, 1>(columns, places, blocks, sums),
        }
    }
}

/// [`dot_blocks`] with `W` partial sums.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot_blocks_ways<const G: usize, const W: usize>(
    columns: &[[[Group<u8>; LANES]; G]],
    places: &[[u8; 2]],
    blocks: &[Group<i8>],
    sums: &mut [[i32; LANES]; G],
) {
    let (place_ways, place_rest) = places.as_chunks::<W>();
    let (block_ways, block_rest) = blocks.as_chunks::<W>();
    // SAFETY: the caller vouches for the features.
    unsafe {
        let mut acc = [[[_mm256_setzero_si256(); 2]; G]; W];
        for (places, blocks) in place_ways.iter().zip(block_ways) {
            for way in 0..W {
                add_block(columns, &places[way], &blocks[way], &mut acc[way]);
            }
        }
        for (place, block) in place_rest.iter().zip(block_rest) {
            add_block(columns, place, block, &mut acc[0]);
        }
        add_ways(&acc, sums);
    }
}

/// Adds partial sums to `sums`.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn add_ways<const N: usize, const W: usize>(
    acc: &[[[__m256i; 2]; N]; W],
    sums: &mut [[i32; LANES]; N],
) {
    // SAFETY: the caller vouches for the features; each access of `sums` stays within the 64 bytes of an element.
    unsafe {
        for n in 0..N {
            for half in 0..2 {
                let mut sum = acc[0][n][half];
                for way in 1..W {
                    sum = _mm256_add_epi32(sum, acc[way][n][half]);
                }
                add_to(sums[n].as_mut_ptr().add(WIDTH * half), sum);
            }
        }
    }
}

/// # Safety
/// See above.
#[inline(always)]
unsafe fn add_block<const G: usize>(
    columns: &[[[Group<u8>; LANES]; G]],
    place: &[u8; 2],
    block: &Group<i8>,
    acc: &mut [[__m256i; 2]; G],
) {
    let Some(column) = columns.get(usize::from(u16::from_le_bytes(*place))) else { return };
    // SAFETY: the caller vouches for the features; the loads take the 64 bytes of one group of `column`.
    unsafe {
        let w = _mm256_set1_epi32(bits(block));
        for g in 0..G {
            for half in 0..2 {
                let x = _mm256_loadu_si256(column[g].as_ptr().add(WIDTH * half).cast());
                acc[g][half] = dpbusd(acc[g][half], x, w);
            }
        }
    }
}

/// See [`Token::dot_tiles`](super::Token::dot_tiles). Partial sums fill 8 registers where there are fewer than four rows.
///
/// # Safety
/// See above.
#[inline(always)]
pub(super) unsafe fn dot_tiles<const R: usize>(
    panel: &[[Group<u8>; R]],
    places: &[[u8; 2]],
    tiles: &[[Group<i8>; LANES]],
    sums: &mut [[i32; LANES]; R],
) {
    // SAFETY: the caller vouches for the features.
    unsafe {
        match R {
            1 => dot_tiles_ways::<R, 4>(panel, places, tiles, sums),
            2 => dot_tiles_ways::<R, 2>(panel, places, tiles, sums),
            _ => dot_tiles_ways::<R, 1>(panel, places, tiles, sums),
        }
    }
}

/// [`dot_tiles`] with `W` partial sums.
///
/// # Safety
/// See above.
#[inline(always)]
unsafe fn dot_tiles_ways<const R: usize, const W: usize>(
    panel: &[[Group<u8>; R]],
    places: &[[u8; 2]],
    tiles: &[[Group<i8>; LANES]],
    sums: &mut [[i32; LANES]; R],
) {
    let (place_ways, place_rest) = places.as_chunks::<W>();
    let (tile_ways, tile_rest) = tiles.as_chunks::<W>();
    // SAFETY: the caller vouches for the features.
    unsafe {
        let mut acc = [[[_mm256_setzero_si256(); 2]; R]; W];
        for (places, tiles) in place_ways.iter().zip(tile_ways) {
            for way in 0..W {
                add_tile(panel, &places[way], &tiles[way], &mut acc[way]);
            }
        }
        for (place, tile) in place_rest.iter().zip(tile_rest) {
            add_tile(panel, place, tile, &mut acc[0]);
        }
        add_ways(&acc, sums);
    }
}

/// # Safety
/// See above.
#[inline(always)]
unsafe fn add_tile<const R: usize>(
    panel: &[[Group<u8>; R]],
    place: &[u8; 2],
    tile: &[Group<i8>; LANES],
    acc: &mut [[__m256i; 2]; R],
) {
    let Some(rows) = panel.get(usize::from(u16::from_le_bytes(*place))) else { return };
    // SAFETY: the caller vouches for the features; `add_group` reads a group of each of the `R` rows, side by side, and the 64
    // bytes of `tile`.
    unsafe { add_group(rows.as_ptr(), 1, tile.as_ptr(), acc) }
}
