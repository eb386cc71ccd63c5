//! Pruning: which weights may die, and when.
//!
//! A decision is composed of three independent parts, and ends in a [`Mask`](crate::Mask) with exactly as many survivors
//! as were asked for:
//!
//! - a [`Criterion`] gives every weight a score: [`Magnitude`], [`Gradient`], [`Distribution`], [`Random`], or your own;
//! - a [`Pattern`] says which weights live and die together: single ones, n of m, blocks, rows, columns, channels;
//! - a [`Scope`] says who competes with whom: the weights of a row, of a tensor, or of everything that is passed.
//!
//! How many survive is an [`Amount`]; how that grows while a network trains is a [`Schedule`]. Where scores tie, the
//! lower index survives, so the mask is the same at any thread count and on any instruction set.
//!
//! ```
//! use ndarray::array;
//! use tersor::prune::{Magnitude, Pattern, Pruner};
//!
//! let mut weights = array![[0.1_f32, -0.9, 0.3, 0.2], [0.5, 0.4, -0.7, 0.0]];
//!
//! let half = Pruner::new(Magnitude::l1()).sparsity(0.5).mask(weights.view())?;
//! assert_eq!(half.survivors().collect::<Vec<_>>(), [1, 4, 5, 6]);
//!
//! let two_of_four = Pruner::new(Magnitude::l1()).pattern(Pattern::n_of_m(2, 4)?).mask(weights.view())?;
//! assert_eq!(two_of_four.survivors().collect::<Vec<_>>(), [1, 2, 4, 6]);
//! two_of_four.apply(&mut weights)?;
//! # Ok::<(), tersor::Error>(())
//! ```
//!
//! Holding masks during training is left to [`optim`](crate::optim), running what is sparse to `linear`.

#![forbid(unsafe_code)]

mod amount;
mod bits;
mod criterion;
mod decide;
mod moments;
mod pattern;
mod pruner;
mod scan;
mod schedule;
mod select;
mod soft;

pub use amount::Amount;
pub use criterion::{Chunk, Criterion, Distribution, Gradient, Magnitude, Moments, Random};
pub use pattern::{Pattern, Pooling};
pub use pruner::{Decision, Decisions, Pruner, Ranking, Scope};
pub use schedule::Schedule;
pub use soft::decay_condemned;
