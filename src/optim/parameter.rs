//! A tensor that is trained, with everything that belongs to it: f32 masters, the 16-bit weights, state, mask.

use super::rule::{Rule, State};
use super::trainable::{ParameterMut, StoredMut, Trainable};
use crate::element::{DType, Element};
use crate::error::{Error, Result};
use crate::mask::Mask;
use half::{bf16, f16};
use ndarray::{ArrayView, ArrayViewD, Dimension, IxDyn};
use std::sync::Arc;

/// A named tensor of weights, its optimizer state, and the mask that it obeys.
///
/// Weights of type f32 are their own masters. Weights of type f16 or bf16 are the rounded copy of f32 masters, in which
/// updates too small for 16 bits add up.
///
/// ```
/// use tersor::optim::{Parameter, SgdMomentum};
/// use tersor::{DType, Mask, f16, ndarray::array};
///
/// let rule = SgdMomentum::default();
/// let weights = array![[0.1_f32, 0.2], [0.3, 0.4]];
/// let parameter = Parameter::new("layer.weight", weights.view(), DType::F16, &rule)?
///     .with_mask(Mask::from_bools(array![[true, false], [true, true]].view())?)?;
/// assert_eq!(parameter.master(), [0.1, 0.0, 0.3, 0.4]);
/// assert_eq!(parameter.weights::<f16>()?[[0, 0]].to_f32(), 0.099975586);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Parameter {
    name: Arc<str>,
    shape: Vec<usize>,
    master: Vec<f32>,
    stored: Stored,
    states: Vec<Vec<f32>>,
    mask: Option<Mask>,
    steps: u64,
}

#[derive(Clone, Debug)]
enum Stored {
    F32,
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Parameter {
    /// A parameter with the given weights, stored as `dtype`, with the state that `rule` starts from.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a weight is NaN or infinite, [`Error::OutOfRange`] when one is finite but not as
    /// `dtype`; both name the parameter and the index.
    pub fn new<E: Element, D: Dimension, R: Rule>(
        name: &str,
        weights: ArrayView<'_, E, D>,
        dtype: DType,
        rule: &R,
    ) -> Result<Self> {
        let master: Vec<f32> = weights.iter().map(|&weight| Element::to_f32(weight)).collect();
        check_weights(name, &master, dtype)?;
        let initial = rule.initial_state();
        let mut parameter = Parameter {
            name: name.into(),
            shape: weights.shape().to_vec(),
            stored: match dtype {
                DType::F32 => Stored::F32,
                DType::F16 => Stored::F16(vec![f16::ZERO; master.len()]),
                DType::Bf16 => Stored::Bf16(vec![bf16::ZERO; master.len()]),
            },
            states: initial.as_ref().iter().map(|&value| vec![value; master.len()]).collect(),
            master,
            mask: None,
            steps: 0,
        };
        parameter.round();
        Ok(parameter)
    }

    /// The same, pruned: see [`set_mask`](Parameter::set_mask).
    ///
    /// # Errors
    /// As [`set_mask`](Parameter::set_mask).
    pub fn with_mask(mut self, mask: Mask) -> Result<Self> {
        self.set_mask(Some(mask))?;
        Ok(self)
    }

    /// From now on, what `mask` condemns is zero: at once in the weights, and after every step. The step also sets the
    /// state of condemned weights back to where it starts, so that a weight that is allowed to grow again starts afresh.
    /// `None` frees all weights.
    ///
    /// # Errors
    /// [`Error::Shape`] when the mask has another shape; nothing has changed then.
    pub fn set_mask(&mut self, mask: Option<Mask>) -> Result<()> {
        if let Some(mask) = &mask {
            if mask.shape() != self.shape {
                let argument = format!("the mask of {}", self.name);
                return Err(Error::shape(argument, mask.shape(), format!("the weights' {:?}", self.shape)));
            }
            let bits = mask.bits();
            bits.apply(&mut self.master)?;
            match &mut self.stored {
                Stored::F32 => {}
                Stored::F16(weights) => bits.apply(weights)?,
                Stored::Bf16(weights) => bits.apply(weights)?,
            }
        }
        self.mask = mask;
        Ok(())
    }

    /// Replaces the weights; state, step count and mask stay. What the mask condemns stays zero.
    ///
    /// # Errors
    /// [`Error::Shape`] when the shape differs, and as [`Parameter::new`]; nothing has changed then.
    pub fn assign<E: Element, D: Dimension>(&mut self, weights: ArrayView<'_, E, D>) -> Result<()> {
        if weights.shape() != self.shape {
            let expected = format!("{:?}, that of {}", self.shape, self.name);
            return Err(Error::shape("weights", weights.shape(), expected));
        }
        let mut master: Vec<f32> = weights.iter().map(|&weight| Element::to_f32(weight)).collect();
        check_weights(&self.name, &master, self.dtype())?;
        if let Some(mask) = &self.mask {
            mask.bits().apply(&mut master)?;
        }
        self.master = master;
        self.round();
        Ok(())
    }

    /// The state arrays and the step count of a run that is being resumed.
    ///
    /// # Errors
    /// [`Error::Length`] when there is another number of arrays, or one has another length; [`Error::NotFinite`] when an
    /// element is not finite. Nothing has changed then.
    pub fn resume(&mut self, states: Vec<Vec<f32>>, steps: u64) -> Result<()> {
        if states.len() != self.states.len() {
            return Err(Error::length("states", states.len(), self.states.len()));
        }
        for (number, state) in states.iter().enumerate() {
            let argument = format!("state {number} of {}", self.name);
            if state.len() != self.master.len() {
                return Err(Error::length(argument, state.len(), self.master.len()));
            }
            if let Some((index, &value)) = state.iter().enumerate().find(|(_, value)| !value.is_finite()) {
                return Err(Error::NotFinite { argument: argument.into(), index, value });
            }
        }
        self.states = states;
        self.steps = steps;
        Ok(())
    }

    /// What errors and overflows call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape of the weights.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How the weights are stored.
    pub fn dtype(&self) -> DType {
        match self.stored {
            Stored::F32 => DType::F32,
            Stored::F16(_) => DType::F16,
            Stored::Bf16(_) => DType::Bf16,
        }
    }

    /// The f32 weights, row-major: the weights themselves, or the masters of 16-bit weights.
    pub fn master(&self) -> &[f32] {
        &self.master
    }

    /// The f32 weights in their shape.
    pub fn master_view(&self) -> ArrayViewD<'_, f32> {
        self.view(&self.master)
    }

