//! The fused pass over one tensor: unscale, clip, update, round, re-mask, write. One body for every rule, storage type
//! and instruction set.

use super::gradient::Gradient;
use super::rule::{BLOCK, Rule, blocks::Blocks};
use super::trainable::ParameterMut;
use super::unscale::Unscale;
use crate::context::Context;
use crate::element::private::Sealed as _;
use crate::kernels::{Operation, PIECE, Token, for_each_piece};
use crate::mask::{BitSlice, clear_condemned};
use half::{bf16, f16};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a pass over one tensor met: weights that could not be updated, and weights that 16 bits could not hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) held: usize,
    /// Meaningless where nothing was held.
    pub(super) first_held: usize,
    pub(super) saturated: usize,
}

/// How gradients arrive at the rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preparation {
    pub(super) unscale: Unscale,
    /// Multiplied after unscaling; 1 changes nothing.
    pub(super) clip: f32,
}

/// Updates all of `parameter`, whose lengths have been checked against each other and against `gradient`.
pub(super) fn update_tensor<R: Rule>(
    context: &Context,
    rule: &R,
    preparation: Preparation,
    gradient: Gradient<'_>,
    parameter: ParameterMut<'_, R::State>,
) -> Tally {
    *parameter.steps = parameter.steps.saturating_add(1);
    let scalars = rule.scalars(*parameter.steps);
    let initial = rule.initial_state();
    let mask = parameter.mask;
    let (held, first_held, saturated) =
        (AtomicUsize::new(0), AtomicUsize::new(usize::MAX), AtomicUsize::new(0));
    let data = (parameter.master, parameter.states, parameter.stored.f16, parameter.stored.bf16);
    for_each_piece(context, data, PIECE, |start, (master, states, f16, bf16)| {
        let mask = mask.map(|mask| mask.slice(start, start + master.len()));
        let update =
            Update::<R> { scalars, initial, preparation, gradient, start, mask, master, states, f16, bf16 };
        let tally = context.isa().run(update);
        if tally.held > 0 {
            held.fetch_add(tally.held, Ordering::Relaxed);
            first_held.fetch_min(start + tally.first_held, Ordering::Relaxed);
        }
        saturated.fetch_add(tally.saturated, Ordering::Relaxed);
    });
    Tally { held: held.into_inner(), first_held: first_held.into_inner(), saturated: saturated.into_inner() }
}

struct Update<'a, 'g, R: Rule> {
    scalars: R::Scalars,
    initial: R::State,
    preparation: Preparation,
    /// Of the whole tensor; the piece begins at `start`.
    gradient: Gradient<'g>,
    start: usize,
    mask: Option<BitSlice<'a>>,
    master: &'a mut [f32],
    states: <R::State as Blocks>::Slices<'a>,
    f16: Option<&'a mut [f16]>,
    bf16: Option<&'a mut [bf16]>,
}

impl<R: Rule> Operation for Update<'_, '_, R> {
    type Output = Tally;
    const CODES: bool = false;

