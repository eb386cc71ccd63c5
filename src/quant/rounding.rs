//! How one value becomes one code and back: the arithmetic of a grid, for one element, in f32.
//!
//! Everything here is branch-free, so that the compiler vectorizes the loops that call it, and made of single IEEE
//! operations, so that all instruction sets agree.

/// By which operations a value becomes a code.
///
/// They differ only in the last bit before rounding, so codes differ only where a value lies (almost) in the middle
/// between two of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Arithmetic {
    /// `round_half_even(x / scale) + zero_point`: tersor's own; also ONNX's QuantizeLinear.
    #[default]
    Divide,
    /// `round_half_even(x * (1 / scale)) + zero_point`: torch.
    Reciprocal,
    /// `floor((clamp(x) - low) / scale - origin + 0.5) + zero_point`, where `low` is the value of the lowest code and
    /// `origin` the zero point's distance from that code: TensorFlow's `fake_quant_with_min_max_vars` (its kernel per channel
    /// multiplies instead, and decides some ties otherwise).
    Shifted,
}

/// The grid of one channel.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub(super) scale: f32,
    pub(super) zero_point: i32,
    /// The lowest and highest code, as distances from the zero point. Small integers, so exact.
    low: f32,
    high: f32,
}

impl Grid {
    #[inline(always)]
    pub(super) fn new(scale: f32, zero_point: i32, limits: (i32, i32)) -> Self {
        Grid { scale, zero_point, low: (limits.0 - zero_point) as f32, high: (limits.1 - zero_point) as f32 }
    }

    /// The value of a code.
    #[inline(always)]
    pub(super) fn value(self, code: i32) -> f32 {
        (code - self.zero_point) as f32 * self.scale
    }
}

/// One [`Arithmetic`], as a type, so that a loop has no choice inside.
pub(super) trait Rounder: Copy + Send + Sync {
    /// The code of `x` as a distance from the zero point: an integer, saturated at the grid's ends, 0 for NaN.
    fn steps(self, x: f32, grid: Grid) -> f32;

    /// Whether `x` has a code without being saturated, which is where fake quantization lets the gradient pass.
    fn inside(self, x: f32, grid: Grid) -> bool;
}

#[derive(Clone, Copy)]
pub(super) struct Divide;
#[derive(Clone, Copy)]
pub(super) struct Reciprocal;
#[derive(Clone, Copy)]
pub(super) struct Shifted;

impl Rounder for Divide {
    #[inline(always)]
    fn steps(self, x: f32, grid: Grid) -> f32 {
        saturate(x / grid.scale, grid)
    }
    #[inline(always)]
    fn inside(self, x: f32, grid: Grid) -> bool {
        is_inside(x / grid.scale, grid)
    }
}

impl Rounder for Reciprocal {
    #[inline(always)]
    fn steps(self, x: f32, grid: Grid) -> f32 {
        saturate(x * (1.0 / grid.scale), grid)
    }
    #[inline(always)]
    fn inside(self, x: f32, grid: Grid) -> bool {
        is_inside(x * (1.0 / grid.scale), grid)
    }
}

impl Rounder for Shifted {
    #[inline(always)]
    fn steps(self, x: f32, grid: Grid) -> f32 {
        let (low, high) = (grid.low * grid.scale, grid.high * grid.scale);
        let x = if x.is_nan() { 0.0 } else { x };
        // `grid.low` is the lowest code's distance from the zero point: subtracting the origin is adding it.
        let steps = (clamp(x, low, high) - low) / grid.scale + grid.low;
        // Given scales may be so large that `low` overflows; the last clamp keeps even that on the grid.
        clamp(floor(clamp(steps, grid.low, grid.high) + 0.5), grid.low, grid.high)
    }
    #[inline(always)]
    fn inside(self, x: f32, grid: Grid) -> bool {
        x >= grid.low * grid.scale && x <= grid.high * grid.scale
    }
}

#[inline(always)]
fn saturate(steps: f32, grid: Grid) -> f32 {
    // Clamping to integers before rounding gives what clamping after it gives, and keeps the rounding trick exact.
    let steps = if steps.is_nan() { 0.0 } else { steps };
    round_half_even(clamp(steps, grid.low, grid.high))
}

#[inline(always)]
fn is_inside(steps: f32, grid: Grid) -> bool {
    // One step beyond each end is enough to see that a value lies outside.
    let rounded = round_half_even(clamp(steps, grid.low - 1.0, grid.high + 1.0));
    !steps.is_nan() & (rounded >= grid.low) & (rounded <= grid.high)
}

/// As `f32::clamp` for ordered bounds, but two selects that vectorize; a NaN gives `low`.
#[inline(always)]
fn clamp(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > low { x } else { low };
    if x < high { x } else { high }
}

/// To the nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23, whose last bit is 1, lets the addition round.
/// Not `round_ties_even`, which is a library call on the plainest x86-64.
#[inline(always)]
pub(super) fn round_half_even(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC) - MAGIC
}

/// As `f32::floor` for |x| < 2^22.
#[inline(always)]
fn floor(x: f32) -> f32 {
    let rounded = round_half_even(x);
    if rounded > x { rounded - 1.0 } else { rounded }
}

/// A small integer in an f32, as an i32, without the checks of `as`.
#[inline(always)]
pub(super) fn to_integer(x: f32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    (x + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tricks_agree_with_the_standard_library() {
        for i in -5000..5000 {
            let x = i as f32 / 16.0;
            for x in [x, x.next_up(), x.next_down()] {
                assert_eq!(round_half_even(x), x.round_ties_even(), "{x}");
                assert_eq!(floor(x), x.floor(), "{x}");
                assert_eq!(to_integer(x.floor()), x.floor() as i32);
            }
        }
    }
}
