//! What a weight is worth: criteria give scores and know nothing of patterns, scopes or amounts.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::kernels::{Isa, Operation, Token};
use crate::row_major::row_major;
use ndarray::{ArrayView, Dimension};
use std::borrow::Cow;

/// Gives each weight a score; those with the highest survive.
///
/// Scores are asked for in chunks, in any order, on several threads, and *several times for the same weight*: selection
/// re-scores instead of keeping an array of scores. So a score must depend on nothing but the weight, its index and what
/// the criterion holds. It may be negative; NaN and infinity are refused with the index.
///
/// ```
/// use ndarray::array;
/// use tersor::prune::{Chunk, Criterion, Pruner};
///
/// /// |w| times the norm of the input that it multiplies (Wanda, arXiv 2306.11695).
/// struct ActivationAware {
///     input_norms: Vec<f32>,
/// }
///
/// impl Criterion for ActivationAware {
///     fn scores(&self, chunk: &Chunk<'_>, scores: &mut [f32]) {
///         let columns = self.input_norms.len();
///         for (offset, (score, weight)) in scores.iter_mut().zip(chunk.weights).enumerate() {
///             *score = weight.abs() * self.input_norms[(chunk.start + offset) % columns];
///         }
///     }
/// }
///
/// let weights = array![[1.0_f32, 2.0], [3.0, 4.0]];
/// let criterion = ActivationAware { input_norms: vec![10.0, 1.0] };
/// let mask = Pruner::new(criterion).sparsity(0.5).mask(weights.view())?;
/// assert_eq!(mask.survivors().collect::<Vec<_>>(), [0, 2]);
/// # Ok::<(), tersor::Error>(())
/// ```
pub trait Criterion: Sync {
    /// Writes a score for each of `chunk.weights`; `scores` has the same length.
    fn scores(&self, chunk: &Chunk<'_>, scores: &mut [f32]);

    /// Whether [`Chunk::moments`] is used. It costs two passes over the weights.
    fn needs_moments(&self) -> bool {
        false
    }

    /// Refuses tensors that the criterion cannot score, before anything is read.
    ///
    /// # Errors
    /// Whatever does not fit; the default accepts everything.
    fn check(&self, shapes: &[&[usize]]) -> Result<()> {
        let _ = shapes;
        Ok(())
    }
}

/// Consecutive weights of one tensor, to be scored.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Chunk<'a> {
    /// Which of the tensors that are pruned together, from 0.
    pub tensor: usize,
    /// The shape of that tensor.
    pub shape: &'a [usize],
    /// The row-major index of the first weight.
    pub start: usize,
    /// The weights, widened to f32.
    pub weights: &'a [f32],
    /// Mean and deviation of that tensor, when the criterion [needs](Criterion::needs_moments) them; else 0 and 1.
    pub moments: Moments,
    pub(super) isa: Isa,
}

/// Mean and standard deviation (of the population: the sum of squares is divided by n) of all weights of a tensor.
///
/// Computed in f64 with a blocking that does not depend on threads or instruction set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub deviation: f64,
}

macro_rules! forward_criterion {
    ($($type:ty),+) => {
        $(impl<C: Criterion + ?Sized> Criterion for $type {
            #[inline(always)]
            fn scores(&self, chunk: &Chunk<'_>, scores: &mut [f32]) {
                (**self).scores(chunk, scores);
            }
            fn needs_moments(&self) -> bool {
                (**self).needs_moments()
            }
            fn check(&self, shapes: &[&[usize]]) -> Result<()> {
                (**self).check(shapes)
            }
        })+
    };
}

impl<C: Criterion + Send + ?Sized> Criterion for Box<C> {
    #[inline(always)]
    fn scores(&self, chunk: &Chunk<'_>, scores: &mut [f32]) {
        (**self).scores(chunk, scores);
    }
    fn needs_moments(&self) -> bool {
        (**self).needs_moments()
    }
    fn check(&self, shapes: &[&[usize]]) -> Result<()> {
        (**self).check(shapes)
    }
}
forward_criterion!(&C);

/// The magnitude of the weight itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Magnitude {
    squared: bool,
}

impl Magnitude {
    /// |w|: the weight's share in the L1 norm. Structures are ranked by their mean absolute weight, or, with
    /// [`Pooling::Max`](super::Pooling::Max), by their L-infinity norm.
    pub fn l1() -> Self {
        Magnitude { squared: false }
    }

    /// w²: the weight's share in the squared L2 norm. Structures of the same size are ranked by their L2 norm; single
    /// weights as with [`l1`](Magnitude::l1), except that a square can overflow (refused) or vanish (ties). A
    /// [threshold](super::Amount::Threshold) is compared with the square.
    pub fn l2() -> Self {
        Magnitude { squared: true }
    }
}

impl Criterion for Magnitude {
    #[inline(always)]
    fn scores(&self, chunk: &Chunk<'_>, scores: &mut [f32]) {
        if self.squared {
            for (score, weight) in scores.iter_mut().zip(chunk.weights) {
                *score = weight * weight;
            }
        } else {
            for (score, weight) in scores.iter_mut().zip(chunk.weights) {
                *score = weight.abs();
            }
        }
    }
}

