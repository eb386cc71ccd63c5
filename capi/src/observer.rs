//! Observers: statistics of what flows through a network, from which activations get their parameters. They see batch
//! after batch and remember a fixed amount, in a plain struct or in bytes that the caller owns; saving those saves them.

use crate::choose_params::choose;
use crate::context::tersor_context;
use crate::ffi::{Caller, Options};
use crate::panic::export;
use crate::quantize::{Matrix, tersor_quantize_options};
use crate::status::{Failure, Rename, tersor_status};
use std::ffi::c_void;
use tersor::Error;
use tersor::quant::{Code, Histogram, Interval, MeanRange, MinMax, MovingAverage, Observer, Range, Scheme};

/// What an observer remembers: one of `TERSOR_OBSERVER_*`.
///
/// Since 0.1.
pub type tersor_observer_kind = u32;
/// The smallest and the largest value of all batches. Since 0.1.
pub const TERSOR_OBSERVER_MIN_MAX: tersor_observer_kind = 0;
/// torch's moving average of the batches' minima and maxima: min += constant * (batch_min - min). Depends on their order.
/// Since 0.1.
pub const TERSOR_OBSERVER_MOVING_AVERAGE: tersor_observer_kind = 1;
/// The mean of the batches' minima and that of their maxima, summed exactly, so in any order: what onnxruntime's calibrator
/// calls moving average. Since 0.1.
pub const TERSOR_OBSERVER_MEAN: tersor_observer_kind = 2;

/// How a histogram's statistics become the limits of what is represented: one of `TERSOR_RANGE_*`.
///
/// Since 0.1.
pub type tersor_range = u32;
/// Everything that was seen. Since 0.1.
pub const TERSOR_RANGE_MIN_MAX: tersor_range = 0;
/// The central `percentile` percent, above 50 to 100. Since 0.1.
pub const TERSOR_RANGE_PERCENTILE: tersor_range = 1;
/// What minimizes the squared error of clipping and rounding together. Since 0.1.
pub const TERSOR_RANGE_MSE: tersor_range = 2;
/// What loses the least information: the least Kullback-Leibler divergence. Since 0.1.
pub const TERSOR_RANGE_ENTROPY: tersor_range = 3;

/// An observer of minima and maxima of whole tensors. Fill it with `tersor_observer_init`.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_observer {
    /// The size of this struct, set by `tersor_observer_init`.
    pub struct_size: u32,
    /// One of `TERSOR_OBSERVER_*`.
    pub kind: tersor_observer_kind,
    /// For `TERSOR_OBSERVER_MOVING_AVERAGE`: the weight of the newest batch, above 0 to 1. Default 0.01.
    pub constant: f32,
    /// State: the minimum.
    pub min: f32,
    /// State: the maximum.
    pub max: f32,
    /// 0.
    pub reserved: u32,
    /// State: how many batches were seen.
    pub batches: u64,
    /// State of `TERSOR_OBSERVER_MEAN`: the sum of the minima, an integer of 2^-149 in digits of 32 bits, the lowest first.
    pub min_sum: [i64; 11],
    /// State of `TERSOR_OBSERVER_MEAN`: the sum of the maxima.
    pub max_sum: [i64; 11],
}

// SAFETY: `repr(C)`, begins with `struct_size`; numbers.
unsafe impl Options for tersor_observer {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        tersor_observer {
            struct_size: size_of::<Self>() as u32,
            kind: TERSOR_OBSERVER_MIN_MAX,
            constant: 0.01,
            min: 0.0,
            max: 0.0,
            reserved: 0,
            batches: 0,
            min_sum: [0; 11],
            max_sum: [0; 11],
        }
    }
}

/// Makes an observer that has seen nothing.
///
/// @param kind         one of `TERSOR_OBSERVER_*`
/// @param observer     the struct to fill
/// @param struct_size  `sizeof *observer`
/// @return `TERSOR_E_OUT_OF_RANGE` for the kind, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_observer_init(
    kind: tersor_observer_kind,
    observer: *mut tersor_observer,
    struct_size: usize,
) -> tersor_status {
    export(|caller| {
        let value = tersor_observer { kind, ..tersor_observer::defaults() };
        known(&value)?;
        caller.init_with("observer", observer, struct_size, value)
    })
}

