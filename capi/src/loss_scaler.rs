//! Loss scaling: by how much the loss is multiplied so that small 16-bit gradients survive, and how that number follows
//! the overflows it causes. A `tersor_loss_scaler` is plain data: saving its bytes saves its state.

use crate::ffi::Options;
use crate::panic::export;
use crate::status::{Failure, Rename, tersor_status};
use tersor::optim::{LossScaler, ScaleRule, ScalerOptions};

/// Whose rule moves the scale: one of `TERSOR_SCALE_*`.
///
/// Since 0.1.
pub type tersor_scale_rule = u32;
/// tersor's own: as torch's, but never below `floor` and never above `ceiling`. Since 0.1.
pub const TERSOR_SCALE_BOUNDED: tersor_scale_rule = 0;
/// The scale never moves; an overflow still skips the step. Since 0.1.
pub const TERSOR_SCALE_STATIC: tersor_scale_rule = 1;
/// torch.amp.GradScaler: from 2^16, times 2 after 2000 steps without overflow, times 0.5 after one. Since 0.1.
pub const TERSOR_SCALE_TORCH: tersor_scale_rule = 2;
/// keras 3's LossScaleOptimizer: from 2^15; the scale may grow to infinity. Since 0.1.
pub const TERSOR_SCALE_KERAS: tersor_scale_rule = 3;
/// tf-keras's LossScaleOptimizer: from 2^15, never below 1. Since 0.1.
pub const TERSOR_SCALE_TF_KERAS: tersor_scale_rule = 4;

/// A loss scaler: its options and its state. Fill it with `tersor_loss_scaler_init`, then change options.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_loss_scaler {
    /// The size of this struct, set by `tersor_loss_scaler_init`.
    pub struct_size: u32,
    /// One of `TERSOR_SCALE_*`.
    pub rule: tersor_scale_rule,
    /// State: what to multiply the loss by before the backward pass.
    pub scale: f32,
    /// State: how many steps in a row have had no overflow since the scale last moved.
    pub growth_tracker: u32,
    /// After how many steps in a row without overflow the scale grows. At least 1.
    pub growth_interval: u32,
    /// For `TERSOR_SCALE_BOUNDED`: no overflow leaves a smaller scale. Default 1.
    pub floor: f32,
    /// For `TERSOR_SCALE_BOUNDED`: no growth leaves a larger scale. Default 2^24.
    pub ceiling: f32,
    /// 0.
    pub reserved: u32,
    /// What a growth multiplies the scale by. Above 1.
    pub growth_factor: f64,
    /// What an overflow multiplies the scale by. Between 0 and 1.
    pub backoff_factor: f64,
}

// SAFETY: `repr(C)`, begins with `struct_size`; numbers.
unsafe impl Options for tersor_loss_scaler {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        from_options(&ScalerOptions::bounded(), TERSOR_SCALE_BOUNDED)
    }
}

/// Fills `scaler` with the defaults of a rule, at its first scale.
///
/// @param rule         one of `TERSOR_SCALE_*`; for `TERSOR_SCALE_STATIC` the scale is 65536, and may be changed
/// @param scaler       the struct to fill
/// @param struct_size  `sizeof *scaler`
/// @return `TERSOR_E_OUT_OF_RANGE` for the rule, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_loss_scaler_init(
    rule: tersor_scale_rule,
    scaler: *mut tersor_loss_scaler,
    struct_size: usize,
) -> tersor_status {
    export(|caller| {
        let options = match rule {
            TERSOR_SCALE_BOUNDED | TERSOR_SCALE_STATIC => ScalerOptions::bounded(),
            TERSOR_SCALE_TORCH => ScalerOptions::torch(),
            TERSOR_SCALE_KERAS => ScalerOptions::keras(),
            TERSOR_SCALE_TF_KERAS => ScalerOptions::tf_keras(),
            other => return Err(Failure::out_of_range("rule", other, "one of TERSOR_SCALE_*")),
        };
        caller.init_with("scaler", scaler, struct_size, from_options(&options, rule))
    })
}

/// Moves the scale after a step. The `_step_tensors` functions do this by themselves.
///
/// @param overflow  1 when any gradient was not finite (then the step must be skipped), else 0
/// @param scaler    changed in place: `scale` and `growth_tracker`
/// @return `TERSOR_E_OUT_OF_RANGE` for `overflow` or a field of the scaler, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_loss_scaler_update(
    overflow: i32,
    scaler: *mut tersor_loss_scaler,
) -> tersor_status {
    export(|caller| {
        let mut state = caller.state("scaler", scaler, tersor_loss_scaler::defaults())?;
        let mut moved = resume(&state)?;
        match overflow {
            0 | 1 => moved.update(overflow == 1),
            other => return Err(Failure::out_of_range("overflow", other, "0 or 1")),
        }
        keep(&moved, &mut state);
        caller.store(scaler, &state);
        Ok(())
    })
}

fn from_options(options: &ScalerOptions, rule: tersor_scale_rule) -> tersor_loss_scaler {
    tersor_loss_scaler {
        struct_size: size_of::<tersor_loss_scaler>() as u32,
        rule,
        scale: options.initial_scale,
        growth_tracker: 0,
        growth_interval: options.growth_interval,
        floor: options.floor,
        ceiling: options.ceiling,
        reserved: 0,
        growth_factor: options.growth_factor,
        backoff_factor: options.backoff_factor,
    }
}

/// The scaler that the struct holds.
pub(crate) fn resume(scaler: &tersor_loss_scaler) -> Result<LossScaler, Failure> {
    Failure::unless_zero("scaler.reserved", scaler.reserved)?;
    let base = ScalerOptions::bounded();
    let rule = match scaler.rule {
        TERSOR_SCALE_BOUNDED => ScaleRule::Bounded,
        TERSOR_SCALE_STATIC => ScaleRule::Static,
        TERSOR_SCALE_TORCH => ScaleRule::Torch,
        TERSOR_SCALE_KERAS => ScaleRule::Keras,
        TERSOR_SCALE_TF_KERAS => ScaleRule::TfKeras,
        other => return Err(Failure::out_of_range("scaler.rule", other, "one of TERSOR_SCALE_*")),
    };
    // The struct keeps no first scale, because only a static scaler needs it later: there it is the scale. For the others
    // any that is allowed will do.
    let initial_scale = match rule {
        ScaleRule::Static => scaler.scale,
        ScaleRule::Bounded => scaler.floor,
        _ => base.initial_scale,
    };
    let options = ScalerOptions {
        rule,
        initial_scale,
        growth_factor: scaler.growth_factor,
        backoff_factor: scaler.backoff_factor,
        growth_interval: scaler.growth_interval,
        floor: scaler.floor,
        ceiling: scaler.ceiling,
    };
    let initial_scale = if rule == ScaleRule::Bounded { "scaler.floor" } else { "scaler.scale" };
    LossScaler::resume(options, scaler.scale, scaler.growth_tracker).renamed(&[
        ("initial_scale", initial_scale),
        ("scale", "scaler.scale"),
        ("growth_tracker", "scaler.growth_tracker"),
        ("growth_interval", "scaler.growth_interval"),
        ("growth_factor", "scaler.growth_factor"),
        ("backoff_factor", "scaler.backoff_factor"),
        ("floor", "scaler.floor"),
        ("ceiling", "scaler.ceiling"),
    ])
}

/// Writes the scaler's state into the struct.
pub(crate) fn keep(scaler: &LossScaler, state: &mut tersor_loss_scaler) {
    state.scale = scaler.scale();
    state.growth_tracker = scaler.growth_tracker();
}
