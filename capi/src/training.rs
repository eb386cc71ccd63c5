//! What the step functions of `optimizer` share: a caller's tensors as the step of `tersor::optim` takes them. Not seen
//! from C.

use crate::ffi::{Caller, Options, Out, Plain};
use crate::loss_scaler::{keep, resume, tersor_loss_scaler};
use crate::optimizer::{
    TERSOR_BF16, TERSOR_F16, TERSOR_F32, tersor_gradient, tersor_optimizer_rules, tersor_overflow,
    tersor_parameter, tersor_step_report,
};
use crate::status::{Failure, Names, Rename};
use std::sync::Arc;
use tersor::optim::{AsGradient, Gradient, ParameterMut, Rule, Step, Trainable, Unscale, step};
use tersor::{Context, Element, Error, bf16, f16};

/// An optimizer by the rules of one of two toolkits, which keep as many states.
pub(crate) enum By<T, K> {
    Torch(T),
    Keras(K),
}

/// What to say to a number that is neither.
pub(crate) fn unknown_rules(rules: tersor_optimizer_rules) -> Failure {
    Failure::out_of_range("options.rules", rules, "one of TERSOR_OPTIMIZER_*")
}

/// Refuses a hyperparameter that keras's rule does not have.
pub(crate) fn not_in_keras(argument: &str, value: f64) -> Result<(), Failure> {
    if value == 0.0 { Ok(()) } else { Err(Failure::out_of_range(argument, value, "0 by keras's rules")) }
}

/// 16-bit weights beside the masters.
pub(crate) enum Stored<'a> {
    None,
    F16(&'a mut [f16]),
    Bf16(&'a mut [bf16]),
}

/// The hyperparameters of all rules, which C has in structs, and the one that it has not.
const OPTIONS: Names = &[
    ("learning_rate", "options.learning_rate"),
    ("learning_rate_decay", "options.learning_rate_decay"),
    ("weight_decay", "options.weight_decay"),
    ("initial_accumulator", "options.initial_accumulator"),
    ("momentum", "options.momentum"),
    ("dampening", "options.dampening"),
    ("nesterov", "options.nesterov"),
    ("beta1", "options.beta1"),
    ("beta2", "options.beta2"),
    ("epsilon", "options.epsilon"),
    ("clip", "max_norm"),
];

/// A step on one tensor.
pub(crate) struct One<'a> {
    pub(crate) gradient: Gradient<'a>,
    pub(crate) step: u64,
    pub(crate) loss_scale: f32,
    pub(crate) master: &'a mut [f32],
    pub(crate) stored: Stored<'a>,
    pub(crate) out_overflow: Out<tersor_overflow>,
}

