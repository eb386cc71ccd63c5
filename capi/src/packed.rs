//! What a packed layer has beside its weights: a bias, limits, and the quantization of what it reads and writes. All of it is written
//! into the packed bytes, in place. And the check of packed bytes that come from elsewhere.

use crate::ffi::Caller;
use crate::panic::export;
use crate::status::{Failure, Rename, tersor_status};
use std::ffi::c_void;
use tersor::linear::{
    PackedLinear, write_bias, write_clamp, write_float_input, write_input_params, write_output_params,
};
use tersor::quant::{Code, Params};

/// Gives a packed layer a bias.
///
/// @param bias    `n` numbers, all finite
/// @param n       the outputs of the layer
/// @param packed  changed in place
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_LENGTH` when the layer has another number of outputs; `TERSOR_E_NOT_FINITE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_packed_set_bias(
    bias: *const f32,
    n: usize,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let bias: &[f32] = caller.input("bias", bias, n)?;
        Ok(write_bias(caller.bytes_mut("packed", packed, packed_bytes)?, bias)?)
    })
}

/// Gives a packed integer layer a fixed quantization of its input to int8, from calibration. Without one, each row of the
/// input gets a scale of its own when it is multiplied.
///
/// @param scale       finite and above 0
/// @param zero_point  an int8 code
/// @param packed      changed in place
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE`; `TERSOR_E_UNSUPPORTED` for a layer of floats
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_packed_set_input_i8(
    scale: f32,
    zero_point: i32,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| set_input::<i8>(caller, scale, zero_point, packed, packed_bytes))
}

/// Gives a packed integer layer a fixed quantization of its input to uint8, from calibration. Without one, each row of the
/// input gets a scale of its own when it is multiplied.
///
/// @param scale       finite and above 0
/// @param zero_point  an uint8 code
/// @param packed      changed in place
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE`; `TERSOR_E_UNSUPPORTED` for a layer of floats
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_packed_set_input_u8(
    scale: f32,
    zero_point: i32,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| set_input::<u8>(caller, scale, zero_point, packed, packed_bytes))
}

/// Keeps the input of a packed int4 layer in float: x is multiplied as it is, with weights that are widened on the way, and the
/// sums are f32. Finer than codes of x, and slower where rows are many. `tersor_packed_set_input_i8` and `_u8` undo it.
///
/// @param packed  changed in place
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_UNSUPPORTED` for a layer that is not of int4 codes
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_packed_set_input_float(
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| Ok(write_float_input(caller.bytes_mut("packed", packed, packed_bytes)?)?))
}

/// Limits the output of a packed layer: y = min(max(y, low), high), after the bias and before y is rounded. ReLU is 0 and
/// infinity, ReLU6 is 0 and 6. NaN stays NaN. It takes no pass of its own over y.
///
/// @param low     below infinity
/// @param high    at least `low`, and above -infinity
/// @param packed  changed in place
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_packed_set_clamp(
    low: f32,
    high: f32,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| Ok(write_clamp(caller.bytes_mut("packed", packed, packed_bytes)?, low, high)?))
}

/// Gives a packed layer of any kind a fixed quantization of its output to int8, from calibration, for
/// `tersor_linear_forward_i8` and `tersor_linear_forward_f32_i8`.
///
/// @param scale       finite and above 0
/// @param zero_point  an int8 code
/// @param packed      changed in place
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_packed_set_output_i8(
    scale: f32,
    zero_point: i32,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| set_output::<i8>(caller, scale, zero_point, packed, packed_bytes))
}

/// Gives a packed layer of any kind a fixed quantization of its output to uint8, from calibration, for
/// `tersor_linear_forward_u8` and `tersor_linear_forward_f32_u8`.
///
/// @param scale       finite and above 0
/// @param zero_point  an uint8 code
/// @param packed      changed in place
/// @return `TERSOR_E_LAYOUT`; `TERSOR_E_OUT_OF_RANGE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_packed_set_output_u8(
    scale: f32,
    zero_point: i32,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| set_output::<u8>(caller, scale, zero_point, packed, packed_bytes))
}

/// Checks packed bytes that come from elsewhere, as from a file: the header, the length, and that all that says where weights of a
/// sparse layer belong leads there. Call it once, when they were loaded: of a sparse layer it reads something for each weight.
///
/// Every function that uses a layer checks the header, the length, and where the weights of each output begin, and reads
/// nothing of each weight before it multiplies. From bytes that this function refuses it may compute other numbers. Nothing else
/// happens: no access outside of the buffers, and no more work than such a layer takes. Weights themselves are not under a checksum,
/// so this function does not find a changed one either.
///
/// @return `TERSOR_E_LAYOUT`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_packed_check(packed: *const c_void, packed_bytes: usize) -> tersor_status {
    export(|caller| {
        PackedLinear::from_bytes(caller.bytes("packed", packed, packed_bytes)?)?;
        Ok(())
    })
}

/// Says what layer packed bytes hold.
///
/// @param out_n  receives the number of outputs; NULL is allowed
/// @param out_k  receives the number of inputs; NULL is allowed
/// @return `TERSOR_E_LAYOUT`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_packed_shape(
    packed: *const c_void,
    packed_bytes: usize,
    out_n: *mut usize,
    out_k: *mut usize,
) -> tersor_status {
    export(|caller| {
        let layer = layer(caller, packed, packed_bytes)?;
        let (out_n, out_k) = (caller.optional_out("out_n", out_n)?, caller.optional_out("out_k", out_k)?);
        if let Some(out) = out_n {
            out.set(layer.out_features());
        }
        if let Some(out) = out_k {
            out.set(layer.in_features());
        }
        Ok(())
    })
}

fn set_input<C: Code>(
    caller: Caller,
    scale: f32,
    zero_point: i32,
    packed: *mut c_void,
    packed_bytes: usize,
) -> Result<(), Failure> {
    let params = params::<C>(scale, zero_point)?;
    Ok(write_input_params(caller.bytes_mut("packed", packed, packed_bytes)?, &params)?)
}

fn set_output<C: Code>(
    caller: Caller,
    scale: f32,
    zero_point: i32,
    packed: *mut c_void,
    packed_bytes: usize,
) -> Result<(), Failure> {
    let params = params::<C>(scale, zero_point)?;
    Ok(write_output_params(caller.bytes_mut("packed", packed, packed_bytes)?, &params)?)
}

fn params<C: Code>(scale: f32, zero_point: i32) -> Result<Params, Failure> {
    let params = Params::new(C::TYPE, vec![scale], vec![zero_point], None);
    params.renamed(&[("scales[0]", "scale"), ("zero_points[0]", "zero_point")])
}

/// A layer for one call. Its weights are not looked at: that takes longer than the product with a single row.
pub(crate) fn layer<'a>(
    caller: Caller,
    packed: *const c_void,
    packed_bytes: usize,
) -> Result<PackedLinear<'a>, Failure> {
    Ok(PackedLinear::from_trusted_bytes(caller.bytes("packed", packed, packed_bytes)?)?)
}
