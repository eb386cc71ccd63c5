//! Neural networks smaller and faster on CPUs: pruning masks, int8 and 16-bit quantizers, loss-scaled 16-bit
//! optimizers, and the kernels that turn the compression into speed.
//!
//! Three compositions carry the library:
//!
//! 1. **Pruning** ([`prune`]) is criterion x pattern x scope -> exactly k survivors -> a [`Mask`] (a bit per weight).
//! 2. **Quantization** ([`quant`]) is scheme x range -> parameters -> codes.
//! 3. **A training step** ([`optim`]) is an update rule inside one fused, transactional loop.
//!
//! What was compressed is run by [`linear`].
//!
//! Nothing here has global state but what is found out of the machine, once ([`Isa`]): which instruction set runs, and on whose threads,
//! is a [`Context`] that a caller can set for a scope. A function that computes does so in the current one; so that it cannot run with other instructions than were asked
//! for, any such function can also return [`Error::Isa`] where no scope is in force and the environment variable `TERSOR_ISA` names
//! an instruction set that does not exist or that this machine lacks. Not every list of errors repeats this.
//!
//! Results that are integers, masks, 16-bit casts or element-wise updates are the same bytes on every
//! instruction set and at every thread count.

#[cfg(target_endian = "big")]
compile_error!(
    "tersor stores masks and packed weights as little-endian bytes and has not been taught otherwise"
);

mod context;
mod element;
mod error;
pub mod kernels;
#[cfg(feature = "linear")]
pub mod linear;
mod mask;
pub mod optim;
mod parallel;
pub mod prune;
pub mod quant;
mod row_major;

pub use context::Context;
pub use element::{DType, Element};
pub use error::{Error, Result};
pub use kernels::Isa;
pub use mask::{BitSlice, Mask, SavedMask};
pub use parallel::{Parallel, ParallelFor};

// The types of the public signatures, so that a dependant needs no matching version of its own.
pub use half::{bf16, f16};
pub use ndarray;

/// The README's Rust, compiled and run.
#[cfg(all(doctest, feature = "linear"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
