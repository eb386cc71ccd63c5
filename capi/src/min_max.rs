//! Observers per channel: the smallest and the largest value of each index along an axis, over all batches, in two arrays
//! that the caller owns. How an array becomes `outer` x `channels` x `inner` is said at quantization along an axis.

use crate::along_axis::view;
use crate::context::tersor_context;
use crate::ffi::Caller;
use crate::panic::export;
use crate::quantize::{scheme, tersor_quantize_options, zero_points};
use crate::status::{Failure, Rename, tersor_status};
use tersor::Error;
use tersor::ndarray::Axis;
use tersor::quant::{Code, Interval, MinMax, Observer, Range, Scheme};

/// Makes the limits of channels that have seen nothing: every minimum is infinity, every maximum minus infinity.
///
/// @param channels  how many there are
/// @param min       receives `channels` minima
/// @param max       receives `channels` maxima
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_min_max_init(channels: usize, min: *mut f32, max: *mut f32) -> tersor_status {
    export(|caller| {
        let min: &mut [f32] = caller.output("min", min, channels)?;
        let max: &mut [f32] = caller.output("max", max, channels)?;
        min.fill(UNSEEN.0);
        max.fill(UNSEEN.1);
        Ok(())
    })
}

/// Takes a batch into account. The result does not depend on the order of batches.
///
/// @param values  `outer` x `channels` x `inner`, all finite
/// @param min     `channels` minima, changed in place
/// @param max     `channels` maxima, changed in place
/// @return `TERSOR_E_EMPTY`; `TERSOR_E_NOT_FINITE` naming the value; `TERSOR_E_OUT_OF_RANGE` for limits that cannot be
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_min_max_observe(
    context: *const tersor_context,
    values: *const f32,
    outer: usize,
    channels: usize,
    inner: usize,
    min: *mut f32,
    max: *mut f32,
) -> tersor_status {
    export(|caller| {
        let context = caller.context(context)?;
        let values = view::<f32>(caller, "values", values, [outer, channels, inner])?;
        let min: &mut [f32] = caller.output("min", min, channels)?;
        let max: &mut [f32] = caller.output("max", max, channels)?;
        check(("min", min), ("max", max))?;
        let found = context.scope(|| {
            let mut observer = MinMax::per_channel(Axis(1));
            observer.observe(values)?;
            observer.intervals(&Scheme::int8().per_channel(Axis(1)), Range::MinMax)
        })?;
        for ((min, max), found) in min.iter_mut().zip(max).zip(found) {
            (*min, *max) = (min.min(found.min), max.max(found.max));
        }
        Ok(())
    })
}

/// Takes into account what other limits of the same channels have seen.
///
/// @param other_min  `channels` minima
/// @param other_max  `channels` maxima
/// @param min        `channels` minima, changed in place
/// @param max        `channels` maxima, changed in place
/// @return `TERSOR_E_OUT_OF_RANGE` for limits that cannot be
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_min_max_merge(
    other_min: *const f32,
    other_max: *const f32,
    channels: usize,
    min: *mut f32,
    max: *mut f32,
) -> tersor_status {
    export(|caller| {
        let other_min: &[f32] = caller.input("other_min", other_min, channels)?;
        let other_max: &[f32] = caller.input("other_max", other_max, channels)?;
        let min: &mut [f32] = caller.output("min", min, channels)?;
        let max: &mut [f32] = caller.output("max", max, channels)?;
        check(("other_min", other_min), ("other_max", other_max))?;
        check(("min", min), ("max", max))?;
        min.iter_mut().zip(other_min).for_each(|(min, &other)| *min = min.min(other));
        max.iter_mut().zip(other_max).for_each(|(max, &other)| *max = max.max(other));
        Ok(())
    })
}

/// The scales and zero points for int8 codes of what was observed.
///
/// @param min          `channels` minima
/// @param max          `channels` maxima
/// @param options      NULL means the defaults; its `axis` is not read
/// @param scales       receives `channels` scales
/// @param zero_points  receives `channels` zero points; NULL means symmetric: all are 0
/// @return `TERSOR_E_EMPTY` where a channel has seen nothing, or there are none; `TERSOR_E_OUT_OF_RANGE`,
///         `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_min_max_params_i8(
    min: *const f32,
    max: *const f32,
    channels: usize,
    options: *const tersor_quantize_options,
    scales: *mut f32,
    zero_points: *mut i32,
) -> tersor_status {
    export(|caller| params::<i8>(caller, (min, max), channels, options, (scales, zero_points)))
}

/// The scales and zero points for uint8 codes of what was observed.
///
/// @param min          `channels` minima
/// @param max          `channels` maxima
/// @param options      NULL means the defaults; its `axis` is not read
/// @param scales       receives `channels` scales
/// @param zero_points  receives `channels` zero points
/// @return `TERSOR_E_EMPTY` where a channel has seen nothing, or there are none; `TERSOR_E_OUT_OF_RANGE`,
///         `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_min_max_params_u8(
    min: *const f32,
    max: *const f32,
    channels: usize,
    options: *const tersor_quantize_options,
    scales: *mut f32,
    zero_points: *mut i32,
) -> tersor_status {
    export(|caller| params::<u8>(caller, (min, max), channels, options, (scales, zero_points)))
}

/// The limits of a channel that has seen nothing, which every union leaves out.
const UNSEEN: (f32, f32) = (f32::INFINITY, f32::NEG_INFINITY);

/// Limits are finite and in order, or those of a channel that has seen nothing.
fn check((min_name, min): (&str, &[f32]), (max_name, max): (&str, &[f32])) -> Result<(), Failure> {
    for (channel, (&min, &max)) in min.iter().zip(max).enumerate() {
        if (min, max) != UNSEEN && Interval::new(min, max).is_err() {
            return Err(Failure::out_of_range(
                &format!("{min_name}[{channel}]..={max_name}[{channel}]"),
                format!("{min}..={max}"),
                "finite and in order, or as tersor_min_max_init leaves them",
            ));
        }
    }
    Ok(())
}

fn params<C: Code>(
    caller: Caller,
    (min, max): (*const f32, *const f32),
    channels: usize,
    options: *const tersor_quantize_options,
    (scales, zero_points_out): (*mut f32, *mut i32),
) -> Result<(), Failure> {
    let options = caller.options("options", options)?;
    let min: &[f32] = caller.input("min", min, channels)?;
    let max: &[f32] = caller.input("max", max, channels)?;
    check(("min", min), ("max", max))?;
    let scales: &mut [f32] = caller.output("scales", scales, channels)?;
    let zero_points = zero_points::<C>(caller, "zero_points", zero_points_out, channels)?;
    let scheme = scheme::<C>(&options, "zero_points", zero_points.is_none())?.per_channel(Axis(1));
    if let Some(channel) = min.iter().zip(max).position(|(&min, &max)| (min, max) == UNSEEN) {
        return Err(Error::Empty { argument: format!("channel {channel}").into() }.into());
    }
    if channels == 0 {
        return Err(Error::Empty { argument: "min".into() }.into());
    }
    let intervals: Vec<Interval> = min.iter().zip(max).map(|(&min, &max)| Interval { min, max }).collect();
    let params = scheme.params_for(&intervals);
    let params = params.renamed(&[("interval", "min..=max"), ("limits", "options.lowest..=highest")])?;
    scales.copy_from_slice(params.scales());
    if let Some(zero_points) = zero_points {
        zero_points.copy_from_slice(params.zero_points());
    }
    Ok(())
}
