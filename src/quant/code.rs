//! The integer types that codes are stored in.

use std::fmt;

/// A code's storage type, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CodeType {
    /// Signed, -128..=127.
    I8,
    /// Unsigned, 0..=255.
    U8,
}

impl CodeType {
    /// The lowest and the highest code that the type can store.
    pub fn limits(self) -> (i32, i32) {
        match self {
            CodeType::I8 => (-128, 127),
            CodeType::U8 => (0, 255),
        }
    }

    /// Bytes per code.
    pub fn size(self) -> usize {
        1
    }
}

impl fmt::Display for CodeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CodeType::I8 => "i8",
            CodeType::U8 => "u8",
        })
    }
}

/// An integer that can be a code: [`i8`] or [`u8`]. Sealed.
pub trait Code: private::Sealed + Copy + Default + Send + Sync + fmt::Debug + PartialEq + 'static {
    /// The type, as data.
    const TYPE: CodeType;

    /// The code of that value, which lies within the type's limits (the low byte of any other).
    fn from_i32(value: i32) -> Self;

    /// The value of the code.
    fn to_i32(self) -> i32;
}

mod private {
    pub trait Sealed {}
    impl Sealed for i8 {}
    impl Sealed for u8 {}
}

impl Code for i8 {
    const TYPE: CodeType = CodeType::I8;
    #[inline(always)]
    fn from_i32(value: i32) -> Self {
        value as i8
    }
    #[inline(always)]
    fn to_i32(self) -> i32 {
        i32::from(self)
    }
}

impl Code for u8 {
    const TYPE: CodeType = CodeType::U8;
    #[inline(always)]
    fn from_i32(value: i32) -> Self {
        value as u8
    }
    #[inline(always)]
    fn to_i32(self) -> i32 {
        i32::from(self)
    }
}
