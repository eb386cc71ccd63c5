//! Schemes: what kind of codes are wanted.

use super::channels::Channels;
use super::code::CodeType;
use super::compat::Compat;
use super::extrema::{Extrema, Interval, intervals};
use super::params::{Params, check_limits};
use super::quantized::QuantizedArray;
use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::row_major::row_major;
use ndarray::{ArrayView, Axis, Dimension};

/// What kind of codes are wanted: type, symmetry, granularity, and by whose rules. A plain value.
///
/// Starts out affine and per tensor:
///
/// ```
/// use ndarray::{Axis, array};
/// use tersor::quant::{Compat, Scheme};
///
/// let x = array![[-1.0_f32, 0.0], [3.0, 2.0]];
/// let params = Scheme::uint8().params(x.view())?;
/// assert_eq!((params.scales(), params.zero_points()), (&[4.0 / 255.0][..], &[64][..]));
///
/// let per_column = Scheme::int8().symmetric().per_channel(Axis(1)).params(x.view())?;
/// assert_eq!(per_column.scales(), [3.0 / 127.0, 2.0 / 127.0]);
///
/// let torch = Scheme::int8().symmetric().compat(Compat::Torch).params(x.view())?;
/// assert_eq!((torch.scales(), torch.limits()), (&[3.0 / 127.5][..], (-128, 127)));
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    code_type: CodeType,
    symmetric: bool,
    axis: Option<usize>,
    limits: Option<(i32, i32)>,
    compat: Compat,
}

impl Scheme {
    /// Signed 8-bit codes, affine, per tensor.
    pub fn int8() -> Self {
        Scheme::of(CodeType::I8)
    }

    /// Unsigned 8-bit codes, affine, per tensor.
    pub fn uint8() -> Self {
        Scheme::of(CodeType::U8)
    }

    /// Codes of that type, affine, per tensor.
    pub fn of(code_type: CodeType) -> Self {
        Scheme { code_type, symmetric: false, axis: None, limits: None, compat: Compat::Tersor }
    }

    /// The zero point lies in the middle (0 of signed, 128 of unsigned codes), and values are represented as far to one
    /// side as to the other.
    #[must_use]
    pub fn symmetric(self) -> Self {
        Scheme { symmetric: true, ..self }
    }

    /// The zero point lies where the range of the values, widened to hold zero, needs the fewest codes to waste.
    #[must_use]
    pub fn affine(self) -> Self {
        Scheme { symmetric: false, ..self }
    }

    /// One scale for the whole array.
    #[must_use]
    pub fn per_tensor(self) -> Self {
        Scheme { axis: None, ..self }
    }

    /// A scale for each index along an axis: for a weight matrix `[outputs, inputs]`, `Axis(0)`.
    #[must_use]
    pub fn per_channel(self, axis: Axis) -> Self {
        Scheme { axis: Some(axis.0), ..self }
    }

    /// Only the codes `lowest..=highest`: -128..=127 for a full symmetric range, 0..=127 for a reduced one.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when the type cannot store them, or when there are fewer than two.
    pub fn limits(self, lowest: i32, highest: i32) -> Result<Self> {
        check_limits(self.code_type, lowest, highest)?;
        Ok(Scheme { limits: Some((lowest, highest)), ..self })
    }

    /// Another toolkit's rules.
    #[must_use]
    pub fn compat(self, compat: Compat) -> Self {
        Scheme { compat, ..self }
    }

    /// The type of the codes.
    pub fn code_type(&self) -> CodeType {
        self.code_type
    }

    /// Whether the zero point lies in the middle.
    pub fn is_symmetric(&self) -> bool {
        self.symmetric
    }

    /// The axis along which scales differ; `None`: one scale for all.
    pub fn axis(&self) -> Option<Axis> {
        self.axis.map(Axis)
    }

    /// The lowest and the highest code in use.
    pub fn code_limits(&self) -> (i32, i32) {
        self.limits.unwrap_or_else(|| self.compat.limits(self.code_type, self.symmetric))
    }

    /// The parameters that represent every one of `values`: from their minimum and maximum, per tensor or per channel.
    ///
    /// # Errors
    /// [`Error::NotFinite`] naming the first NaN or infinity; [`Error::Empty`]; [`Error::OutOfRange`] when the array has
    /// no such axis, or when a toolkit's rules give no usable scale.
    pub fn params<E: Element, D: Dimension>(&self, values: ArrayView<'_, E, D>) -> Result<Params> {
        let intervals = measure("values", values, self.axis)?;
        self.params_for(&intervals)
    }

    /// The parameters that represent those intervals: exactly one per tensor, or one for each channel.
    ///
    /// # Errors
    /// [`Error::Length`] when there is not one interval per scale; [`Error::OutOfRange`] when the ends of an interval
    /// are not finite and in order, or a toolkit's rules give no usable scale.
    pub fn params_for(&self, intervals: &[Interval]) -> Result<Params> {
        if intervals.is_empty() || (self.axis.is_none() && intervals.len() != 1) {
            let expected = if self.axis.is_some() { "at least 1" } else { "1 for a scheme per tensor" };
            return Err(Error::length("intervals", intervals.len(), expected));
        }
        let limits = self.code_limits();
        let mut scales = Vec::with_capacity(intervals.len());
        let mut zero_points = Vec::with_capacity(intervals.len());
        for interval in intervals {
            let interval = Interval::new(interval.min, interval.max)?;
            let (scale, zero_point) = self.compat.grid(interval, self.symmetric, self.code_type, limits)?;
            scales.push(scale);
            zero_points.push(zero_point);
        }
        let arithmetic = self.compat.arithmetic();
        Ok(Params::made(scales, zero_points, self.axis, self.code_type, limits, arithmetic))
    }

    /// The codes of `values`, with the parameters that represent every one of them.
    ///
    /// # Errors
    /// As [`params`](Scheme::params).
    pub fn quantize<E: Element, D: Dimension>(
        &self,
        values: ArrayView<'_, E, D>,
    ) -> Result<QuantizedArray<D>> {
        self.params(values.view())?.quantize(values)
    }
}

/// The interval of `values`, or of each of their channels along `axis`.
pub(super) fn measure<E: Element, D: Dimension>(
    argument: &'static str,
    values: ArrayView<'_, E, D>,
    axis: Option<usize>,
) -> Result<Vec<Interval>> {
    if let Some(axis) = axis
        && axis >= values.ndim()
    {
        let limit = format!("below {}, the number of axes of {argument}", values.ndim());
        return Err(Error::out_of_range("axis", axis, limit));
    }
    if values.is_empty() {
        return Err(Error::Empty { argument: argument.into() });
    }
    let channels = Channels::new(values.shape(), axis);
    let mut found = vec![Extrema::NONE; channels.count];
    intervals(&Context::current()?, argument, &row_major(values), channels, &mut found)?;
    Ok(found.into_iter().map(Extrema::interval).collect())
}
