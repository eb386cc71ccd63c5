//! All pointer casts: what C passes becomes slices, views and references here, after every check that can be made.
//!
//! What cannot be checked (that a pointer leads to as many elements as the sizes say, that no other thread writes there,
//! that outputs overlap nothing) is the C caller's promise, made in the conventions at the top of the header. A
//! [`Caller`] stands for that promise. It exists only inside an export, which is what makes the methods below, safe to
//! call as they look, sound.

use crate::calibration::{tersor_calibration, tersor_prediction, tersor_workload};
use crate::context::tersor_context;
use crate::status::{Failure, TERSOR_E_ALIGNMENT, TERSOR_E_STRUCT_SIZE};
use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use tersor::linear::Workload;
use tersor::ndarray::{ArrayView2, ArrayView4, ArrayViewMut2, ArrayViewMut4, Ix4, ShapeBuilder, StrideShape};
use tersor::{Context, Error, Parallel, bf16, f16};

/// Types that C may fill with any bits.
///
/// # Safety
/// Every bit pattern of the size of `Self` is a value of it, and `C` has the same size and alignment.
pub(crate) unsafe trait Plain: Copy {
    /// The type in the header.
    type C;
}

macro_rules! plain {
    ($($type:ty as $c:ty),+) => { $(
        // SAFETY: numbers, or transparent wrappers of the named number.
        unsafe impl Plain for $type { type C = $c; }
    )+ };
}
plain!(u8 as u8, i8 as i8, i32 as i32, u32 as u32, u64 as u64, usize as usize, f32 as f32, f64 as f64);
plain!(f16 as u16, bf16 as u16);

/// An options struct that grows: it begins with `struct_size`, and fields are only appended.
///
/// # Safety
/// `repr(C)`, the first field is `u32 struct_size`, and every bit pattern is a value (function pointers as `Option`).
pub(crate) unsafe trait Options: Copy {
    /// The defaults. NULL options and fields that an older program does not know mean these.
    fn defaults() -> Self;
    /// The size in the first version that had the struct.
    const FIRST_SIZE: usize;
}

/// The promise of the C caller that every argument is what the header says.
#[derive(Clone, Copy)]
pub(crate) struct Caller(());

/// Where a result goes on success. It may point to uninitialized memory, so it is no reference.
pub(crate) struct Out<T>(NonNull<T>);

impl<T> Out<T> {
    pub(crate) fn set(self, value: T) {
        // SAFETY: `Caller::out` checked the pointer, and the caller promised that it can be written.
        unsafe { self.0.write(value) }
    }
}

impl Caller {
    /// For the guard around exports, and for what is called back inside of one (the step's own traits).
    pub(crate) fn of_export() -> Self {
        Caller(())
    }

