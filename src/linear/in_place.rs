//! What a packed layer has beside its weights, written into its bytes where they lie: a bias, limits, and the quantization of
//! what it reads and writes.

#[cfg(doc)]
use super::PackedLinear;
use super::layout::{Format, HEADER, Header, Input, Quantization, Sections, check_clamp};
use crate::error::{Error, Result};
use crate::quant::{Arithmetic, Params};

/// Writes a bias into packed bytes, in place: [`PackedLinear::with_bias`] for bytes that a C caller owns.
///
/// # Errors
/// [`Error::Layout`] for bytes whose header or length is wrong, and as [`PackedLinear::with_bias`]; the bytes are untouched then.
pub fn write_bias(packed: &mut [u8], bias: &[f32]) -> Result<()> {
    let (mut header, sections) = Header::read(packed)?;
    if bias.len() != header.outputs {
        return Err(Error::length("bias", bias.len(), format!("{}, one for each output", header.outputs)));
    }
    check_finite("bias", bias.iter().copied())?;
    header.bias = true;
    let section = packed.get_mut(sections.bias.clone()).unwrap_or_default();
    section.as_chunks_mut::<4>().0.iter_mut().zip(bias).for_each(|(bytes, bias)| *bytes = bias.to_le_bytes());
    write_header(packed, &header, &sections);
    Ok(())
}

/// Writes fixed quantization of the input into packed bytes, in place: [`PackedLinear::with_input_params`] for bytes that
/// a C caller owns.
///
/// # Errors
/// [`Error::Layout`] for bytes whose header or length is wrong, and as [`PackedLinear::with_input_params`]; the bytes are untouched then.
pub fn write_input_params(packed: &mut [u8], params: &Params) -> Result<()> {
    let (mut header, sections) = Header::read(packed)?;
    if !header.format.is_integer() {
        return Err(Error::Unsupported {
            what: format!("quantizing the input of a layer of {} weights", header.format),
            instead: "pack int8 codes".into(),
        });
    }
    header.input = Some(Input::Codes(fixed(params, "input")?));
    write_header(packed, &header, &sections);
    Ok(())
}

/// Keeps the input of the layer in packed bytes in float: [`PackedLinear::with_float_input`] for bytes that a C caller owns.
///
/// # Errors
/// [`Error::Layout`] for bytes whose header or length is wrong, and as [`PackedLinear::with_float_input`]; the bytes are untouched then.
pub fn write_float_input(packed: &mut [u8]) -> Result<()> {
    let (mut header, sections) = Header::read(packed)?;
    if header.format != Format::Int4 {
        return Err(Error::Unsupported {
            what: format!("keeping the input of a layer of {} weights in float", header.format),
            instead: "pack int4 codes, or floats, whose input never becomes codes".into(),
        });
    }
    header.input = Some(Input::Floats);
    write_header(packed, &header, &sections);
    Ok(())
}

/// Writes limits of the output into packed bytes, in place: [`PackedLinear::with_clamp`] for bytes that a C caller owns.
///
/// # Errors
/// [`Error::Layout`] for bytes whose header or length is wrong, and as [`PackedLinear::with_clamp`]; the bytes are untouched then.
pub fn write_clamp(packed: &mut [u8], low: f32, high: f32) -> Result<()> {
    let (mut header, sections) = Header::read(packed)?;
    check_clamp(low, high)?;
    header.clamp = Some((low, high));
    write_header(packed, &header, &sections);
    Ok(())
}

/// Writes fixed quantization of the output into packed bytes, in place: [`PackedLinear::with_output_params`] for bytes that
/// a C caller owns.
///
/// # Errors
/// [`Error::Layout`] for bytes whose header or length is wrong, and as [`PackedLinear::with_output_params`]; the bytes are untouched then.
pub fn write_output_params(packed: &mut [u8], params: &Params) -> Result<()> {
    let (mut header, sections) = Header::read(packed)?;
    header.output = Some(fixed(params, "output")?);
    write_header(packed, &header, &sections);
    Ok(())
}

/// Parameters of the layer's input or output, as the header holds them.
fn fixed(params: &Params, of: &str) -> Result<Quantization> {
    let unsupported = |what: String, instead: &str| Err(Error::Unsupported { what, instead: instead.into() });
    let (&[scale], &[zero_point], None) = (params.scales(), params.zero_points(), params.axis()) else {
        return unsupported(format!("quantizing the {of} of a layer along an axis"), "calibrate per tensor");
    };
    if params.arithmetic() != Arithmetic::Divide {
        let what = format!("quantizing the {of} of a layer by {:?}", params.arithmetic());
        return unsupported(what, "use `Arithmetic::Divide`");
    }
    let found = Quantization { scale, zero_point, code_type: params.code_type(), limits: params.limits() };
    found.check()?;
    Ok(found)
}

pub(super) fn write_header(packed: &mut [u8], header: &Header, sections: &Sections) {
    if let Some(bytes) = packed.first_chunk_mut::<HEADER>() {
        header.write(sections.total, bytes);
    }
}

/// Refuses NaN and infinity.
pub(super) fn check_finite(argument: &'static str, values: impl Iterator<Item = f32>) -> Result<()> {
    for (index, value) in values.enumerate() {
        if !value.is_finite() {
            return Err(Error::NotFinite { argument: argument.into(), index, value });
        }
    }
    Ok(())
}
