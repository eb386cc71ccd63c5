//! Pruning schedules: how sparse a network should be at which training step, and at which steps its masks are made anew.

use crate::ffi::Options;
use crate::panic::export;
use crate::status::{Failure, Names, Rename, tersor_status};
use tersor::prune::Schedule;

/// How the sparsity follows the steps: one of `TERSOR_CURVE_*`.
///
/// Since 0.1.
pub type tersor_curve = u32;
/// `final_sparsity` from `begin` on. Since 0.1.
pub const TERSOR_CURVE_CONSTANT: tersor_curve = 0;
/// From `initial_sparsity` at `begin` to `final_sparsity` at `end`, quickly at first:
/// final + (initial - final) * (1 - p)^power, where p is the part of the way that is done. Since 0.1.
pub const TERSOR_CURVE_POLYNOMIAL: tersor_curve = 1;

/// A schedule. Fill it with `tersor_schedule_options_init`, then change fields.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_schedule_options {
    /// The size of this struct, set by `tersor_schedule_options_init`.
    pub struct_size: u32,
    /// Default `TERSOR_CURVE_CONSTANT`.
    pub curve: tersor_curve,
    /// 1: the rules of TensorFlow Model Optimization to the bit: in f32, and the end is missed when it is no multiple of
    /// the frequency after the beginning. 0 (the default): in f64, and the end is always reached.
    pub tfmot: u32,
    /// 0.
    pub reserved: u32,
    /// 0 to 1. Default 0.
    pub initial_sparsity: f64,
    /// 0 to 1. Default 0.5.
    pub final_sparsity: f64,
    /// The exponent of the polynomial. Default 3.
    pub power: f64,
    /// The first step at which anything is pruned. Default 0.
    pub begin: u64,
    /// The last step at which masks are made anew; UINT64_MAX (the default) means no end, which a polynomial must have.
    pub end: u64,
    /// From `begin` on, masks are made anew every so many steps, and at `end`. Default 100.
    pub frequency: u64,
}

// SAFETY: `repr(C)`, begins with `struct_size`; numbers.
unsafe impl Options for tersor_schedule_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        tersor_schedule_options {
            struct_size: size_of::<Self>() as u32,
            curve: TERSOR_CURVE_CONSTANT,
            tfmot: 0,
            reserved: 0,
            initial_sparsity: 0.0,
            final_sparsity: 0.5,
            power: 3.0,
            begin: 0,
            end: u64::MAX,
            frequency: 100,
        }
    }
}

/// Fills `options` with the defaults: half of the weights, from the start, without end.
///
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_schedule_options_init(
    options: *mut tersor_schedule_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_options("options", options, struct_size))
}

/// What the schedule wants at a step.
///
/// @param step          the training step
/// @param options       NULL means the defaults
/// @param out_sparsity  receives the sparsity that the network should have, 0 to 1
/// @param out_update    receives 1 when masks are to be made anew at this step, else 0. NULL is allowed
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_schedule_sparsity(
    step: u64,
    options: *const tersor_schedule_options,
    out_sparsity: *mut f64,
    out_update: *mut i32,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let out_sparsity = caller.out("out_sparsity", out_sparsity)?;
        let out_update = caller.optional_out("out_update", out_update)?;
        let schedule = schedule(&options)?;
        if let Some(out) = out_update {
            out.set(i32::from(schedule.update_at(step).is_some()));
        }
        out_sparsity.set(schedule.sparsity_at(step));
        Ok(())
    })
}

fn schedule(options: &tersor_schedule_options) -> Result<Schedule, Failure> {
    let &tersor_schedule_options { initial_sparsity, final_sparsity, begin, end, .. } = options;
    Failure::unless_zero("options.reserved", options.reserved)?;
    let curve = match options.curve {
        TERSOR_CURVE_CONSTANT => {
            let schedule =
                Schedule::constant(final_sparsity).renamed(&[("sparsity", "options.final_sparsity")])?;
            let schedule = schedule.starting_at(begin);
            if end == u64::MAX { schedule } else { schedule.and_then(|schedule| schedule.until(end)) }
        }
        TERSOR_CURVE_POLYNOMIAL => Schedule::polynomial(initial_sparsity, final_sparsity, begin, end)
            .and_then(|schedule| schedule.power(options.power)),
        other => return Err(Failure::out_of_range("options.curve", other, "one of TERSOR_CURVE_*")),
    };
    let schedule = curve.and_then(|schedule| schedule.every(options.frequency));
    let schedule = match options.tfmot {
        0 => schedule,
        1 => schedule.and_then(Schedule::as_tfmot),
        other => return Err(Failure::out_of_range("options.tfmot", other, "0 or 1")),
    };
    schedule.renamed(OPTIONS)
}

/// What Rust has in arguments, C has in a struct.
const OPTIONS: Names = &[
    ("initial", "options.initial_sparsity"),
    ("last", "options.final_sparsity"),
    ("power", "options.power"),
    ("begin", "options.begin"),
    ("end", "options.end"),
    ("frequency", "options.frequency"),
];