    /// `len` elements to read. With `len` 0 the pointer is ignored.
    pub(crate) fn input<'a, T: Plain>(
        self,
        argument: &'static str,
        pointer: *const T::C,
        len: usize,
    ) -> Result<&'a [T], Failure> {
        if len == 0 {
            return Ok(&[]);
        }
        let pointer = checked(argument, pointer.cast_mut().cast::<T>())?;
        addressable::<T>(argument, &[len], len)?;
        // SAFETY: not NULL, aligned, not larger than memory; the rest is the caller's promise.
        Ok(unsafe { std::slice::from_raw_parts(pointer.as_ptr(), len) })
    }

    /// `len` elements to write, or to update in place. With `len` 0 the pointer is ignored.
    pub(crate) fn output<'a, T: Plain>(
        self,
        argument: &'static str,
        pointer: *mut T::C,
        len: usize,
    ) -> Result<&'a mut [T], Failure> {
        if len == 0 {
            return Ok(&mut []);
        }
        let pointer = checked(argument, pointer.cast::<T>())?;
        addressable::<T>(argument, &[len], len)?;
        // SAFETY: as in `input`; nothing else reads or writes there during the call, by the caller's promise.
        Ok(unsafe { std::slice::from_raw_parts_mut(pointer.as_ptr(), len) })
    }

    /// As [`input`](Caller::input), or `None` for NULL.
    pub(crate) fn optional_input<'a, T: Plain>(
        self,
        argument: &'static str,
        pointer: *const T::C,
        len: usize,
    ) -> Result<Option<&'a [T]>, Failure> {
        if pointer.is_null() { Ok(None) } else { self.input(argument, pointer, len).map(Some) }
    }

    /// As [`output`](Caller::output), or `None` for NULL.
    pub(crate) fn optional_output<'a, T: Plain>(
        self,
        argument: &'static str,
        pointer: *mut T::C,
        len: usize,
    ) -> Result<Option<&'a mut [T]>, Failure> {
        if pointer.is_null() { Ok(None) } else { self.output(argument, pointer, len).map(Some) }
    }

    /// `rows` rows of `cols` elements, row `i` at `pointer + i * stride`.
    pub(crate) fn matrix<'a, T: Plain>(
        self,
        argument: &'static str,
        pointer: *const T::C,
        rows: usize,
        cols: usize,
        stride: usize,
    ) -> Result<ArrayView2<'a, T>, Failure> {
        let pointer = strided(argument, pointer.cast_mut().cast::<T>(), (rows, (cols, "columns")), stride)?;
        // SAFETY: `strided` checked what can be checked; an empty matrix dereferences nothing. A pointer and not a slice,
        // because what lies between the rows may belong to somebody else.
        Ok(unsafe { ArrayView2::from_shape_ptr((rows, cols).strides((stride.max(1), 1)), pointer.as_ptr()) })
    }

    /// As [`matrix`](Caller::matrix), to write. Between the rows nothing is touched.
    pub(crate) fn matrix_mut<'a, T: Plain>(
        self,
        argument: &'static str,
        pointer: *mut T::C,
        rows: usize,
        cols: usize,
        stride: usize,
    ) -> Result<ArrayViewMut2<'a, T>, Failure> {
        let pointer = strided(argument, pointer.cast::<T>(), (rows, (cols, "columns")), stride)?;
        // SAFETY: as in `matrix`; the rows are disjoint because `stride >= cols`.
        Ok(unsafe {
            ArrayViewMut2::from_shape_ptr((rows, cols).strides((stride.max(1), 1)), pointer.as_ptr())
        })
    }

    /// Images of `[batch, height, width]` pixels of `channels` elements, pixel `i` at `pointer + i * stride`.
    pub(crate) fn images<'a, T: Plain>(
        self,
        argument: &'static str,
        pointer: *const T::C,
        sizes: [usize; 3],
        channels: usize,
        stride: usize,
    ) -> Result<ArrayView4<'a, T>, Failure> {
        let pointer = pointer.cast_mut().cast::<T>();
        let (pointer, shape) = pixels(argument, pointer, sizes, channels, stride)?;
        // SAFETY: as in `matrix`: `pixels` checked them as rows.
        Ok(unsafe { ArrayView4::from_shape_ptr(shape, pointer.as_ptr()) })
    }

    /// As [`images`](Caller::images), to write. Between the pixels nothing is touched.
    pub(crate) fn images_mut<'a, T: Plain>(
        self,
        argument: &'static str,
        pointer: *mut T::C,
        sizes: [usize; 3],
        channels: usize,
        stride: usize,
    ) -> Result<ArrayViewMut4<'a, T>, Failure> {
        let (pointer, shape) = pixels(argument, pointer.cast::<T>(), sizes, channels, stride)?;
        // SAFETY: as in `matrix_mut`.
        Ok(unsafe { ArrayViewMut4::from_shape_ptr(shape, pointer.as_ptr()) })
    }

    /// `len` untyped bytes to read.
    pub(crate) fn bytes<'a>(
        self,
        argument: &'static str,
        pointer: *const c_void,
        len: usize,
    ) -> Result<&'a [u8], Failure> {
        self.input(argument, pointer.cast(), len)
    }

    /// `len` untyped bytes to write.
    pub(crate) fn bytes_mut<'a>(
        self,
        argument: &'static str,
        pointer: *mut c_void,
        len: usize,
    ) -> Result<&'a mut [u8], Failure> {
        self.output(argument, pointer.cast(), len)
    }

    /// Writes `combine(index, a, b)` of the bytes of two inputs to `out`, which may be `a` or `b` itself.
    pub(crate) fn combine_bytes(
        self,
        [(name_a, a), (name_b, b)]: [(&'static str, *const u8); 2],
        len: usize,
        (name_out, out): (&'static str, *mut u8),
        combine: impl Fn(usize, u8, u8) -> u8,
    ) -> Result<(), Failure> {
        if len == 0 {
            return Ok(());
        }
        let (a, b) = (checked(name_a, a.cast_mut())?, checked(name_b, b.cast_mut())?);
        let out = checked(name_out, out)?;
        addressable::<u8>(name_out, &[len], len)?;
        for index in 0..len {
            // SAFETY: not NULL; the caller promises `len` bytes at each. No reference is made, so they may be the same.
            unsafe { out.add(index).write(combine(index, a.add(index).read(), b.add(index).read())) }
        }
        Ok(())
    }

    /// One value to write on success.
    pub(crate) fn out<T>(self, argument: &'static str, pointer: *mut T) -> Result<Out<T>, Failure> {
        checked(argument, pointer).map(Out)
    }

    /// As [`out`](Caller::out), or `None` for NULL.
    pub(crate) fn optional_out<T>(
        self,
        argument: &'static str,
        pointer: *mut T,
    ) -> Result<Option<Out<T>>, Failure> {
        if pointer.is_null() { Ok(None) } else { self.out(argument, pointer).map(Some) }
    }

    /// Options, or their defaults for NULL, with the defaults for what a shorter, older struct lacks.
    pub(crate) fn options<T: Options>(self, argument: &'static str, pointer: *const T) -> Result<T, Failure> {
        self.options_or(argument, pointer, T::defaults())
    }

    /// As [`options`](Caller::options), where the defaults are the function's own.
    pub(crate) fn options_or<T: Options>(
        self,
        argument: &'static str,
        pointer: *const T,
        defaults: T,
    ) -> Result<T, Failure> {
        if pointer.is_null() { Ok(defaults) } else { self.state(argument, pointer, defaults) }
    }

    /// A struct that begins with its size, not NULL, with the defaults for what a shorter, older one lacks.
    pub(crate) fn state<T: Options>(
        self,
        argument: &'static str,
        pointer: *const T,
        defaults: T,
    ) -> Result<T, Failure> {
        let mut options = defaults;
        let pointer = checked(argument, pointer.cast_mut())?;
        // SAFETY: not NULL, and every options struct begins with its size.
        let size = unsafe { pointer.cast::<u32>().read() } as usize;
        struct_size::<T>(argument, size)?;
        let known = size.min(size_of::<T>());
        // SAFETY: the caller promises `size` bytes; `options` has `known` of them; any bits are a value.
        unsafe {
            let destination = (&raw mut options).cast::<u8>();
            std::ptr::copy_nonoverlapping(pointer.as_ptr().cast::<u8>(), destination, known);
        }
        // A newer program's additional fields can be obeyed only where they ask for nothing.
        // SAFETY: the caller promises `size` bytes, and these are the ones past `known`.
        let unknown =
            unsafe { std::slice::from_raw_parts(pointer.as_ptr().cast::<u8>().add(known), size - known) };
        if unknown.iter().any(|&byte| byte != 0) {
            return Err(Failure::new(
                TERSOR_E_STRUCT_SIZE,
                format!(
                    "{argument}.struct_size is {size}, and fields past the {} bytes that this version knows are set",
                    size_of::<T>()
                ),
            ));
        }
        Ok(options)
    }

    /// Writes back what [`state`](Caller::state) read, as far as the caller's struct reaches. The size stays.
    pub(crate) fn store<T: Options>(self, pointer: *mut T, state: &T) {
        // SAFETY: `state` accepted the pointer and its size before. The first field stays, and neither struct is exceeded.
        unsafe {
            let size = pointer.cast::<u32>().read() as usize;
            let len = size.min(size_of::<T>()) - size_of::<u32>();
            let source = (&raw const *state).cast::<u32>().add(1).cast::<u8>();
            std::ptr::copy_nonoverlapping(source, pointer.cast::<u32>().add(1).cast::<u8>(), len);
        }
    }

    /// Fills `size` bytes of options: the defaults, and zeros for what this version does not know.
    pub(crate) fn init_options<T: Options>(
        self,
        argument: &'static str,
        pointer: *mut T,
        size: usize,
    ) -> Result<(), Failure> {
        self.init_with(argument, pointer, size, T::defaults())
    }

    /// As [`init_options`](Caller::init_options), with other values than the defaults.
    pub(crate) fn init_with<T: Options>(
        self,
        argument: &'static str,
        pointer: *mut T,
        size: usize,
        value: T,
    ) -> Result<(), Failure> {
        let pointer = checked(argument, pointer)?;
        struct_size::<T>(argument, size)?;
        let stored = u32::try_from(size).map_err(|_| {
            Failure::new(TERSOR_E_STRUCT_SIZE, format!("struct_size is {size}, but must fit 32 bits"))
        })?;
        let mut values = MaybeUninit::<T>::zeroed();
        values.write(value);
        let known = size.min(size_of::<T>());
        // SAFETY: the caller promises `size` bytes; `values` has `known` of them; the first field is the size.
        unsafe {
            pointer.as_ptr().cast::<u8>().write_bytes(0, size);
            let source = values.as_ptr().cast::<u8>();
            std::ptr::copy_nonoverlapping(source, pointer.as_ptr().cast::<u8>(), known);
            pointer.cast::<u32>().write(stored);
        }
        Ok(())
    }

    /// A C string; `None` for NULL.
    pub(crate) fn string<'a>(
        self,
        argument: &'static str,
        pointer: *const c_char,
    ) -> Result<Option<&'a str>, Failure> {
        if pointer.is_null() {
            return Ok(None);
        }
        // SAFETY: not NULL; the caller promises a terminating 0.
        let string = unsafe { CStr::from_ptr(pointer) };
        match string.to_str() {
            Ok(string) => Ok(Some(string)),
            Err(error) => {
                let what = format!("no text from byte {} on", error.valid_up_to());
                Err(Failure::out_of_range(argument, what, "UTF-8"))
            }
        }
    }

    /// `snprintf`'s rule: as much of `text` as fits, with a terminating 0. A NULL buffer gets nothing.
    pub(crate) fn write_string(self, text: &str, buffer: *mut c_char, capacity: usize) {
        if capacity == 0 || buffer.is_null() {
            return;
        }
        let length = text.len().min(capacity - 1);
        // SAFETY: the caller promises `capacity` bytes, and `length + 1` is not more.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), length);
            buffer.add(length).write(0);
        }
    }

    /// The context to run in: for NULL the selected instruction set, on the calling thread.
    pub(crate) fn context(self, context: *const tersor_context) -> Result<Context, Failure> {
        if context.is_null() {
            return Ok(Context::new()?.with_parallel(Parallel::Serial));
        }
        // SAFETY: not NULL; by the caller's promise it came from `tersor_context_create` and was not destroyed.
        Ok(unsafe { &*context }.context.clone())
    }

    /// Gives a context to C.
    pub(crate) fn give_context(self, context: tersor_context) -> *mut tersor_context {
        Box::into_raw(Box::new(context))
    }

    /// Takes a context back from C; NULL gives nothing.
    pub(crate) fn take_context(self, context: *mut tersor_context) -> Option<Box<tersor_context>> {
        // SAFETY: it came from `give_context`, and by the caller's promise nobody uses it any more.
        (!context.is_null()).then(|| unsafe { Box::from_raw(context) })
    }

    /// A calibration, not NULL.
    pub(crate) fn calibration<'a>(
        self,
        argument: &'static str,
        calibration: *const tersor_calibration,
    ) -> Result<&'a tersor_calibration, Failure> {
        let calibration = checked(argument, calibration.cast_mut())?;
        // SAFETY: not NULL; by the caller's promise it came from `give_calibration` and was not destroyed.
        Ok(unsafe { calibration.as_ref() })
    }

    /// Gives a calibration to C.
    pub(crate) fn give_calibration(self, calibration: tersor_calibration) -> *mut tersor_calibration {
        Box::into_raw(Box::new(calibration))
    }

    /// Takes a calibration back from C; NULL gives nothing.
    pub(crate) fn take_calibration(
        self,
        calibration: *mut tersor_calibration,
    ) -> Option<Box<tersor_calibration>> {
        // SAFETY: it came from `give_calibration`, and by the caller's promise nobody uses it any more.
        (!calibration.is_null()).then(|| unsafe { Box::from_raw(calibration) })
    }

    /// A workload, not NULL.
    pub(crate) fn workload(
        self,
        argument: &'static str,
        workload: *const tersor_workload,
    ) -> Result<Workload, Failure> {
        self.state(argument, workload, tersor_workload::defaults())?.checked(argument)
    }

    /// Predictions to write on success. Without any the pointer is ignored.
    pub(crate) fn write_all(
        self,
        argument: &'static str,
        predictions: &[tersor_prediction],
        out: *mut tersor_prediction,
    ) -> Result<(), Failure> {
        if predictions.is_empty() {
            return Ok(());
        }
        let out = checked(argument, out)?;
        // SAFETY: not NULL and aligned; the caller promises room for so many.
        unsafe { std::ptr::copy_nonoverlapping(predictions.as_ptr(), out.as_ptr(), predictions.len()) }
        Ok(())
    }
}

