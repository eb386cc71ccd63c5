//! Parameters: the scales and zero points that make codes of values and values of codes.

use super::channels::Channels;
use super::code::{Code, CodeType};
use super::elementwise::{CHUNK, for_each_run};
use super::quantized::{Codes, QuantizedArray};
use super::rounding::{Arithmetic, Divide, Grid, Reciprocal, Rounder, Shifted, to_integer};
use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::{Operation, Token};
use ndarray::{Array, ArrayView, ArrayViewMut, Axis, Dimension};

/// Scales and zero points, and the codes they are for: `value = (code - zero_point) * scale`.
///
/// One scale and zero point for a whole array, or one for each index along an axis. Zero always has an exact code (the
/// zero point is one), so a zero survives the way to codes and back exactly.
///
/// ```
/// use ndarray::array;
/// use tersor::quant::{CodeType, Params};
///
/// let params = Params::new(CodeType::U8, vec![0.5], vec![10], None)?;
/// let codes = params.quantize(array![-7.0_f32, 0.0, 0.75, f32::INFINITY, f32::NAN].view())?;
/// assert_eq!(codes.codes().as_u8().unwrap(), array![0, 10, 12, 255, 10]); // saturated; a tie goes to even; NaN is zero
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Params {
    scales: Vec<f32>,
    zero_points: Vec<i32>,
    axis: Option<usize>,
    code_type: CodeType,
    limits: (i32, i32),
    arithmetic: Arithmetic,
}

/// [`Params`] over scales and zero points that somebody else owns. Does the work, and allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParamsView<'a> {
    scales: &'a [f32],
    zero_points: &'a [i32],
    axis: Option<usize>,
    code_type: CodeType,
    limits: (i32, i32),
    arithmetic: Arithmetic,
}

impl Params {
    /// Parameters for codes of that type, using all codes of the type and [`Arithmetic::Divide`].
    ///
    /// Without an `axis` there is one scale and one zero point; with one, there is one of each for every index along it.
    ///
    /// # Errors
    /// [`Error::Empty`] and [`Error::Length`] when the numbers of scales and zero points do not fit each other or the
    /// axis; [`Error::OutOfRange`] when a scale is not finite and positive, or a zero point is not a code.
    pub fn new(
        code_type: CodeType,
        scales: Vec<f32>,
        zero_points: Vec<i32>,
        axis: Option<Axis>,
    ) -> Result<Self> {
        let ParamsView { axis, limits, arithmetic, .. } =
            ParamsView::new(code_type, &scales, &zero_points, axis)?;
        Ok(Params { scales, zero_points, axis, code_type, limits, arithmetic })
    }

    /// The same parameters using only the codes `lowest..=highest`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when the type cannot store them, when there are fewer than two, or when a zero point is
    /// not among them.
    pub fn with_limits(self, lowest: i32, highest: i32) -> Result<Self> {
        let limits = self.view().with_limits(lowest, highest)?.limits;
        Ok(Params { limits, ..self })
    }

    /// The same parameters with another arithmetic.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when a scale is so small that its reciprocal ([`Arithmetic::Reciprocal`]), or so large that the
    /// value of a code ([`Arithmetic::Shifted`]), which the arithmetic needs, overflows.
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> Result<Self> {
        self.view().with_arithmetic(arithmetic)?;
        Ok(Params { arithmetic, ..self })
    }

    /// From numbers that a scheme has made.
    pub(super) fn made(
        scales: Vec<f32>,
        zero_points: Vec<i32>,
        axis: Option<usize>,
        code_type: CodeType,
        limits: (i32, i32),
        arithmetic: Arithmetic,
    ) -> Self {
        Params { scales, zero_points, axis, code_type, limits, arithmetic }
    }