    #[inline(always)]
    fn run<T: Token>(mut self, token: T) -> Tally {
        let mut tally = Tally::default();
        for start in (0..self.master.len()).step_by(BLOCK) {
            let len = BLOCK.min(self.master.len() - start);
            let survivors = self.mask.map_or(u64::MAX, |mask| mask.word(start / BLOCK));

            let mut gradient = [0.0; BLOCK];
            self.gradient.load(token, self.start + start, &mut gradient[..len]);
            if survivors != u64::MAX {
                clear_condemned(token, survivors, &mut gradient);
            }
            self.preparation.unscale.apply(&mut gradient);
            if self.preparation.clip != 1.0 {
                gradient.iter_mut().for_each(|gradient| *gradient *= self.preparation.clip);
            }

            // The block lives on the stack from here on: its memory overlaps with nothing, so the compiler vectorizes
            // the rule, and a short block takes the same path as a full one.
            let mut old = Block::<R>::empty();
            old.weights[..len].copy_from_slice(&self.master[start..start + len]);
            R::State::load(&self.states, start, len, &mut old.states);
            let mut new = old;
            let mut special = 0;
            for (index, &gradient) in gradient.iter().enumerate() {
                let mut state = R::State::get(&old.states, index);
                let weight = R::update(&self.scalars, old.weights[index], gradient, &mut state);
                special |= not_finite(weight);
                state.as_ref().iter().for_each(|&value| special |= not_finite(value));
                new.weights[index] = weight;
                R::State::set(&mut new.states, index, state);
            }
            if special >> 31 != 0 {
                new.hold(&old, len, survivors, start, &mut tally);
            }
            if survivors != u64::MAX {
                clear_condemned(token, survivors, &mut new.weights);
                new.restart(survivors, self.initial);
            }

            self.master[start..start + len].copy_from_slice(&new.weights[..len]);
            R::State::store(&mut self.states, start, len, &new.states);
            // The type with the wider range first: saturating for f16 takes from the weights what bf16 can hold.
            if let Some(weights) = &mut self.bf16 {
                tally.saturated += saturate(&mut new.weights, len, bf16::MAX.to_f32(), BF16_OVERFLOW);
                bf16::narrow(token, &new.weights[..len], &mut weights[start..start + len]);
            }
            if let Some(weights) = &mut self.f16 {
                tally.saturated += saturate(&mut new.weights, len, f16::MAX.to_f32(), F16_OVERFLOW);
                f16::narrow(token, &new.weights[..len], &mut weights[start..start + len]);
            }
        }
        tally
    }
}

/// The highest bit is set exactly when `value` is NaN or infinite.
#[inline(always)]
fn not_finite(value: f32) -> u32 {
    (value.to_bits() & 0x7fff_ffff).wrapping_add(0x0080_0000)
}

struct Block<R: Rule> {
    weights: [f32; BLOCK],
    states: <R::State as Blocks>::Block,
}

impl<R: Rule> Clone for Block<R> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<R: Rule> Copy for Block<R> {}

impl<R: Rule> Block<R> {
    #[inline(always)]
    fn empty() -> Self {
        Block { weights: [0.0; BLOCK], states: R::State::EMPTY }
    }

    /// Takes weight and state of `old` where either would not be finite. Rare, and so not inlined.
    #[cold]
    #[inline(never)]
    fn hold(&mut self, old: &Self, len: usize, survivors: u64, start: usize, tally: &mut Tally) {
        for index in 0..len {
            let state = R::State::get(&self.states, index);
            if self.weights[index].is_finite() && state.as_ref().iter().all(|value| value.is_finite()) {
                continue;
            }
            self.weights[index] = old.weights[index];
            R::State::set(&mut self.states, index, R::State::get(&old.states, index));
            if survivors >> index & 1 != 0 {
                if tally.held == 0 {
                    tally.first_held = start + index;
                }
                tally.held += 1;
            }
        }
    }

    /// Sets the state of condemned weights to `initial`.
    #[inline(always)]
    fn restart(&mut self, survivors: u64, initial: R::State) {
        for index in 0..BLOCK {
            let state =
                if survivors >> index & 1 != 0 { R::State::get(&self.states, index) } else { initial };
            R::State::set(&mut self.states, index, state);
        }
    }
}

/// The smallest magnitudes that round to infinity: the largest finite value and half a unit in its last place.
const F16_OVERFLOW: f32 = 65520.0;
const BF16_OVERFLOW: f32 = f32::from_bits(0x7f7f_8000);

/// Brings what would round to infinity to the largest finite value; says how many of the first `len` that were.
#[inline(always)]
fn saturate(weights: &mut [f32; BLOCK], len: usize, largest: f32, overflow: f32) -> usize {
    let beyond = |weight: f32| u32::from(weight.abs() >= overflow);
    if weights.iter().fold(0, |any, &weight| any | beyond(weight)) == 0 {
        return 0;
    }
    let count = weights[..len].iter().map(|&weight| beyond(weight) as usize).sum();
    weights.iter_mut().for_each(|weight| *weight = weight.clamp(-largest, largest));
    count
}
