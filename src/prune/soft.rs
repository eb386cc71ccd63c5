//! Soft pruning: the condemned fade instead of dying at once.

use crate::context::Context;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::{Operation, PIECE, Token, for_each_piece};
use crate::mask::{BitSlice, Mask};
use crate::row_major::with_row_major_mut;
use ndarray::{ArrayBase, DataMut, Dimension};

/// Multiplies every condemned weight by `factor` (one minus learning rate times weight decay, say); survivors keep their
/// bits. Called once a step, the condemned fade away unless their gradients hold against it, and a later decision may
/// pardon them. A factor of 0 sets them to +0 as [`Mask::apply`] does.
///
/// The product is computed in f32 and rounded once.
///
/// ```
/// use ndarray::array;
/// use tersor::Mask;
/// use tersor::prune::decay_condemned;
///
/// let mask = Mask::from_bools(array![true, false, false].view())?;
/// let mut weights = array![1.0_f32, 2.0, -4.0];
/// decay_condemned(&mask, &mut weights, 0.5)?;
/// assert_eq!(weights, array![1.0, 1.0, -2.0]);
/// # Ok::<(), tersor::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] when mask and weights differ in shape, [`Error::OutOfRange`] unless `factor` is in 0..=1,
/// [`Error::Isa`] as [`Context::current`]. NaN and
/// infinity among the weights are not looked for: they stay what they are unless the factor is 0.
pub fn decay_condemned<E, S, D>(mask: &Mask, weights: &mut ArrayBase<S, D>, factor: f32) -> Result<()>
where
    E: Element,
    S: DataMut<Elem = E>,
    D: Dimension,
{
    if weights.shape() != mask.shape() {
        return Err(Error::shape("weights", weights.shape(), format!("the mask's {:?}", mask.shape())));
    }
    check_factor(factor)?;
    with_row_major_mut(weights, |weights| mask.bits().decay_condemned(weights, factor))
}

impl BitSlice<'_> {
    /// As [`decay_condemned`], where bits and weights are slices of somebody else's. Nothing is allocated.
    ///
    /// # Errors
    /// [`Error::Length`] when there is not one weight for each bit, [`Error::OutOfRange`] unless `factor` is in 0..=1.
    pub fn decay_condemned<E: Element>(self, weights: &mut [E], factor: f32) -> Result<()> {
        check_factor(factor)?;
        if factor == 0.0 {
            return self.apply(weights);
        }
        if weights.len() != self.len() {
            let expected = format!("{}, one weight for each bit", self.len());
            return Err(Error::length("weights", weights.len(), expected));
        }
        let context = Context::current()?;
        for_each_piece(&context, weights, PIECE, |start, weights: &mut [E]| {
            let bits = self.slice(start, start + weights.len());
            context.isa().run(Decay { bits, weights, factor });
        });
        Ok(())
    }
}

fn check_factor(factor: f32) -> Result<()> {
    if (0.0..=1.0).contains(&factor) { Ok(()) } else { Err(Error::out_of_range("factor", factor, "0 to 1")) }
}

struct Decay<'a, E> {
    bits: BitSlice<'a>,
    weights: &'a mut [E],
    factor: f32,
}

impl<E: Element> Operation for Decay<'_, E> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        let mut wide = [0.0; 64];
        let mut decayed = [0.0; 64];
        let mut narrow = [E::default(); 64];
        for (index, weights) in self.weights.chunks_mut(64).enumerate() {
            let len = weights.len();
            let word = self.bits.word(index);
            for (decayed, weight) in decayed.iter_mut().zip(E::widened(token, weights, &mut wide)) {
                *decayed = weight * self.factor;
            }
            E::narrow(token, &decayed[..len], &mut narrow[..len]);
            // The choice is made between stored elements: a survivor is not rounded, not even a NaN's payload.
            for (bit, (weight, &decayed)) in weights.iter_mut().zip(&narrow).enumerate() {
                *weight = if word >> bit & 1 != 0 { *weight } else { decayed };
            }
        }
    }
}
