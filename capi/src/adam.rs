//! Adam and AdamW.

use crate::context::tersor_context;
use crate::ffi::Options;
use crate::loss_scaler::tersor_loss_scaler;
use crate::mask::{tersor_bf16, tersor_f16};
use crate::optimizer::{
    TERSOR_OPTIMIZER_KERAS, TERSOR_OPTIMIZER_TORCH, tersor_gradient, tersor_optimizer_rules, tersor_overflow,
    tersor_parameter, tersor_step_report,
};
use crate::panic::export;
use crate::status::{Failure, tersor_status};
use crate::training::{By, One, Several, Stored, unknown_rules};
use tersor::optim::{Adam, AdamW, keras};
use tersor::{bf16, f16};

/// Adam and AdamW: m = b1 * m + (1 - b1) * g, v = b2 * v + (1 - b2) * g * g, then by torch's rules
/// w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + epsilon), by keras's
/// w -= lr * sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon).
///
/// Fill it with `tersor_adam_options_init`, `tersor_adamw_options_init`, `tersor_keras_adam_options_init` or
/// `tersor_keras_adamw_options_init`, then change fields.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_adam_options {
    /// The size of this struct, set by the `_init` function.
    pub struct_size: u32,
    /// Whose rules. Set by the `_init` function.
    pub rules: tersor_optimizer_rules,
    /// Not negative. Default 1e-3.
    pub learning_rate: f64,
    /// At least 0 and below 1. Default 0.9.
    pub beta1: f64,
    /// At least 0 and below 1. Default 0.999.
    pub beta2: f64,
    /// Not negative. Default 1e-8, by keras's rules 1e-7.
    pub epsilon: f64,
    /// Not negative. Adam adds weight_decay * w to the gradient, default 0; AdamW takes lr * weight_decay * w from the
    /// weight before the step, default 1e-2. By keras's rules both do that, and the default of AdamW is 4e-3.
    pub weight_decay: f64,
}

// SAFETY: `repr(C)`, begins with `struct_size`; numbers.
unsafe impl Options for tersor_adam_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        tersor_adam_options {
            struct_size: size_of::<Self>() as u32,
            rules: TERSOR_OPTIMIZER_TORCH,
            learning_rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// Fills `options` with the defaults.
///
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adam_options_init(
    options: *mut tersor_adam_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_options("options", options, struct_size))
}

/// One step of Adam on one tensor in f32.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     1 without loss scaling
/// @param options        NULL means the defaults
/// @param params         `count` weights, changed in place
/// @param moment1        `count` numbers, 0 before the first step
/// @param moment2        `count` numbers, 0 before the first step
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adam_step_f32(
    context: *const tersor_context,
    grads: *const f32,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_adam_options,
    params: *mut f32,
    moment1: *mut f32,
    moment2: *mut f32,
    out_overflow: *mut tersor_overflow,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let one = One {
            gradient: caller.gradient::<f32>("grads", grads, count)?,
            step,
            loss_scale,
            master: caller.output("params", params, count)?,
            stored: Stored::None,
            out_overflow: caller.out("out_overflow", out_overflow)?,
        };
        let context = caller.context(context)?;
        let states = [caller.output("moment1", moment1, count)?, caller.output("moment2", moment2, count)?];
        context.scope(|| one.step(&adam(&options)?, states))
    })
}

/// One step of Adam on one tensor with f16 gradients and weights and f32 masters.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     what the loss was multiplied by
/// @param options        NULL means the defaults
/// @param master         `count` weights, changed in place
/// @param moment1        `count` numbers, 0 before the first step
/// @param moment2        `count` numbers, 0 before the first step
/// @param params         receives the masters, rounded to f16
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adam_step_f16(
    context: *const tersor_context,
    grads: *const tersor_f16,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_adam_options,
    master: *mut f32,
    moment1: *mut f32,
    moment2: *mut f32,
    params: *mut tersor_f16,
    out_overflow: *mut tersor_overflow,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let one = One {
            gradient: caller.gradient::<f16>("grads", grads, count)?,
            step,
            loss_scale,
            master: caller.output("master", master, count)?,
            stored: Stored::F16(caller.output("params", params, count)?),
            out_overflow: caller.out("out_overflow", out_overflow)?,
        };
        let context = caller.context(context)?;
        let states = [caller.output("moment1", moment1, count)?, caller.output("moment2", moment2, count)?];
        context.scope(|| one.step(&adam(&options)?, states))
    })
}

