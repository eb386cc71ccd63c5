//! `round_half_even(x / scale)` at the speed of a multiplication, to the bit.
//!
//! A division takes a processor several times as long as everything else that quantization does. The product with the
//! reciprocal differs from the quotient in the last bits only, so both round to the same integer unless the product lies
//! close to the middle between two; there, and only there, it is divided.

use crate::kernels::BLOCK;

/// Values of a vector.
const WIDTH: usize = 16;

/// A scale that values are divided by, and saturated steps of it.
#[derive(Clone, Copy)]
pub(crate) struct Divisor {
    scale: f32,
    /// The reciprocal; NaN where it is too coarse to be used.
    inverse: f32,
    low: f32,
    high: f32,
}

/// Adding 1.5 * 2^23 leaves an integer in the low bits, rounded to even by the processor.
const MAGIC: f32 = 12_582_912.0;

/// Closer than this to a middle, a product and a quotient below 2^9 may lie on different sides of it: they differ by at most
/// three halves of a last bit each, 3 * 2^-24 of their size.
const CLOSE: f32 = 1.0 / 8192.0;

impl Divisor {
    /// `scale` is positive. `low` and `high` are the least and the greatest step, integers of at most 2^9 in magnitude.
    #[inline(always)]
    pub(crate) fn new(scale: f32, low: i32, high: i32) -> Self {
        // Between these the reciprocal is a normal number, rounded to its last bit.
        let is_fine = (f32::MIN_POSITIVE..=1.0 / f32::MIN_POSITIVE).contains(&scale);
        let inverse = if is_fine { 1.0 / scale } else { f32::NAN };
        Divisor { scale, inverse, low: low as f32, high: high as f32 }
    }

    /// Two numbers: where the products with both round to the same integer, the quotient does, too.
    #[inline(always)]
    pub(crate) fn factors(self) -> Option<[f32; 2]> {
        // The reciprocal, the factor and the product are wrong by half a last bit each, as the quotient is: 4 * 2^-24 in all,
        // and this is 6 * 2^-24, the next multiple of the last bit of 1.
        const APART: f32 = 3.0 * f32::EPSILON;
        (!self.inverse.is_nan()).then_some([self.inverse * (1.0 - APART), self.inverse * (1.0 + APART)])
    }

    /// `clamp(round_half_even(x / scale), low, high)` of each; 0 for NaN.
    #[inline(always)]
    pub(crate) fn steps(self, values: &[f32; BLOCK]) -> [[i32; WIDTH]; BLOCK / WIDTH] {
        let mut steps = [[0; WIDTH]; BLOCK / WIDTH];
        for (steps, values) in steps.iter_mut().zip(values.as_chunks::<WIDTH>().0) {
            *steps = self.vector(*values);
        }
        steps
    }

    /// As [`steps`](Divisor::steps), of any whole number of vectors.
    #[inline(always)]
    pub(crate) fn steps_of<const N: usize>(self, values: [f32; N]) -> [i32; N] {
        const { assert!(N.is_multiple_of(WIDTH)) };
        let mut steps = [0; N];
        for (steps, values) in steps.as_chunks_mut::<WIDTH>().0.iter_mut().zip(values.as_chunks::<WIDTH>().0)
        {
            *steps = self.vector(*values);
        }
        steps
    }

    #[inline(always)]
    fn vector(self, values: [f32; WIDTH]) -> [i32; WIDTH] {
        let mut steps = [0; WIDTH];
        let mut is_close = self.inverse.is_nan();
        for i in 0..WIDTH {
            let quotient = self.saturate(values[i] * self.inverse);
            let rounded = quotient + MAGIC;
            is_close |= (quotient - (rounded - MAGIC)).abs() >= 0.5 - CLOSE;
            steps[i] = rounded.to_bits() as i32 - MAGIC.to_bits() as i32;
        }
        if is_close {
            for i in 0..WIDTH {
                let rounded = self.saturate(values[i] / self.scale) + MAGIC;
                steps[i] = rounded.to_bits() as i32 - MAGIC.to_bits() as i32;
            }
        }
        steps
    }