    /// The weights as they are stored.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when they are stored as another type.
    pub fn weights<E: Element>(&self) -> Result<ArrayViewD<'_, E>> {
        if E::DTYPE != self.dtype() {
            return Err(Error::Unsupported {
                what: format!("reading the {} weights of {} as {}", self.dtype(), self.name, E::DTYPE),
                instead: "read them as the type they are stored as, or the f32 masters".into(),
            });
        }
        Ok(self.view(match &self.stored {
            Stored::F32 => bytemuck::cast_slice(&self.master),
            Stored::F16(weights) => bytemuck::cast_slice(weights),
            Stored::Bf16(weights) => bytemuck::cast_slice(weights),
        }))
    }

    /// The state arrays, in the rule's order, row-major.
    pub fn states(&self) -> &[Vec<f32>] {
        &self.states
    }

    /// How many steps have updated it; skipped steps do not count.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The mask that it obeys.
    pub fn mask(&self) -> Option<&Mask> {
        self.mask.as_ref()
    }

    fn view<'a, T>(&'a self, elements: &'a [T]) -> ArrayViewD<'a, T> {
        // The lengths agree by construction; an empty view stands where a panic would.
        ArrayViewD::from_shape(IxDyn(&self.shape), elements)
            .unwrap_or_else(|_| ArrayView::from(&elements[..0]).into_dyn())
    }

    fn round(&mut self) {
        match &mut self.stored {
            Stored::F32 => {}
            Stored::F16(weights) => round_into(&self.master, weights),
            Stored::Bf16(weights) => round_into(&self.master, weights),
        }
    }
}

fn round_into<E: Element>(master: &[f32], weights: &mut [E]) {
    for (&master, weight) in master.iter().zip(weights) {
        *weight = E::from_f32(master);
    }
}

fn check_weights(name: &str, weights: &[f32], dtype: DType) -> Result<()> {
    let rounds_to_infinity = |weight: f32| match dtype {
        DType::F32 => false,
        DType::F16 => !f16::from_f32(weight).is_finite(),
        DType::Bf16 => !bf16::from_f32(weight).is_finite(),
    };
    for (index, &value) in weights.iter().enumerate() {
        if !value.is_finite() {
            return Err(Error::NotFinite { argument: name.to_string().into(), index, value });
        }
        if rounds_to_infinity(value) {
            let argument = format!("element {index} (row-major) of {name}");
            return Err(Error::out_of_range(
                argument,
                value,
                format!("small enough to be finite as {dtype}"),
            ));
        }
    }
    Ok(())
}

impl<S: State> Trainable<S> for Parameter {
    fn parameter_mut(&mut self) -> Result<ParameterMut<'_, S>> {
        if self.states.len() != S::COUNT {
            return Err(Error::length(
                format!("the state arrays of {}", self.name),
                self.states.len(),
                format!("{}, the number that the rule has", S::COUNT),
            ));
        }
        let stored = match &mut self.stored {
            Stored::F32 => StoredMut::default(),
            Stored::F16(weights) => StoredMut { f16: Some(weights), bf16: None },
            Stored::Bf16(weights) => StoredMut { f16: None, bf16: Some(weights) },
        };
        Ok(ParameterMut {
            name: &self.name,
            shape: Some(&self.shape),
            master: &mut self.master,
            states: S::collect(self.states.iter_mut().map(|state| &mut state[..])),
            stored,
            mask: self.mask.as_ref().map(Mask::bits),
            steps: &mut self.steps,
        })
    }

    fn name(&self) -> Arc<str> {
        self.name.clone()
    }
}
