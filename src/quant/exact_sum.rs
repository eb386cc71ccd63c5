//! The exact sum of f32 numbers, as one wide integer: the same in any order.

/// How many digits a sum has.
pub(super) const DIGITS: usize = 11;

/// An integer number of 2^-149, the smallest f32, in digits of 32 bits.
///
/// After every operation each digit but the last is in `0..2^32`; the last one carries the sign. So equal sums have equal
/// digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ExactSum {
    /// 2^-149 * 2^(32 * 10) is 2^171: room for 2^43 of the largest f32 below the last digit, and 2^31 times that in it.
    digits: [i64; DIGITS],
}

impl ExactSum {
    /// The digits, the lowest first.
    pub(super) fn digits(&self) -> [i64; DIGITS] {
        self.digits
    }

    /// The sum with those digits, if a sum of `count` numbers can have them.
    pub(super) fn from_digits(digits: [i64; DIGITS], count: u64) -> Option<Self> {
        let (last, lower) = digits.split_last()?;
        // The largest f32 is below 2^277 of the smallest, and the last digit counts 2^320 of those.
        let most = i64::try_from((count >> 43).saturating_add(1)).ok()?;
        let fits = lower.iter().all(|digit| (0..1 << 32).contains(digit)) && (-most..most).contains(last);
        let sum = ExactSum { digits };
        // A little more than the largest, because both sides were rounded; a mean of so much is still a finite f32.
        let largest = count as f64 * f64::from(f32::MAX) * (1.0 + 1e-14);
        (fits && sum.value().abs() <= largest).then_some(sum)
    }

    /// Adds a finite number.
    pub(super) fn add(&mut self, x: f32) {
        let bits = x.to_bits();
        let exponent = bits >> 23 & 0xff;
        let fraction = u64::from(bits & 0x7f_ffff);
        // A subnormal has the exponent of the smallest normal numbers and no leading one.
        let (mantissa, shift) =
            if exponent == 0 { (fraction, 0) } else { (fraction | 1 << 23, exponent as usize - 1) };
        let wide = mantissa << (shift % 32);
        let sign = if x.is_sign_negative() { -1 } else { 1 };
        for (digit, part) in self.digits.iter_mut().skip(shift / 32).zip([wide & 0xffff_ffff, wide >> 32]) {
            *digit += sign * part as i64;
        }
        self.carry();
    }

    pub(super) fn merge(&mut self, other: &ExactSum) {
        for (digit, other) in self.digits.iter_mut().zip(other.digits) {
            *digit += other;
        }
        self.carry();
    }

    /// The sum, rounded a few times in f64 on the way: less than 2^-50 off.
    pub(super) fn value(&self) -> f64 {
        // As a magnitude, so that no two digits cancel.
        let negative = self.digits.last().is_some_and(|&last| last < 0);
        let mut magnitude = self.clone();
        if negative {
            magnitude.digits.iter_mut().for_each(|digit| *digit = -*digit);
            magnitude.carry();
        }
        let value = magnitude
            .digits
            .iter()
            .rev()
            .fold(0.0, |value: f64, &digit| value * 4_294_967_296.0 + digit as f64);
        // 2^-149, in two factors that f64 holds as normal numbers together with any sum.
        let value = value * 2.0_f64.powi(-149);
        if negative { -value } else { value }
    }

    fn carry(&mut self) {
        let mut carry = 0;
        let last = self.digits.len() - 1;
        for digit in &mut self.digits[..last] {
            let sum = *digit + carry;
            *digit = sum & 0xffff_ffff;
            carry = sum >> 32;
        }
        self.digits[last] += carry;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(numbers: &[f32]) -> ExactSum {
        let mut sum = ExactSum::default();
        numbers.iter().for_each(|&x| sum.add(x));
        sum
    }

    #[test]
    fn nothing_is_lost_between_the_largest_and_the_smallest() {
        let tiny = f32::from_bits(1);
        let numbers = [f32::MAX, tiny, -f32::MAX, 1.5, -tiny, f32::MIN_POSITIVE, -1.5];
        assert_eq!(sum(&numbers).value(), f64::from(f32::MIN_POSITIVE));
        assert_eq!(sum(&[-f32::MAX; 3]).value(), -3.0 * f64::from(f32::MAX));
        assert_eq!(sum(&[-tiny]).value(), -f64::from(tiny));
    }

    #[test]
    fn the_order_and_the_split_do_not_matter() {
        let numbers: Vec<f32> = (1..2000).map(|i| (i as f32).sin() * 10.0_f32.powi(i % 60 - 30)).collect();
        let forward = sum(&numbers);
        let reversed: Vec<f32> = numbers.iter().rev().copied().collect();
        assert_eq!(forward, sum(&reversed));
        let (a, b) = numbers.split_at(777);
        let mut merged = sum(b);
        merged.merge(&sum(a));
        assert_eq!(forward, merged);
    }
}
