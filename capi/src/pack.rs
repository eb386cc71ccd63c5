//! Packing linear layers: weights are packed once into the caller's bytes, and used many times. y = x * w^T + bias, where w has a row
//! of `k` weights for each of `n` outputs. The bytes can be stored, and used on any machine at any alignment; a header is
//! checked at every use, and bytes that are foreign, cut off, of another version or damaged in the header are
//! `TERSOR_E_LAYOUT`. Weights are not under the checksum: damage there may compute other numbers, and nothing worse. Of weights that no
//! cache holds a single row takes up to a tenth less time where they lie in large pages (`madvise` on Linux, before they are written).

use crate::context::tersor_context;
use crate::ffi::Caller;
use crate::mask::{count_of, tersor_bf16, tersor_f16};
use crate::panic::export;
use crate::status::{Failure, Rename, tersor_status};
use std::ffi::c_void;
use tersor::linear::{Format, Weights};
use tersor::ndarray::ArrayView2;
use tersor::{bf16, f16};

/// How many bytes `tersor_pack_f32` writes for `n` x `k` weights.
///
/// @param out_bytes  receives the size
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_f32_size(
    context: *const tersor_context,
    n: usize,
    k: usize,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| dense_size(caller, context, Format::F32, (n, k), false, out_bytes))
}

/// Packs f32 weights.
///
/// @param weights       `n` rows of `k` weights; those that survive are finite
/// @param mask          what it condemns counts as 0. NULL: everything survives
/// @param mask_bytes    the size of `mask`
/// @param packed        receives the layer
/// @param packed_bytes  exactly what `tersor_pack_f32_size` says
/// @return `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH` for `packed_bytes` or `mask_bytes`;
///         `TERSOR_E_OUT_OF_RANGE` for the stride
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_f32(
    context: *const tersor_context,
    weights: *const f32,
    n: usize,
    k: usize,
    stride: usize,
    mask: *const u8,
    mask_bytes: usize,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let weights = Weights::from(caller.matrix::<f32>("weights", weights, n, k, stride)?);
        let weights = masked(caller, weights, mask, mask_bytes, (n, k))?;
        pack(caller, context, &weights, packed, packed_bytes)
    })
}

/// How many bytes `tersor_pack_f16` writes for `n` x `k` weights.
///
/// @param out_bytes  receives the size
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_f16_size(
    context: *const tersor_context,
    n: usize,
    k: usize,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| dense_size(caller, context, Format::F16, (n, k), false, out_bytes))
}

/// Packs f16 weights.
///
/// @param weights       `n` rows of `k` weights; those that survive are finite
/// @param mask          what it condemns counts as 0. NULL: everything survives
/// @param mask_bytes    the size of `mask`
/// @param packed        receives the layer
/// @param packed_bytes  exactly what `tersor_pack_f16_size` says
/// @return `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH` for `packed_bytes` or `mask_bytes`;
///         `TERSOR_E_OUT_OF_RANGE` for the stride
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_f16(
    context: *const tersor_context,
    weights: *const tersor_f16,
    n: usize,
    k: usize,
    stride: usize,
    mask: *const u8,
    mask_bytes: usize,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let weights = Weights::from(caller.matrix::<f16>("weights", weights, n, k, stride)?);
        let weights = masked(caller, weights, mask, mask_bytes, (n, k))?;
        pack(caller, context, &weights, packed, packed_bytes)
    })
}

/// How many bytes `tersor_pack_bf16` writes for `n` x `k` weights.
///
/// @param out_bytes  receives the size
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_bf16_size(
    context: *const tersor_context,
    n: usize,
    k: usize,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| dense_size(caller, context, Format::Bf16, (n, k), false, out_bytes))
}