    /// The same, borrowed.
    pub fn view(&self) -> ParamsView<'_> {
        ParamsView {
            scales: &self.scales,
            zero_points: &self.zero_points,
            axis: self.axis,
            code_type: self.code_type,
            limits: self.limits,
            arithmetic: self.arithmetic,
        }
    }

    /// The scales: one, or one for each index along the axis.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// The codes of zero: as many as scales.
    pub fn zero_points(&self) -> &[i32] {
        &self.zero_points
    }

    /// The axis along which scales and zero points differ; `None`: one for all.
    pub fn axis(&self) -> Option<Axis> {
        self.axis.map(Axis)
    }

    /// The type of the codes.
    pub fn code_type(&self) -> CodeType {
        self.code_type
    }

    /// The lowest and the highest code that is used.
    pub fn limits(&self) -> (i32, i32) {
        self.limits
    }

    /// By which operations a value becomes a code.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Whether every zero point is 0, so that a product of codes needs no correction for it.
    pub fn is_symmetric(&self) -> bool {
        self.zero_points.iter().all(|&zero_point| zero_point == 0)
    }

    /// The codes of `values`, as a new array. What is too large saturates, infinities too; a NaN becomes zero.
    ///
    /// # Errors
    /// [`Error::Shape`] when the parameters are per channel and the axis has another length.
    pub fn quantize<E: Element, D: Dimension>(
        &self,
        values: ArrayView<'_, E, D>,
    ) -> Result<QuantizedArray<D>> {
        self.view().check_shape("values", values.shape())?;
        let codes = match self.code_type {
            CodeType::I8 => {
                let mut codes = Array::default(values.raw_dim());
                self.quantize_into::<E, i8, D>(values, codes.view_mut())?;
                Codes::I8(codes)
            }
            CodeType::U8 => {
                let mut codes = Array::default(values.raw_dim());
                self.quantize_into::<E, u8, D>(values, codes.view_mut())?;
                Codes::U8(codes)
            }
        };
        Ok(QuantizedArray::made(codes, self.clone()))
    }

    /// As [`ParamsView::quantize_into`].
    pub fn quantize_into<E: Element, C: Code, D: Dimension>(
        &self,
        values: ArrayView<'_, E, D>,
        codes: ArrayViewMut<'_, C, D>,
    ) -> Result<()> {
        self.view().quantize_into(values, codes)
    }

    /// As [`ParamsView::dequantize_into`].
    pub fn dequantize_into<C: Code, E: Element, D: Dimension>(
        &self,
        codes: ArrayView<'_, C, D>,
        values: ArrayViewMut<'_, E, D>,
    ) -> Result<()> {
        self.view().dequantize_into(codes, values)
    }
}

impl<'a> ParamsView<'a> {
    /// As [`Params::new`], over borrowed slices.
    ///
    /// # Errors
    /// As [`Params::new`].
    pub fn new(
        code_type: CodeType,
        scales: &'a [f32],
        zero_points: &'a [i32],
        axis: Option<Axis>,
    ) -> Result<Self> {
        if zero_points.len() != scales.len() && !scales.is_empty() {
            return Err(Error::length(
                "zero_points",
                zero_points.len(),
                format!("{}, one for each scale", scales.len()),
            ));
        }
        Self::checked(code_type, scales, zero_points, axis)
    }

    /// As [`ParamsView::new`] with every zero point 0, without an array of zeros.
    ///
    /// # Errors
    /// As [`Params::new`].
    pub fn symmetric(code_type: CodeType, scales: &'a [f32], axis: Option<Axis>) -> Result<Self> {
        Self::checked(code_type, scales, &[], axis)
    }

    fn checked(
        code_type: CodeType,
        scales: &'a [f32],
        zero_points: &'a [i32],
        axis: Option<Axis>,
    ) -> Result<Self> {
        if scales.is_empty() {
            return Err(Error::Empty { argument: "scales".into() });
        }
        if axis.is_none() && scales.len() != 1 {
            return Err(Error::length("scales", scales.len(), "1, because there is no axis"));
        }
        if let Some((index, scale)) =
            scales.iter().enumerate().find(|(_, scale)| !(**scale > 0.0 && scale.is_finite()))
        {
            return Err(Error::out_of_range(format!("scales[{index}]"), scale, "finite and above 0"));
        }
        let params = ParamsView {
            scales,
            zero_points,
            axis: axis.map(|axis| axis.0),
            code_type,
            limits: code_type.limits(),
            arithmetic: Arithmetic::Divide,
        };
        let (lowest, highest) = params.limits;
        params.with_limits(lowest, highest)
    }

