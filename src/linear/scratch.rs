//! The caller's scratch bytes, cut into typed slices.

use bytemuck::Pod;

/// Slices begin at cache lines.
const ALIGN: usize = 64;

/// What is left of the scratch bytes.
pub(super) struct Scratch<'a>(&'a mut [u8]);

impl<'a> Scratch<'a> {
    pub(super) fn new(bytes: &'a mut [u8]) -> Self {
        Scratch(bytes)
    }

    /// What is left.
    pub(super) fn into_bytes(self) -> &'a mut [u8] {
        self.0
    }

    /// How many bytes [`take`](Scratch::take) needs for `len` elements of `size` bytes, wherever the scratch begins.
    pub(super) fn bytes_for(len: usize, size: usize) -> Option<usize> {
        len.checked_mul(size)?.checked_next_multiple_of(ALIGN)?.checked_add(ALIGN)
    }

    /// `len` elements; fewer only if the scratch is shorter than `bytes_for` said.
    pub(super) fn take<T: Pod>(&mut self, len: usize) -> &'a mut [T] {
        let bytes = std::mem::take(&mut self.0);
        let start = bytes.as_ptr().align_offset(ALIGN).min(bytes.len());
        let (_, aligned) = bytes.split_at_mut(start);
        let end = (len * size_of::<T>()).min(aligned.len());
        let (taken, rest) = aligned.split_at_mut(end);
        self.0 = rest;
        bytemuck::try_cast_slice_mut(taken).unwrap_or_default()
    }
}
