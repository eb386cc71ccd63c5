//! How an interval becomes a scale and a zero point, by tersor's rule or by another toolkit's.

use super::code::CodeType;
use super::extrema::Interval;
use super::rounding::Arithmetic;
use crate::error::{Error, Result};

/// Whose rules make scales and zero points, and round.
///
/// | | scale | zero point | limits of a symmetric int8 | [`Arithmetic`] |
/// |---|---|---|---|---|
/// | `Tersor` | `max/127`, `(max-min)/255`, at least 2^-126; 1 for zeros | half even, clamped | -127..=127 | `Divide` |
/// | `Torch` | `max/127.5`, `(max-min)/255` in f32, at least 2^-23 | half even in f32, clamped | -128..=127 | `Reciprocal` |
/// | `OnnxRuntime` | `2max/254`, `(max-min)/255` in f64; below 2^-126: 1 | half even in f64 | -127..=127 | `Divide` |
/// | `OnnxDynamic` | `(max-min)/255` in f32; 1 for zeros | clamped, half even in f32 | none | `Divide` |
/// | `TensorFlow` | `(max-min)/255` in f32; 1 for zeros | clamped, half away in f32 | none | `Shifted` |
///
/// (255, 254, 127 stand for the distances between the limits in use.) All but `TensorFlow` widen the interval to hold
/// zero first. TensorFlow's operator gives zeros for an empty interval, which is no grid: here it gets the scale 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compat {
    /// tersor's own.
    #[default]
    Tersor,
    /// torch's observers and fake quantization.
    Torch,
    /// onnxruntime's quantization tool (`compute_scale_zp`).
    OnnxRuntime,
    /// The ONNX operator DynamicQuantizeLinear as onnxruntime runs it.
    OnnxDynamic,
    /// TensorFlow's `fake_quant_with_min_max_vars`.
    TensorFlow,
}

impl Compat {
    /// By which operations a value becomes a code.
    pub fn arithmetic(self) -> Arithmetic {
        match self {
            Compat::Tersor | Compat::OnnxRuntime | Compat::OnnxDynamic => Arithmetic::Divide,
            Compat::Torch => Arithmetic::Reciprocal,
            Compat::TensorFlow => Arithmetic::Shifted,
        }
    }

    /// The codes in use unless a scheme says otherwise.
    pub(super) fn limits(self, code_type: CodeType, symmetric: bool) -> (i32, i32) {
        match (self, code_type) {
            (Compat::Tersor | Compat::OnnxRuntime, CodeType::I8) if symmetric => (-127, 127),
            (Compat::Tersor, CodeType::U8) if symmetric => (1, 255),
            _ => code_type.limits(),
        }
    }

    /// Scale and zero point.
    pub(super) fn grid(
        self,
        interval: Interval,
        symmetric: bool,
        code_type: CodeType,
        limits: (i32, i32),
    ) -> Result<(f32, i32)> {
        let (lowest, highest) = limits;
        if symmetric && highest - lowest < 2 {
            return Err(Error::out_of_range(
                "limits",
                format!("{lowest}..={highest}"),
                "at least three codes for a symmetric scheme",
            ));
        }
        let wide = Interval { min: interval.min.min(0.0), max: interval.max.max(0.0) };
        let (scale, zero_point) = match (self, symmetric) {
            (Compat::Tersor, true) => tersor_symmetric(wide, limits),
            (Compat::Tersor, false) => tersor_affine(wide, limits),
            (Compat::Torch, true) => torch_symmetric(wide, code_type, limits),
            (Compat::Torch, false) => torch_affine(wide, limits),
            (Compat::OnnxRuntime, _) => onnxruntime(wide, symmetric, limits),
            (Compat::OnnxDynamic, false) => onnx_dynamic(wide, limits),
            (Compat::TensorFlow, false) => tensorflow(interval, limits),
            (Compat::OnnxDynamic | Compat::TensorFlow, true) => {
                return Err(Error::Unsupported {
                    what: format!("a symmetric scheme by the rules of {self:?}"),
                    instead: "use an affine one, or other rules".into(),
                });
            }
        };
        if !(scale > 0.0 && scale.is_finite()) {
            return Err(Error::out_of_range(
                "interval",
                format!("{}..={}", interval.min, interval.max),
                format!("such that the rules of {self:?} give a finite scale above 0; they give {scale}"),
            ));
        }
        if !(lowest..=highest).contains(&zero_point) {
            return Err(Error::out_of_range(
                "limits",
                format!("{lowest}..={highest}"),
                format!("such that they hold {zero_point}, the zero point by the rules of {self:?}"),
            ));
        }
        Ok((scale, zero_point))
    }
}