/// Takes a batch into account.
///
/// @param values    `rows` x `cols`, all finite
/// @param observer  changed in place
/// @return `TERSOR_E_EMPTY`; `TERSOR_E_NOT_FINITE` naming the value; `TERSOR_E_OUT_OF_RANGE` for a field of the observer;
///         `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_observer_observe(
    context: *const tersor_context,
    values: *const f32,
    rows: usize,
    cols: usize,
    stride: usize,
    observer: *mut tersor_observer,
) -> tersor_status {
    export(|caller| {
        let context = caller.context(context)?;
        let values = Matrix { pointer: values, rows, cols, stride }.view(caller, "values")?;
        let mut state = caller.state("observer", observer, tersor_observer::defaults())?;
        let before = known(&state)?;
        let after = context.scope(|| -> Result<Interval, Failure> {
            match state.kind {
                TERSOR_OBSERVER_MEAN => {
                    let mut mean = resume(&state)?;
                    mean.observe(values)?;
                    keep(&mean, &mut state);
                    mean.interval().ok_or(Error::Empty { argument: "values".into() }.into())
                }
                TERSOR_OBSERVER_MOVING_AVERAGE => {
                    let mut average = MovingAverage::resume(state.constant, before)?;
                    average.observe(values)?;
                    average.interval().ok_or(Error::Empty { argument: "values".into() }.into())
                }
                _ => {
                    let mut batch = MinMax::new();
                    batch.observe(values)?;
                    let found = batch.intervals(&Scheme::int8(), Range::MinMax)?;
                    let all = found.into_iter().chain(before).reduce(Interval::union);
                    all.ok_or(Error::Empty { argument: "values".into() }.into())
                }
            }
        })?;
        (state.min, state.max) = (after.min, after.max);
        state.batches = state.batches.saturating_add(1);
        caller.store(observer, &state);
        Ok(())
    })
}

/// Takes into account what another observer has seen.
///
/// @param other     of the same kind as `observer`
/// @param observer  changed in place
/// @return `TERSOR_E_UNSUPPORTED` for moving averages, which depend on the order of batches, and for different kinds;
///         `TERSOR_E_OUT_OF_RANGE`; `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_observer_merge(
    other: *const tersor_observer,
    observer: *mut tersor_observer,
) -> tersor_status {
    export(|caller| {
        let other = caller.state("other", other, tersor_observer::defaults())?;
        let mut state = caller.state("observer", observer, tersor_observer::defaults())?;
        let (theirs, ours) = (known(&other)?, known(&state)?);
        let kinds = (other.kind, state.kind);
        let batches_of_both = state.batches.saturating_add(other.batches);
        if other.kind != state.kind || state.kind == TERSOR_OBSERVER_MOVING_AVERAGE {
            let (what, instead) = if kinds.0 == kinds.1 {
                (
                    "merging moving averages, which depend on the order of batches,".into(),
                    "observe with TERSOR_OBSERVER_MEAN, TERSOR_OBSERVER_MIN_MAX or a histogram",
                )
            } else {
                (
                    format!("merging the kind {} into the kind {}", kinds.0, kinds.1),
                    "merge observers of the same kind",
                )
            };
            return Err(Error::Unsupported { what, instead: instead.into() }.into());
        }
        let all = if state.kind == TERSOR_OBSERVER_MEAN {
            let mut mean = resume(&state)?;
            mean.merge(&resume(&other)?).renamed(&[("batches", "observer.batches")])?;
            keep(&mean, &mut state);
            mean.interval()
        } else {
            theirs.into_iter().chain(ours).reduce(Interval::union)
        };
        if let Some(all) = all {
            (state.min, state.max) = (all.min, all.max);
            state.batches = batches_of_both;
            caller.store(observer, &state);
        }
        Ok(())
    })
}