impl<'a> One<'a> {
    pub(crate) fn step<T: Rule<State = [f32; N]>, K: Rule<State = [f32; N]>, const N: usize>(
        self,
        rule: &By<T, K>,
        states: [&'a mut [f32]; N],
    ) -> Result<(), Failure> {
        match rule {
            By::Torch(rule) => self.step_by(rule, states),
            By::Keras(rule) => self.step_by(rule, states),
        }
    }

    fn step_by<R: Rule<State = [f32; N]>, const N: usize>(
        self,
        rule: &R,
        states: [&'a mut [f32]; N],
    ) -> Result<(), Failure> {
        let Some(mut taken) = self.step.checked_sub(1) else {
            return Err(Failure::out_of_range("step", self.step, "at least 1"));
        };
        let unscale = Unscale::by_division(self.loss_scale).renamed(&[("the loss scale", "loss_scale")])?;
        let parameter = ParameterMut::new("params", self.master, states, &mut taken);
        let parameter = match self.stored {
            Stored::None => parameter,
            Stored::F16(stored) => parameter.with_f16(stored),
            Stored::Bf16(stored) => parameter.with_bf16(stored),
        };
        let outcome = step(rule, unscale, None, &mut [parameter], &[self.gradient]).renamed(OPTIONS)?;
        self.out_overflow.set(overflow(&outcome));
        Ok(())
    }
}

/// A step on several tensors, as C passes them.
pub(crate) struct Several {
    pub(crate) caller: Caller,
    pub(crate) context: Context,
    pub(crate) gradients: *const tersor_gradient,
    pub(crate) parameters: *mut tersor_parameter,
    pub(crate) tensor_count: usize,
    pub(crate) max_norm: f64,
    pub(crate) scaler: *mut tersor_loss_scaler,
    pub(crate) out_overflow: Out<tersor_overflow>,
    pub(crate) out_report: Option<Out<tersor_step_report>>,
}

impl Several {
    pub(crate) fn step<T: Rule<State = [f32; N]>, K: Rule<State = [f32; N]>, const N: usize>(
        self,
        rule: &By<T, K>,
    ) -> Result<(), Failure> {
        match rule {
            By::Torch(rule) => self.step_by(rule),
            By::Keras(rule) => self.step_by(rule),
        }
    }

    fn step_by<R: Rule<State = [f32; N]>, const N: usize>(self, rule: &R) -> Result<(), Failure> {
        let caller = self.caller;
        let gradients: &[GradientOf] = caller.input("gradients", self.gradients, self.tensor_count)?;
        let parameters: &mut [Tensor<N>] = caller.output("parameters", self.parameters, self.tensor_count)?;
        // Everything that can be refused is refused here, by its place; what `tersor::optim` asks again cannot fail.
        for (index, (gradient, parameter)) in gradients.iter().zip(parameters.iter_mut()).enumerate() {
            gradient.borrow(caller).map_err(|failure| failure.at("gradients", index))?;
            parameter.borrow(caller).map_err(|failure| failure.at("parameters", index))?;
            let (found, count) = (gradient.0.count, parameter.0.count);
            if found != count {
                let expected = format!("{count}, the count of parameters[{index}]");
                let error = Error::Length { argument: "count".into(), found, expected };
                return Err(Failure::from(error).at("gradients", index));
            }
        }
        let mut state = None;
        let mut scaler = None;
        if !self.scaler.is_null() {
            let found = caller.state("scaler", self.scaler, tersor_loss_scaler::defaults())?;
            scaler = Some(resume(&found)?);
            state = Some(found);
        }
        let unscale = match &scaler {
            Some(scaler) => scaler.unscale().renamed(&[("the loss scale", "scaler.scale")])?,
            None => Unscale::none(),
        };
        let clip = (self.max_norm != 0.0).then_some(self.max_norm);
        let outcome = self.context.scope(|| step(rule, unscale, clip, parameters, gradients));
        let outcome = outcome.renamed(OPTIONS)?;
        if let (Some(scaler), Some(state)) = (&mut scaler, &mut state) {
            scaler.update(matches!(outcome, Step::Skipped { .. }));
            keep(scaler, state);
            caller.store(self.scaler, state);
        }
        if let Some(out) = self.out_report {
            out.set(report(&outcome));
        }
        self.out_overflow.set(overflow(&outcome));
        Ok(())
    }
}

fn overflow(outcome: &Step) -> tersor_overflow {
    match outcome {
        Step::Skipped { overflow, .. } => tersor_overflow {
            found: 1,
            value: overflow.value,
            tensor: overflow.tensor,
            index: overflow.index,
            count: overflow.count,
        },
        Step::Applied { .. } => tersor_overflow { found: 0, value: 0.0, tensor: 0, index: 0, count: 0 },
    }
}

fn report(outcome: &Step) -> tersor_step_report {
    match outcome {
        Step::Applied { grad_norm, held, saturated, .. } => tersor_step_report {
            grad_norm: *grad_norm,
            held: held.as_ref().map_or(0, |held| held.count),
            saturated: *saturated,
        },
        Step::Skipped { .. } => tersor_step_report { grad_norm: 0.0, held: 0, saturated: 0 },
    }
}

/// A gradient in C's own struct, so that an array of them needs no second array.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct GradientOf(tersor_gradient);

// SAFETY: numbers and pointers, in a transparent wrapper.
unsafe impl Plain for GradientOf {
    type C = tersor_gradient;
}

impl GradientOf {
    fn borrow(&self, caller: Caller) -> Result<Gradient<'_>, Failure> {
        let tersor_gradient { elements, count, dtype, reserved } = self.0;
        Failure::unless_zero("reserved", reserved)?;
        match dtype {
            TERSOR_F32 => caller.gradient::<f32>("elements", elements.cast(), count),
            TERSOR_F16 => caller.gradient::<f16>("elements", elements.cast(), count),
            TERSOR_BF16 => caller.gradient::<bf16>("elements", elements.cast(), count),
            other => Err(unknown_type("dtype", other)),
        }
    }
}

impl AsGradient for GradientOf {
    fn as_gradient(&self) -> Option<Gradient<'_>> {
        self.borrow(Caller::of_export()).ok()
    }
}

