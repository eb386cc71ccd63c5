//! Borrowed bits at any bit offset: a whole mask, a row of one, or a C caller's bytes.

use crate::error::{Error, Result};

/// Bits that somebody else owns: bit `i` is bit `(start + i) % 8` (from the least significant) of byte `(start + i) / 8`.
#[derive(Clone, Copy)]
pub struct BitSlice<'a> {
    bytes: &'a [u8],
    start: usize,
    len: usize,
}

impl<'a> BitSlice<'a> {
    /// The first `len` bits of `bytes`.
    ///
    /// # Errors
    /// [`Error::Length`] when `bytes` is too short.
    pub fn new(bytes: &'a [u8], len: usize) -> Result<Self> {
        if bytes.len() < len.div_ceil(8) {
            return Err(Error::length(
                "bytes",
                bytes.len(),
                format!("at least {} for {len} bits", len.div_ceil(8)),
            ));
        }
        Ok(BitSlice::over(bytes, 0, len))
    }

    /// The bits `start..start + len`, which lie within `bytes`.
    pub(super) fn over(bytes: &'a [u8], start: usize, len: usize) -> Self {
        debug_assert!((start + len).div_ceil(8) <= bytes.len());
        BitSlice { bytes, start, len }
    }

    /// How many bits there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bit `index`; `None` past the end.
    #[inline]
    pub fn get(&self, index: usize) -> Option<bool> {
        if index >= self.len {
            return None;
        }
        let bit = self.start + index;
        self.bytes.get(bit / 8).map(|byte| byte >> (bit % 8) & 1 != 0)
    }

    /// Bits `start..end`, both cut to what there is.
    #[must_use]
    pub fn slice(&self, start: usize, end: usize) -> BitSlice<'a> {
        let end = end.min(self.len);
        let start = start.min(end);
        BitSlice { bytes: self.bytes, start: self.start + start, len: end - start }
    }

    /// Bits `64 * index..64 * index + 64` as a word; bits past the end are 0.
    #[inline]
    pub fn word(&self, index: usize) -> u64 {
        let first = match index.checked_mul(64) {
            Some(first) if first < self.len => first,
            _ => return 0,
        };
        let bit = self.start + first;
        let (byte, shift) = (bit / 8, bit % 8);
        let mut word = load_word(self.bytes, byte) >> shift;
        if shift > 0 {
            // The ninth byte holds the last bits of a word that does not start on a byte.
            word |= u64::from(self.bytes.get(byte + 8).copied().unwrap_or(0)) << (64 - shift);
        }
        match self.len - first {
            left @ ..64 => word & ((1 << left) - 1),
            _ => word,
        }
    }

    /// How many words [`word`](BitSlice::word) has.
    #[inline]
    pub fn words(&self) -> usize {
        self.len.div_ceil(64)
    }

    /// How many bits are 1.
    pub fn count(&self) -> usize {
        (0..self.words()).map(|index| self.word(index).count_ones() as usize).sum()
    }

    /// The indices of the bits that are 1, ascending.
    pub fn survivors(self) -> impl Iterator<Item = usize> + use<'a> {
        (0..self.words()).flat_map(move |index| {
            let mut word = self.word(index);
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

/// Eight bytes from `byte` on, little-endian; bytes past the end are 0.
#[inline]
fn load_word(bytes: &[u8], byte: usize) -> u64 {
    let tail = bytes.get(byte..).unwrap_or(&[]);
    match tail.first_chunk::<8>() {
        Some(eight) => u64::from_le_bytes(*eight),
        None => tail.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

impl std::fmt::Debug for BitSlice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BitSlice({} of {} are 1)", self.count(), self.len)
    }
}
