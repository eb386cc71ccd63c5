//! Adagrad.

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
use crate::training::{By, One, Several, Stored, not_in_keras, unknown_rules};
use tersor::optim::{Adagrad, keras};
use tersor::{bf16, f16};

/// Adagrad: s += g * g, then by torch's rules w -= lr / (1 + (t - 1) * learning_rate_decay) * g / (sqrt(s) + epsilon), by
/// keras's w -= lr * g / sqrt(s + epsilon).
///
/// Fill it with `tersor_adagrad_options_init` or `tersor_keras_adagrad_options_init`, then change fields.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_adagrad_options {
    /// The size of this struct, set by the `_init` function.
    pub struct_size: u32,
    /// Whose rules. Set by the `_init` function.
    pub rules: tersor_optimizer_rules,
    /// Not negative. Default 1e-2, by keras's rules 1e-3.
    pub learning_rate: f64,
    /// Not negative. Default 0, which is all that keras's rules have.
    pub learning_rate_decay: f64,
    /// Added to the gradient as weight_decay * w; decoupled by keras's rules. Not negative. Default 0.
    pub weight_decay: f64,
    /// The sum of squares that the caller starts from, to which a mask resets. Not negative. Default 0, by keras's rules 0.1.
    pub initial_accumulator: f64,
    /// Not negative. Default 1e-10, by keras's rules 1e-7.
    pub epsilon: f64,
}

// SAFETY: `repr(C)`, begins with `struct_size`; numbers.
unsafe impl Options for tersor_adagrad_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        tersor_adagrad_options {
            struct_size: size_of::<Self>() as u32,
            rules: TERSOR_OPTIMIZER_TORCH,
            learning_rate: 1e-2,
            learning_rate_decay: 0.0,
            weight_decay: 0.0,
            initial_accumulator: 0.0,
            epsilon: 1e-10,
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
pub unsafe extern "C" fn tersor_adagrad_options_init(
    options: *mut tersor_adagrad_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_options("options", options, struct_size))
}

/// Fills `options` with the defaults of keras's Adagrad, whose sums of squares start at 0.1.
///
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_keras_adagrad_options_init(
    options: *mut tersor_adagrad_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_with("options", options, struct_size, keras_defaults()))
}

/// One step of Adagrad on one tensor in f32.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     1 without loss scaling
/// @param options        NULL means the defaults
/// @param params         `count` weights, changed in place
/// @param sum            `count` numbers, `initial_accumulator` before the first step
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adagrad_step_f32(
    context: *const tersor_context,
    grads: *const f32,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_adagrad_options,
    params: *mut f32,
    sum: *mut f32,
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
        let states = [caller.output("sum", sum, count)?];
        context.scope(|| one.step(&adagrad(&options)?, states))
    })
}

/// One step of Adagrad on one tensor with f16 gradients and weights and f32 masters.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     what the loss was multiplied by
/// @param options        NULL means the defaults
/// @param master         `count` weights, changed in place
/// @param sum            `count` numbers, `initial_accumulator` before the first step
/// @param params         receives the masters, rounded to f16
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adagrad_step_f16(
    context: *const tersor_context,
    grads: *const tersor_f16,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_adagrad_options,
    master: *mut f32,
    sum: *mut f32,
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
        let states = [caller.output("sum", sum, count)?];
        context.scope(|| one.step(&adagrad(&options)?, states))
    })
}

/// One step of Adagrad on one tensor with bf16 gradients and weights and f32 masters.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     what the loss was multiplied by
/// @param options        NULL means the defaults
/// @param master         `count` weights, changed in place
/// @param sum            `count` numbers, `initial_accumulator` before the first step
/// @param params         receives the masters, rounded to bf16
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_adagrad_step_bf16(
    context: *const tersor_context,
    grads: *const tersor_bf16,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_adagrad_options,
    master: *mut f32,
    sum: *mut f32,
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
        let states = [caller.output("sum", sum, count)?];
        context.scope(|| one.step(&adagrad(&options)?, states))
    })
}

/// One step of Adagrad on all tensors of a network, as one transaction.
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
pub unsafe extern "C" fn tersor_adagrad_step_tensors(
    context: *const tersor_context,
    gradients: *const tersor_gradient,
    tensor_count: usize,
    max_norm: f64,
    options: *const tersor_adagrad_options,
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
        several.step(&adagrad(&options)?)
    })
}

fn keras_defaults() -> tersor_adagrad_options {
    let keras::Adagrad { learning_rate, initial_accumulator, epsilon, weight_decay } =
        keras::Adagrad::default();
    tersor_adagrad_options {
        rules: TERSOR_OPTIMIZER_KERAS,
        learning_rate,
        weight_decay,
        initial_accumulator,
        epsilon,
        ..tersor_adagrad_options::defaults()
    }
}

fn adagrad(options: &tersor_adagrad_options) -> Result<By<Adagrad, keras::Adagrad>, Failure> {
    let &tersor_adagrad_options {
        rules,
        learning_rate,
        learning_rate_decay,
        weight_decay,
        initial_accumulator,
        epsilon,
        ..
    } = options;
    match rules {
        TERSOR_OPTIMIZER_TORCH => Ok(By::Torch(Adagrad {
            learning_rate,
            learning_rate_decay,
            weight_decay,
            initial_accumulator,
            epsilon,
        })),
        TERSOR_OPTIMIZER_KERAS => {
            not_in_keras("options.learning_rate_decay", learning_rate_decay)?;
            Ok(By::Keras(keras::Adagrad { learning_rate, initial_accumulator, epsilon, weight_decay }))
        }
        other => Err(unknown_rules(other)),
    }
}
