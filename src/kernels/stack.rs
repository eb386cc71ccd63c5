//! Buffers on the stack of which only what is used is ever written.

use std::mem::MaybeUninit;

/// Room for `N` elements, from a cache line on: a vector that lies across two takes twice as long.
#[repr(align(64))]
pub(crate) struct StackBuffer<T, const N: usize>([MaybeUninit<T>; N]);

impl<T: Copy, const N: usize> StackBuffer<T, N> {
    #[inline(always)]
    pub(crate) fn new() -> Self {
        StackBuffer([const { MaybeUninit::uninit() }; N])
    }

    /// The first `len` elements, at most `N`, as `value` each.
    #[inline(always)]
    pub(crate) fn filled(&mut self, len: usize, value: T) -> &mut [T] {
        let room = &mut self.0[..len.min(N)];
        for element in room.iter_mut() {
            element.write(value);
        }
        // SAFETY: every element was just written, and `MaybeUninit<T>` is laid out as `T`.
        unsafe { std::slice::from_raw_parts_mut(room.as_mut_ptr().cast(), room.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_asked_for_are_filled() {
        let mut buffer = StackBuffer::<[f32; 16], 5>::new();
        for len in [0, 1, 5, 9] {
            let filled = buffer.filled(len, [len as f32; 16]);
            assert_eq!(filled, vec![[len as f32; 16]; len.min(5)]);
            assert_eq!(filled.as_ptr().align_offset(64), 0);
        }
    }
}