    /// As [`Params::with_limits`].
    ///
    /// # Errors
    /// As [`Params::with_limits`].
    pub fn with_limits(self, lowest: i32, highest: i32) -> Result<Self> {
        check_limits(self.code_type, lowest, highest)?;
        let zero_points = if self.zero_points.is_empty() { &[0] } else { self.zero_points };
        if let Some((index, zero_point)) =
            zero_points.iter().enumerate().find(|(_, z)| !(lowest..=highest).contains(*z))
        {
            return Err(Error::out_of_range(
                format!("zero_points[{index}]"),
                zero_point,
                format!("a code, from {lowest} to {highest}"),
            ));
        }
        Ok(ParamsView { limits: (lowest, highest), ..self })
    }

    /// As [`Params::with_arithmetic`].
    ///
    /// # Errors
    /// As [`Params::with_arithmetic`].
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> Result<Self> {
        // The type's own limits: others may still be set, and lie within these.
        let (lowest, highest) = self.code_type.limits();
        let reach = (highest - lowest) as f32;
        if arithmetic == Arithmetic::Shifted
            && let Some((index, scale)) =
                self.scales.iter().enumerate().find(|(_, scale)| !(**scale * reach).is_finite())
        {
            return Err(Error::out_of_range(
                format!("scales[{index}]"),
                scale,
                format!("small enough for {reach} of them to be finite, which {arithmetic:?} subtracts from"),
            ));
        }
        if arithmetic == Arithmetic::Reciprocal
            && let Some((index, scale)) =
                self.scales.iter().enumerate().find(|(_, scale)| !(1.0 / **scale).is_finite())
        {
            return Err(Error::out_of_range(
                format!("scales[{index}]"),
                scale,
                format!("large enough for its reciprocal to be finite, which {arithmetic:?} multiplies by"),
            ));
        }
        Ok(ParamsView { arithmetic, ..self })
    }

