//! The C ABI of tersor: casts, status codes and a panic guard around the functions of the crate. No algorithm.
//!
//! Every module below is a section of `include/tersor.h`, which `tests/header.rs` generates from these sources: the
//! comment at the top of a module is the introduction of its section, and is written for C readers. `ffi` (all pointer
//! casts, all `unsafe` blocks), `panic` and `threads` are not seen from C.

// Every export is `unsafe` to name and `unsafe` to call; the *blocks* are in `ffi.rs` alone, which a test checks.
#![allow(unsafe_code)]
// Types have their C names here: one concept, one name.
#![allow(non_camel_case_types)]
// What a C caller has to promise is written once, in the conventions at the top of the header, and where a function
// needs more, in its comment. A `# Safety` section in each would be noise in the header.
#![allow(clippy::missing_safety_doc)]

mod ffi;
mod panic;
mod threads;
mod training;

// In the order of the header's sections.
pub mod version;

pub mod status;

pub mod context;

pub mod mask;

pub mod prune;

pub mod schedule;

pub mod quantize;

pub mod choose_params;

pub mod observer;

pub mod fake_quantize;

pub mod along_axis;

pub mod min_max;

pub mod cast;

pub mod loss_scaler;

pub mod optimizer;

pub mod sgd;

pub mod adam;

pub mod adagrad;

pub mod pack;

pub mod packed;

pub mod linear;

pub mod conv;

pub mod calibration;