/// Packs bf16 weights.
///
/// @param weights       `n` rows of `k` weights; those that survive are finite
/// @param mask          what it condemns counts as 0. NULL: everything survives
/// @param mask_bytes    the size of `mask`
/// @param packed        receives the layer
/// @param packed_bytes  exactly what `tersor_pack_bf16_size` says
/// @return `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH` for `packed_bytes` or `mask_bytes`;
///         `TERSOR_E_OUT_OF_RANGE` for the stride
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_bf16(
    context: *const tersor_context,
    weights: *const tersor_bf16,
    n: usize,
    k: usize,
    stride: usize,
    mask: *const u8,
    mask_bytes: usize,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let weights = Weights::from(caller.matrix::<bf16>("weights", weights, n, k, stride)?);
        let weights = masked(caller, weights, mask, mask_bytes, (n, k))?;
        pack(caller, context, &weights, packed, packed_bytes)
    })
}

/// How many bytes `tersor_pack_bf16_dot` writes for `n` x `k` weights.
///
/// @param out_bytes  receives the size
/// @return nothing beyond the conventions
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_bf16_dot_size(
    context: *const tersor_context,
    n: usize,
    k: usize,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| dense_size(caller, context, Format::Bf16Dot, (n, k), false, out_bytes))
}

/// Packs bf16 weights for the dot product of bf16, which some processors have (AVX-512 BF16, AMX): `x` is rounded to bf16 in every
/// call, to nearest even, products are exact, and sums are f32. For many rows: AVX-512 takes half the time of
/// f32 on a Zen 4 core, more than that of f32 on a Xeon, and its AMX a fifth.
///
/// @param weights       `n` rows of `k` weights; those that survive are finite
/// @param mask          what it condemns counts as 0. NULL: everything survives
/// @param mask_bytes    the size of `mask`
/// @param packed        receives the layer
/// @param packed_bytes  exactly what `tersor_pack_bf16_dot_size` says
/// @return `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH` for `packed_bytes` or `mask_bytes`;
///         `TERSOR_E_OUT_OF_RANGE` for the stride
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_bf16_dot(
    context: *const tersor_context,
    weights: *const tersor_bf16,
    n: usize,
    k: usize,
    stride: usize,
    mask: *const u8,
    mask_bytes: usize,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let weights = Weights::from(caller.matrix::<bf16>("weights", weights, n, k, stride)?);
        let weights = masked(caller, weights.bf16_dot(), mask, mask_bytes, (n, k))?;
        pack(caller, context, &weights, packed, packed_bytes)
    })
}

/// How many bytes `tersor_pack_i8` writes for `n` x `k` codes.
///
/// @param zero_points  those that will be packed; NULL means all are 0
/// @param channels     how many: 1 or `n`
/// @param out_bytes    receives the size, which is smaller where every zero point is 0
/// @return `TERSOR_E_OUT_OF_RANGE` when `k` is so large that int32 sums could overflow, and for `channels`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_i8_size(
    context: *const tersor_context,
    n: usize,
    k: usize,
    zero_points: *const i32,
    channels: usize,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| {
        let affine = affine(caller, zero_points, channels, n, 0)?;
        dense_size(caller, context, Format::Int8, (n, k), affine, out_bytes)
    })
}

/// Packs int8 codes: the weight is scale * (code - zero_point).
///
/// @param weights       `n` rows of `k` codes
/// @param scales        `channels` scales, finite and above 0; NULL means all are 1 (for `tersor_matmul_i8`)
/// @param zero_points   `channels` zero points, each a code; NULL means all are 0
/// @param channels      1, or `n`
/// @param packed        receives the layer
/// @param packed_bytes  exactly what `tersor_pack_i8_size` says
/// @return `TERSOR_E_LENGTH`, `TERSOR_E_OUT_OF_RANGE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_i8(
    context: *const tersor_context,
    weights: *const i8,
    n: usize,
    k: usize,
    stride: usize,
    scales: *const f32,
    zero_points: *const i32,
    channels: usize,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let weights = caller.matrix::<i8>("weights", weights, n, k, stride)?;
        let scales = caller.optional_input("scales", scales, channels)?.unwrap_or(&[1.0]);
        let zero_points = caller.optional_input("zero_points", zero_points, channels)?.unwrap_or(&[]);
        pack(caller, context, &Weights::int8(weights, scales, zero_points), packed, packed_bytes)
    })
}

