//! Masks: a bit per weight, made by pruning, obeyed by training steps and packing. Their layout is in the conventions at
//! the top.

use crate::context::tersor_context;
use crate::ffi::{Caller, Plain};
use crate::panic::export;
use crate::status::{Failure, Rename, tersor_status};
use std::ffi::c_void;
use tersor::ndarray::ArrayViewMut2;
use tersor::{BitSlice, Element, Error, Mask, SavedMask, bf16, f16};

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
/// @param out_mask    receives the mask. It may be `a` or `b` itself
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
    export(|caller| combine(caller, [("a", a), ("b", b)], mask_bytes, count, out_mask, |a, b| a & b))
}

/// What survives in `a`, in `b` or in both.
///
/// @param mask_bytes  the size of each of `a`, `b` and `out_mask`
/// @param out_mask    receives the mask. It may be `a` or `b` itself
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
    export(|caller| combine(caller, [("a", a), ("b", b)], mask_bytes, count, out_mask, |a, b| a | b))
}

/// The complement: what `mask` condemns.
///
/// @param mask_bytes  the size of each of `mask` and `out_mask`
/// @param out_mask    receives the mask. It may be `mask` itself
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
    export(|caller| combine(caller, [("mask", mask); 2], mask_bytes, count, out_mask, |mask, _| !mask))
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

/// How many bytes a mask is saved in: a header with the shape, then the bits.
///
/// @param shape      `axes` sizes, of which the weights' number is the product
/// @param axes       0 to 64
/// @param out_bytes  receives the size
/// @return `TERSOR_E_OUT_OF_RANGE` for `axes`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_save_size(
    shape: *const usize,
    axes: usize,
    out_bytes: *mut usize,
) -> tersor_status {
    export(|caller| {
        let shape = caller.input("shape", shape, axes)?;
        let out = caller.out("out_bytes", out_bytes)?;
        out.set(SavedMask::size(shape)?);
        Ok(())
    })
}

/// Saves a mask with its shape, as bytes that are the same on every machine.
///
/// @param mask         a mask of as many weights as the product of `shape`
/// @param shape        `axes` sizes; `{rows, cols}` for a matrix
/// @param axes         0 to 64
/// @param saved        receives the bytes; any alignment
/// @param saved_bytes  exactly what `tersor_mask_save_size` says
/// @return `TERSOR_E_LENGTH` for `mask_bytes` or `saved_bytes`, `TERSOR_E_OUT_OF_RANGE` for `axes`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_save(
    mask: *const u8,
    mask_bytes: usize,
    shape: *const usize,
    axes: usize,
    saved: *mut c_void,
    saved_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let shape: &[usize] = caller.input("shape", shape, axes)?;
        // Also refuses a shape whose product overflows.
        let size = SavedMask::size(shape)?;
        let bits = caller.mask("mask", mask, mask_bytes, shape.iter().product())?;
        if saved_bytes != size {
            let expected = size.to_string();
            return Err(Error::Length { argument: "saved".into(), found: saved_bytes, expected }.into());
        }
        let saved = caller.bytes_mut("saved", saved, saved_bytes)?;
        Ok(SavedMask::save(shape, bits, saved)?)
    })
}

/// The shape of a saved mask. A first call with a NULL `shape` asks for the number of axes.
///
/// @param saved     what `tersor_mask_save` wrote; any alignment
/// @param capacity  how many sizes `shape` has room for. Ignored where that is NULL
/// @param shape     receives the sizes. NULL is allowed
/// @param out_axes  receives how many they are
/// @return `TERSOR_E_LAYOUT` when the bytes are foreign, truncated, too long or damaged; `TERSOR_E_LENGTH` for `capacity`
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_load_shape(
    saved: *const c_void,
    saved_bytes: usize,
    capacity: usize,
    shape: *mut usize,
    out_axes: *mut usize,
) -> tersor_status {
    export(|caller| {
        let sizes = caller.saved_mask(saved, saved_bytes)?.shape();
        let axes = sizes.len();
        let out = caller.out("out_axes", out_axes)?;
        if !shape.is_null() {
            if capacity < axes {
                let expected = format!("at least {axes}, the number of axes");
                return Err(Error::Length { argument: "shape".into(), found: capacity, expected }.into());
            }
            let shape: &mut [usize] = caller.output("shape", shape, axes)?;
            shape.iter_mut().zip(sizes).for_each(|(place, size)| *place = size);
        }
        out.set(axes);
        Ok(())
    })
}

/// The bits of a saved mask.
///
/// @param saved  what `tersor_mask_save` wrote; any alignment
/// @param mask   receives the mask, of as many weights as the product of the shape
/// @return `TERSOR_E_LAYOUT` when the bytes are foreign, truncated, too long or damaged; `TERSOR_E_LENGTH` when `mask_bytes`
///         is too small
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_mask_load(
    saved: *const c_void,
    saved_bytes: usize,
    mask: *mut u8,
    mask_bytes: usize,
) -> tersor_status {
    export(|caller| {
        let bits = caller.saved_mask(saved, saved_bytes)?.bits();
        write_words(caller.mask_out("mask", mask, mask_bytes, bits.len())?, |index| bits.word(index));
        Ok(())
    })
}

impl Caller {
    fn saved_mask<'a>(self, saved: *const c_void, saved_bytes: usize) -> Result<SavedMask<'a>, Failure> {
        SavedMask::new(self.bytes("saved", saved, saved_bytes)?).renamed(&[("bytes", "saved")])
    }

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
        expected: format!("at least {needed} bytes, a bit for each of {count} weights"),
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

/// Byte by byte, because the output may be an input, and nothing in the last byte past the last weight.
fn combine(
    caller: Caller,
    masks: [(&'static str, *const u8); 2],
    mask_bytes: usize,
    count: usize,
    out_mask: *mut u8,
    combine: impl Fn(u8, u8) -> u8,
) -> Result<(), Failure> {
    check_mask_bytes(masks[0].0, mask_bytes, count)?;
    let last = match count % 8 {
        0 => 0xff,
        tail => (1 << tail) - 1,
    };
    caller.combine_bytes(masks, count.div_ceil(8), ("out_mask", out_mask), |index, a, b| {
        combine(a, b) & if index == count / 8 { last } else { 0xff }
    })
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
