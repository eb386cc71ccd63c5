//! Packed bytes, owned or borrowed.

use crate::error::{Error, Result};
use crate::kernels::prefer_large_pages;
use std::hint::black_box;
use std::ops::{Deref, DerefMut};

/// What a cache line holds. Kernels accept any alignment; at this one no load crosses two lines.
const ALIGN: usize = 64;

/// So many bytes, if there is memory for them; else [`Error::SizeOverflow`]. Allocating them would end the process.
pub(super) fn affordable(bytes: usize, argument: &'static str, sizes: &[usize]) -> Result<usize> {
    // Asked for and given back, untouched: what is allocated next need not be written to be zero.
    let mut asked = Vec::<u8>::new();
    match black_box(&mut asked).try_reserve_exact(bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Error::SizeOverflow { argument: argument.into(), sizes: sizes.to_vec() }),
    }
}

/// Bytes that begin at a cache line.
pub(super) struct AlignedBytes {
    buffer: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBytes {
    pub(super) fn zeros(len: usize) -> Self {
        let mut buffer = vec![0; len.saturating_add(ALIGN)];
        prefer_large_pages(&mut buffer);
        let start = buffer.as_ptr().align_offset(ALIGN).min(ALIGN);
        AlignedBytes { buffer, start, len }
    }

    fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = AlignedBytes::zeros(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.len]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.start + self.len]
    }
}

impl Clone for AlignedBytes {
    fn clone(&self) -> Self {
        AlignedBytes::copy_of(self)
    }
}

/// Bytes of a layer.
#[derive(Clone)]
pub(super) enum Bytes<'a> {
    Owned(AlignedBytes),
    Borrowed(&'a [u8]),
}

impl Deref for Bytes<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Owned(bytes) => bytes,
            Bytes::Borrowed(bytes) => bytes,
        }
    }
}

impl Bytes<'_> {
    pub(super) fn into_owned(self) -> AlignedBytes {
        match self {
            Bytes::Owned(bytes) => bytes,
            Bytes::Borrowed(bytes) => AlignedBytes::copy_of(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_had_is_what_memory_holds() {
        assert_eq!(affordable(0, "weights", &[0, 3]), Ok(0));
        assert_eq!(affordable(1000, "weights", &[10, 100]), Ok(1000));
        let most = isize::MAX as usize;
        let error = Error::SizeOverflow { argument: "weights".into(), sizes: vec![1, most] };
        assert_eq!(affordable(most, "weights", &[1, most]), Err(error.clone()));
        assert_eq!(affordable(usize::MAX, "weights", &[1, most]), Err(error));
    }
}