/// How many bytes `tersor_pack_u8` writes for `n` x `k` codes.
///
/// @param zero_points  those that will be packed; NULL means all are 0
/// @param channels     how many: 1 or `n`
/// @param out_bytes    receives the size, which is smaller where every zero point is 128
/// @return `TERSOR_E_OUT_OF_RANGE` when `k` is so large that int32 sums could overflow, and for `channels`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_u8_size(
    context: *const tersor_context,
    n: usize,
    k: usize,
    zero_points: *const i32,
    channels: usize,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| {
        let affine = affine(caller, zero_points, channels, n, 128)?;
        dense_size(caller, context, Format::Int8, (n, k), affine, out_bytes)
    })
}

/// Packs uint8 codes: the weight is scale * (code - zero_point).
///
/// @param weights       `n` rows of `k` codes
/// @param scales        `channels` scales, finite and above 0; NULL means all are 1 (for `tersor_matmul_i8`)
/// @param zero_points   `channels` zero points, each a code; NULL means all are 0
/// @param channels      1, or `n`
/// @param packed        receives the layer
/// @param packed_bytes  exactly what `tersor_pack_u8_size` says
/// @return `TERSOR_E_LENGTH`, `TERSOR_E_OUT_OF_RANGE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_u8(
    context: *const tersor_context,
    weights: *const u8,
    n: usize,
    k: usize,
    stride: usize,
    scales: *const f32,
    zero_points: *const i32,
    channels: usize,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let weights = caller.matrix::<u8>("weights", weights, n, k, stride)?;
        let scales = caller.optional_input("scales", scales, channels)?.unwrap_or(&[1.0]);
        let zero_points = caller.optional_input("zero_points", zero_points, channels)?.unwrap_or(&[]);
        pack(caller, context, &Weights::uint8(weights, scales, zero_points), packed, packed_bytes)
    })
}

/// How many bytes `tersor_pack_int4` writes for `n` x `k` codes in groups of `group_size` inputs.
///
/// @param zero_points  those that will be packed; NULL means all are 0
/// @param out_bytes    receives the size, which is smaller where every zero point is 0
/// @return `TERSOR_E_OUT_OF_RANGE` for `group_size`, and when `k` is so large that int32 sums could overflow
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_int4_size(
    context: *const tersor_context,
    n: usize,
    k: usize,
    group_size: usize,
    zero_points: *const i32,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| {
        caller.context(context)?;
        let out = caller.out("out_bytes", out_bytes)?;
        let bytes = |affine| Format::int4_packed_bytes(n, k, group_size, affine);
        // Before zero points are read: a size of groups that is refused does not say how many there are.
        bytes(false).renamed(&[("weights", "n * k"), ("in_features", "k")])?;
        let zero_points = group_zero_points(caller, zero_points, n, k, group_size)?;
        let affine = zero_points.is_some_and(|zero_points| zero_points.iter().any(|&zero| zero != 0));
        out.set(bytes(affine).renamed(&[("weights", "n * k"), ("in_features", "k")])?);
        Ok(())
    })
}

/// Packs int4 codes in groups of inputs: the weight is scale * (code - zero_point), with the scale and the zero point of its
/// output and group. A group is `group_size` inputs side by side; the last of a row may have fewer.
///
/// @param codes         `n` rows of `k` codes, -8 to 7, each in a byte
/// @param group_size    a multiple of 4 above 0, or at least `k` for whole rows
/// @param scales        for each output a scale for each group, without gaps, finite and above 0
/// @param zero_points   in the order of the scales, -8 to 7; NULL means all are 0
/// @param packed        receives the layer
/// @param packed_bytes  exactly what `tersor_pack_int4_size` says
/// @return `TERSOR_E_LENGTH`, `TERSOR_E_OUT_OF_RANGE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_int4(
    context: *const tersor_context,
    codes: *const i8,
    n: usize,
    k: usize,
    stride: usize,
    group_size: usize,
    scales: *const f32,
    zero_points: *const i32,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let codes = caller.matrix::<i8>("codes", codes, n, k, stride)?;
        // Refuses a size of groups, as above.
        Format::int4_packed_bytes(n, k, group_size, false).renamed(&[("in_features", "k")])?;
        let scales =
            caller.matrix::<f32>("scales", scales, n, k.div_ceil(group_size), k.div_ceil(group_size))?;
        let zero_points = group_zero_points(caller, zero_points, n, k, group_size)?;
        pack(caller, context, &Weights::int4(codes, group_size, scales, zero_points), packed, packed_bytes)
    })
}

