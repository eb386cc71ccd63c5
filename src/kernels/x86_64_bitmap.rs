//! x86-64: weights behind bitmaps become dense tiles again, on the stack or on their way into a product.
//!
//! AVX-512 VBMI2 has the instruction for it. Not all processors with VNNI have it, so it is no part of the instruction set
//! `avx512`; without it eight weights are put into their places by a shuffle, which also serves AVX2. (`pdep` took 1.4 to 1.9
//! times as long on Zen 4.)

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::bitmap::{CHUNK, GROUP_BITS};
use super::dot::{Group, LANES, RowBlock, TILE};
use super::prefetch;
use std::arch::x86_64::*;

/// Bytes of a chunk of which no weight is zero: no more than these are read of one.
const MOST_BYTES: usize = CHUNK * (GROUP_BITS + TILE * 4);

/// Bytes of a vector, which may be read past the weights of a chunk.
const VECTOR: usize = 64;

/// Bytes that may be read where a chunk begins.
const ROOM: usize = MOST_BYTES + VECTOR;

/// How far ahead of their products bits and weights are asked for, in bytes. They come at different paces, which the processor's
/// own prefetching follows less well than those of dense tiles.
const AHEAD: usize = 1024;

/// Whether the processor has what the functions ending in `_vbmi2` need besides what the AVX-512 token proves.
#[inline(always)]
pub(super) fn has_vbmi2() -> bool {
    std::arch::is_x86_feature_detected!("avx512vbmi2")
}

/// Asks for what comes [`AHEAD`] of an address: about as many lines as a chunk has when half of its weights are zero.
#[inline(always)]
fn ask_ahead(weights: *const u8) {
    for line in 0..5 {
        prefetch::near(weights.wrapping_add(AHEAD + 64 * line).cast());
    }
}

/// For each eight bits, which of the weights that are stored goes where; 0x80 for none.
static PLACES: [[u8; 8]; 256] = {
    let mut places = [[0x80; 8]; 256];
    let mut bits = 0;
    while bits < 256 {
        let (mut bit, mut stored) = (0, 0);
        while bit < 8 {
            if bits >> bit & 1 != 0 {
                places[bits][bit] = stored;
                stored += 1;
            }
            bit += 1;
        }
        bits += 1;
    }
    places
};

/// Where [`ROOM`] bytes of a stream from `at` on can be read: in the stream, or of a copy, with zeros behind what is left.
#[inline(always)]
fn readable(stream: &[u8], at: usize, copy: &mut [u8; ROOM]) -> *const u8 {
    let left = stream.get(at..).unwrap_or_default();
    if left.len() >= ROOM {
        return left.as_ptr();
    }
    *copy = [0; ROOM];
    copy[..left.len()].copy_from_slice(left);
    copy.as_ptr()
}

/// See [`Token::expand`](super::Token::expand).
///
/// # Safety
/// Needs AVX2 and POPCNT.
#[target_feature(enable = "avx2,popcnt")]
pub(super) unsafe fn expand_avx2(stream: &[u8], tile: &mut [[Group<i8>; TILE]]) -> usize {
    let (mut at, mut copy) = (0, [0; ROOM]);
    let (chunks, rest) = tile.as_chunks_mut::<CHUNK>();
    // SAFETY: the caller vouches for the features, `readable` for the bytes, and no chunk has more groups than `CHUNK`.
    unsafe {
        for chunk in chunks {
            at += expand_groups_avx2(readable(stream, at, &mut copy), chunk);
        }
        if !rest.is_empty() {
            at += expand_groups_avx2(readable(stream, at, &mut copy), rest);
        }
    }
    at.min(stream.len())
}

/// The groups of a chunk, or as many as are left; returns how many bytes they were.
///
/// # Safety
/// Needs AVX2 and POPCNT; there are at most [`CHUNK`] groups, and [`ROOM`] bytes can be read.
#[inline]
#[target_feature(enable = "avx2,popcnt")]
unsafe fn expand_groups_avx2(bits: *const u8, groups: &mut [[Group<i8>; TILE]]) -> usize {
    // SAFETY: the caller vouches for the features. There are as many bytes of bits as the groups have, and as many weights as those
    // have ones, at most, in all, `MOST_BYTES`, so 8 bytes from any of these weights on can be read; the 128 bytes of each group are
    // written in eights of 16; all at any alignment.
    unsafe {
        let mut weights = bits.add(groups.len() * GROUP_BITS);
        ask_ahead(weights);
        let places = PLACES.as_ptr().cast::<i64>();
        let high_half = _mm_set_epi64x(0x0808_0808_0808_0808, 0);
        for pair in 0..groups.len() * GROUP_BITS / 2 {
            let both = bits.add(2 * pair).cast::<u16>().read_unaligned();
            let (low, high) = (both & 0xff, both >> 8);
            let place = _mm_set_epi64x(
                places.add(usize::from(high)).read_unaligned(),
                places.add(usize::from(low)).read_unaligned(),
            );
            let second = weights.add(low.count_ones() as usize);
            let stored = _mm_unpacklo_epi64(_mm_loadl_epi64(weights.cast()), _mm_loadl_epi64(second.cast()));
            let spread = _mm_shuffle_epi8(stored, _mm_add_epi8(place, high_half));
            _mm_storeu_si128(groups.as_mut_ptr().cast::<i8>().add(16 * pair).cast(), spread);
            weights = weights.add(both.count_ones() as usize);
        }
        weights.offset_from_unsigned(bits)
    }
}

