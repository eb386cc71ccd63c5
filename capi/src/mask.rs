//! Masks: a bit per weight, made by pruning, obeyed by training steps and packing. Their layout is in the conventions at
//! the top.

use crate::context::tersor_context;
use crate::ffi::{Caller, Plain};
use crate::panic::export;
use crate::status::{Failure, tersor_status};
use tersor::ndarray::ArrayViewMut2;
use tersor::{BitSlice, Element, Error, Mask, bf16, f16};

/// The bits of an IEEE 754 binary16. Since 0.1.
pub type tersor_f16 = u16;
/// The bits of a bfloat16: the upper half of a binary32. Since 0.1.
pub type tersor_bf16 = u16;

/// How many bytes a mask of `count` weights takes: (count + 7) / 8.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn tersor_mask_size(count: usize) -> usize {
    count.div_ceil(8)
}

/// How many weights survive.
///
/// @param mask           a mask of `count` weights
/// @param out_survivors  receives the number of bits that are 1
/// @return `TERSOR_E_LENGTH` when `mask_bytes` is too small
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_count(
    mask: *const u8,
    mask_bytes: usize,
    count: usize,
    out_survivors: *mut usize,
) -> tersor_status {
    export(|caller| {
        let out = caller.out("out_survivors", out_survivors)?;
        out.set(caller.mask("mask", mask, mask_bytes, count)?.count());
        Ok(())
    })
}

/// What survives in both `a` and `b`.
///
/// @param mask_bytes  the size of each of `a`, `b` and `out_mask`
/// @return `TERSOR_E_LENGTH` when `mask_bytes` is too small
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_and(
    a: *const u8,
    b: *const u8,
    mask_bytes: usize,
    count: usize,
    out_mask: *mut u8,
) -> tersor_status {
    export(|caller| {
        let a = caller.mask("a", a, mask_bytes, count)?;
        let b = caller.mask("b", b, mask_bytes, count)?;
        let out = caller.output::<u8>("out_mask", out_mask, count.div_ceil(8))?;
        write_words(out, |index| a.word(index) & b.word(index));
        Ok(())
    })
}

/// What survives in `a`, in `b` or in both.
///
/// @param mask_bytes  the size of each of `a`, `b` and `out_mask`
/// @return `TERSOR_E_LENGTH` when `mask_bytes` is too small
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_or(
    a: *const u8,
    b: *const u8,
    mask_bytes: usize,
    count: usize,
    out_mask: *mut u8,
) -> tersor_status {
    export(|caller| {
        let a = caller.mask("a", a, mask_bytes, count)?;
        let b = caller.mask("b", b, mask_bytes, count)?;
        let out = caller.output::<u8>("out_mask", out_mask, count.div_ceil(8))?;
        write_words(out, |index| a.word(index) | b.word(index));
        Ok(())
    })
}

/// The complement: what `mask` condemns.
///
/// @param mask_bytes  the size of each of `mask` and `out_mask`
/// @return `TERSOR_E_LENGTH` when `mask_bytes` is too small
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_not(
    mask: *const u8,
    mask_bytes: usize,
    count: usize,
    out_mask: *mut u8,
) -> tersor_status {
    export(|caller| {
        let mask = caller.mask("mask", mask, mask_bytes, count)?;
        let out = caller.output::<u8>("out_mask", out_mask, count.div_ceil(8))?;
        let tail = count % 64;
        write_words(out, |index| match tail {
            1.. if index == count / 64 => !mask.word(index) & ((1 << tail) - 1),
            _ => !mask.word(index),
        });
        Ok(())
    })
}