/// How many bytes `tersor_pack_sparse_f32` writes. Depends on how many weights survive.
///
/// @param out_bytes  receives the size
/// @return as `tersor_pack_sparse_f32`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_sparse_f32_size(
    context: *const tersor_context,
    weights: *const f32,
    n: usize,
    k: usize,
    stride: usize,
    mask: *const u8,
    mask_bytes: usize,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| {
        let weights = Weights::from(caller.matrix::<f32>("weights", weights, n, k, stride)?);
        let weights = masked(caller, weights, mask, mask_bytes, (n, k))?;
        size(caller, context, &weights.sparse(), out_bytes)
    })
}

/// Packs the f32 weights that are not 0: in blocks of 16 outputs, where zeros come in whole blocks, else one by one (whichever
/// takes fewer bytes; blocks run several times as fast).
///
/// @param weights       `n` rows of `k` weights; those that survive are finite
/// @param mask          what it condemns counts as 0. NULL: everything survives
/// @param mask_bytes    the size of `mask`
/// @param packed        receives the layer
/// @param packed_bytes  exactly what `tersor_pack_sparse_f32_size` says
/// @return `TERSOR_E_NOT_FINITE` naming the weight; `TERSOR_E_LENGTH`; `TERSOR_E_OUT_OF_RANGE` for more inputs than 65,536
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_sparse_f32(
    context: *const tersor_context,
    weights: *const f32,
    n: usize,
    k: usize,
    stride: usize,
    mask: *const u8,
    mask_bytes: usize,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let weights = Weights::from(caller.matrix::<f32>("weights", weights, n, k, stride)?);
        let weights = masked(caller, weights, mask, mask_bytes, (n, k))?;
        pack(caller, context, &weights.sparse(), packed, packed_bytes)
    })
}

/// How many bytes `tersor_pack_sparse_i8` writes. Depends on how many weights or blocks survive.
///
/// @param out_bytes  receives the size
/// @return as `tersor_pack_sparse_i8`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_sparse_i8_size(
    context: *const tersor_context,
    weights: *const i8,
    n: usize,
    k: usize,
    stride: usize,
    mask: *const u8,
    mask_bytes: usize,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| {
        let weights = Weights::int8(caller.matrix::<i8>("weights", weights, n, k, stride)?, &[1.0], &[]);
        let weights = masked(caller, weights, mask, mask_bytes, (n, k))?;
        size(caller, context, &weights.sparse(), out_bytes)
    })
}

