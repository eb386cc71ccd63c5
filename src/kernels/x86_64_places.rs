//! x86-64: sums of products of weights with the inputs at their places.

#![allow(
    clippy::needless_range_loop,
    reason = "iterators over arrays of sums make the compiler write every sum to memory in every step"
)]

use super::dot::{LANES, List};
use super::prefetch;
use std::arch::x86_64::*;

/// How many weights every list has.
#[inline(always)]
fn shortest(lists: &[List<'_>]) -> usize {
    lists.iter().map(|(places, values)| places.len().min(values.len())).min().unwrap_or(0)
}

/// See [`Token::multiply_places`](super::Token::multiply_places).
///
/// # Safety
/// Needs AVX-512F.
#[inline(always)]
pub(super) unsafe fn multiply_places_avx512<const P: usize, const G: usize>(
    columns: &[[[f32; LANES]; G]],
    lists: [List<'_>; P],
    sums: &mut [[[f32; LANES]; G]; P],
) {
    // SAFETY: the caller vouches for the features.
    unsafe {
        if P > 1 {
            return lists_avx512(columns, lists, sums);
        }
        for (list, sums) in lists.iter().zip(sums) {
            one_list_avx512(columns, *list, sums);
        }
    }
}

/// Weight `j` goes to the partial sum `j % 4`, so that sums need not wait for each other.
///
/// # Safety
/// Needs AVX-512F.
#[inline(always)]
unsafe fn one_list_avx512<const G: usize>(
    columns: &[[[f32; LANES]; G]],
    (places, values): List<'_>,
    sums: &mut [[f32; LANES]; G],
) {
    let (place_ways, place_rest) = places.as_chunks::<4>();
    let (value_ways, value_rest) = values.as_chunks::<4>();
    // SAFETY: the caller vouches for the features; each load and store stays within 64 bytes of `sums`.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); G]; 4];
        for (places, values) in place_ways.iter().zip(value_ways) {
            for way in 0..4 {
                add_avx512(columns, places[way], values[way], &mut acc[way]);
            }
        }
        for (place, value) in place_rest.iter().zip(value_rest) {
            add_avx512(columns, *place, *value, &mut acc[0]);
        }
        for (group, sums) in sums.iter_mut().enumerate() {
            let low = _mm512_add_ps(acc[0][group], acc[1][group]);
            let high = _mm512_add_ps(acc[2][group], acc[3][group]);
            let sum = _mm512_add_ps(_mm512_add_ps(low, high), _mm512_loadu_ps(sums.as_ptr()));
            _mm512_storeu_ps(sums.as_mut_ptr(), sum);
        }
    }
}

/// # Safety
/// Needs AVX-512F.
#[inline(always)]
unsafe fn lists_avx512<const P: usize, const G: usize>(
    columns: &[[[f32; LANES]; G]],
    lists: [List<'_>; P],
    sums: &mut [[[f32; LANES]; G]; P],
) {
    // Of four lists, a line of places and two of values.
    const STEP: usize = 8;
    let len = shortest(&lists);
    let starts = lists.map(|(places, values)| (places.as_ptr(), values.as_ptr()));
    let last = lists.last().copied().unwrap_or_default();
    let (mut next_places, mut next_values) =
        (last.0.as_ptr_range().end.cast::<i8>(), last.1.as_ptr_range().end.cast::<i8>());
    // SAFETY: the caller vouches for the features; every list has `len` places and values, of which `j` is one; each load and
    // store stays within the 64 bytes of a group of `sums`.
    unsafe {
        let mut acc = [[_mm512_setzero_ps(); G]; P];
        for first in (0..len).step_by(STEP) {
            // The lines of weights that follow the last list, as fast as these are used: each list is too short for the processor
            // to find out that it is read from start to end.
            prefetch::near(next_places);
            for line in (0..4 * STEP * P).step_by(64) {
                prefetch::near(next_values.wrapping_add(line));
            }
            next_places = next_places.wrapping_add(2 * STEP * P);
            next_values = next_values.wrapping_add(4 * STEP * P);
            for j in first..len.min(first + STEP) {
                for p in 0..P {
                    let (places, values) = starts[p];
                    add_avx512(columns, *places.add(j), *values.add(j), &mut acc[p]);
                }
            }
        }
        for p in 0..P {
            for (place, value) in lists[p].0[len..].iter().zip(&lists[p].1[len..]) {
                add_avx512(columns, *place, *value, &mut acc[p]);
            }
            for (acc, sums) in acc[p].iter().zip(&mut sums[p]) {
                let sum = _mm512_add_ps(*acc, _mm512_loadu_ps(sums.as_ptr()));
                _mm512_storeu_ps(sums.as_mut_ptr(), sum);
            }
        }
    }
}

/// # Safety
/// Needs AVX-512F.
#[inline(always)]
unsafe fn add_avx512<const G: usize>(
    columns: &[[[f32; LANES]; G]],
    place: [u8; 2],
    value: [u8; 4],
    acc: &mut [__m512; G],
) {
    let Some(column) = columns.get(usize::from(u16::from_le_bytes(place))) else { return };
    // SAFETY: the caller vouches for the features; each load takes the 64 bytes of a group of `column`.
    unsafe {
        let value = _mm512_set1_ps(f32::from_le_bytes(value));
        for (acc, x) in acc.iter_mut().zip(column) {
            *acc = _mm512_fmadd_ps(_mm512_loadu_ps(x.as_ptr()), value, *acc);
        }
    }
}

/// See [`Token::multiply_places`](super::Token::multiply_places).
///
/// # Safety
/// Needs AVX and FMA.
#[inline(always)]
pub(super) unsafe fn multiply_places_avx2<const P: usize, const G: usize>(
    columns: &[[[f32; LANES]; G]],
    lists: [List<'_>; P],
    sums: &mut [[[f32; LANES]; G]; P],
) {
    let (pairs, rest) = lists.as_chunks::<2>();
    let (pair_sums, rest_sums) = sums.as_chunks_mut::<2>();
    // SAFETY: the caller vouches for the features. Never more than 8 of the 16 registers hold sums.
    unsafe {
        for (lists, sums) in pairs.iter().zip(pair_sums) {
            pair_avx2(columns, *lists, sums);
        }
        for (list, sums) in rest.iter().zip(rest_sums) {
            match G {
                1 => one_list_avx2::<G, 4>(columns, *list, sums),
                _ => one_list_avx2::<G, 2>(columns, *list, sums),
            }
        }
    }
}

/// With `W` partial sums.
///
/// # Safety
/// Needs AVX and FMA.
#[inline(always)]
unsafe fn one_list_avx2<const G: usize, const W: usize>(
    columns: &[[[f32; LANES]; G]],
    (places, values): List<'_>,
    sums: &mut [[f32; LANES]; G],
) {
    let (place_ways, place_rest) = places.as_chunks::<W>();
    let (value_ways, value_rest) = values.as_chunks::<W>();
    // SAFETY: the caller vouches for the features; each load and store stays within 64 bytes of `sums`.
    unsafe {
        let mut acc = [[[_mm256_setzero_ps(); 2]; G]; W];
        for (places, values) in place_ways.iter().zip(value_ways) {
            for way in 0..W {
                add_avx2(columns, places[way], values[way], &mut acc[way]);
            }
        }
        for (place, value) in place_rest.iter().zip(value_rest) {
            add_avx2(columns, *place, *value, &mut acc[0]);
        }
        for (group, sums) in sums.iter_mut().enumerate() {
            for half in 0..2 {
                let sums = sums.as_mut_ptr().add(8 * half);
                let mut sum = _mm256_loadu_ps(sums);
                for acc in &acc {
                    sum = _mm256_add_ps(sum, acc[group][half]);
                }
                _mm256_storeu_ps(sums, sum);
            }
        }
    }
}

/// # Safety
/// Needs AVX and FMA.
#[inline(always)]
unsafe fn pair_avx2<const G: usize>(
    columns: &[[[f32; LANES]; G]],
    lists: [List<'_>; 2],
    sums: &mut [[[f32; LANES]; G]; 2],
) {
    let len = shortest(&lists);
    let starts = lists.map(|(places, values)| (places.as_ptr(), values.as_ptr()));
    // SAFETY: the caller vouches for the features; both lists have `len` places and values, of which `j` is one; each load and
    // store stays within the 64 bytes of a group of `sums`.
    unsafe {
        let mut acc = [[[_mm256_setzero_ps(); 2]; G]; 2];
        for j in 0..len {
            for p in 0..2 {
                let (places, values) = starts[p];
                add_avx2(columns, *places.add(j), *values.add(j), &mut acc[p]);
            }
        }
        for p in 0..2 {
            for (place, value) in lists[p].0[len..].iter().zip(&lists[p].1[len..]) {
                add_avx2(columns, *place, *value, &mut acc[p]);
            }
            for (acc, sums) in acc[p].iter().zip(&mut sums[p]) {
                for half in 0..2 {
                    let sums = sums.as_mut_ptr().add(8 * half);
                    _mm256_storeu_ps(sums, _mm256_add_ps(acc[half], _mm256_loadu_ps(sums)));
                }
            }
        }
    }
}

/// # Safety
/// Needs AVX and FMA.
#[inline(always)]
unsafe fn add_avx2<const G: usize>(
    columns: &[[[f32; LANES]; G]],
    place: [u8; 2],
    value: [u8; 4],
    acc: &mut [[__m256; 2]; G],
) {
    let Some(column) = columns.get(usize::from(u16::from_le_bytes(place))) else { return };
    // SAFETY: the caller vouches for the features; the two loads take the 64 bytes of a group of `column`.
    unsafe {
        let value = _mm256_set1_ps(f32::from_le_bytes(value));
        for (acc, x) in acc.iter_mut().zip(column) {
            acc[0] = _mm256_fmadd_ps(_mm256_loadu_ps(x.as_ptr()), value, acc[0]);
            acc[1] = _mm256_fmadd_ps(_mm256_loadu_ps(x.as_ptr().add(8)), value, acc[1]);
        }
    }
}

/// See [`Token::multiply_row_places`](super::Token::multiply_row_places).
///
/// The inputs are loaded one by one: the gather instruction of these processors does the same loads, and is slower.
///
/// # Safety
/// Needs AVX2 and FMA.
#[inline(always)]
pub(super) unsafe fn multiply_row_places(row: &[f32], places: &[[u8; 2]], values: &[[u8; 4]]) -> f32 {
    let len = places.len().min(values.len());
    let (places, values) = (&places[..len], &values[..len]);
    let Some(last) = row.len().checked_sub(1) else { return 0.0 };
    let (Some(last_places), Some(last_values)) = (places.last_chunk::<8>(), values.last_chunk::<8>()) else {
        let mut sum = 0.0;
        for (place, value) in places.iter().zip(values) {
            let x = row.get(usize::from(u16::from_le_bytes(*place))).copied().unwrap_or_default();
            sum = f32::from_le_bytes(*value).mul_add(x, sum);
        }
        return sum;
    };
    // Of the last eight weights, those that no whole chunk has: the others become 0. How many they are changes from output to
    // output, and a loop over them would be mispredicted.
    const LAST: [i32; 16] = [0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1];
    let left = &LAST[len % 8..][..8];
    // SAFETY: the caller vouches for the features; every load takes the 32 bytes of eight weights or of `left`.
    unsafe {
        let limit = _mm_set1_epi16(u16::try_from(last).unwrap_or(u16::MAX) as i16);
        let mut ways = _mm256_setzero_ps();
        for (places, values) in places.as_chunks::<8>().0.iter().zip(values.as_chunks::<8>().0) {
            let values = _mm256_loadu_ps(values.as_ptr().cast());
            ways = _mm256_fmadd_ps(values, inputs(row, limit, places), ways);
        }
        let left = _mm256_loadu_ps(left.as_ptr().cast());
        let values = _mm256_and_ps(_mm256_loadu_ps(last_values.as_ptr().cast()), left);
        // An input that was counted already may be infinite or NaN.
        let inputs = _mm256_and_ps(inputs(row, limit, last_places), left);
        ways = _mm256_fmadd_ps(values, inputs, ways);
        let four = _mm_add_ps(_mm256_castps256_ps128(ways), _mm256_extractf128_ps::<1>(ways));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
}

/// The inputs at eight places, and 0 for places past the last, which `limit` holds eight times.
///
/// # Safety
/// Needs AVX2.
#[inline(always)]
unsafe fn inputs(row: &[f32], limit: __m128i, places: &[[u8; 2]; 8]) -> __m256 {
    // SAFETY: the caller vouches for the features; the loads take the 16 bytes of `places` and the 32 of what was read.
    // Without a check are read only places that are at most that of the last input.
    unsafe {
        let past = _mm_subs_epu16(_mm_loadu_si128(places.as_ptr().cast()), limit);
        if _mm_testz_si128(past, past) == 1 {
            read(row, places)
        } else {
            _mm256_loadu_ps(read_checked(row, places).as_ptr())
        }
    }
}

/// The inputs at eight places.
///
/// # Safety
/// Needs AVX2; every place is that of an input.
#[inline(always)]
unsafe fn read(row: &[f32], places: &[[u8; 2]; 8]) -> __m256 {
    let [low, high] = bytemuck::cast::<[[u8; 2]; 8], [[u8; 8]; 2]>(*places).map(u64::from_le_bytes);
    // SAFETY: the caller vouches for the features and the places.
    unsafe {
        let x = |place: u64| _mm_load_ss(row.as_ptr().add(usize::from(place as u16)));
        let four = |places: u64| {
            let first = _mm_insert_ps::<0x10>(x(places), x(places >> 16));
            let second = _mm_insert_ps::<0x20>(first, x(places >> 32));
            _mm_insert_ps::<0x30>(second, x(places >> 48))
        };
        _mm256_set_m128(four(high), four(low))
    }
}

/// The inputs at eight places, and 0 for places where there is none.
#[cold]
#[inline(never)]
fn read_checked(row: &[f32], places: &[[u8; 2]; 8]) -> [f32; 8] {
    places.map(|place| row.get(usize::from(u16::from_le_bytes(place))).copied().unwrap_or_default())
}