/// One step of Adam on one tensor with bf16 gradients and weights and f32 masters.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     what the loss was multiplied by
/// @param options        NULL means the defaults
/// @param master         `count` weights, changed in place
/// @param moment1        `count` numbers, 0 before the first step
/// @param moment2        `count` numbers, 0 before the first step
/// @param params         receives the masters, rounded to bf16
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adam_step_bf16(
    context: *const tersor_context,
    grads: *const tersor_bf16,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_adam_options,
    master: *mut f32,
    moment1: *mut f32,
    moment2: *mut f32,
    params: *mut tersor_bf16,
    out_overflow: *mut tersor_overflow,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let one = One {
            gradient: caller.gradient::<bf16>("grads", grads, count)?,
            step,
            loss_scale,
            master: caller.output("master", master, count)?,
            stored: Stored::Bf16(caller.output("params", params, count)?),
            out_overflow: caller.out("out_overflow", out_overflow)?,
        };
        let context = caller.context(context)?;
        let states = [caller.output("moment1", moment1, count)?, caller.output("moment2", moment2, count)?];
        context.scope(|| one.step(&adam(&options)?, states))
    })
}

/// One step of Adam on all tensors of a network, as one transaction.
///
/// @param gradients       `tensor_count` gradients, of the loss times `scaler->scale`
/// @param tensor_count    how many tensors there are
/// @param max_norm        where the global L2 norm of the unscaled gradients is above this, all are scaled down together;
///                        0: no clipping
/// @param options         NULL means the defaults
/// @param scaler          moved after the step. NULL: the gradients are not scaled
/// @param parameters      `tensor_count` tensors, changed in place
/// @param out_overflow    receives whether the step was skipped
/// @param out_report      receives what else happened. NULL is allowed
/// @return `TERSOR_E_LENGTH` when a gradient has another length than its parameter; `TERSOR_E_OUT_OF_RANGE` for an option, a
///         type, the scaler or `max_norm`; `TERSOR_E_STRUCT_SIZE`. Then nothing has changed, the scaler included
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adam_step_tensors(
    context: *const tersor_context,
    gradients: *const tersor_gradient,
    tensor_count: usize,
    max_norm: f64,
    options: *const tersor_adam_options,
    scaler: *mut tersor_loss_scaler,
    parameters: *mut tersor_parameter,
    out_overflow: *mut tersor_overflow,
    out_report: *mut tersor_step_report,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let several = Several {
            caller,
            context: caller.context(context)?,
            gradients,
            parameters,
            tensor_count,
            max_norm,
            scaler,
            out_overflow: caller.out("out_overflow", out_overflow)?,
            out_report: caller.optional_out("out_report", out_report)?,
        };
        several.step(&adam(&options)?)
    })
}

/// Fills `options` with the defaults of AdamW.
///
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adamw_options_init(
    options: *mut tersor_adam_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_with("options", options, struct_size, adamw_defaults()))
}

/// Fills `options` with the defaults of keras's Adam.
///
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_keras_adam_options_init(
    options: *mut tersor_adam_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_with("options", options, struct_size, keras_defaults(keras::Adam::default())))
}

/// Fills `options` with the defaults of keras's AdamW, which is its Adam with another weight decay.
///
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_keras_adamw_options_init(
    options: *mut tersor_adam_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| {
        caller.init_with("options", options, struct_size, keras_defaults(keras::Adam::with_decay()))
    })
}

/// One step of AdamW on one tensor in f32.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     1 without loss scaling
/// @param options        NULL means the defaults
/// @param params         `count` weights, changed in place
/// @param moment1        `count` numbers, 0 before the first step
/// @param moment2        `count` numbers, 0 before the first step
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adamw_step_f32(
    context: *const tersor_context,
    grads: *const f32,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_adam_options,
    params: *mut f32,
    moment1: *mut f32,
    moment2: *mut f32,
    out_overflow: *mut tersor_overflow,
) -> tersor_status {
    export(|caller| {
        let options = caller.options_or("options", options, adamw_defaults())?;
        let one = One {
            gradient: caller.gradient::<f32>("grads", grads, count)?,
            step,
            loss_scale,
            master: caller.output("params", params, count)?,
            stored: Stored::None,
            out_overflow: caller.out("out_overflow", out_overflow)?,
        };
        let context = caller.context(context)?;
        let states = [caller.output("moment1", moment1, count)?, caller.output("moment2", moment2, count)?];
        context.scope(|| one.step(&adamw(&options)?, states))
    })
}

/// One step of AdamW on one tensor with f16 gradients and weights and f32 masters.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     what the loss was multiplied by
/// @param options        NULL means the defaults
/// @param master         `count` weights, changed in place
/// @param moment1        `count` numbers, 0 before the first step
/// @param moment2        `count` numbers, 0 before the first step
/// @param params         receives the masters, rounded to f16
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adamw_step_f16(
    context: *const tersor_context,
    grads: *const tersor_f16,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_adam_options,
    master: *mut f32,
    moment1: *mut f32,
    moment2: *mut f32,
    params: *mut tersor_f16,
    out_overflow: *mut tersor_overflow,
) -> tersor_status {
    export(|caller| {
        let options = caller.options_or("options", options, adamw_defaults())?;
        let one = One {
            gradient: caller.gradient::<f16>("grads", grads, count)?,
            step,
            loss_scale,
            master: caller.output("master", master, count)?,
            stored: Stored::F16(caller.output("params", params, count)?),
            out_overflow: caller.out("out_overflow", out_overflow)?,
        };
        let context = caller.context(context)?;
        let states = [caller.output("moment1", moment1, count)?, caller.output("moment2", moment2, count)?];
        context.scope(|| one.step(&adamw(&options)?, states))
    })
}

