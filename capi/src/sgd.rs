//! SGD.

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
use tersor::optim::{Sgd, SgdMomentum, keras};
use tersor::{bf16, f16};

/// Stochastic gradient descent: without a momentum w -= lr * g. With one, by torch's rules,
/// b = momentum * b + (1 - dampening) * g, b = g in the first step, then w -= lr * b, or with Nesterov's look-ahead
/// w -= lr * (g + momentum * b). By keras's rules b = momentum * b - lr * g, then w += b, or w += momentum * b - lr * g.
///
/// Fill it with `tersor_sgd_options_init` or `tersor_keras_sgd_options_init`, then change fields.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_sgd_options {
    /// The size of this struct, set by the `_init` function.
    pub struct_size: u32,
    /// 1 to look ahead, which needs a momentum and no dampening. Default 0.
    pub nesterov: u32,
    /// Whose rules. Set by the `_init` function.
    pub rules: tersor_optimizer_rules,
    /// 0.
    pub reserved: u32,
    /// Not negative. Default 1e-3, by keras's rules 1e-2.
    pub learning_rate: f64,
    /// At least 0 and below 1. Default 0: no state is kept.
    pub momentum: f64,
    /// Default 0, which is all that keras's rules have.
    pub dampening: f64,
    /// Added to the gradient as weight_decay * w; decoupled by keras's rules. Not negative. Default 0.
    pub weight_decay: f64,
}

// SAFETY: `repr(C)`, begins with `struct_size`; numbers.
unsafe impl Options for tersor_sgd_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        tersor_sgd_options {
            struct_size: size_of::<Self>() as u32,
            nesterov: 0,
            rules: TERSOR_OPTIMIZER_TORCH,
            reserved: 0,
            learning_rate: 1e-3,
            momentum: 0.0,
            dampening: 0.0,
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
pub unsafe extern "C" fn tersor_sgd_options_init(
    options: *mut tersor_sgd_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_options("options", options, struct_size))
}

/// Fills `options` with the defaults of keras's SGD.
///
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_keras_sgd_options_init(
    options: *mut tersor_sgd_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_with("options", options, struct_size, keras_defaults()))
}

/// One step of SGD on one tensor in f32.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     1 without loss scaling
/// @param options        NULL means the defaults
/// @param params         `count` weights, changed in place
/// @param momentum_buffer `count` numbers, 0 before the first step; ignored when the momentum is 0
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_sgd_step_f32(
    context: *const tersor_context,
    grads: *const f32,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_sgd_options,
    params: *mut f32,
    momentum_buffer: *mut f32,
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
        match sgd(&options)? {
            SgdRule::Plain(plain) => context.scope(|| one.step(&plain, [])),
            SgdRule::Momentum(momentum) => {
                let buffer = caller.output("momentum_buffer", momentum_buffer, count)?;
                context.scope(|| one.step(&momentum, [buffer]))
            }
        }
    })
}

/// One step of SGD on one tensor with f16 gradients and weights and f32 masters.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     what the loss was multiplied by
/// @param options        NULL means the defaults
/// @param master         `count` weights, changed in place
/// @param momentum_buffer `count` numbers, 0 before the first step; ignored when the momentum is 0
/// @param params         receives the masters, rounded to f16
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_sgd_step_f16(
    context: *const tersor_context,
    grads: *const tersor_f16,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_sgd_options,
    master: *mut f32,
    momentum_buffer: *mut f32,
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
        match sgd(&options)? {
            SgdRule::Plain(plain) => context.scope(|| one.step(&plain, [])),
            SgdRule::Momentum(momentum) => {
                let buffer = caller.output("momentum_buffer", momentum_buffer, count)?;
                context.scope(|| one.step(&momentum, [buffer]))
            }
        }
    })
}

/// One step of SGD on one tensor with bf16 gradients and weights and f32 masters.
///
/// @param grads          `count` gradients of the loss times `loss_scale`
/// @param step           the number of this step, from 1; a skipped step's number is used again
/// @param loss_scale     what the loss was multiplied by
/// @param options        NULL means the defaults
/// @param master         `count` weights, changed in place
/// @param momentum_buffer `count` numbers, 0 before the first step; ignored when the momentum is 0
/// @param params         receives the masters, rounded to bf16
/// @param out_overflow   receives whether the step was skipped; must be looked at
/// @return `TERSOR_E_OUT_OF_RANGE` for an option, the step or the loss scale, `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_sgd_step_bf16(
    context: *const tersor_context,
    grads: *const tersor_bf16,
    count: usize,
    step: u64,
    loss_scale: f32,
    options: *const tersor_sgd_options,
    master: *mut f32,
    momentum_buffer: *mut f32,
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
        match sgd(&options)? {
            SgdRule::Plain(plain) => context.scope(|| one.step(&plain, [])),
            SgdRule::Momentum(momentum) => {
                let buffer = caller.output("momentum_buffer", momentum_buffer, count)?;
                context.scope(|| one.step(&momentum, [buffer]))
            }
        }
    })
}

/// One step of SGD on all tensors of a network, as one transaction.
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
pub unsafe extern "C" fn tersor_sgd_step_tensors(
    context: *const tersor_context,
    gradients: *const tersor_gradient,
    tensor_count: usize,
    max_norm: f64,
    options: *const tersor_sgd_options,
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
        match sgd(&options)? {
            SgdRule::Plain(plain) => several.step(&plain),
            SgdRule::Momentum(momentum) => several.step(&momentum),
        }
    })
}

fn keras_defaults() -> tersor_sgd_options {
    let keras::Sgd { learning_rate, weight_decay } = keras::Sgd::default();
    let rules = TERSOR_OPTIMIZER_KERAS;
    tersor_sgd_options { rules, learning_rate, weight_decay, ..tersor_sgd_options::defaults() }
}

/// Two rules, because one keeps state and the other does not.
enum SgdRule {
    Plain(By<Sgd, keras::Sgd>),
    Momentum(By<SgdMomentum, keras::SgdMomentum>),
}

fn sgd(options: &tersor_sgd_options) -> Result<SgdRule, Failure> {
    let &tersor_sgd_options { rules, reserved, learning_rate, momentum, dampening, weight_decay, .. } =
        options;
    Failure::unless_zero("options.reserved", reserved)?;
    let nesterov = match options.nesterov {
        0 => false,
        1 => true,
        other => return Err(Failure::out_of_range("options.nesterov", other, "0 or 1")),
    };
    let plain = momentum == 0.0 && !nesterov;
    match rules {
        TERSOR_OPTIMIZER_TORCH if plain => Ok(SgdRule::Plain(By::Torch(Sgd { learning_rate, weight_decay }))),
        TERSOR_OPTIMIZER_TORCH => Ok(SgdRule::Momentum(By::Torch(SgdMomentum {
            learning_rate,
            momentum,
            dampening,
            nesterov,
            weight_decay,
        }))),
        TERSOR_OPTIMIZER_KERAS => {
            not_in_keras("options.dampening", dampening)?;
            Ok(if plain {
                SgdRule::Plain(By::Keras(keras::Sgd { learning_rate, weight_decay }))
            } else {
                let rule = keras::SgdMomentum { learning_rate, momentum, nesterov, weight_decay };
                SgdRule::Momentum(By::Keras(rule))
            })
        }
        other => Err(unknown_rules(other)),
    }
}
