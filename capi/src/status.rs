//! Status codes. Every function that can fail returns one; 0 is success. When it is not 0, no output was written, and
//! `tersor_last_error` says which argument was refused, its value, and the limit that it broke.

use crate::ffi::Caller;
use std::cell::RefCell;
use std::ffi::c_char;
use tersor::Error;

/// The outcome of a call: `TERSOR_OK` or one of `TERSOR_E_*`. Numbers are never reused.
///
/// Since 0.1.
pub type tersor_status = i32;

/// Success. Since 0.1.
pub const TERSOR_OK: tersor_status = 0;
/// A pointer is NULL where the function's comment does not allow it. Since 0.1.
pub const TERSOR_E_NULL: tersor_status = 1;
/// An array has another shape than the call needs. Since 0.1.
pub const TERSOR_E_SHAPE: tersor_status = 2;
/// A buffer has another length than the call needs. Since 0.1.
pub const TERSOR_E_LENGTH: tersor_status = 3;
/// An array that must hold something is empty. Since 0.1.
pub const TERSOR_E_EMPTY: tersor_status = 4;
/// A NaN or an infinity where only finite numbers make sense. Since 0.1.
pub const TERSOR_E_NOT_FINITE: tersor_status = 5;
/// A number is outside of what it may be. Since 0.1.
pub const TERSOR_E_OUT_OF_RANGE: tersor_status = 6;
/// Sizes whose product does not fit into memory. Since 0.1.
pub const TERSOR_E_SIZE_OVERFLOW: tersor_status = 7;
/// A combination that has a meaning, but that the function cannot do. Since 0.1.
pub const TERSOR_E_UNSUPPORTED: tersor_status = 8;
/// Bytes that do not hold what they should: foreign, truncated, damaged, or written by another version. Since 0.1.
pub const TERSOR_E_LAYOUT: tersor_status = 9;
/// An instruction set was asked for that does not exist or that this machine lacks. Since 0.1.
pub const TERSOR_E_ISA: tersor_status = 10;
/// A pointer is not aligned for its type. Since 0.1.
pub const TERSOR_E_ALIGNMENT: tersor_status = 11;
/// The `struct_size` of an options struct is not one that this version knows; call its `_init` function first.
/// Since 0.1.
pub const TERSOR_E_STRUCT_SIZE: tersor_status = 12;
/// The system refused to start a thread. Since 0.1.
pub const TERSOR_E_THREAD: tersor_status = 13;
/// A bug in tersor. The call's outputs are undefined; nothing else is. Since 0.1.
pub const TERSOR_E_PANIC: tersor_status = 14;
/// A reason that has no number in this version. Since 0.1.
pub const TERSOR_E_OTHER: tersor_status = 15;

/// The name of a status, for instance `"TERSOR_E_NULL"`; `"unknown status"` for a number that is none. Never NULL; do
/// not free it.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn tersor_status_name(status: tersor_status) -> *const c_char {
    let name = match status {
        TERSOR_OK => c"TERSOR_OK",
        TERSOR_E_NULL => c"TERSOR_E_NULL",
        TERSOR_E_SHAPE => c"TERSOR_E_SHAPE",
        TERSOR_E_LENGTH => c"TERSOR_E_LENGTH",
        TERSOR_E_EMPTY => c"TERSOR_E_EMPTY",
        TERSOR_E_NOT_FINITE => c"TERSOR_E_NOT_FINITE",
        TERSOR_E_OUT_OF_RANGE => c"TERSOR_E_OUT_OF_RANGE",
        TERSOR_E_SIZE_OVERFLOW => c"TERSOR_E_SIZE_OVERFLOW",
        TERSOR_E_UNSUPPORTED => c"TERSOR_E_UNSUPPORTED",
        TERSOR_E_LAYOUT => c"TERSOR_E_LAYOUT",
        TERSOR_E_ISA => c"TERSOR_E_ISA",
        TERSOR_E_ALIGNMENT => c"TERSOR_E_ALIGNMENT",
        TERSOR_E_STRUCT_SIZE => c"TERSOR_E_STRUCT_SIZE",
        TERSOR_E_THREAD => c"TERSOR_E_THREAD",
        TERSOR_E_PANIC => c"TERSOR_E_PANIC",
        TERSOR_E_OTHER => c"TERSOR_E_OTHER",
        _ => c"unknown status",
    };
    name.as_ptr()
}