/// Packs the int8 codes that are not 0, and a bit for every code; or blocks of them that are not all 0, of 16 outputs and four
/// inputs or of one output and four inputs. Whichever takes the fewest bytes, but blocks of one output also if they take up to an eighth
/// more than single codes: they run many rows faster. Blocks of 16 outputs run several times as fast.
///
/// AMX multiplies such blocks as well where they come in blocks of 16 outputs and 64 inputs, as `tersor_prune_*` leaves them by a pattern of
/// `block_rows` 16 and `block_cols` 64, from three rows of x on. A few blocks of four inputs in these that happen to be zero are stored then,
/// at most a sixteenth more. On other machines they run as fast as blocks of four inputs. But at the same sparsity a network loses
/// more accuracy by them.
///
/// @param weights       `n` rows of `k` codes, whose zero point is 0
/// @param scales        `channels` scales, finite and above 0; NULL means all are 1
/// @param channels      1, or `n`
/// @param mask          what it condemns counts as 0. NULL: everything survives
/// @param mask_bytes    the size of `mask`
/// @param packed        receives the layer
/// @param packed_bytes  exactly what `tersor_pack_sparse_i8_size` says
/// @return `TERSOR_E_LENGTH`, `TERSOR_E_OUT_OF_RANGE`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_pack_sparse_i8(
    context: *const tersor_context,
    weights: *const i8,
    n: usize,
    k: usize,
    stride: usize,
    scales: *const f32,
    channels: usize,
    mask: *const u8,
    mask_bytes: usize,
    packed: *mut c_void,
    packed_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let scales = caller.optional_input("scales", scales, channels)?.unwrap_or(&[1.0]);
        let weights = Weights::int8(caller.matrix::<i8>("weights", weights, n, k, stride)?, scales, &[]);
        let weights = masked(caller, weights, mask, mask_bytes, (n, k))?;
        pack(caller, context, &weights.sparse(), packed, packed_bytes)
    })
}

/// A zero point for each of `n` outputs and group of inputs, without gaps; `None` for NULL. `group_size` is above 0.
fn group_zero_points<'a>(
    caller: Caller,
    pointer: *const i32,
    n: usize,
    k: usize,
    group_size: usize,
) -> Result<Option<ArrayView2<'a, i32>>, Failure> {
    let groups = k.div_ceil(group_size);
    if pointer.is_null() {
        Ok(None)
    } else {
        caller.matrix("zero_points", pointer, n, groups, groups).map(Some)
    }
}

/// Whether some zero point is another than `middle`. None at all, in either way to say so, mean that all are 0.
fn affine(
    caller: Caller,
    zero_points: *const i32,
    channels: usize,
    n: usize,
    middle: i32,
) -> Result<bool, Failure> {
    let zero_points: &[i32] =
        caller.optional_input("zero_points", zero_points, channels)?.unwrap_or_default();
    if zero_points.len() > 1 && zero_points.len() != n {
        return Err(Failure::out_of_range("channels", channels, format!("1 or n, which is {n}")));
    }
    let zero_points = if zero_points.is_empty() { &[0] } else { zero_points };
    Ok(zero_points.iter().any(|&zero_point| zero_point != middle))
}

fn dense_size(
    caller: Caller,
    context: *const tersor_context,
    format: Format,
    (n, k): (usize, usize),
    affine: bool,
    out_bytes: *mut usize,
) -> Result<(), Failure> {
    // Sizes are the same in every context; one that cannot be used is refused all the same.
    caller.context(context)?;
    let out = caller.out("out_bytes", out_bytes)?;
    out.set(format.packed_bytes(n, k, affine).renamed(&[("weights", "n * k"), ("in_features", "k")])?);
    Ok(())
}

fn size(
    caller: Caller,
    context: *const tersor_context,
    weights: &Weights<'_>,
    out_bytes: *mut usize,
) -> Result<(), Failure> {
    let out = caller.out("out_bytes", out_bytes)?;
    let bytes = caller.context(context)?.scope(|| weights.packed_bytes());
    out.set(bytes.renamed(&[("in_features", "k")])?);
    Ok(())
}

fn pack(
    caller: Caller,
    context: *const tersor_context,
    weights: &Weights<'_>,
    packed: *mut c_void,
    packed_bytes: usize,
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let packed = caller.bytes_mut("packed", packed, packed_bytes)?;
    context.scope(|| weights.pack_into(packed)).renamed(&[("in_features", "k")])
}

fn masked<'a>(
    caller: Caller,
    weights: Weights<'a>,
    mask: *const u8,
    mask_bytes: usize,
    (n, k): (usize, usize),
) -> Result<Weights<'a>, Failure> {
    let bits = caller.optional_mask("mask", mask, mask_bytes, count_of("weights", n, k)?)?;
    Ok(match bits {
        Some(bits) => weights.masked_bits(bits),
        None => weights,
    })
}
