//! The composition: criterion x pattern x scope x amount -> mask.

use super::amount::Amount;
use super::criterion::Criterion;
use super::decide::decide;
use super::pattern::Pattern;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::mask::Mask;
use ndarray::{ArrayView, ArrayViewD, Dimension};

/// Who competes with whom for survival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// The weights of a row (of the matrix that [`Pattern`] speaks of); for blocks, those of a row of blocks.
    Rows,
    /// The weights of a tensor.
    Tensor,
    /// All weights that are passed: of the one tensor, or of several together (global ranking).
    #[default]
    All,
}

/// Decides which weights survive.
///
/// ```
/// use ndarray::{Array2, array};
/// use tersor::prune::{Magnitude, Pattern, Pruner, Scope};
///
/// let a = array![[0.1_f32, 5.0], [0.2, 6.0]];
/// let b = array![[0.3_f32, 7.0, 8.0]];
///
/// // Three of seven, over both tensors.
/// let pruner = Pruner::new(Magnitude::l1()).survivors(3);
/// let masks = pruner.masks(&[a.view().into_dyn(), b.view().into_dyn()])?;
/// assert_eq!((masks[0].count(), masks[1].count()), (1, 2));
///
/// // Half of each row, inside what survived, and why.
/// let pruner = Pruner::new(Magnitude::l1()).scope(Scope::Rows).sparsity(0.5);
/// let decision = pruner.within(&masks[0]).decide(a.view())?;
/// assert_eq!(decision.mask.survivors().collect::<Vec<_>>(), [3]);
/// assert_eq!(decision.rankings[1].threshold, Some(6.0));
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pruner<'a, C> {
    pub(super) criterion: C,
    pub(super) pattern: Pattern,
    pub(super) scope: Scope,
    pub(super) amount: Option<Amount>,
    pub(super) within: Option<&'a [Mask]>,
}

/// A mask and why it is what it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Which weights survive.
    pub mask: Mask,
    /// The competitions: one, or one for each row. None for [`Pattern::n_of_m`], where each group is one.
    pub rankings: Vec<Ranking>,
}

/// Masks of several tensors and why they are what they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Decisions {
    /// Which weights survive, a mask for each tensor.
    pub masks: Vec<Mask>,
    /// The competitions: one, one for each tensor, or one for each row of each tensor.
    pub rankings: Vec<Ranking>,
}

/// How one competition ended. What is counted are the units of the pattern: weights, blocks, rows, ...
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranking {
    /// The lowest score that survived; `None` when nothing did. For [`Amount::Threshold`], the threshold.
    pub threshold: Option<f32>,
    /// How many units there were, dead ones included.
    pub units: usize,
    /// How many survived.
    pub survivors: usize,
    /// How many with a score of exactly the threshold survived.
    pub ties_kept: usize,
    /// How many with a score of exactly the threshold did not, because their index is higher.
    pub ties_dropped: usize,
}

impl<'a, C: Criterion> Pruner<'a, C> {
    /// By this criterion; single weights, all that are passed in one competition. How many survive is still to be said.
    pub fn new(criterion: C) -> Self {
        Pruner { criterion, pattern: Pattern::single(), scope: Scope::All, amount: None, within: None }
    }

    /// With another pattern.
    #[must_use]
    pub fn pattern(self, pattern: Pattern) -> Self {
        Pruner { pattern, ..self }
    }

    /// With another scope.
    #[must_use]
    pub fn scope(self, scope: Scope) -> Self {
        Pruner { scope, ..self }
    }

    /// That many survive.
    #[must_use]
    pub fn amount(self, amount: Amount) -> Self {
        Pruner { amount: Some(amount), ..self }
    }

    /// A fraction of all units is condemned: [`Amount::Sparsity`].
    #[must_use]
    pub fn sparsity(self, fraction: f64) -> Self {
        self.amount(Amount::Sparsity(fraction))
    }

    /// Exactly `count` units survive: [`Amount::Survivors`].
    #[must_use]
    pub fn survivors(self, count: usize) -> Self {
        self.amount(Amount::Survivors(count))
    }

    /// What scores at least `score` survives: [`Amount::Threshold`].
    #[must_use]
    pub fn threshold(self, score: f32) -> Self {
        self.amount(Amount::Threshold(score))
    }

    /// Inside an existing mask: what is dead there stays dead, and is not ranked. A unit is dead when all its weights are;
    /// where only some are, its score is still pooled over all of them, with the values that they have now.
    #[must_use]
    pub fn within<'b>(self, mask: &'b Mask) -> Pruner<'b, C> {
        self.within_each(std::slice::from_ref(mask))
    }

    /// As [`within`](Pruner::within), with a mask for each tensor.
    #[must_use]
    pub fn within_each<'b>(self, masks: &'b [Mask]) -> Pruner<'b, C> {
        let Pruner { criterion, pattern, scope, amount, .. } = self;
        Pruner { criterion, pattern, scope, amount, within: Some(masks) }
    }

    /// The mask of one tensor.
    ///
    /// # Errors
    /// As [`decide_all`](Pruner::decide_all).
    pub fn mask<E: Element, D: Dimension>(&self, weights: ArrayView<'_, E, D>) -> Result<Mask> {
        Ok(self.decide(weights)?.mask)
    }

    /// The masks of several tensors.
    ///
    /// # Errors
    /// As [`decide_all`](Pruner::decide_all).
    pub fn masks<E: Element>(&self, weights: &[ArrayViewD<'_, E>]) -> Result<Vec<Mask>> {
        Ok(self.decide_all(weights)?.masks)
    }

    /// The mask of one tensor, and why.
    ///
    /// # Errors
    /// As [`decide_all`](Pruner::decide_all).
    pub fn decide<E: Element, D: Dimension>(&self, weights: ArrayView<'_, E, D>) -> Result<Decision> {
        let Decisions { masks, rankings } = self.decide_all(&[weights.into_dyn()])?;
        let mask = masks.into_iter().next().ok_or(Error::Empty { argument: "weights".into() })?;
        Ok(Decision { mask, rankings })
    }

    /// The masks of several tensors, and why.
    ///
    /// # Errors
    /// - [`Error::Empty`]: no tensors, or one without weights.
    /// - [`Error::NotFinite`]: a weight, or the score of one, is NaN or infinite; it names the tensor and the index.
    /// - [`Error::OutOfRange`]: an amount that cannot be, an axis that a tensor does not have.
    /// - [`Error::Shape`], [`Error::Length`]: masks to stay within, or what a criterion holds, that do not fit.
    /// - [`Error::Unsupported`]: no amount where one is needed, an amount for n of m, rows that compete while units span
    ///   rows.
    /// - [`Error::Isa`]: as [`Context::current`](crate::Context::current).
    pub fn decide_all<E: Element>(&self, weights: &[ArrayViewD<'_, E>]) -> Result<Decisions> {
        decide(self, weights)
    }
}