/// Sets every condemned value to +0, whatever it was (also NaN and infinity); survivors keep their bits.
///
/// @param mask    a mask of `rows * cols` weights
/// @param values  weights or gradients, changed in place; row i begins at values + i * stride
/// @return `TERSOR_E_LENGTH` when `mask_bytes` is too small, `TERSOR_E_OUT_OF_RANGE` when `stride < cols`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_apply_f32(
    context: *const tersor_context,
    mask: *const u8,
    mask_bytes: usize,
    rows: usize,
    cols: usize,
    values: *mut f32,
    stride: usize,
) -> tersor_status {
    export(|caller| apply::<f32>(caller, context, (mask, mask_bytes), (rows, cols), (values, stride)))
}

/// As `tersor_mask_apply_f32`, for f16 values.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_apply_f16(
    context: *const tersor_context,
    mask: *const u8,
    mask_bytes: usize,
    rows: usize,
    cols: usize,
    values: *mut tersor_f16,
    stride: usize,
) -> tersor_status {
    export(|caller| apply::<f16>(caller, context, (mask, mask_bytes), (rows, cols), (values, stride)))
}

/// As `tersor_mask_apply_f32`, for bf16 values.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_apply_bf16(
    context: *const tersor_context,
    mask: *const u8,
    mask_bytes: usize,
    rows: usize,
    cols: usize,
    values: *mut tersor_bf16,
    stride: usize,
) -> tersor_status {
    export(|caller| apply::<bf16>(caller, context, (mask, mask_bytes), (rows, cols), (values, stride)))
}

/// Soft pruning: multiplies every condemned value by `factor` (one minus learning rate times weight decay, say);
/// survivors keep their bits. A factor of 0 is `tersor_mask_apply_f32`.
///
/// @param mask    a mask of `rows * cols` weights
/// @param factor  0 to 1
/// @param values  weights, changed in place
/// @return `TERSOR_E_LENGTH` when `mask_bytes` is too small, `TERSOR_E_OUT_OF_RANGE` for the factor or the stride
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_decay_f32(
    context: *const tersor_context,
    mask: *const u8,
    mask_bytes: usize,
    rows: usize,
    cols: usize,
    factor: f32,
    values: *mut f32,
    stride: usize,
) -> tersor_status {
    export(|caller| decay::<f32>(caller, context, (mask, mask_bytes), (rows, cols), factor, (values, stride)))
}

/// As `tersor_mask_decay_f32`, for f16 values. The product is computed in f32 and rounded once.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_decay_f16(
    context: *const tersor_context,
    mask: *const u8,
    mask_bytes: usize,
    rows: usize,
    cols: usize,
    factor: f32,
    values: *mut tersor_f16,
    stride: usize,
) -> tersor_status {
    export(|caller| decay::<f16>(caller, context, (mask, mask_bytes), (rows, cols), factor, (values, stride)))
}

/// As `tersor_mask_decay_f32`, for bf16 values. The product is computed in f32 and rounded once.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_decay_bf16(
    context: *const tersor_context,
    mask: *const u8,
    mask_bytes: usize,
    rows: usize,
    cols: usize,
    factor: f32,
    values: *mut tersor_bf16,
    stride: usize,
) -> tersor_status {
    export(|caller| {
        decay::<bf16>(caller, context, (mask, mask_bytes), (rows, cols), factor, (values, stride))
    })
}

impl Caller {
    /// The bits of a mask of `count` weights in `mask_bytes` bytes, of which only those that are needed are read.
    pub(crate) fn mask<'a>(
        self,
        argument: &'static str,
        mask: *const u8,
        mask_bytes: usize,
        count: usize,
    ) -> Result<BitSlice<'a>, Failure> {
        check_mask_bytes(argument, mask_bytes, count)?;
        Ok(BitSlice::new(self.input(argument, mask, count.div_ceil(8))?, count)?)
    }

    /// As [`mask`](Caller::mask), for a mask that may be NULL.
    pub(crate) fn optional_mask<'a>(
        self,
        argument: &'static str,
        mask: *const u8,
        mask_bytes: usize,
        count: usize,
    ) -> Result<Option<BitSlice<'a>>, Failure> {
        if mask.is_null() { Ok(None) } else { self.mask(argument, mask, mask_bytes, count).map(Some) }
    }

    /// The bytes that a mask of `count` weights is written to.
    pub(crate) fn mask_out<'a>(
        self,
        argument: &'static str,
        mask: *mut u8,
        mask_bytes: usize,
        count: usize,
    ) -> Result<&'a mut [u8], Failure> {
        check_mask_bytes(argument, mask_bytes, count)?;
        self.output(argument, mask, count.div_ceil(8))
    }
}