/// The message of the calling thread's last call that failed; empty when none has. Calls that succeed do not change it.
///
/// Works as `snprintf` does: at most `capacity` bytes are written, always with a terminating 0, and the length of the
/// whole message (UTF-8, without the 0) is returned, so that `tersor_last_error(NULL, 0)` asks for it.
///
/// Since 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tersor_last_error(buffer: *mut c_char, capacity: usize) -> usize {
    LAST_ERROR
        .try_with(|message| {
            let message = message.borrow();
            Caller::of_export().write_string(&message, buffer, capacity);
            message.len()
        })
        .unwrap_or(0)
}

thread_local! {
    static LAST_ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Why an export refuses a call: a status and its message.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: tersor_status,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: tersor_status, message: impl Into<String>) -> Self {
        Failure { status, message: message.into() }
    }

    pub(crate) fn null(argument: &str) -> Self {
        Failure::new(TERSOR_E_NULL, format!("{argument} is NULL, but must not be"))
    }

    pub(crate) fn out_of_range(argument: &str, value: impl ToString, limit: impl Into<String>) -> Self {
        Error::OutOfRange {
            argument: argument.to_owned().into(),
            value: value.to_string(),
            limit: limit.into(),
        }
        .into()
    }

    /// Refuses a field without a meaning that is not 0, so that a later version can give it one.
    pub(crate) fn unless_zero(argument: &str, reserved: u32) -> Result<(), Failure> {
        if reserved == 0 { Ok(()) } else { Err(Failure::out_of_range(argument, reserved, "0")) }
    }

    /// The same about a field of an element of an array of structs: `tensors[1].weights`.
    pub(crate) fn at(self, array: &str, index: usize) -> Self {
        let message = match self.message.strip_prefix("the stride of ") {
            Some(rest) => format!("the stride of {array}[{index}].{rest}"),
            None => format!("{array}[{index}].{}", self.message),
        };
        Failure { message, ..self }
    }

    /// Keeps the message for `tersor_last_error` and gives the status. A thread that is ending keeps none.
    pub(crate) fn report(self) -> tersor_status {
        let _ = LAST_ERROR.try_with(|message| *message.borrow_mut() = self.message);
        self.status
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Shape { .. } => TERSOR_E_SHAPE,
            Error::Length { .. } => TERSOR_E_LENGTH,
            Error::Empty { .. } => TERSOR_E_EMPTY,
            Error::NotFinite { .. } => TERSOR_E_NOT_FINITE,
            Error::OutOfRange { .. } => TERSOR_E_OUT_OF_RANGE,
            Error::SizeOverflow { .. } => TERSOR_E_SIZE_OVERFLOW,
            Error::Unsupported { .. } => TERSOR_E_UNSUPPORTED,
            Error::Layout { .. } => TERSOR_E_LAYOUT,
            Error::Isa { .. } => TERSOR_E_ISA,
            _ => TERSOR_E_OTHER,
        };
        Failure::new(status, error.to_string())
    }
}

/// Pairs of an argument's name in Rust and its name in C.
pub(crate) type Names = &'static [(&'static str, &'static str)];

/// Errors name the argument of the Rust function; C's is sometimes called otherwise.
pub(crate) trait Rename<T> {
    /// The failure with C's names, also where it is about an element of the argument: `scales[3]`.
    fn renamed(self, names: &[(&str, &str)]) -> Result<T, Failure>;
}

impl<T> Rename<T> for tersor::Result<T> {
    fn renamed(self, names: &[(&str, &str)]) -> Result<T, Failure> {
        self.map_err(|mut error| {
            if let Error::Shape { argument, .. }
            | Error::Length { argument, .. }
            | Error::Empty { argument }
            | Error::NotFinite { argument, .. }
            | Error::OutOfRange { argument, .. }
            | Error::SizeOverflow { argument, .. }
            | Error::Layout { argument, .. } = &mut error
                && let Some(name) = names.iter().find_map(|(old, new)| {
                    let rest = argument.strip_prefix(old)?;
                    (rest.is_empty() || rest.starts_with(['[', ' '])).then(|| format!("{new}{rest}"))
                })
            {
                *argument = name.into();
            }
            error.into()
        })
    }
}
