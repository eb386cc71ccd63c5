//! A quantized array: codes, and the parameters that give them a meaning.

use super::code::CodeType;
use super::params::Params;
use crate::element::Element;
use crate::error::{Error, Result};
use ndarray::{Array, ArrayView, ArrayViewMut, Dimension};

/// The codes of an array, in the type that they are stored in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codes<D: Dimension> {
    /// Signed codes.
    I8(Array<i8, D>),
    /// Unsigned codes.
    U8(Array<u8, D>),
}

impl<D: Dimension> Codes<D> {
    /// The type.
    pub fn code_type(&self) -> CodeType {
        match self {
            Codes::I8(_) => CodeType::I8,
            Codes::U8(_) => CodeType::U8,
        }
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Codes::I8(codes) => codes.shape(),
            Codes::U8(codes) => codes.shape(),
        }
    }

    /// The signed codes, if they are.
    pub fn as_i8(&self) -> Option<ArrayView<'_, i8, D>> {
        match self {
            Codes::I8(codes) => Some(codes.view()),
            Codes::U8(_) => None,
        }
    }

    /// The unsigned codes, if they are.
    pub fn as_u8(&self) -> Option<ArrayView<'_, u8, D>> {
        match self {
            Codes::U8(codes) => Some(codes.view()),
            Codes::I8(_) => None,
        }
    }
}

/// Codes and the [`Params`] that give them a meaning. Made by [`Scheme::quantize`](super::Scheme::quantize) and
/// [`Params::quantize`].
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedArray<D: Dimension> {
    codes: Codes<D>,
    params: Params,
}

impl<D: Dimension> QuantizedArray<D> {
    /// Codes that exist already (from a file, say) with their parameters.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the codes are not of the parameters' type; [`Error::Shape`] when the parameters are
    /// per channel and the axis has another length; [`Error::OutOfRange`] when a code is not within the parameters'
    /// limits.
    pub fn new(codes: Codes<D>, params: Params) -> Result<Self> {
        if codes.code_type() != params.code_type() {
            return Err(Error::Unsupported {
                what: format!(
                    "codes of type {} with parameters for {}",
                    codes.code_type(),
                    params.code_type()
                ),
                instead: format!("use codes of type {}", params.code_type()),
            });
        }
        params.view().check_shape("codes", codes.shape())?;
        let (lowest, highest) = params.limits();
        let outside = |code: i32| !(lowest..=highest).contains(&code);
        let found = match &codes {
            Codes::I8(codes) => codes.iter().map(|&code| i32::from(code)).enumerate().find(|x| outside(x.1)),
            Codes::U8(codes) => codes.iter().map(|&code| i32::from(code)).enumerate().find(|x| outside(x.1)),
        };
        if let Some((index, code)) = found {
            return Err(Error::out_of_range(
                format!("codes[{index}] (row-major)"),
                code,
                format!("within the parameters' limits, {lowest} to {highest}"),
            ));
        }
        Ok(QuantizedArray { codes, params })
    }

    pub(super) fn made(codes: Codes<D>, params: Params) -> Self {
        QuantizedArray { codes, params }
    }

    /// The codes.
    pub fn codes(&self) -> &Codes<D> {
        &self.codes
    }

    /// The parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Codes and parameters, given up.
    pub fn into_parts(self) -> (Codes<D>, Params) {
        (self.codes, self.params)
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        self.codes.shape()
    }

    /// How many codes there are.
    pub fn len(&self) -> usize {
        match &self.codes {
            Codes::I8(codes) => codes.len(),
            Codes::U8(codes) => codes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that must be stored: the codes, a scale (4 bytes) for each channel, and a zero point (a code) for each
    /// channel if one is not 0.
    pub fn bytes(&self) -> usize {
        let code = self.params.code_type().size();
        let channels = self.params.scales().len();
        let zero_points = if self.params.is_symmetric() { 0 } else { channels * code };
        self.len() * code + size_of_val(self.params.scales()) + zero_points
    }

    /// The values, as a new array: `(code - zero_point) * scale`. What was zero is zero, exactly.
    ///
    /// # Errors
    /// Only what [`Context::current`](crate::Context::current) reports.
    pub fn dequantize(&self) -> Result<Array<f32, D>> {
        let dim = match &self.codes {
            Codes::I8(codes) => codes.raw_dim(),
            Codes::U8(codes) => codes.raw_dim(),
        };
        let mut values = Array::zeros(dim);
        self.dequantize_into(values.view_mut())?;
        Ok(values)
    }

    /// Writes the values, in any element type.
    ///
    /// # Errors
    /// [`Error::Shape`] when `values` has another shape.
    pub fn dequantize_into<E: Element>(&self, values: ArrayViewMut<'_, E, D>) -> Result<()> {
        match &self.codes {
            Codes::I8(codes) => self.params.dequantize_into(codes.view(), values),
            Codes::U8(codes) => self.params.dequantize_into(codes.view(), values),
        }
    }
}