/// The scale and zero point for int8 codes of what was observed.
///
/// @param options         NULL means the defaults
/// @param out_scale       receives the scale
/// @param out_zero_point  NULL means symmetric
/// @return `TERSOR_E_EMPTY` before the first batch; `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_observer_params_i8(
    observer: *const tersor_observer,
    options: *const tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> tersor_status {
    export(|caller| observer_params::<i8>(caller, observer, options, out_scale, out_zero_point))
}

/// The scale and zero point for uint8 codes of what was observed.
///
/// @param options         NULL means the defaults
/// @param out_scale       receives the scale
/// @param out_zero_point  receives the zero point
/// @return `TERSOR_E_EMPTY` before the first batch; `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_observer_params_u8(
    observer: *const tersor_observer,
    options: *const tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> tersor_status {
    export(|caller| observer_params::<u8>(caller, observer, options, out_scale, out_zero_point))
}

/// How many bytes a histogram takes: 65,536 bins, about 1 MB, however much is observed.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn tersor_histogram_size() -> usize {
    Histogram::SAVED_BYTES
}

/// Makes a histogram that has seen nothing.
///
/// @param histogram        receives the histogram; any alignment
/// @param histogram_bytes  exactly `tersor_histogram_size()`
/// @return `TERSOR_E_LENGTH`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_histogram_init(
    histogram: *mut c_void,
    histogram_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let bytes = caller.bytes_mut("histogram", histogram, histogram_bytes)?;
        Ok(Histogram::new().write_bytes(bytes)?)
    })
}

/// Takes a batch into account. The result does not depend on the order of batches, nor on how they were split. Each call
/// allocates as much again as the histogram takes, and frees it: few large batches are better than many small ones.
///
/// @param values     `rows` x `cols`, all finite
/// @param histogram  changed in place
/// @return `TERSOR_E_EMPTY`; `TERSOR_E_NOT_FINITE` naming the value; `TERSOR_E_LAYOUT` when the bytes are no histogram
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_histogram_observe(
    context: *const tersor_context,
    values: *const f32,
    rows: usize,
    cols: usize,
    stride: usize,
    histogram: *mut c_void,
    histogram_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let context = caller.context(context)?;
        let values = Matrix { pointer: values, rows, cols, stride }.view(caller, "values")?;
        let bytes = caller.bytes_mut("histogram", histogram, histogram_bytes)?;
        let mut state = Histogram::from_bytes(bytes)?;
        context.scope(|| state.observe(values))?;
        Ok(state.write_bytes(bytes)?)
    })
}

/// Takes into account what another histogram has seen: the same as having seen it here.
///
/// @param other      a histogram; may not overlap `histogram`
/// @param histogram  changed in place
/// @return `TERSOR_E_LAYOUT` when the bytes are no histogram; `TERSOR_E_OUT_OF_RANGE` above 2^47 numbers in all
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_histogram_merge(
    other: *const c_void,
    other_bytes: usize,
    histogram: *mut c_void,
    histogram_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let other = Histogram::from_bytes(caller.bytes("other", other, other_bytes)?);
        let other = other.renamed(&[("histogram", "other")])?;
        let bytes = caller.bytes_mut("histogram", histogram, histogram_bytes)?;
        let mut state = Histogram::from_bytes(bytes)?;
        state.merge(&other)?;
        Ok(state.write_bytes(bytes)?)
    })
}

/// The scale and zero point for int8 codes of what was observed.
///
/// @param range           one of `TERSOR_RANGE_*`
/// @param percentile      for `TERSOR_RANGE_PERCENTILE`; else ignored
/// @param options         NULL means the defaults
/// @param out_scale       receives the scale
/// @param out_zero_point  NULL means symmetric
/// @return `TERSOR_E_EMPTY` before the first batch; `TERSOR_E_LAYOUT` when the bytes are no histogram;
///         `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_histogram_params_i8(
    histogram: *const c_void,
    histogram_bytes: usize,
    range: tersor_range,
    percentile: f64,
    options: *const tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> tersor_status {
    export(|caller| {
        let state = Histogram::from_bytes(caller.bytes("histogram", histogram, histogram_bytes)?)?;
        let options = caller.options("options", options)?;
        let range = chosen(range, percentile)?;
        choose::<i8>(caller, &options, out_scale, out_zero_point, |scheme| state.params(&scheme, range))
    })
}

