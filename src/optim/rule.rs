//! What an optimizer is here: a pure update of one weight from one gradient. Everything else belongs to the step.

use crate::error::{Error, Result};

/// An update rule: how one weight and its state follow one gradient.
///
/// A rule knows nothing of loss scales, clipping, 16-bit storage, masks, threads or instruction sets: the step owns
/// them, so that a rule of a few lines gets them all.
///
/// ```
/// use tersor::optim::{LossScaler, MixedPrecision, Rule};
/// use tersor::{DType, ndarray::array};
///
/// /// Follows the sign of a running mean (Lion, Chen et al. 2023).
/// struct Lion {
///     learning_rate: f32,
/// }
///
/// impl Rule for Lion {
///     type State = [f32; 1];
///     type Scalars = f32;
///
///     fn scalars(&self, _step: u64) -> f32 {
///         self.learning_rate
///     }
///
///     #[inline(always)]
///     fn update(rate: &f32, weight: f32, gradient: f32, [mean]: &mut [f32; 1]) -> f32 {
///         let direction = 0.9 * *mean + 0.1 * gradient;
///         *mean = 0.99 * *mean + 0.01 * gradient;
///         if direction == 0.0 { weight } else { weight - rate * direction.signum() }
///     }
/// }
///
/// let mut trainer = MixedPrecision::new(Lion { learning_rate: 0.5 }, LossScaler::dynamic());
/// let mut parameters = [trainer.parameter("bias", array![1.0_f32, 2.0].view(), DType::F16)?];
/// trainer.step(&mut parameters, &[array![-1024.0_f32, 1024.0]])?;
/// assert_eq!(parameters[0].master(), [1.5, 1.5]);
/// # Ok::<(), tersor::Error>(())
/// ```
pub trait Rule: Sync {
    /// The state of one weight: `[f32; N]`, whose `N` is the number of state arrays.
    type State: State;

    /// What is the same for all weights of a tensor in one step, in the precision that the update works with.
    type Scalars: Copy + Sync + 'static;

    /// Refuses hyperparameters that make no sense. Asked before every step, because they may follow a schedule.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] naming the hyperparameter, its value and what it must be.
    fn validate(&self) -> Result<()> {
        Ok(())
    }

    /// The state before the first step, and of a weight that a mask condemns. Zero, unless a rule says otherwise.
    fn initial_state(&self) -> Self::State {
        Self::State::ZERO
    }

    /// The scalars of step number `step`, which counts from 1. Skipped steps do not count.
    fn scalars(&self, step: u64) -> Self::Scalars;

    /// The new weight, from the unscaled and clipped gradient. `state` becomes the new state.
    ///
    /// Mark it `#[inline(always)]`: only then is it compiled for each instruction set and vectorized. Without `mul_add`
    /// it gives the same bits on all of them. Where the weight or a state would not be finite, the step keeps the old
    /// ones and says so; the update need not look after that.
    fn update(scalars: &Self::Scalars, weight: f32, gradient: f32, state: &mut Self::State) -> f32;
}

/// The state of one weight: `[f32; N]` for any `N`. Sealed.
pub trait State: blocks::Blocks {
    /// How many state arrays there are.
    const COUNT: usize;
    /// All zero.
    const ZERO: Self;
}

impl<const N: usize> State for [f32; N] {
    const COUNT: usize = N;
    const ZERO: Self = [0.0; N];
}

/// How many weights the step works on at a time: the bits of one mask word, and a small part of the first cache.
pub(super) const BLOCK: usize = 64;

/// What the step needs of a state, beside what users see.
pub(super) mod blocks {
    use super::BLOCK;
    use crate::kernels::Pieces;

    /// [`Pieces`], seen through the sealed trait (which is public in name only).
    #[allow(private_bounds)]
    pub trait Slices: Pieces {}
    impl<const N: usize> Slices for [&mut [f32]; N] {}

    #[doc(hidden)]
    pub trait Blocks: Copy + Send + Sync + AsRef<[f32]> + 'static {
        /// `[&'a mut [f32]; N]`: the state arrays of a tensor.
        type Slices<'a>: Slices + AsRef<[&'a mut [f32]]>;
        /// `[[f32; BLOCK]; N]`: a block of each, on the stack.
        type Block: Copy;
        const EMPTY: Self::Block;

        /// The first `N` arrays; empty ones where there are fewer.
        fn collect<'a>(arrays: impl Iterator<Item = &'a mut [f32]>) -> Self::Slices<'a>;
        fn reborrow<'b>(slices: &'b mut Self::Slices<'_>) -> Self::Slices<'b>;
        fn load(slices: &Self::Slices<'_>, start: usize, len: usize, block: &mut Self::Block);
        fn store(slices: &mut Self::Slices<'_>, start: usize, len: usize, block: &Self::Block);
        fn get(block: &Self::Block, index: usize) -> Self;
        fn set(block: &mut Self::Block, index: usize, state: Self);
    }

    impl<const N: usize> Blocks for [f32; N] {
        type Slices<'a> = [&'a mut [f32]; N];
        type Block = [[f32; BLOCK]; N];
        const EMPTY: Self::Block = [[0.0; BLOCK]; N];

        fn collect<'a>(mut arrays: impl Iterator<Item = &'a mut [f32]>) -> Self::Slices<'a> {
            std::array::from_fn(|_| arrays.next().unwrap_or_default())
        }

        fn reborrow<'b>(slices: &'b mut Self::Slices<'_>) -> Self::Slices<'b> {
            slices.each_mut().map(|slice| &mut **slice)
        }

        #[inline(always)]
        fn load(slices: &Self::Slices<'_>, start: usize, len: usize, block: &mut Self::Block) {
            for (slice, block) in slices.iter().zip(block) {
                block[..len].copy_from_slice(&slice[start..start + len]);
            }
        }

        #[inline(always)]
        fn store(slices: &mut Self::Slices<'_>, start: usize, len: usize, block: &Self::Block) {
            for (slice, block) in slices.iter_mut().zip(block) {
                slice[start..start + len].copy_from_slice(&block[..len]);
            }
        }

        #[inline(always)]
        fn get(block: &Self::Block, index: usize) -> Self {
            std::array::from_fn(|state| block[state][index])
        }

        #[inline(always)]
        fn set(block: &mut Self::Block, index: usize, state: Self) {
            for (block, value) in block.iter_mut().zip(state) {
                block[index] = value;
            }
        }
    }
}

/// Refuses a hyperparameter that does not fit, or that f32 cannot hold.
pub(super) fn hyperparameter(argument: &'static str, value: f64, fits: bool, limit: &str) -> Result<()> {
    if fits && (value as f32).is_finite() {
        return Ok(());
    }
    Err(Error::out_of_range(argument, value, limit))
}

/// Refuses what is not finite or negative: learning rates, epsilons, decays.
pub(super) fn not_negative(argument: &'static str, value: f64) -> Result<()> {
    hyperparameter(argument, value, value >= 0.0, "finite in f32 and not negative")
}

/// Refuses what is not a weight of a running mean: momentums and betas.
pub(super) fn below_one(argument: &'static str, value: f64) -> Result<()> {
    hyperparameter(argument, value, (0.0..1.0).contains(&value), "at least 0 and below 1")
}

/// `base^exponent` by squaring: multiplications only, so that it is the same number on every platform.
pub(super) fn power(base: f64, mut exponent: u64) -> f64 {
    let (mut square, mut result) = (base, 1.0);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}