/// See [`Token::expand`](super::Token::expand).
///
/// # Safety
/// Needs the features that are enabled.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
pub(super) unsafe fn expand_vbmi2(stream: &[u8], tile: &mut [[Group<i8>; TILE]]) -> usize {
    let (mut at, mut copy) = (0, [0; ROOM]);
    let (chunks, rest) = tile.as_chunks_mut::<CHUNK>();
    // SAFETY: the caller vouches for the features, `readable` for the bytes, and no chunk has more groups than `CHUNK`.
    unsafe {
        for chunk in chunks {
            at += expand_groups_vbmi2(readable(stream, at, &mut copy), chunk);
        }
        if !rest.is_empty() {
            at += expand_groups_vbmi2(readable(stream, at, &mut copy), rest);
        }
    }
    at.min(stream.len())
}

/// The groups of a chunk, or as many as are left; returns how many bytes they were.
///
/// # Safety
/// Needs the features that are enabled; there are at most [`CHUNK`] groups, and [`ROOM`] bytes can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,popcnt")]
unsafe fn expand_groups_vbmi2(bits: *const u8, groups: &mut [[Group<i8>; TILE]]) -> usize {
    // SAFETY: the caller vouches for the features. There are as many bytes of bits as the groups have, and as many weights as those
    // have ones, at most, in all, `MOST_BYTES`, so `VECTOR` bytes from any of these weights on can be read; the 128 bytes of each group
    // are written in halves; all at any alignment.
    unsafe {
        let mut weights = bits.add(groups.len() * GROUP_BITS);
        ask_ahead(weights);
        for half in 0..2 * groups.len() {
            let mask = bits.cast::<u64>().add(half).read_unaligned();
            let spread = spread(mask, weights);
            _mm512_storeu_si512(groups.as_mut_ptr().cast::<i8>().add(VECTOR * half).cast(), spread);
            weights = weights.add(mask.count_ones() as usize);
        }
        weights.offset_from_unsigned(bits)
    }
}

/// See [`Token::dot_bitmaps`](super::Token::dot_bitmaps).
///
/// # Safety
/// Needs the features that are enabled.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi2,popcnt")]
pub(super) unsafe fn dot_bitmaps_vbmi2<const R: usize, const N: usize>(
    rows: RowBlock<'_, u8, R>,
    streams: &mut [&[u8]; N],
    sums: &mut [[[i32; TILE]; R]; N],
) -> usize {
    let (start, stride, len) = rows.groups();
    let mut done = 0;
    let mut at = [0; N];
    // SAFETY: the caller vouches for the features; each access of `sums` takes 64 of the 128 bytes of a tile's, at any alignment.
    unsafe {
        let mut acc = [[[_mm512_setzero_si512(); 2]; R]; N];
        while done + CHUNK <= len {
            let mut shortest = usize::MAX;
            for t in 0..N {
                shortest = shortest.min(streams[t].len() - at[t]);
            }
            if shortest < ROOM {
                break;
            }
            for t in 0..N {
                // `at[t]` begins `CHUNK * GROUP_BITS` bytes of bits and as many weights as those have ones, at most, in all,
                // `MOST_BYTES`, so `VECTOR` bytes from any of these weights on lie within the stream; the groups of a row are below
                // `len`; at any alignment.
                let bits = streams[t].as_ptr().add(at[t]).cast::<u64>();
                let mut weights = bits.add(CHUNK * GROUP_BITS / 8).cast::<u8>();
                ask_ahead(weights);
                for i in 0..CHUNK {
                    for half in 0..2 {
                        let mask = bits.add(2 * i + half).read_unaligned();
                        let spread = spread(mask, weights);
                        weights = weights.add(mask.count_ones() as usize);
                        for r in 0..R {
                            let x = start.add(r * stride + done + i).cast::<i32>().read_unaligned();
                            acc[t][r][half] =
                                _mm512_dpbusd_epi32(acc[t][r][half], _mm512_set1_epi32(x), spread);
                        }
                    }
                }
                at[t] = weights.offset_from_unsigned(streams[t].as_ptr());
            }
            done += CHUNK;
        }
        for t in 0..N {
            for r in 0..R {
                for half in 0..2 {
                    let sums = sums[t][r].as_mut_ptr().add(LANES * half);
                    let sum = _mm512_add_epi32(acc[t][r][half], _mm512_loadu_si512(sums.cast()));
                    _mm512_storeu_si512(sums.cast(), sum);
                }
            }
        }
    }
    for t in 0..N {
        streams[t] = &streams[t][at[t]..];
    }
    done
}