/// The scale and zero point for uint8 codes of what was observed.
///
/// @param range           one of `TERSOR_RANGE_*`
/// @param percentile      for `TERSOR_RANGE_PERCENTILE`; else ignored
/// @param options         NULL means the defaults
/// @param out_scale       receives the scale
/// @param out_zero_point  receives the zero point
/// @return `TERSOR_E_EMPTY` before the first batch; `TERSOR_E_LAYOUT` when the bytes are no histogram;
///         `TERSOR_E_OUT_OF_RANGE`, `TERSOR_E_UNSUPPORTED`, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_histogram_params_u8(
    histogram: *const c_void,
    histogram_bytes: usize,
    range: tersor_range,
    percentile: f64,
    options: *const tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> tersor_status {
    export(|caller| {
        let state = Histogram::from_bytes(caller.bytes("histogram", histogram, histogram_bytes)?)?;
        let options = caller.options("options", options)?;
        let range = chosen(range, percentile)?;
        choose::<u8>(caller, &options, out_scale, out_zero_point, |scheme| state.params(&scheme, range))
    })
}

/// Checks a struct's fields; gives what it has seen.
fn known(observer: &tersor_observer) -> Result<Option<Interval>, Failure> {
    Failure::unless_zero("observer.reserved", observer.reserved)?;
    match observer.kind {
        TERSOR_OBSERVER_MIN_MAX => {}
        TERSOR_OBSERVER_MOVING_AVERAGE => {
            _ = MovingAverage::new(observer.constant).renamed(&[("constant", "observer.constant")])?
        }
        TERSOR_OBSERVER_MEAN => return Ok(resume(observer)?.interval()),
        other => return Err(Failure::out_of_range("observer.kind", other, "one of TERSOR_OBSERVER_*")),
    }
    if observer.batches == 0 {
        Ok(None)
    } else {
        Interval::new(observer.min, observer.max).renamed(&[("interval", "observer.min..=max")]).map(Some)
    }
}

/// The mean that the struct holds.
fn resume(observer: &tersor_observer) -> Result<MeanRange, Failure> {
    let mean = MeanRange::resume(observer.batches, [observer.min_sum, observer.max_sum]);
    mean.renamed(&[("sums", "observer.min_sum and max_sum")])
}

/// Writes the sums of a mean into the struct.
fn keep(mean: &MeanRange, observer: &mut tersor_observer) {
    [observer.min_sum, observer.max_sum] = mean.sums();
}

fn observer_params<C: Code>(
    caller: Caller,
    observer: *const tersor_observer,
    options: *const tersor_quantize_options,
    out_scale: *mut f32,
    out_zero_point: *mut i32,
) -> Result<(), Failure> {
    let state = caller.state("observer", observer, tersor_observer::defaults())?;
    let options = caller.options("options", options)?;
    let interval = known(&state)?.ok_or(Error::Empty { argument: "observer".into() })?;
    choose::<C>(caller, &options, out_scale, out_zero_point, |scheme| scheme.params_for(&[interval]))
}

fn chosen(range: tersor_range, percentile: f64) -> Result<Range, Failure> {
    match range {
        TERSOR_RANGE_MIN_MAX => Ok(Range::MinMax),
        TERSOR_RANGE_PERCENTILE => Ok(Range::Percentile(percentile)),
        TERSOR_RANGE_MSE => Ok(Range::Mse),
        TERSOR_RANGE_ENTROPY => Ok(Range::Entropy),
        other => Err(Failure::out_of_range("range", other, "one of TERSOR_RANGE_*")),
    }
}
