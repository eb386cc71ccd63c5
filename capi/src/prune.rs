//! Pruning: criterion x pattern x scope -> a mask. The function is the criterion (what makes a weight worth keeping); the
//! options say which weights live and die together, who competes with whom, and how many survive. Where scores tie, the
//! lower row-major index survives. Masks are the same on every machine.

use crate::context::tersor_context;
use crate::ffi::{Caller, Options, Plain};
use crate::mask::{count_of, owned};
use crate::panic::export;
use crate::status::{Failure, Names, Rename, TERSOR_E_UNSUPPORTED, tersor_status};
use tersor::Mask;
use tersor::prune::{
    Amount, Criterion, Distribution, Gradient, Magnitude, Pattern, Pooling, Pruner, Random, Scope,
};

/// Which weights live and die together: one of `TERSOR_PATTERN_*`.
///
/// Since 0.1.
pub type tersor_pattern = u32;
/// Every weight for itself. Since 0.1.
pub const TERSOR_PATTERN_SINGLE: tersor_pattern = 0;
/// Of every `m` consecutive weights of a row, the best `n` survive. Takes no amount, and every scope gives the same.
/// Since 0.1.
pub const TERSOR_PATTERN_N_OF_M: tersor_pattern = 1;
/// Blocks of `block_rows` x `block_cols`; those at the lower and right edge are as large as what is left. Since 0.1.
pub const TERSOR_PATTERN_BLOCK: tersor_pattern = 2;
/// Whole rows: the outputs of a layer. Since 0.1.
pub const TERSOR_PATTERN_ROWS: tersor_pattern = 3;
/// Whole columns: the inputs of a layer. Since 0.1.
pub const TERSOR_PATTERN_COLUMNS: tersor_pattern = 4;

/// How the scores of the weights of a block, row or column become one: one of `TERSOR_POOLING_*`.
///
/// Since 0.1.
pub type tersor_pooling = u32;
/// Their mean. Since 0.1.
pub const TERSOR_POOLING_MEAN: tersor_pooling = 0;
/// The largest. Since 0.1.
pub const TERSOR_POOLING_MAX: tersor_pooling = 1;

/// Who competes with whom: one of `TERSOR_SCOPE_*`.
///
/// Since 0.1.
pub type tersor_scope = u32;
/// All weights that are passed, over several tensors where there are several. Since 0.1.
pub const TERSOR_SCOPE_ALL: tersor_scope = 0;
/// The weights of a tensor. Since 0.1.
pub const TERSOR_SCOPE_TENSOR: tersor_scope = 1;
/// The weights of a row; for blocks, those of a row of blocks. Since 0.1.
pub const TERSOR_SCOPE_ROWS: tersor_scope = 2;

/// How many survive: one of `TERSOR_AMOUNT_*`. What is counted are single weights, blocks, rows or columns.
///
/// Since 0.1.
pub type tersor_amount = u32;
/// round(sparsity * n) of all n are condemned, those that were dead before included. Halves round to even. Since 0.1.
pub const TERSOR_AMOUNT_SPARSITY: tersor_amount = 0;
/// round(sparsity * n) of the n that are still alive are condemned: a fraction in `torch.nn.utils.prune`. Since 0.1.
pub const TERSOR_AMOUNT_SPARSITY_OF_LIVING: tersor_amount = 1;
/// Exactly `count` survive. Since 0.1.
pub const TERSOR_AMOUNT_SURVIVORS: tersor_amount = 2;
/// Exactly `count` of the living are condemned: an integer in `torch.nn.utils.prune`. Since 0.1.
pub const TERSOR_AMOUNT_CONDEMNED: tersor_amount = 3;
/// Those with a score of at least `threshold` survive, however many they are. Since 0.1.
pub const TERSOR_AMOUNT_THRESHOLD: tersor_amount = 4;
/// The rule of TensorFlow Model Optimization: max(round(n * (1 - sparsity)), 1) in f32, and all that tie with the last.
/// Since 0.1.
pub const TERSOR_AMOUNT_TFMOT: tersor_amount = 5;

