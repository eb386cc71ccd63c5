//! What the step writes to, borrowed: the f32 weights of a tensor, its state, its 16-bit copy, its mask.

use super::rule::State;
use crate::error::{Error, Result};
use crate::mask::BitSlice;
use half::{bf16, f16};
use std::fmt;
use std::sync::Arc;

/// One tensor that is trained, as borrowed slices: for callers who keep weights and state in memory of their own.
///
/// ```
/// use tersor::f16;
/// use tersor::optim::{Adam, LossScaler, MixedPrecision, ParameterMut};
///
/// let (mut master, mut mean, mut square) = ([1.0_f32; 3], [0.0; 3], [0.0; 3]);
/// let mut weights = [f16::from_f32(1.0); 3];
/// let mut steps = 0;
/// let mut trainer = MixedPrecision::new(Adam::default(), LossScaler::fixed(1024.0)?);
/// let parameter = ParameterMut::new("layer.weight", &mut master, [&mut mean, &mut square], &mut steps)
///     .with_f16(&mut weights);
/// trainer.step(&mut [parameter], &[&[f16::from_f32(512.0); 3][..]])?;
/// assert_eq!((steps, weights[0].to_f32()), (1, 0.99902344));
/// # Ok::<(), tersor::Error>(())
/// ```
pub struct ParameterMut<'a, S: State> {
    pub(super) name: &'a str,
    pub(super) shape: Option<&'a [usize]>,
    pub(super) master: &'a mut [f32],
    pub(super) states: S::Slices<'a>,
    pub(super) stored: StoredMut<'a>,
    pub(super) mask: Option<BitSlice<'a>>,
    pub(super) steps: &'a mut u64,
}

/// The 16-bit copy of the weights, where there is one.
#[derive(Default)]
pub(super) struct StoredMut<'a> {
    pub(super) f16: Option<&'a mut [f16]>,
    pub(super) bf16: Option<&'a mut [bf16]>,
}

impl<'a, const N: usize> ParameterMut<'a, [f32; N]> {
    /// The f32 weights, the rule's state arrays in its order, and how many steps this tensor has taken. `name` is what
    /// errors and overflows call it.
    pub fn new(name: &'a str, master: &'a mut [f32], states: [&'a mut [f32]; N], steps: &'a mut u64) -> Self {
        ParameterMut { name, shape: None, master, states, stored: StoredMut::default(), mask: None, steps }
    }
}

impl<'a, S: State> ParameterMut<'a, S> {
    /// Rounds every new weight into `weights` as well.
    #[must_use]
    pub fn with_f16(mut self, weights: &'a mut [f16]) -> Self {
        self.stored.f16 = Some(weights);
        self
    }

    /// Rounds every new weight into `weights` as well.
    #[must_use]
    pub fn with_bf16(mut self, weights: &'a mut [bf16]) -> Self {
        self.stored.bf16 = Some(weights);
        self
    }

    /// Holds what the bits condemn at zero.
    #[must_use]
    pub fn with_mask(mut self, bits: BitSlice<'a>) -> Self {
        self.mask = Some(bits);
        self
    }

    /// A shape that the gradient's must equal, where that has one.
    #[must_use]
    pub fn with_shape(mut self, shape: &'a [usize]) -> Self {
        self.shape = Some(shape);
        self
    }

    /// Everything has one length.
    pub(super) fn validate(&self) -> Result<()> {
        let len = self.master.len();
        let wrong = |what: &dyn fmt::Display, found: usize| {
            let expected = format!("{len}, one for each weight");
            Err(Error::length(format!("{what} of {}", self.name), found, expected))
        };
        for (index, state) in self.states.as_ref().iter().enumerate() {
            if state.len() != len {
                return wrong(&format_args!("state {index}"), state.len());
            }
        }
        let others = [
            ("the f16 weights", self.stored.f16.as_ref().map(|weights| weights.len())),
            ("the bf16 weights", self.stored.bf16.as_ref().map(|weights| weights.len())),
            ("the mask", self.mask.map(|mask| mask.len())),
        ];
        for (what, found) in others {
            if let Some(found) = found.filter(|&found| found != len) {
                return wrong(&what, found);
            }
        }
        Ok(())
    }
}

/// What a step can train: [`Parameter`](super::Parameter) and [`ParameterMut`], or a caller's own type.
pub trait Trainable<S: State> {
    /// The tensor as slices; the same ones whenever it is asked.
    ///
    /// # Errors
    /// When it does not have the state arrays that the rule needs.
    fn parameter_mut(&mut self) -> Result<ParameterMut<'_, S>>;

    /// The name, kept by an overflow that outlives the borrow.
    fn name(&self) -> Arc<str>;
}

impl<S: State> Trainable<S> for ParameterMut<'_, S> {
    fn parameter_mut(&mut self) -> Result<ParameterMut<'_, S>> {
        Ok(ParameterMut {
            name: self.name,
            shape: self.shape,
            master: self.master,
            states: S::reborrow(&mut self.states),
            stored: StoredMut { f16: self.stored.f16.as_deref_mut(), bf16: self.stored.bf16.as_deref_mut() },
            mask: self.mask,
            steps: self.steps,
        })
    }

    fn name(&self) -> Arc<str> {
        self.name.into()
    }
}