/// Not NULL and aligned.
fn checked<T>(argument: &'static str, pointer: *mut T) -> Result<NonNull<T>, Failure> {
    let Some(found) = NonNull::new(pointer) else {
        return Err(Failure::null(argument));
    };
    if !found.is_aligned() {
        return Err(Failure::new(
            TERSOR_E_ALIGNMENT,
            format!("{argument} is {pointer:p}, but must be a multiple of {}", align_of::<T>()),
        ));
    }
    Ok(found)
}

/// Whether `len` elements (made of `sizes`) fit the address space.
fn addressable<T>(argument: &'static str, sizes: &[usize], len: usize) -> Result<(), Failure> {
    match len.checked_mul(size_of::<T>()) {
        Some(bytes) if bytes <= isize::MAX as usize => Ok(()),
        _ => Err(Error::SizeOverflow { argument: argument.into(), sizes: sizes.to_vec() }.into()),
    }
}

/// A checked pointer to `rows x cols` elements; dangling where there are none. `of` is what messages call the columns.
fn strided<T>(
    argument: &'static str,
    pointer: *mut T,
    (rows, (cols, of)): (usize, (usize, &str)),
    stride: usize,
) -> Result<NonNull<T>, Failure> {
    let overflow = || Error::SizeOverflow { argument: argument.into(), sizes: vec![rows, stride.max(cols)] };
    if stride < cols {
        return Err(Failure::out_of_range(
            &format!("the stride of {argument}"),
            stride,
            format!("at least {cols}, the number of {of}"),
        ));
    }
    // Also where there is no element: a number of rows or columns, or a stride, that no matrix could have is refused, before
    // something counts up to it.
    let extent = rows.max(1).checked_mul(stride.max(1)).ok_or_else(overflow)?;
    addressable::<T>(argument, &[rows, stride], extent)?;
    if rows == 0 || cols == 0 { Ok(NonNull::dangling()) } else { checked(argument, pointer) }
}