fn check_mask_bytes(argument: &'static str, mask_bytes: usize, count: usize) -> Result<(), Failure> {
    let needed = count.div_ceil(8);
    if mask_bytes >= needed {
        return Ok(());
    }
    Err(Error::Length {
        argument: argument.into(),
        found: mask_bytes,
        expected: format!("at least {needed} bytes, a bit for each of {count} weights,"),
    }
    .into())
}

/// `rows * cols`, checked.
pub(crate) fn count_of(argument: &'static str, rows: usize, cols: usize) -> Result<usize, Failure> {
    let overflow = || Error::SizeOverflow { argument: argument.into(), sizes: vec![rows, cols] };
    Ok(rows.checked_mul(cols).filter(|&count| count <= isize::MAX as usize).ok_or_else(overflow)?)
}

/// An owned mask, for functions that take none of the caller's bytes.
pub(crate) fn owned(bits: BitSlice<'_>, rows: usize, cols: usize) -> Result<Mask, Failure> {
    let mut bytes = vec![0; bits.len().div_ceil(8)];
    write_words(&mut bytes, |index| bits.word(index));
    Ok(Mask::from_bits(&[rows, cols], &bytes)?)
}

fn write_words(bytes: &mut [u8], word: impl Fn(usize) -> u64) {
    for (index, bytes) in bytes.chunks_mut(8).enumerate() {
        let word = word(index).to_le_bytes();
        bytes.iter_mut().zip(word).for_each(|(byte, new)| *byte = new);
    }
}

fn apply<E: Element + Plain>(
    caller: Caller,
    context: *const tersor_context,
    (mask, mask_bytes): (*const u8, usize),
    (rows, cols): (usize, usize),
    (values, stride): (*mut E::C, usize),
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let bits = caller.mask("mask", mask, mask_bytes, count_of("values", rows, cols)?)?;
    let values = caller.matrix_mut::<E>("values", values, rows, cols, stride)?;
    context.scope(|| by_rows(bits, values, |bits, values| bits.apply(values)))
}

/// `change` on the values and their bits: all at once where there are no gaps, else row by row.
fn by_rows<E>(
    bits: BitSlice<'_>,
    mut values: ArrayViewMut2<'_, E>,
    change: impl Fn(BitSlice<'_>, &mut [E]) -> tersor::Result<()>,
) -> Result<(), Failure> {
    let cols = values.ncols();
    match values.as_slice_mut() {
        Some(values) => Ok(change(bits, values)?),
        None => values.rows_mut().into_iter().enumerate().try_for_each(|(row, mut values)| {
            let bits = bits.slice(row * cols, (row + 1) * cols);
            Ok(change(bits, values.as_slice_mut().unwrap_or_default())?)
        }),
    }
}

fn decay<E: Element + Plain>(
    caller: Caller,
    context: *const tersor_context,
    (mask, mask_bytes): (*const u8, usize),
    (rows, cols): (usize, usize),
    factor: f32,
    (values, stride): (*mut E::C, usize),
) -> Result<(), Failure> {
    let context = caller.context(context)?;
    let bits = caller.mask("mask", mask, mask_bytes, count_of("values", rows, cols)?)?;
    let values = caller.matrix_mut::<E>("values", values, rows, cols, stride)?;
    // Rows can be none, and then nothing below looks at the factor.
    BitSlice::new(&[], 0)?.decay_condemned::<E>(&mut [], factor)?;
    context.scope(|| by_rows(bits, values, |bits, values| bits.decay_condemned(values, factor)))
}
