//! int4 weights in groups of inputs: what an int4 layer is packed from.

use crate::error::{Error, Result};
use ndarray::{Array2, ArrayView2};

/// int4 codes of weights `[outputs, inputs]`, with a scale, and perhaps a zero point, for each output and group of inputs.
///
/// `weight = scale * (code - zero_point)`, with codes from -8 to 7, rounded to nearest even. A group is `group_size` inputs side
/// by side; the last of a row may have fewer. Any size above 0 is quantized, but a layer takes only multiples of 4 and sizes of at least
/// the number of inputs (`Weights::int4`). A group of zeros (or of numbers too small for a normal scale) has scale 1 and
/// codes of 0. A weight of 0 always has an exact code.
///
/// ```
/// use tersor::quant::GroupedInt4;
/// use ndarray::array;
///
/// let weights = array![[0.7_f32, -0.1, 0.0, 0.3, 14.0, -2.0]];
/// let q = GroupedInt4::symmetric(weights.view(), 4)?;
/// assert_eq!(q.codes(), array![[7, -1, 0, 3, 7, -1]]);
/// assert_eq!(q.scales(), array![[0.1, 2.0]]);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct GroupedInt4 {
    codes: Array2<i8>,
    group_size: usize,
    scales: Array2<f32>,
    zero_points: Option<Array2<i32>>,
}

impl GroupedInt4 {
    /// `scale = max |w| / 7`, and no zero points. The code -8 is not used.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] for a `group_size` of 0, [`Error::NotFinite`].
    pub fn symmetric(weights: ArrayView2<'_, f32>, group_size: usize) -> Result<Self> {
        Self::new(weights, group_size, false)
    }

    /// The range of the group is widened to hold 0; `scale = (max - min) / 15`, `zero_point = round(-8 - min / scale)`.
    ///
    /// # Errors
    /// As [`symmetric`](GroupedInt4::symmetric).
    pub fn affine(weights: ArrayView2<'_, f32>, group_size: usize) -> Result<Self> {
        Self::new(weights, group_size, true)
    }

    fn new(weights: ArrayView2<'_, f32>, group_size: usize, affine: bool) -> Result<Self> {
        if group_size == 0 {
            return Err(Error::out_of_range("group_size", group_size, "above 0"));
        }
        if let Some((index, &value)) = weights.iter().enumerate().find(|(_, w)| !w.is_finite()) {
            return Err(Error::NotFinite { argument: "weights".into(), index, value });
        }
        let (outputs, inputs) = weights.dim();
        let groups = inputs.div_ceil(group_size);
        crate::error::checked_product("weights", &[outputs, inputs])?;
        let mut codes = Array2::zeros((outputs, inputs));
        let mut scales = Array2::ones((outputs, groups));
        let mut zero_points = Array2::zeros((outputs, groups));
        for ((n, group), slot) in scales.indexed_iter_mut() {
            // Below `inputs`, so neither product overflows; the end of the last group might.
            let (start, end) =
                (group * group_size, (group * group_size).saturating_add(group_size).min(inputs));
            let (mut low, mut high) = (0.0_f32, 0.0_f32);
            for k in start..end {
                (low, high) = (low.min(weights[[n, k]]), high.max(weights[[n, k]]));
            }
            // Divided first: the range of finite numbers may be infinite.
            let scale = if affine { high / 15.0 - low / 15.0 } else { high.max(-low) / 7.0 };
            if scale < f32::MIN_POSITIVE {
                continue;
            }
            let zero_point =
                if affine { (-8.0 - low / scale).round_ties_even().clamp(-8.0, 7.0) } else { 0.0 };
            *slot = scale;
            zero_points[[n, group]] = zero_point as i32;
            for k in start..end {
                let code = (weights[[n, k]] / scale).round_ties_even() + zero_point;
                codes[[n, k]] = code.clamp(-8.0, 7.0) as i8;
            }
        }
        let zero_points = affine.then_some(zero_points);
        Ok(GroupedInt4 { codes, group_size, scales, zero_points })
    }

    /// `[outputs, inputs]`, -8 to 7.
    pub fn codes(&self) -> ArrayView2<'_, i8> {
        self.codes.view()
    }

    /// How many inputs share a scale.
    pub fn group_size(&self) -> usize {
        self.group_size
    }

    /// `[outputs, groups]`.
    pub fn scales(&self) -> ArrayView2<'_, f32> {
        self.scales.view()
    }

    /// `[outputs, groups]`, -8 to 7; `None` where all are 0.
    pub fn zero_points(&self) -> Option<ArrayView2<'_, i32>> {
        self.zero_points.as_ref().map(|zero_points| zero_points.view())
    }

    /// What the codes stand for.
    pub fn dequantize(&self) -> Array2<f32> {
        Array2::from_shape_fn(self.codes.dim(), |(n, k)| {
            let at = [n, k / self.group_size];
            let zero_point = self.zero_points.as_ref().map_or(0, |zero_points| zero_points[at]);
            (i32::from(self.codes[[n, k]]) - zero_point) as f32 * self.scales[at]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn codes_stand_for_the_weights_within_half_a_step() {
        let weights =
            Array2::from_shape_fn((5, 37), |(n, k)| ((n * 37 + k) as f32 * 0.7).sin() + n as f32 * 0.4);
        for size in [1, 4, 5, 32, 37, usize::MAX] {
            for affine in [false, true] {
                let q = GroupedInt4::new(weights.view(), size, affine).unwrap();
                assert_eq!(q.scales().dim(), (5, 37_usize.div_ceil(size)));
                // An affine zero point is rounded, which costs the ends of the range up to half a step more.
                let most = if affine { 1.0 } else { 0.5 };
                for (((n, k), w), back) in weights.indexed_iter().zip(&q.dequantize()) {
                    let step = q.scales()[[n, k / size]];
                    assert!((w - back).abs() <= most * step * 1.00001, "{size} {affine}: {w} became {back}");
                }
            }
        }
    }

    #[test]
    fn zeros_extremes_and_bad_input() {
        let zeros = Array2::zeros((1, 8));
        let q = GroupedInt4::affine(zeros.view(), 4).unwrap();
        assert_eq!((q.codes(), q.scales()), (Array2::zeros((1, 8)).view(), array![[1.0, 1.0]].view()));
        let extremes = array![[f32::MAX, f32::MIN, 0.0, 1.0]];
        let q = GroupedInt4::affine(extremes.view(), 4).unwrap();
        assert!(q.scales()[[0, 0]].is_finite() && q.dequantize()[[0, 2]] == 0.0);
        let positive = array![[0.0_f32, 1.5, 3.0]];
        let q = GroupedInt4::affine(positive.view(), 32).unwrap();
        assert_eq!(q.zero_points().unwrap(), array![[-8]]);
        assert_eq!(q.codes(), array![[-8, 0, 7]]);
        let nan = array![[0.0, 1.0], [0.0, f32::NAN]];
        let error = GroupedInt4::symmetric(nan.view(), 4);
        assert!(matches!(error, Err(Error::NotFinite { index: 3, .. })), "{error:?}");
        assert!(matches!(GroupedInt4::symmetric(zeros.view(), 0), Err(Error::OutOfRange { .. })));
        assert_eq!(GroupedInt4::symmetric(Array2::zeros((3, 0)).view(), 4).unwrap().scales().dim(), (3, 0));
    }
}