/// |w·g|: how much the loss changes, to first order, when the weight becomes 0 (Molchanov et al., arXiv 1611.06440).
///
/// ```
/// use ndarray::array;
/// use tersor::prune::{Gradient, Pruner};
///
/// let weights = array![[3.0_f32, 2.0], [1.0, 0.5]];
/// let gradients = array![[0.0_f32, 0.1], [0.4, -2.0]];
/// let mask = Pruner::new(Gradient::of(gradients.view())).sparsity(0.5).mask(weights.view())?;
/// assert_eq!(mask.survivors().collect::<Vec<_>>(), [2, 3]);
/// # Ok::<(), tersor::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Gradient<'a, G: Element = f32> {
    gradients: Vec<(Vec<usize>, Cow<'a, [G]>)>,
}

impl<'a, G: Element> Gradient<'a, G> {
    /// With the gradient of the one tensor that is pruned.
    pub fn of<D: Dimension>(gradient: ArrayView<'a, G, D>) -> Self {
        Gradient::of_each([gradient])
    }

    /// With one gradient for each tensor that is pruned, in the same order.
    pub fn of_each<D: Dimension>(gradients: impl IntoIterator<Item = ArrayView<'a, G, D>>) -> Self {
        Gradient {
            gradients: gradients.into_iter().map(|view| (view.shape().to_vec(), row_major(view))).collect(),
        }
    }
}

impl<G: Element> Criterion for Gradient<'_, G> {
    #[inline(always)]
    fn scores(&self, chunk: &Chunk<'_>, scores: &mut [f32]) {
        // `check` made sure that the gradient is there; were it not, the NaN would be refused.
        let gradient = self
            .gradients
            .get(chunk.tensor)
            .and_then(|(_, gradient)| gradient.get(chunk.start..chunk.start + chunk.weights.len()));
        match gradient {
            Some(gradient) => chunk.isa.run(FirstOrder { weights: chunk.weights, gradient, scores }),
            None => scores.fill(f32::NAN),
        }
    }

    fn check(&self, shapes: &[&[usize]]) -> Result<()> {
        if self.gradients.len() != shapes.len() {
            return Err(Error::length(
                "gradients",
                self.gradients.len(),
                format!("{}, one for each tensor", shapes.len()),
            ));
        }
        for (index, ((found, _), shape)) in self.gradients.iter().zip(shapes).enumerate() {
            if found != shape {
                return Err(Error::shape(
                    format!("gradients[{index}]"),
                    found,
                    format!("the weights' {shape:?}"),
                ));
            }
        }
        Ok(())
    }
}

/// The gradient may be 16 bits wide, and only a body that owns a token widens well.
struct FirstOrder<'a, G> {
    weights: &'a [f32],
    gradient: &'a [G],
    scores: &'a mut [f32],
}

impl<G: Element> Operation for FirstOrder<'_, G> {
    type Output = ();
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(self, token: T) {
        const LEN: usize = 128;
        let mut buffer = [0.0; LEN];
        let chunks = self.weights.chunks(LEN).zip(self.gradient.chunks(LEN)).zip(self.scores.chunks_mut(LEN));
        for ((weights, gradient), scores) in chunks {
            let gradient = G::widened(token, gradient, &mut buffer);
            for ((score, weight), gradient) in scores.iter_mut().zip(weights).zip(gradient) {
                *score = (weight * gradient).abs();
            }
        }
    }
}

/// |w - mean| / deviation: how many standard deviations the weight is away from the mean of its tensor. What is close to
/// the mean is condemned.
///
/// Mean and deviation are those of all weights of the tensor. The score is computed in f64 and rounded once to f32, so
/// that it is finite whatever the weights are. In a constant tensor every score is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Distribution;

impl Distribution {
    /// Distance from the mean of the tensor, in standard deviations.
    pub fn new() -> Self {
        Distribution
    }
}

impl Criterion for Distribution {
    #[inline(always)]
    fn scores(&self, chunk: &Chunk<'_>, scores: &mut [f32]) {
        let Moments { mean, deviation } = chunk.moments;
        if deviation == 0.0 {
            scores.fill(0.0);
            return;
        }
        for (score, weight) in scores.iter_mut().zip(chunk.weights) {
            *score = ((f64::from(*weight) - mean).abs() / deviation) as f32;
        }
    }

    fn needs_moments(&self) -> bool {
        true
    }
}

/// A uniform score in 0..1 that depends on the seed, the tensor and the index only: the same mask on every machine, in
/// whatever order the weights are visited. The baseline that every other criterion should beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    seed: u64,
}

impl Random {
    /// With a seed.
    pub fn seeded(seed: u64) -> Self {
        Random { seed }
    }
}

impl Criterion for Random {
    #[inline(always)]
    fn scores(&self, chunk: &Chunk<'_>, scores: &mut [f32]) {
        let key = mix64(self.seed ^ mix64(chunk.tensor as u64));
        for (offset, score) in scores.iter_mut().enumerate() {
            let index = chunk.start.wrapping_add(offset) as u64;
            // 24 bits: exactly the f32 multiples of 2^-24 below 1.
            *score =
                (mix64(key.wrapping_add(index.wrapping_mul(GOLDEN))) >> 40) as f32 * (1.0 / (1 << 24) as f32);
        }
    }
}

/// 2^64 divided by the golden ratio, odd: the increment of SplitMix64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection whose every output bit depends on every input bit.
#[inline(always)]
fn mix64(value: u64) -> u64 {
    let mut z = value.wrapping_add(GOLDEN);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