/// Which magnitude `tersor_prune_magnitude` means: one of `TERSOR_NORM_*`.
///
/// Since 0.1.
pub type tersor_norm = u32;
/// |w|. Since 0.1.
pub const TERSOR_NORM_L1: tersor_norm = 0;
/// w * w: structures are ranked by their L2 norm; a threshold is compared with the square. Since 0.1.
pub const TERSOR_NORM_L2: tersor_norm = 1;

/// How to prune. Fill it with `tersor_prune_options_init`, then change fields.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_prune_options {
    /// The size of this struct, set by `tersor_prune_options_init`.
    pub struct_size: u32,
    /// Default `TERSOR_PATTERN_SINGLE`.
    pub pattern: tersor_pattern,
    /// For blocks, rows and columns. Default `TERSOR_POOLING_MEAN`.
    pub pooling: tersor_pooling,
    /// Default `TERSOR_SCOPE_ALL`.
    pub scope: tersor_scope,
    /// Default `TERSOR_AMOUNT_SPARSITY`.
    pub amount: tersor_amount,
    /// For `tersor_prune_magnitude` and `tersor_prune_magnitude_tensors`. Default `TERSOR_NORM_L1`.
    pub norm: tersor_norm,
    /// For `TERSOR_PATTERN_N_OF_M`: 1 <= n <= m. Default 2.
    pub n: u32,
    /// For `TERSOR_PATTERN_N_OF_M`: at most 32. Default 4.
    pub m: u32,
    /// For `TERSOR_PATTERN_BLOCK`. Default 1.
    pub block_rows: usize,
    /// For `TERSOR_PATTERN_BLOCK`. Default 1.
    pub block_cols: usize,
    /// For `TERSOR_AMOUNT_SPARSITY`, `_SPARSITY_OF_LIVING` and `_TFMOT`: 0 to 1. Default 0.5.
    pub sparsity: f64,
    /// For `TERSOR_AMOUNT_THRESHOLD`. Default 0.
    pub threshold: f64,
    /// For `TERSOR_AMOUNT_SURVIVORS` and `_CONDEMNED`. Default 0.
    pub count: usize,
}

// SAFETY: `repr(C)`, begins with `struct_size`; numbers.
unsafe impl Options for tersor_prune_options {
    const FIRST_SIZE: usize = size_of::<Self>();
    fn defaults() -> Self {
        tersor_prune_options {
            struct_size: size_of::<Self>() as u32,
            pattern: TERSOR_PATTERN_SINGLE,
            pooling: TERSOR_POOLING_MEAN,
            scope: TERSOR_SCOPE_ALL,
            amount: TERSOR_AMOUNT_SPARSITY,
            norm: TERSOR_NORM_L1,
            n: 2,
            m: 4,
            block_rows: 1,
            block_cols: 1,
            sparsity: 0.5,
            threshold: 0.0,
            count: 0,
        }
    }
}

/// Fills `options` with the defaults: the half with the smallest magnitude is pruned.
///
/// @param struct_size  `sizeof *options`
/// @return `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_prune_options_init(
    options: *mut tersor_prune_options,
    struct_size: usize,
) -> tersor_status {
    export(|caller| caller.init_options("options", options, struct_size))
}

