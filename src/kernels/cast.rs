//! 16-bit conversions without special instructions: the reference of the hardware ones, and the code where there are
//! none.
//!
//! Branch-free, so that the compiler vectorizes them. Rounding is to nearest, ties to even; subnormals are kept; overflow
//! gives infinity; a NaN stays a NaN, quiet, with its sign and the top of its payload, which is what F16C and NEON do.

use half::{bf16, f16};

#[inline(always)]
pub(super) fn widen_f16(src: &[f16], dst: &mut [f32]) {
    for (src, dst) in src.iter().zip(dst) {
        *dst = f16_to_f32(src.to_bits());
    }
}

#[inline(always)]
pub(super) fn narrow_f16(src: &[f32], dst: &mut [f16]) {
    for (src, dst) in src.iter().zip(dst) {
        *dst = f16::from_bits(f32_to_f16(*src));
    }
}

#[inline(always)]
pub(super) fn widen_bf16(src: &[bf16], dst: &mut [f32]) {
    for (src, dst) in src.iter().zip(dst) {
        *dst = bf16_to_f32(src.to_bits());
    }
}

#[inline(always)]
pub(super) fn narrow_bf16(src: &[f32], dst: &mut [bf16]) {
    for (src, dst) in src.iter().zip(dst) {
        *dst = bf16::from_bits(f32_to_bf16(*src));
    }
}

#[inline(always)]
fn f16_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let sign = (bits & 0x8000) << 16;
    let magnitude = bits & 0x7fff;
    let shifted = magnitude << 13;
    let normal = shifted.wrapping_add((127 - 15) << 23);
    let quiet = if magnitude > 0x7c00 { 1 << 22 } else { 0 };
    let special = (shifted | 0x7f80_0000) | quiet;
    // A subnormal is an integer number of 2^-24, and both the integer and the product are exact.
    let subnormal = (magnitude as f32 * f32::from_bits((127 - 24) << 23)).to_bits();
    let finite = if magnitude < 0x0400 { subnormal } else { normal };
    f32::from_bits(sign | if magnitude >= 0x7c00 { special } else { finite })
}

#[inline(always)]
fn f32_to_f16(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let nan = 0x7e00 | ((magnitude >> 13) & 0x03ff);
    // Adding just under half of the last kept bit, plus that bit, carries exactly when round-half-even goes up; a carry
    // out of the mantissa is the next exponent, and out of the last exponent infinity.
    let rounded = magnitude.wrapping_add(0x0fff).wrapping_add((magnitude >> 13) & 1);
    let normal = rounded.wrapping_sub((127 - 15) << 23) >> 13;
    // Below the smallest normal, adding 0.5 (whose last bit is 2^-24) lets the processor do the rounding.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5_f32.to_bits());
    let finite = if magnitude < 0x3880_0000 { subnormal } else { normal };
    let infinite = if magnitude > 0x7f80_0000 { nan } else { 0x7c00 };
    (sign | if magnitude >= 0x477f_f000 { infinite } else { finite }) as u16
}

#[inline(always)]
fn bf16_to_f32(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let quiet = if bits & 0x7fff > 0x7f80 { 1 << 22 } else { 0 };
    f32::from_bits((bits << 16) | quiet)
}

#[inline(always)]
fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let nan = (bits >> 16) | 0x0040;
    let rounded = bits.wrapping_add(0x7fff).wrapping_add((bits >> 16) & 1) >> 16;
    (if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_codes_survive_the_way_there_and_back() {
        for code in 0..=u16::MAX {
            let wide = f16_to_f32(code);
            let expected = if f16::from_bits(code).is_nan() { code | 0x0200 } else { code };
            assert_eq!(f32_to_f16(wide), expected, "f16 {code:#06x}");
            assert_eq!(wide.is_nan(), f16::from_bits(code).is_nan());

            let wide = bf16_to_f32(code);
            let expected = if bf16::from_bits(code).is_nan() { code | 0x0040 } else { code };
            assert_eq!(f32_to_bf16(wide), expected, "bf16 {code:#06x}");
        }
    }

    /// Every rounding boundary between neighbours: just below, at, and just above the middle, for all f16 values.
    #[test]
    fn the_middle_between_neighbours_goes_to_even() {
        for code in 0..0x7c00_u16 {
            let (low, high) = (f64::from(f16_to_f32(code)), {
                let next = f16_to_f32(code + 1);
                if next.is_infinite() { 65536.0 } else { f64::from(next) }
            });
            let middle = ((low + high) / 2.0) as f32;
            assert_eq!(f64::from(middle), (low + high) / 2.0, "the middle is an f32");
            let even = code + (code & 1);
            assert_eq!(f32_to_f16(middle), even, "{middle}");
            assert_eq!(f32_to_f16(middle.next_down()), code);
            assert_eq!(f32_to_f16(middle.next_up()), code + 1);
            assert_eq!(f32_to_f16(-middle), even | 0x8000);
        }
    }

    /// All 2^32 inputs against the `half` crate: an hour in a debug build, 20 s in release.
    /// `cargo test --release --lib -- --ignored all_f32`
    #[test]
    #[ignore = "exhaustive over 2^32 inputs; run it in release after a change to this file"]
    fn all_f32_inputs_agree_with_half() {
        for bits in 0..=u32::MAX {
            let value = f32::from_bits(bits);
            assert_eq!(f32_to_f16(value), f16::from_f32(value).to_bits(), "{bits:#010x}");
            assert_eq!(f32_to_bf16(value), bf16::from_f32(value).to_bits(), "{bits:#010x}");
        }
    }
}
