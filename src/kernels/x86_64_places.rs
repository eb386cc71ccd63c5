//! x86-64: sums of products of weights with the inputs at their places.

use std::arch::x86_64::*;

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