/// By magnitude: what is smallest is condemned.
///
/// @param weights     `rows` x `cols`, all finite
/// @param within      a mask to stay inside: what is dead there stays dead. NULL: everything lives. May not overlap `mask`
/// @param within_bytes  the size of `within`
/// @param options     NULL means the defaults
/// @param mask        receives the mask of `rows * cols` weights
/// @return `TERSOR_E_EMPTY`; `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH` when a mask is too small;
///         `TERSOR_E_OUT_OF_RANGE` for an option; `TERSOR_E_UNSUPPORTED` for a combination of options that means
///         nothing; `TERSOR_E_STRUCT_SIZE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_prune_magnitude(
    context: *const tersor_context,
    weights: *const f32,
    rows: usize,
    cols: usize,
    stride: usize,
    within: *const u8,
    within_bytes: usize,
    options: *const tersor_prune_options,
    mask: *mut u8,
    mask_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let criterion = magnitude(options.norm)?;
        let matrix = Matrix { weights, rows, cols, stride };
        prune(caller, context, criterion, matrix, (within, within_bytes), &options, (mask, mask_bytes))
    })
}

/// By magnitude, n of every m consecutive weights of a row survive: 2 of 4 for sparse tensor cores, say. The same as
/// `tersor_prune_magnitude` with `TERSOR_PATTERN_N_OF_M`.
///
/// @param weights  `rows` x `cols`, all finite
/// @param n        1 <= n <= m
/// @param m        at most 32; a row whose length is no multiple of m ends in a shorter group
/// @param mask     receives the mask of `rows * cols` weights
/// @return `TERSOR_E_EMPTY`, `TERSOR_E_NOT_FINITE`, `TERSOR_E_LENGTH`, `TERSOR_E_OUT_OF_RANGE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_prune_magnitude_nm(
    context: *const tersor_context,
    weights: *const f32,
    rows: usize,
    cols: usize,
    stride: usize,
    n: u32,
    m: u32,
    mask: *mut u8,
    mask_bytes: usize,
) -> tersor_status {
    export(|caller| {
        // Here, where the two are arguments, and not yet fields of options.
        Pattern::n_of_m(n as usize, m as usize)?;
        let defaults = tersor_prune_options::defaults();
        let options = tersor_prune_options { pattern: TERSOR_PATTERN_N_OF_M, n, m, ..defaults };
        let matrix = Matrix { weights, rows, cols, stride };
        let everything = (std::ptr::null(), 0);
        prune(caller, context, Magnitude::l1(), matrix, everything, &options, (mask, mask_bytes))
    })
}

/// By |w * g|: how much the loss changes, to first order, when the weight becomes 0.
///
/// @param gradients  `rows` x `cols`, of the loss with respect to `weights`
/// @return as `tersor_prune_magnitude`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_prune_gradient(
    context: *const tersor_context,
    weights: *const f32,
    rows: usize,
    cols: usize,
    stride: usize,
    gradients: *const f32,
    gradients_stride: usize,
    within: *const u8,
    within_bytes: usize,
    options: *const tersor_prune_options,
    mask: *mut u8,
    mask_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let gradients = caller.matrix::<f32>("gradients", gradients, rows, cols, gradients_stride)?;
        let criterion = Gradient::of(gradients);
        let matrix = Matrix { weights, rows, cols, stride };
        prune(caller, context, criterion, matrix, (within, within_bytes), &options, (mask, mask_bytes))
    })
}

/// By distribution: how many standard deviations the weight lies from the mean of all weights. What is close to the mean
/// is condemned.
///
/// @return as `tersor_prune_magnitude`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_prune_distribution(
    context: *const tersor_context,
    weights: *const f32,
    rows: usize,
    cols: usize,
    stride: usize,
    within: *const u8,
    within_bytes: usize,
    options: *const tersor_prune_options,
    mask: *mut u8,
    mask_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let matrix = Matrix { weights, rows, cols, stride };
        let criterion = Distribution::new();
        prune(caller, context, criterion, matrix, (within, within_bytes), &options, (mask, mask_bytes))
    })
}

/// At random, reproducibly: scores depend on the seed and the index only. The baseline that a criterion should beat.
///
/// @param seed  any number
/// @return as `tersor_prune_magnitude`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_prune_random(
    context: *const tersor_context,
    weights: *const f32,
    rows: usize,
    cols: usize,
    stride: usize,
    seed: u64,
    within: *const u8,
    within_bytes: usize,
    options: *const tersor_prune_options,
    mask: *mut u8,
    mask_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let matrix = Matrix { weights, rows, cols, stride };
        let criterion = Random::seeded(seed);
        prune(caller, context, criterion, matrix, (within, within_bytes), &options, (mask, mask_bytes))
    })
}

