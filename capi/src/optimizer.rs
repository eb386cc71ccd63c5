//! Training steps, as torch or keras computes them: unscale, check, clip, update, round, in one fused pass over f32 weights and
//! state, with 16-bit weights beside them where they are wanted. A step is a transaction: when a gradient is not finite,
//! nothing has changed and `tersor_overflow` says where; the call itself has succeeded.
//!
//! The functions that end in a type take one tensor and a loss scale. Those that end in `_tensors` take all tensors of a
//! network, clip by their global norm, obey masks and move a loss scaler.

use std::ffi::{c_char, c_void};

/// A type of floats: one of `TERSOR_F32`, `TERSOR_F16`, `TERSOR_BF16`.
///
/// Since 0.1.
pub type tersor_dtype = u32;
/// `float`. Since 0.1.
pub const TERSOR_F32: tersor_dtype = 0;
/// `tersor_f16`. Since 0.1.
pub const TERSOR_F16: tersor_dtype = 1;
/// `tersor_bf16`. Since 0.1.
pub const TERSOR_BF16: tersor_dtype = 2;

/// Whose update rules an optimizer follows, which are not the same algorithms: one of `TERSOR_OPTIMIZER_*`.
///
/// Since 0.1.
pub type tersor_optimizer_rules = u32;
/// torch's. Since 0.1.
pub const TERSOR_OPTIMIZER_TORCH: tersor_optimizer_rules = 0;
/// keras 3's: weight decay is decoupled in all of them (w -= w * weight_decay * lr before the step), epsilon and the
/// learning rate have other places, and the state means something else, so rules cannot change between steps. Since 0.1.
pub const TERSOR_OPTIMIZER_KERAS: tersor_optimizer_rules = 1;

/// Whether and where a gradient was not finite, so that the step was skipped.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_overflow {
    /// 1 when the step was skipped, 0 when it was applied (then the other fields are 0).
    pub found: u32,
    /// The first value that is not finite: an infinity or a NaN.
    pub value: f32,
    /// Which tensor it is in, from 0.
    pub tensor: usize,
    /// Its row-major index in that tensor.
    pub index: usize,
    /// How many there are in all tensors together.
    pub count: usize,
}

/// What else a step did.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_step_report {
    /// The global L2 norm of the unscaled gradients before clipping; 0 when the step was skipped.
    pub grad_norm: f64,
    /// How many weights kept their value and state because the update left the range of f32.
    pub held: usize,
    /// How many weights had a master beyond the range of their 16-bit type, and were stored as its largest finite value.
    pub saturated: usize,
}

/// The gradient of one tensor.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_gradient {
    /// `count` elements of the type `dtype`, of the loss times the loss scale.
    pub elements: *const c_void,
    /// As many as the parameter has.
    pub count: usize,
    /// The type of the elements.
    pub dtype: tersor_dtype,
    /// 0.
    pub reserved: u32,
}

/// A tensor that is trained. Everything is changed in place.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_parameter {
    /// What messages call the tensor. NULL: "a tensor".
    pub name: *const c_char,
    /// How many weights there are.
    pub count: usize,
    /// `count` weights in f32.
    pub master: *mut f32,
    /// `count` numbers of the optimizer's first state: momentum, first moment or sum of squares. Ignored where the
    /// optimizer has none.
    pub state1: *mut f32,
    /// `count` numbers of the second moment. Ignored where the optimizer has none.
    pub state2: *mut f32,
    /// `count` weights in the type `stored_dtype`, into which every new master is rounded. Ignored for `TERSOR_F32`.
    pub stored: *mut c_void,
    /// `TERSOR_F32` means that the masters are the weights.
    pub stored_dtype: tersor_dtype,
    /// 0.
    pub reserved: u32,
    /// What is condemned here becomes and stays 0, and its gradient counts as 0, whatever it is. NULL: nothing is.
    pub mask: *const u8,
    /// The size of `mask`.
    pub mask_bytes: usize,
    /// How many steps this tensor has taken, 0 at first. Skipped steps do not count.
    pub steps: u64,
}
