//! What can go wrong: one variant for each thing that a caller can do something about.
//!
//! Every message names the argument, the value that was found and the limit it broke. Functions of this crate write
//! their outputs only on success, so an error always means that nothing has changed.

use std::borrow::Cow;

/// The result of every function of this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call was refused. Nothing that the call would have written has changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An array has another shape than the call needs.
    #[error("{argument}: the shape is {found:?}, but must be {expected}")]
    Shape {
        /// The argument, as the signature names it.
        argument: Cow<'static, str>,
        /// The shape that was passed.
        found: Vec<usize>,
        /// What would have been accepted.
        expected: String,
    },

    /// A slice has another length than the call needs.
    #[error("{argument}: the length is {found}, but must be {expected}")]
    Length {
        /// The argument, as the signature names it.
        argument: Cow<'static, str>,
        /// The length that was passed.
        found: usize,
        /// What would have been accepted.
        expected: String,
    },

    /// An array that must hold something is empty.
    #[error("{argument}: there are no elements, but at least one is needed")]
    Empty {
        /// The argument, as the signature names it.
        argument: Cow<'static, str>,
    },

    /// A NaN or an infinity where only finite numbers make sense.
    #[error("{argument}: element {index} (row-major) is {value}, but every element must be finite")]
    NotFinite {
        /// The argument, as the signature names it.
        argument: Cow<'static, str>,
        /// The row-major index of the first such element.
        index: usize,
        /// The offending value.
        value: f32,
    },

    /// A number outside of what it may be.
    #[error("{argument} is {value}, but must be {limit}")]
    OutOfRange {
        /// The argument, as the signature names it.
        argument: Cow<'static, str>,
        /// The value that was passed.
        value: String,
        /// What would have been accepted.
        limit: String,
    },

    /// Sizes whose product does not fit, in a number or in the memory that there is.
    #[error("{argument}: {sizes:?} overflows the size of memory")]
    SizeOverflow {
        /// The argument, as the signature names it.
        argument: Cow<'static, str>,
        /// The factors.
        sizes: Vec<usize>,
    },

    /// A combination that has a meaning, but that this function cannot do.
    #[error("{what} is not supported; {instead}")]
    Unsupported {
        /// The combination.
        what: String,
        /// What works instead.
        instead: String,
    },

    /// Bytes that do not hold what they should: foreign, truncated, damaged, or written by another version.
    #[error("{argument}: {reason}")]
    Layout {
        /// The argument, as the signature names it.
        argument: Cow<'static, str>,
        /// What is wrong with the bytes.
        reason: String,
    },

    /// An instruction set was asked for (by `TERSOR_ISA` or by name) that does not exist or that this machine lacks.
    ///
    /// Outside of a [`Context::scope`](crate::Context::scope) every function that computes reads `TERSOR_ISA`, and so can return this,
    /// also where its own list of errors does not name it.
    #[error("{argument} asks for the instruction set {value:?}, but this machine has {available}")]
    Isa {
        /// Who asked: the environment variable or the argument.
        argument: Cow<'static, str>,
        /// The name that was asked for.
        value: String,
        /// The names that would work.
        available: String,
    },
}

/// So that what needs no conversion can stand where a conversion may fail.
impl From<std::convert::Infallible> for Error {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl Error {
    /// [`Error::OutOfRange`] from anything that can be printed.
    pub(crate) fn out_of_range(
        argument: impl Into<Cow<'static, str>>,
        value: impl ToString,
        limit: impl Into<String>,
    ) -> Self {
        Error::OutOfRange { argument: argument.into(), value: value.to_string(), limit: limit.into() }
    }

    /// [`Error::Shape`] from anything that can be printed.
    pub(crate) fn shape(
        argument: impl Into<Cow<'static, str>>,
        found: &[usize],
        expected: impl Into<String>,
    ) -> Self {
        Error::Shape { argument: argument.into(), found: found.to_vec(), expected: expected.into() }
    }

    /// [`Error::Length`] from anything that can be printed.
    pub(crate) fn length(
        argument: impl Into<Cow<'static, str>>,
        found: usize,
        expected: impl ToString,
    ) -> Self {
        Error::Length { argument: argument.into(), found, expected: expected.to_string() }
    }

    /// [`Error::Layout`] from anything that can be printed.
    pub(crate) fn layout(argument: impl Into<Cow<'static, str>>, reason: impl Into<String>) -> Self {
        Error::Layout { argument: argument.into(), reason: reason.into() }
    }
}

/// The product of `sizes`, or [`Error::SizeOverflow`] naming `argument`.
///
/// The limit is `isize::MAX`, the largest allocation that Rust (and any C library) can make. As in ndarray, the sizes that
/// are not 0 must keep it by themselves: else it would depend on their order whether a 0 comes in time.
pub(crate) fn checked_product(argument: &'static str, sizes: &[usize]) -> Result<usize> {
    product(sizes.iter().copied())
        .ok_or_else(|| Error::SizeOverflow { argument: argument.into(), sizes: sizes.to_vec() })
}

/// As [`checked_product`]; `None` where that is an error.
pub(crate) fn product(sizes: impl Iterator<Item = usize> + Clone) -> Option<usize> {
    let product = sizes
        .clone()
        .filter(|&size| size > 0)
        .try_fold(1_usize, usize::checked_mul)
        .filter(|&product| product <= isize::MAX as usize)?;
    Some(if sizes.clone().any(|size| size == 0) { 0 } else { product })
}