    /// Saturating to integers before rounding gives what saturating after it gives, and keeps the rounding exact.
    #[inline(always)]
    fn saturate(self, quotient: f32) -> f32 {
        let quotient = if quotient.is_nan() { 0.0 } else { quotient };
        let quotient = if quotient < self.low { self.low } else { quotient };
        if quotient > self.high { self.high } else { quotient }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(value: f32, scale: f32, low: i32, high: i32) -> i32 {
        // The largest magnitudes fit an i32 after the clamp.
        let quotient = (value / scale).clamp(low as f32, high as f32);
        if quotient.is_nan() { 0 } else { quotient.round_ties_even() as i32 }
    }

    fn check(value: f32, scale: f32, low: i32, high: i32) {
        let steps = Divisor::new(scale, low, high).steps(&[value; BLOCK]);
        assert_eq!(
            steps,
            [[expected(value, scale, low, high); WIDTH]; BLOCK / WIDTH],
            "{value} / {scale} in {low}..={high}"
        );
    }

    /// Values at, and a few last bits around, every middle; there a product with the reciprocal goes wrong.
    #[test]
    fn middles_are_divided() {
        let mut wrong_by_the_product = 0;
        for scale in [0.1_f32, 1.0 / 3.0, 0.007_843_137, 1.5e-38, 3.0e38, 1.0, 0.019_607_844] {
            for step in -300..300 {
                let middle = (step as f32 + 0.5) * scale;
                let mut value = middle;
                (0..8).for_each(|_| value = value.next_down());
                for _ in 0..17 {
                    check(value, scale, -255, 255);
                    check(value, scale, 0, 255);
                    let product = (value * (1.0 / scale)).clamp(-255.0, 255.0).round_ties_even() as i32;
                    wrong_by_the_product += usize::from(product != expected(value, scale, -255, 255));
                    value = value.next_up();
                }
            }
        }
        assert!(wrong_by_the_product > 0, "the test would not notice a plain product");
    }

    /// Around every middle: where both products agree they are right, and they do not agree everywhere.
    #[test]
    fn factors_that_agree_are_right() {
        let (mut agree, mut differ) = (0, 0);
        for scale in [0.1_f32, 1.0 / 3.0, 0.007_843_137, 1.2e-38, 8.0e37, 1.0, 0.019_607_844] {
            let factors = Divisor::new(scale, -511, 511).factors().unwrap();
            for step in -511..511 {
                let mut value = (step as f32 + 0.5) * scale;
                (0..16).for_each(|_| value = value.next_down());
                for _ in 0..33 {
                    // Of a large scale most middles are beyond f32.
                    if value.is_infinite() {
                        break;
                    }
                    let [below, above] = factors.map(|factor| (value * factor).round_ties_even() as i32);
                    if below == above {
                        assert_eq!(below, expected(value, scale, -511, 511), "{value} / {scale}");
                        agree += 1;
                    } else {
                        differ += 1;
                    }
                    value = value.next_up();
                }
            }
        }
        assert!(agree > 100_000 && differ > 10_000, "{agree} agree, {differ} differ");
        assert_eq!(Divisor::new(f32::from_bits(1), 0, 255).factors(), None);
    }

    #[test]
    fn scales_and_values_at_the_ends_of_f32() {
        let ends = [0.0, f32::MIN_POSITIVE, f32::MAX, f32::from_bits(1), 1.0, f32::INFINITY, f32::NAN];
        for scale in [f32::from_bits(1), f32::MIN_POSITIVE / 2.0, f32::MIN_POSITIVE, 1.0, 2.0e38, f32::MAX] {
            for value in ends {
                check(value, scale, -255, 0);
                check(-value, scale, -128, 127);
            }
        }
    }

    #[test]
    fn random_values() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
        };
        for _ in 0..200_000 {
            let (value, scale) = (f32::from_bits(next()), f32::from_bits(next() & 0x7fff_ffff));
            if scale > 0.0 && scale.is_finite() {
                check(value, scale, -128, 127);
                check(scale * (next() % 600) as f32 * 0.5, scale, -255, 255);
            }
        }
    }
}