    /// The scales.
    pub fn scales(&self) -> &'a [f32] {
        self.scales
    }

    /// The codes of zero: as many as scales, or none where [every one is 0](ParamsView::symmetric).
    pub fn zero_points(&self) -> &'a [i32] {
        self.zero_points
    }

    /// The axis along which they differ.
    pub fn axis(&self) -> Option<Axis> {
        self.axis.map(Axis)
    }

    /// The type of the codes.
    pub fn code_type(&self) -> CodeType {
        self.code_type
    }

    /// The lowest and the highest code that is used.
    pub fn limits(&self) -> (i32, i32) {
        self.limits
    }

    /// By which operations a value becomes a code.
    pub fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// Writes the codes of `values`. What is too large saturates, infinities too; a NaN gets the zero point.
    ///
    /// Allocates nothing if both arrays are contiguous or have contiguous rows.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shapes differ, or the parameters are per channel and the axis has another length;
    /// [`Error::Unsupported`] when `codes` are not of the parameters' type.
    pub fn quantize_into<E: Element, C: Code, D: Dimension>(
        &self,
        values: ArrayView<'_, E, D>,
        codes: ArrayViewMut<'_, C, D>,
    ) -> Result<()> {
        let channels = self.check_pair("values", values.shape(), "codes", codes.shape())?;
        self.check_type::<C>("codes")?;
        let context = Context::current()?;
        let isa = context.isa();
        let params = *self;
        match self.arithmetic {
            Arithmetic::Divide => for_each_run(&context, values, codes, |start, src, dst| {
                isa.run(Quantize { params, channels, start, src, dst, rounder: Divide });
            }),
            Arithmetic::Reciprocal => for_each_run(&context, values, codes, |start, src, dst| {
                isa.run(Quantize { params, channels, start, src, dst, rounder: Reciprocal });
            }),
            Arithmetic::Shifted => for_each_run(&context, values, codes, |start, src, dst| {
                isa.run(Quantize { params, channels, start, src, dst, rounder: Shifted });
            }),
        }
        Ok(())
    }

    /// Writes the values of `codes`: `(code - zero_point) * scale` in f32, rounded once more if `values` are 16-bit.
    ///
    /// Allocates nothing if both arrays are contiguous or have contiguous rows.
    ///
    /// # Errors
    /// As [`quantize_into`](ParamsView::quantize_into).
    pub fn dequantize_into<C: Code, E: Element, D: Dimension>(
        &self,
        codes: ArrayView<'_, C, D>,
        values: ArrayViewMut<'_, E, D>,
    ) -> Result<()> {
        let channels = self.check_pair("codes", codes.shape(), "values", values.shape())?;
        self.check_type::<C>("codes")?;
        let context = Context::current()?;
        let isa = context.isa();
        let params = *self;
        for_each_run(&context, codes, values, |start, src, dst| {
            isa.run(Dequantize { params, channels, start, src, dst });
        });
        Ok(())
    }

    /// The grid of a channel, which is below the number of scales.
    #[inline(always)]
    pub(super) fn grid(&self, channel: usize) -> Grid {
        let zero_point = if self.zero_points.is_empty() { 0 } else { self.zero_points[channel] };
        Grid::new(self.scales[channel], zero_point, self.limits)
    }

    /// The channels of an array of that shape, if it fits.
    pub(super) fn check_shape(&self, argument: &'static str, shape: &[usize]) -> Result<Channels> {
        if let Some(axis) = self.axis
            && shape.get(axis) != Some(&self.scales.len())
        {
            let expected = format!("of {} elements along axis {axis}, one for each scale", self.scales.len());
            return Err(Error::shape(argument, shape, expected));
        }
        Ok(Channels::new(shape, self.axis))
    }

    pub(super) fn check_pair(
        &self,
        from: &'static str,
        from_shape: &[usize],
        to: &'static str,
        to_shape: &[usize],
    ) -> Result<Channels> {
        if to_shape != from_shape {
            return Err(Error::shape(to, to_shape, format!("the {from}' {from_shape:?}")));
        }
        self.check_shape(from, from_shape)
    }

    fn check_type<C: Code>(&self, argument: &'static str) -> Result<()> {
        if C::TYPE != self.code_type {
            return Err(Error::Unsupported {
                what: format!("{argument} of type {} with parameters for {}", C::TYPE, self.code_type),
                instead: format!("use {argument} of type {}", self.code_type),
            });
        }
        Ok(())
    }
}

/// Whether the type has these codes, and there are at least two.
pub(super) fn check_limits(code_type: CodeType, lowest: i32, highest: i32) -> Result<()> {
    let (least, most) = code_type.limits();
    if lowest < least || highest > most || lowest >= highest {
        return Err(Error::out_of_range(
            "limits",
            format!("{lowest}..={highest}"),
            format!("at least two of {code_type}'s codes {least}..={most}"),
        ));
    }
    Ok(())
}

struct Quantize<'a, E, C, R> {
    params: ParamsView<'a>,
    channels: Channels,
    start: usize,
    src: &'a [E],
    dst: &'a mut [C],
    rounder: R,
}

impl<E: Element, C: Code, R: Rounder> Operation for Quantize<'_, E, C, R> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        let mut buffer = [0.0; CHUNK];
        let rounder = self.rounder;
        self.params.for_each_chunk(self.channels, self.start, self.src.len(), |range, grids| {
            let values = E::widened(token, &self.src[range.clone()], &mut buffer);
            grids.map(values, &mut self.dst[range], |x, grid| {
                C::from_i32(to_integer(rounder.steps(x, grid)) + grid.zero_point)
            });
        });
    }
}

struct Dequantize<'a, C, E> {
    params: ParamsView<'a>,
    channels: Channels,
    start: usize,
    src: &'a [C],
    dst: &'a mut [E],
}

impl<C: Code, E: Element> Operation for Dequantize<'_, C, E> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        let mut buffer = [0.0; CHUNK];
        self.params.for_each_chunk(self.channels, self.start, self.src.len(), |range, grids| {
            let values = &mut buffer[..range.len()];
            grids.map(&self.src[range.clone()], values, |code: C, grid| grid.value(code.to_i32()));
            E::narrow(token, values, &mut self.dst[range]);
        });
    }
}
