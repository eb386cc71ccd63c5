//! Buffers that end exactly where memory ends: reading or writing one byte past them kills the test.

#![allow(unsafe_code)]

use std::ops::{Deref, DerefMut};

/// A slice whose last element ends at an inaccessible page (and, by its length, starts at any alignment legal for `T`).
pub struct Guarded<T> {
    #[cfg(unix)]
    map: *mut libc::c_void,
    #[cfg(unix)]
    map_len: usize,
    #[cfg(unix)]
    start: *mut T,
    #[cfg(unix)]
    len: usize,
    #[cfg(not(unix))]
    data: Vec<T>,
}

impl<T: Copy + plain::Plain> Guarded<T> {
    /// A copy of `data` that ends at the inaccessible page.
    #[cfg(unix)]
    pub fn new(data: &[T]) -> Self {
        // SAFETY: an anonymous mapping of whole pages is made, and only its last page is made inaccessible; the copy goes
        // to the bytes right before that page, which are in the mapping; page ends are aligned for every `T`.
        unsafe {
            let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap();
            let bytes = std::mem::size_of_val(data);
            let map_len = bytes.next_multiple_of(page) + page;
            let map = libc::mmap(
                std::ptr::null_mut(),
                map_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(map, libc::MAP_FAILED);
            let end = map.cast::<u8>().add(map_len - page);
            assert_eq!(libc::mprotect(end.cast(), page, libc::PROT_NONE), 0);
            let start = end.sub(bytes).cast::<T>();
            std::ptr::copy_nonoverlapping(data.as_ptr(), start, data.len());
            Guarded { map, map_len, start, len: data.len() }
        }
    }

    /// A copy of `data`; this system has no guard pages here.
    #[cfg(not(unix))]
    pub fn new(data: &[T]) -> Self {
        Guarded { data: data.to_vec() }
    }
}

/// Types that any bytes may fill.
pub mod plain {
    pub trait Plain {}
    impl Plain for u8 {}
    impl Plain for i8 {}
    impl Plain for u16 {}
    impl Plain for i32 {}
    impl Plain for u64 {}
    impl Plain for f32 {}
    impl Plain for tersor::f16 {}
    impl Plain for tersor::bf16 {}
}

#[cfg(unix)]
impl<T> Deref for Guarded<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        // SAFETY: `new` wrote `len` elements at `start`, which the mapping keeps alive.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

#[cfg(unix)]
impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

#[cfg(unix)]
impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and is unmapped once.
        unsafe {
            libc::munmap(self.map, self.map_len);
        }
    }
}

#[cfg(not(unix))]
impl<T> Deref for Guarded<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.data
    }
}

#[cfg(not(unix))]
impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data
    }
}