/// A checked pointer to images, and their shape with its strides.
fn pixels<T>(
    argument: &'static str,
    pointer: *mut T,
    [batch, height, width]: [usize; 3],
    channels: usize,
    stride: usize,
) -> Result<(NonNull<T>, StrideShape<Ix4>), Failure> {
    let overflow = || Error::SizeOverflow {
        argument: argument.into(),
        sizes: vec![batch, height, width, stride.max(channels)],
    };
    // Also where there is no pixel: see `strided`.
    let line = stride.max(1).checked_mul(width.max(1)).ok_or_else(overflow)?;
    let image = line.checked_mul(height.max(1)).ok_or_else(overflow)?;
    let all = image.checked_mul(batch.max(1)).ok_or_else(overflow)?;
    addressable::<T>(argument, &[batch, height, width, stride], all)?;
    let rows = batch * height * width;
    let pointer = strided(argument, pointer, (rows, (channels, "channels")), stride)?;
    Ok((pointer, (batch, height, width, channels).strides((image, line, stride.max(1), 1))))
}

/// Whether this version can read or fill `size` bytes of `T`.
fn struct_size<T: Options>(argument: &'static str, size: usize) -> Result<(), Failure> {
    // A size beyond any version's is an uninitialized struct; reading that far could leave the caller's memory.
    const LARGEST: usize = 4096;
    if (T::FIRST_SIZE..=LARGEST).contains(&size) {
        return Ok(());
    }
    Err(Failure::new(
        TERSOR_E_STRUCT_SIZE,
        format!(
            "{argument}.struct_size is {size}, but must be from {} to {LARGEST}; call the _init function first",
            T::FIRST_SIZE
        ),
    ))
}