/// One of several tensors that are pruned together.
///
/// Since 0.1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct tersor_prune_tensor {
    /// `rows` x `cols`, all finite.
    pub weights: *const f32,
    /// How many rows there are.
    pub rows: usize,
    /// How many columns there are.
    pub cols: usize,
    /// From row to row, in elements; at least `cols`.
    pub stride: usize,
    /// For `tersor_prune_gradient_tensors`: `rows` x `cols`. Ignored by the others.
    pub gradients: *const f32,
    /// From row to row of the gradients, in elements; at least `cols`. Ignored where they are.
    pub gradients_stride: usize,
    /// A mask to stay inside, or NULL for none. Either all tensors have one or none has.
    pub within: *const u8,
    /// The size of `within`.
    pub within_bytes: usize,
    /// Receives the mask of `rows * cols` weights.
    pub mask: *mut u8,
    /// The size of `mask`.
    pub mask_bytes: usize,
}

// SAFETY: numbers and pointers.
unsafe impl Plain for tersor_prune_tensor {
    type C = Self;
}

/// By magnitude, over several tensors: with `TERSOR_SCOPE_ALL` (the default) all their weights compete with each other.
///
/// @param tensors       `tensor_count` tensors; their masks are written
/// @param tensor_count  how many tensors there are, at least 1
/// @param options       NULL means the defaults
/// @return as `tersor_prune_magnitude`; then no mask was written
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_prune_magnitude_tensors(
    context: *const tersor_context,
    tensors: *const tersor_prune_tensor,
    tensor_count: usize,
    options: *const tersor_prune_options,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let tensors = caller.input("tensors", tensors, tensor_count)?;
        prune_tensors(caller, context, magnitude(options.norm)?, tensors, &options)
    })
}

/// As `tersor_prune_gradient`, over several tensors: see `tersor_prune_magnitude_tensors`.
///
/// @param tensors       `tensor_count` tensors with their gradients; their masks are written
/// @param tensor_count  how many tensors there are, at least 1
/// @param options       NULL means the defaults
/// @return as `tersor_prune_magnitude`; then no mask was written
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_prune_gradient_tensors(
    context: *const tersor_context,
    tensors: *const tersor_prune_tensor,
    tensor_count: usize,
    options: *const tersor_prune_options,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let tensors: &[tersor_prune_tensor] = caller.input("tensors", tensors, tensor_count)?;
        let gradients = tensors.iter().enumerate().map(|(index, tensor)| {
            let &tersor_prune_tensor { gradients, rows, cols, gradients_stride, .. } = tensor;
            let view = caller.matrix::<f32>("gradients", gradients, rows, cols, gradients_stride);
            view.map_err(|failure| failure.at("tensors", index))
        });
        let criterion = Gradient::of_each(gradients.collect::<Result<Vec<_>, _>>()?);
        prune_tensors(caller, context, criterion, tensors, &options)
    })
}

/// As `tersor_prune_distribution`, over several tensors: see `tersor_prune_magnitude_tensors`. Mean and standard deviation
/// are those of the tensor that a weight is in.
///
/// @param tensors       `tensor_count` tensors; their masks are written
/// @param tensor_count  how many tensors there are, at least 1
/// @param options       NULL means the defaults
/// @return as `tersor_prune_magnitude`; then no mask was written
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_prune_distribution_tensors(
    context: *const tersor_context,
    tensors: *const tersor_prune_tensor,
    tensor_count: usize,
    options: *const tersor_prune_options,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let tensors = caller.input("tensors", tensors, tensor_count)?;
        prune_tensors(caller, context, Distribution::new(), tensors, &options)
    })
}