/// The code in the middle: 0 of -127..=127 and of -128..=127, 128 of 0..=255 and of 1..=255.
fn middle((lowest, highest): (i32, i32)) -> i32 {
    (lowest + highest + 1).div_euclid(2)
}

fn tersor_symmetric(interval: Interval, limits: (i32, i32)) -> (f32, i32) {
    let zero_point = middle(limits);
    let steps = (limits.1 - zero_point).min(zero_point - limits.0);
    (finite_scale(f64::from(interval.magnitude()) / f64::from(steps), zero_point, limits), zero_point)
}

fn tersor_affine(interval: Interval, limits: (i32, i32)) -> (f32, i32) {
    // In f64, where the difference of two f32 cannot overflow.
    let (min, max) = (f64::from(interval.min), f64::from(interval.max));
    let scale = (max - min) / f64::from(limits.1 - limits.0);
    let zero_point = if scale == 0.0 {
        limits.0
    } else {
        let stored = f64::from(scale as f32).clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX));
        saturated_zero_point((f64::from(limits.0) - min / stored).round_ties_even(), limits)
    };
    (finite_scale(scale, zero_point, limits), zero_point)
}

/// The nearest f32, but 1 for 0 (an array of zeros), never so small that a processor may flush it to 0, and never so large
/// that the value of a code overflows.
fn finite_scale(scale: f64, zero_point: i32, limits: (i32, i32)) -> f32 {
    if scale == 0.0 {
        return 1.0;
    }
    let reach = (limits.1 - zero_point).max(zero_point - limits.0).max(1) as f32;
    let mut scale = (scale as f32).clamp(f32::MIN_POSITIVE, f32::MAX);
    if !(scale * reach).is_finite() {
        scale = f32::MAX / reach;
    }
    while !(scale * reach).is_finite() {
        scale = scale.next_down();
    }
    scale
}

fn saturated_zero_point(zero_point: f64, limits: (i32, i32)) -> i32 {
    zero_point.clamp(f64::from(limits.0), f64::from(limits.1)) as i32
}

/// torch: 2^-23, the machine epsilon of f32.
const TORCH_SMALLEST_SCALE: f32 = f32::EPSILON;

fn torch_symmetric(interval: Interval, code_type: CodeType, limits: (i32, i32)) -> (f32, i32) {
    let scale = interval.magnitude() / ((limits.1 - limits.0) as f32 / 2.0);
    // Of limits other than a type's own, torch takes the middle rounded down, but only if the codes are unsigned.
    let zero_point = match code_type {
        CodeType::I8 => 0,
        CodeType::U8 if limits == code_type.limits() => 128,
        CodeType::U8 => (limits.0 + limits.1).div_euclid(2),
    };
    (scale.max(TORCH_SMALLEST_SCALE), zero_point)
}

fn torch_affine(interval: Interval, limits: (i32, i32)) -> (f32, i32) {
    let scale = ((interval.max - interval.min) / (limits.1 - limits.0) as f32).max(TORCH_SMALLEST_SCALE);
    let zero_point = f64::from(limits.0) - f64::from((interval.min / scale).round_ties_even());
    (scale, saturated_zero_point(zero_point, limits))
}

fn onnxruntime(interval: Interval, symmetric: bool, limits: (i32, i32)) -> (f32, i32) {
    let (min, max) = if symmetric {
        (-f64::from(interval.magnitude()), f64::from(interval.magnitude()))
    } else {
        (f64::from(interval.min), f64::from(interval.max))
    };
    let scale = (max - min) / f64::from(limits.1 - limits.0);
    if scale < f64::from(f32::MIN_POSITIVE) {
        return (1.0, 0_i32.clamp(limits.0, limits.1));
    }
    // From the scale before it is rounded to f32.
    let zero_point =
        if symmetric { f64::from(limits.0 + limits.1) / 2.0 } else { f64::from(limits.0) - min / scale };
    (scale as f32, saturated_zero_point(zero_point.round_ties_even(), limits))
}

fn onnx_dynamic(interval: Interval, limits: (i32, i32)) -> (f32, i32) {
    let Interval { min, max } = interval;
    let scale = if min == max { 1.0 } else { (max - min) / (limits.1 - limits.0) as f32 };
    let zero_point = (limits.0 as f32 - min / scale).clamp(limits.0 as f32, limits.1 as f32);
    (scale, zero_point.round_ties_even() as i32)
}

fn tensorflow(interval: Interval, limits: (i32, i32)) -> (f32, i32) {
    let Interval { min, max } = interval;
    if min == 0.0 && max == 0.0 {
        return (1.0, limits.0);
    }
    let scale = (max - min) / (limits.1 - limits.0) as f32;
    let zero_point = (limits.0 as f32 - min / scale).clamp(limits.0 as f32, limits.1 as f32);
    (scale, zero_point.round() as i32)
}
