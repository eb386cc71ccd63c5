//! Training in 16 bits: loss scaling, update rules, and one fused, transactional step.
//!
//! A training step is a **rule** ([`Rule`]: how one weight follows one gradient) inside **one** loop that owns everything
//! else: unscaling, the overflow check, clipping, 16-bit storage with f32 masters, rounding, masks, threads and
//! instruction sets. [`MixedPrecision`] holds a rule and a [`LossScaler`]; a [`Parameter`] is a tensor with all that
//! belongs to it, a [`ParameterMut`] the same in borrowed slices. How gradients come about is left to the caller.
//!
//! Two families of rules keep the conventions of two toolkits, which are not the same algorithms: those here are torch's,
//! those in [`keras`] are keras's. Both use f32 arithmetic without fused multiply-add, and every operation rounds
//! correctly, so the new weights are the same bytes on every instruction set and at every thread count.

#![forbid(unsafe_code)]

mod adagrad;
mod adam;
mod gradient;
pub mod keras;
mod loss_scaler;
mod mixed_precision;
mod parameter;
mod rule;
mod sgd;
mod step;
mod trainable;
mod unscale;
mod update;

pub use adagrad::{Adagrad, AdagradScalars};
pub use adam::{Adam, AdamScalars, AdamW};
pub use gradient::{AsGradient, Gradient};
pub use loss_scaler::{LossScaler, ScaleRule, ScalerOptions};
pub use mixed_precision::MixedPrecision;
pub use parameter::Parameter;
pub use rule::{Rule, State};
pub use sgd::{MomentumScalars, Sgd, SgdMomentum, SgdScalars};
pub use step::{Held, Overflow, Step, step};
pub use trainable::{ParameterMut, Trainable};
pub use unscale::Unscale;