/// As `tersor_prune_random`, over several tensors: see `tersor_prune_magnitude_tensors`. Scores depend on the seed, the
/// place of the tensor among `tensors` and the index.
///
/// @param tensors       `tensor_count` tensors; their masks are written
/// @param tensor_count  how many tensors there are, at least 1
/// @param seed          any number
/// @param options       NULL means the defaults
/// @return as `tersor_prune_magnitude`; then no mask was written
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_prune_random_tensors(
    context: *const tersor_context,
    tensors: *const tersor_prune_tensor,
    tensor_count: usize,
    seed: u64,
    options: *const tersor_prune_options,
) -> tersor_status {
    export(|caller| {
        let options = caller.options("options", options)?;
        let tensors = caller.input("tensors", tensors, tensor_count)?;
        prune_tensors(caller, context, Random::seeded(seed), tensors, &options)
    })
}

fn prune_tensors<C: Criterion>(
    caller: Caller,
    context: *const tersor_context,
    criterion: C,
    tensors: &[tersor_prune_tensor],
    options: &tersor_prune_options,
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let all_within = tensors.first().is_some_and(|first| !first.within.is_null());
    let (mut weights, mut within, mut masks) = (Vec::new(), Vec::new(), Vec::new());
    for (index, tensor) in tensors.iter().enumerate() {
        let mut take = || -> Result<(), Failure> {
            let &tersor_prune_tensor { rows, cols, .. } = tensor;
            let count = count_of("weights", rows, cols)?;
            weights
                .push(caller.matrix::<f32>("weights", tensor.weights, rows, cols, tensor.stride)?.into_dyn());
            let bits = caller.optional_mask("within", tensor.within, tensor.within_bytes, count)?;
            if bits.is_some() != all_within {
                let found = if bits.is_some() { "a mask" } else { "NULL" };
                return Err(Failure::out_of_range("within", found, "as in the first tensor"));
            }
            within.extend(bits.map(|bits| owned(bits, rows, cols)).transpose()?);
            masks.push(caller.mask_out("mask", tensor.mask, tensor.mask_bytes, count)?);
            Ok(())
        };
        take().map_err(|failure| failure.at("tensors", index))?;
    }
    let pruner = configured(criterion, options)?;
    let found = context.scope(|| {
        if within.is_empty() { pruner.masks(&weights) } else { pruner.within_each(&within).masks(&weights) }
    });
    let found = found.renamed(OPTIONS).map_err(|failure| of_tensors(failure, tensors.len()))?;
    for (mask, found) in masks.into_iter().zip(&found) {
        mask.copy_from_slice(found.as_bytes());
    }
    Ok(())
}

/// Rust's `weights[1]`, or `weights` where there is one tensor, as C has it: `tensors[1].weights`.
fn of_tensors(failure: Failure, tensor_count: usize) -> Failure {
    if failure.status == TERSOR_E_UNSUPPORTED {
        return failure; // about options
    }
    let message = match (tensor_count, failure.message.split_once("weights[")) {
        (0, _) => failure.message.replacen("weights", "tensors", 1),
        (1, _) => failure.message.replacen("weights", "tensors[0].weights", 1),
        (_, Some((before, rest))) => format!("{before}tensors[{}", rest.replacen(']', "].weights", 1)),
        (_, None) => failure.message,
    };
    Failure { message, ..failure }
}

struct Matrix {
    weights: *const f32,
    rows: usize,
    cols: usize,
    stride: usize,
}