/// A parameter in C's own struct, for a rule with `N` states.
#[repr(transparent)]
#[derive(Clone, Copy)]
struct Tensor<const N: usize>(tersor_parameter);

// SAFETY: numbers and pointers, in a transparent wrapper.
unsafe impl<const N: usize> Plain for Tensor<N> {
    type C = tersor_parameter;
}

impl<const N: usize> Tensor<N> {
    fn borrow(&mut self, caller: Caller) -> Result<ParameterMut<'_, [f32; N]>, Failure> {
        let tersor_parameter { name, count, master, state1, state2, stored, mask, mask_bytes, .. } = self.0;
        Failure::unless_zero("reserved", self.0.reserved)?;
        let name = caller.string("name", name)?.unwrap_or("a tensor");
        let master: &mut [f32] = caller.output("master", master, count)?;
        let mut states: [&mut [f32]; N] = std::array::from_fn(|_| <&mut [f32]>::default());
        let places = [("state1", state1), ("state2", state2)];
        for (state, (argument, pointer)) in states.iter_mut().zip(places) {
            *state = caller.output(argument, pointer, count)?;
        }
        let mask = caller.optional_mask("mask", mask, mask_bytes, count)?;
        let stored = match self.0.stored_dtype {
            TERSOR_F32 => Stored::None,
            TERSOR_F16 => Stored::F16(caller.output("stored", stored.cast(), count)?),
            TERSOR_BF16 => Stored::Bf16(caller.output("stored", stored.cast(), count)?),
            other => return Err(unknown_type("stored_dtype", other)),
        };
        let parameter = ParameterMut::new(name, master, states, &mut self.0.steps);
        let parameter = match mask {
            Some(mask) => parameter.with_mask(mask),
            None => parameter,
        };
        Ok(match stored {
            Stored::None => parameter,
            Stored::F16(stored) => parameter.with_f16(stored),
            Stored::Bf16(stored) => parameter.with_bf16(stored),
        })
    }
}

impl<const N: usize> Trainable<[f32; N]> for Tensor<N> {
    fn parameter_mut(&mut self) -> tersor::Result<ParameterMut<'_, [f32; N]>> {
        self.borrow(Caller::of_export())
            .map_err(|failure| Error::Layout { argument: "parameters".into(), reason: failure.message })
    }

    fn name(&self) -> Arc<str> {
        // C learns of the tensor by its number.
        "".into()
    }
}

fn unknown_type(argument: &str, value: u32) -> Failure {
    Failure::out_of_range(argument, value, "TERSOR_F32, TERSOR_F16 or TERSOR_BF16")
}

impl Caller {
    pub(crate) fn gradient<'a, E: Element + Plain>(
        self,
        argument: &'static str,
        elements: *const E::C,
        count: usize,
    ) -> Result<Gradient<'a>, Failure> {
        Ok(Gradient::new(self.input::<E>(argument, elements, count)?))
    }
}