/// One step of AdamW on one tensor with bf16 gradients and weights and f32 masters.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     what the loss was multiplied by
/// @param options        NULL means the defaults
/// @param master         `count` weights, changed in place
/// @param moment1        `count` numbers, 0 before the first step
/// @param moment2        `count` numbers, 0 before the first step
/// @param params         receives the masters, rounded to bf16
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adamw_step_bf16(
    context: *const tersor_context,
    grads: *const tersor_bf16,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_adam_options,
    master: *mut f32,
    moment1: *mut f32,
    moment2: *mut f32,
    params: *mut tersor_bf16,
    out_overflow: *mut tersor_overflow,
) -> tersor_status {
    export(|caller| {
        let options = caller.options_or("options", options, adamw_defaults())?;
        let one = One {
            gradient: caller.gradient::<bf16>("grads", grads, count)?,
            step,
            loss_scale,
            master: caller.output("master", master, count)?,
            stored: Stored::Bf16(caller.output("params", params, count)?),
            out_overflow: caller.out("out_overflow", out_overflow)?,
        };
        let context = caller.context(context)?;
        let states = [caller.output("moment1", moment1, count)?, caller.output("moment2", moment2, count)?];
        context.scope(|| one.step(&adamw(&options)?, states))
    })
}

/// One step of AdamW on all tensors of a network, as one transaction.
///
/// @param gradients       `tensor_count` gradients, of the loss times `scaler->scale`
/// @param tensor_count    how many tensors there are
/// @param max_norm        where the global L2 norm of the unscaled gradients is above this, all are scaled down together;
///                        0: no clipping
/// @param options         NULL means the defaults
/// @param scaler          moved after the step. NULL: the gradients are not scaled
/// @param parameters      `tensor_count` tensors, changed in place
/// @param out_overflow    receives whether the step was skipped
/// @param out_report      receives what else happened. NULL is allowed
/// @return `TERSOR_E_LENGTH` when a gradient has another length than its parameter; `TERSOR_E_OUT_OF_RANGE` for an option, a
///         type, the scaler or `max_norm`; `TERSOR_E_STRUCT_SIZE`. Then nothing has changed, the scaler included
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adamw_step_tensors(
    context: *const tersor_context,
    gradients: *const tersor_gradient,
    tensor_count: usize,
    max_norm: f64,
    options: *const tersor_adam_options,
    scaler: *mut tersor_loss_scaler,
    parameters: *mut tersor_parameter,
    out_overflow: *mut tersor_overflow,
    out_report: *mut tersor_step_report,
) -> tersor_status {
    export(|caller| {
        let options = caller.options_or("options", options, adamw_defaults())?;
        let several = Several {
            caller,
            context: caller.context(context)?,
            gradients,
            parameters,
            tensor_count,
            max_norm,
            scaler,
            out_overflow: caller.out("out_overflow", out_overflow)?,
            out_report: caller.optional_out("out_report", out_report)?,
        };
        several.step(&adamw(&options)?)
    })
}

fn adamw_defaults() -> tersor_adam_options {
    tersor_adam_options { weight_decay: 1e-2, ..tersor_adam_options::defaults() }
}

fn keras_defaults(rule: keras::Adam) -> tersor_adam_options {
    let keras::Adam { learning_rate, beta1, beta2, epsilon, weight_decay } = rule;
    let struct_size = size_of::<tersor_adam_options>() as u32;
    let rules = TERSOR_OPTIMIZER_KERAS;
    tersor_adam_options { struct_size, rules, learning_rate, beta1, beta2, epsilon, weight_decay }
}

fn adam(options: &tersor_adam_options) -> Result<By<Adam, keras::Adam>, Failure> {
    let &tersor_adam_options { rules, learning_rate, beta1, beta2, epsilon, weight_decay, .. } = options;
    match rules {
        TERSOR_OPTIMIZER_TORCH => Ok(By::Torch(Adam { learning_rate, beta1, beta2, epsilon, weight_decay })),
        TERSOR_OPTIMIZER_KERAS => {
            Ok(By::Keras(keras::Adam { learning_rate, beta1, beta2, epsilon, weight_decay }))
        }
        other => Err(unknown_rules(other)),
    }
}

fn adamw(options: &tersor_adam_options) -> Result<By<AdamW, keras::Adam>, Failure> {
    Ok(match adam(options)? {
        By::Torch(Adam { learning_rate, beta1, beta2, epsilon, weight_decay }) => {
            By::Torch(AdamW { learning_rate, beta1, beta2, epsilon, weight_decay })
        }
        By::Keras(rule) => By::Keras(rule),
    })
}