/// The bytes at `weights`, the first where the lowest bit of `mask` is set, and so on; zeros elsewhere.
///
/// # Safety
/// Needs the features that are enabled; 64 bytes can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi2")]
unsafe fn spread(mask: u64, weights: *const u8) -> __m512i {
    let spread;
    // SAFETY: the caller vouches for the feature and for the 64 bytes, at any alignment. Not the intrinsic: of it and the load the
    // compiler makes the form of the instruction that reads memory, with which a row took up to 1.8 times as long on Zen 4. And the
    // load is in here, or it is moved before the products of weights before these, with more vectors than there are registers.
    unsafe {
        std::arch::asm!(
            "vmovdqu64 {spread}, [{weights}]",
            "vpexpandb {spread}{{{mask}}}{{z}}, {spread}",
            spread = out(zmm_reg) spread,
            mask = in(kreg) mask,
            weights = in(reg) weights,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::super::{bitmap, dot};
    use super::*;

    type Expand = unsafe fn(&[u8], &mut [[Group<i8>; TILE]]) -> usize;

    /// Any bytes: about half of the bits of a stream are set, a quarter, or none.
    fn streams() -> Vec<Vec<u8>> {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as u8
        };
        let mut streams = Vec::new();
        for len in [0, 1, 15, 63, 64, 100, 639, 640, 641, 703, 704, 705, 1000, 3000] {
            streams.push((0..len).map(|_| random()).collect());
            streams.push((0..len).map(|_| random() & random()).collect());
            streams.push(vec![0; len]);
            streams.push(vec![0xff; len]);
        }
        streams
    }

    /// What the processor has of these gives what the reference does, and says that it read as much.
    #[test]
    fn every_way_makes_the_same_tile_of_any_bytes() {
        let mut ways: Vec<Expand> = Vec::new();
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("popcnt") {
            ways.push(expand_avx2);
        }
        if has_vbmi2() && std::arch::is_x86_feature_detected!("avx512bw") {
            ways.push(expand_vbmi2);
        }
        println!("{} ways besides the reference", ways.len());
        for stream in streams() {
            for groups in [0, 1, 3, 4, 5, 8, 21] {
                let mut expected = vec![[[1; 4]; TILE]; groups];
                let read = bitmap::expand(&stream, &mut expected);
                assert!(read <= stream.len());
                for way in &ways {
                    let mut found = vec![[[2; 4]; TILE]; groups];
                    // SAFETY: what each needs was found above.
                    let count = unsafe { way(&stream, &mut found) };
                    assert_eq!(count, read, "{} bytes, {groups} groups", stream.len());
                    assert_eq!(found, expected, "{} bytes, {groups} groups", stream.len());
                }
            }
        }
    }

    /// As many groups as it takes, of any bytes, are multiplied as those of a dense tile, and what it leaves begins behind them.
    #[test]
    fn rows_times_any_bytes_are_those_times_the_tile() {
        fn check<const R: usize>(x: &[Group<u8>]) -> usize {
            let mut taken = 0;
            for pair in streams().windows(2) {
                for groups in [0, 3, 4, 9, 21] {
                    let rows = RowBlock::<_, R>::of(x, 21, 21).part(0, groups);
                    let mut left = [&pair[0][..], &pair[1][..]];
                    let mut sums = [[[7; TILE]; R]; 2];
                    // SAFETY: the features were found below.
                    let done = unsafe { dot_bitmaps_vbmi2(rows, &mut left, &mut sums) };
                    assert!(done <= groups && done.is_multiple_of(CHUNK));
                    taken += done;
                    for t in 0..2 {
                        let mut tile = vec![[[0; 4]; TILE]; done];
                        let read = bitmap::expand(&pair[t], &mut tile);
                        let mut expected = [[7; TILE]; R];
                        dot::dot(rows.part(0, done), &tile, &mut expected);
                        assert_eq!((sums[t], left[t]), (expected, &pair[t][read..]));
                    }
                }
            }
            taken
        }
        if !has_vbmi2() || !std::arch::is_x86_feature_detected!("avx512vnni") {
            println!("no VBMI2 here");
            return;
        }
        let x: Vec<Group<u8>> = (0..8 * 21_u8).map(|k| [k, 255 - k, k.wrapping_mul(3), 255]).collect();
        assert!(check::<1>(&x) > 100 && check::<2>(&x) > 100 && check::<3>(&x) > 100 && check::<8>(&x) > 100);
    }
}
