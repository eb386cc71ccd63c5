//! Runs what was compressed: fully connected layers in f32, f16, bf16 (also by its dot product), int8, int4 and sparse, packed once and used many times.
//!
//! [`Weights`] says what is packed (which numbers, which of them survive); [`PackedLinear`] is the packed
//! layer, in bytes of its own or borrowed from somebody else (a file, a C caller), behind a checked header. [`matmul`] is the
//! plain f32 product of views, where nothing is worth packing. Making masks and codes is left to `prune` and `quant`.

#![forbid(unsafe_code)]

mod activations;
mod bf16_dot;
mod bitmap;
mod blocks;
mod by_matrix;
mod bytes;
mod codes;
mod conv;
mod cost;
mod dense;
mod finish;
mod format;
mod forward;
mod in_place;
mod int4;
mod int4_float;
mod layer;
mod layout;
mod matmul;
mod operand;
mod pack;
mod pack_bf16_dot;
mod pack_int4;
mod panels;
mod runs;
mod scratch;
#[cfg(all(shared_kernels, not(test)))]
#[allow(dead_code)]
mod shared;
mod size;
mod sparse;
mod weights;

pub use conv::{Conv2d, DepthwiseConv2d, Window};
pub use cost::{Calibration, Prediction, Workload};
pub use format::Format;
pub use in_place::{write_bias, write_clamp, write_float_input, write_input_params, write_output_params};
pub use layer::PackedLinear;
pub use matmul::matmul;
pub use operand::Operand;
pub use weights::Weights;