fn prune<C: Criterion>(
    caller: Caller,
    context: *const tersor_context,
    criterion: C,
    Matrix { weights, rows, cols, stride }: Matrix,
    (within, within_bytes): (*const u8, usize),
    options: &tersor_prune_options,
    (mask, mask_bytes): (*mut u8, usize),
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let count = count_of("weights", rows, cols)?;
    let weights = caller.matrix::<f32>("weights", weights, rows, cols, stride)?;
    let within = caller.optional_mask("within", within, within_bytes, count)?;
    let mask = caller.mask_out("mask", mask, mask_bytes, count)?;
    let pruner = configured(criterion, options)?;
    let within: Option<Mask> = within.map(|bits| owned(bits, rows, cols)).transpose()?;
    let found = context.scope(|| match &within {
        Some(within) => pruner.within(within).mask(weights),
        None => pruner.mask(weights),
    });
    let found = found.renamed(OPTIONS)?;
    mask.copy_from_slice(found.as_bytes());
    Ok(())
}

fn magnitude(norm: tersor_norm) -> Result<Magnitude, Failure> {
    match norm {
        TERSOR_NORM_L1 => Ok(Magnitude::l1()),
        TERSOR_NORM_L2 => Ok(Magnitude::l2()),
        _ => Err(Failure::out_of_range("options.norm", norm, "one of TERSOR_NORM_*")),
    }
}

/// What Rust has in patterns and amounts, C has in a struct.
const OPTIONS: Names = &[
    ("n", "options.n"),
    ("m", "options.m"),
    ("rows", "options.block_rows"),
    ("cols", "options.block_cols"),
    ("sparsity", "options.sparsity"),
    ("threshold", "options.threshold"),
    ("survivors", "options.count"),
    ("condemned", "options.count"),
];

fn configured<'a, C: Criterion>(
    criterion: C,
    options: &tersor_prune_options,
) -> Result<Pruner<'a, C>, Failure> {
    let pattern = match options.pattern {
        TERSOR_PATTERN_SINGLE => Pattern::single(),
        TERSOR_PATTERN_N_OF_M => Pattern::n_of_m(options.n as usize, options.m as usize).renamed(OPTIONS)?,
        TERSOR_PATTERN_BLOCK => Pattern::block(options.block_rows, options.block_cols).renamed(OPTIONS)?,
        TERSOR_PATTERN_ROWS => Pattern::rows(),
        TERSOR_PATTERN_COLUMNS => Pattern::columns(),
        other => {
            return Err(Failure::out_of_range("options.pattern", other, "one of TERSOR_PATTERN_*"));
        }
    };
    let pooling = match options.pooling {
        TERSOR_POOLING_MEAN => Pooling::Mean,
        TERSOR_POOLING_MAX => Pooling::Max,
        other => return Err(Failure::out_of_range("options.pooling", other, "one of TERSOR_POOLING_*")),
    };
    let scope = match options.scope {
        TERSOR_SCOPE_ALL => Scope::All,
        TERSOR_SCOPE_TENSOR => Scope::Tensor,
        TERSOR_SCOPE_ROWS => Scope::Rows,
        other => return Err(Failure::out_of_range("options.scope", other, "one of TERSOR_SCOPE_*")),
    };
    let amount = match options.amount {
        TERSOR_AMOUNT_SPARSITY => Amount::Sparsity(options.sparsity),
        TERSOR_AMOUNT_SPARSITY_OF_LIVING => Amount::SparsityOfLiving(options.sparsity),
        TERSOR_AMOUNT_SURVIVORS => Amount::Survivors(options.count),
        TERSOR_AMOUNT_CONDEMNED => Amount::Condemned(options.count),
        TERSOR_AMOUNT_THRESHOLD => Amount::Threshold(options.threshold as f32),
        TERSOR_AMOUNT_TFMOT => Amount::Tfmot(options.sparsity as f32),
        other => return Err(Failure::out_of_range("options.amount", other, "one of TERSOR_AMOUNT_*")),
    };
    let pruner = Pruner::new(criterion).pattern(pattern.pooled(pooling)).scope(scope);
    // N of m says by itself how many survive.
    Ok(if options.pattern == TERSOR_PATTERN_N_OF_M { pruner } else { pruner.amount(amount) })
}
