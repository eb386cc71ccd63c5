//! Slices cut into disjoint pieces of a fixed length, so that several threads may write without locks or copies.
//!
//! The cut never depends on the number of threads. A reduction combines its partial results in the order of the pieces.
//! So every result is the same at any thread count.

use crate::context::Context;
use std::marker::PhantomData;
use std::ops::Range;

/// The usual piece: 16,384 elements are some microseconds of work and fit the first or second cache several times.
pub(crate) const PIECE: usize = 1 << 14;

/// Slices, and tuples or options of slices of the same length, that can be cut at the same places.
///
/// # Safety
/// `piece` must give memory that only the elements `range` of the original own, so that disjoint ranges never alias
/// when one of them is mutable.
pub(crate) unsafe trait Pieces: Send {
    /// The same memory, without the exclusive borrow; sent to the threads that take pieces of it.
    type Shared: Copy + Send + Sync;

    /// The common length. `None`: any length fits (an absent optional slice).
    fn common_len(&self) -> Option<usize>;

    /// Gives up the exclusive borrow for the time of the loop.
    fn share(self) -> Self::Shared;

    /// The elements `range`.
    ///
    /// # Safety
    /// - The borrow that `share` consumed is still alive.
    /// - `range` lies within the length.
    /// - No element is in two pieces that exist at the same time.
    unsafe fn piece(shared: Self::Shared, range: Range<usize>) -> Self;
}

/// A shared slice as a pointer; the lifetime keeps the borrow alive.
pub(crate) struct SharedRef<'a, T>(*const T, PhantomData<&'a [T]>);
/// An exclusive slice as a pointer; the lifetime keeps the borrow alive.
pub(crate) struct SharedMut<'a, T>(*mut T, PhantomData<&'a mut [T]>);

impl<T> Clone for SharedRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SharedRef<'_, T> {}
impl<T> Clone for SharedMut<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SharedMut<'_, T> {}

// SAFETY: it stands for a `&[T]`, which is `Send` and `Sync` when `T` is `Sync`.
unsafe impl<T: Sync> Send for SharedRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for SharedRef<'_, T> {}
// SAFETY: it stands for disjoint `&mut [T]` handed to several threads, which needs `T: Send`.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

// SAFETY: shared memory may be read from several pieces at once.
unsafe impl<'a, T: Sync> Pieces for &'a [T] {
    type Shared = SharedRef<'a, T>;
    fn common_len(&self) -> Option<usize> {
        Some(self.len())
    }
    fn share(self) -> Self::Shared {
        SharedRef(self.as_ptr(), PhantomData)
    }
    unsafe fn piece(shared: Self::Shared, range: Range<usize>) -> Self {
        // SAFETY: the caller keeps `range` within the length of a borrow that is alive.
        unsafe { std::slice::from_raw_parts(shared.0.add(range.start), range.len()) }
    }
}

// SAFETY: `piece` gives exactly the elements of `range`.
unsafe impl<'a, T: Send> Pieces for &'a mut [T] {
    type Shared = SharedMut<'a, T>;
    fn common_len(&self) -> Option<usize> {
        Some(self.len())
    }
    fn share(self) -> Self::Shared {
        SharedMut(self.as_mut_ptr(), PhantomData)
    }
    unsafe fn piece(shared: Self::Shared, range: Range<usize>) -> Self {
        // SAFETY: the caller keeps `range` within the length of a borrow that is alive, and no element in two pieces.
        unsafe { std::slice::from_raw_parts_mut(shared.0.add(range.start), range.len()) }
    }
}

/// A matrix without gaps, whose rows are the elements to be cut.
#[cfg(feature = "linear")]
pub(crate) struct Rows<'a, T> {
    elements: &'a mut [T],
    width: usize,
}

#[cfg(feature = "linear")]
impl<'a, T> Rows<'a, T> {
    /// As many whole rows of `width` elements as there are.
    pub(crate) fn new(elements: &'a mut [T], width: usize) -> Self {
        Rows { elements, width }
    }

    /// The elements of all rows.
    pub(crate) fn into_slice(self) -> &'a mut [T] {
        self.elements
    }
}

// SAFETY: `piece` gives exactly the elements of the rows in `range`.
#[cfg(feature = "linear")]
unsafe impl<'a, T: Send> Pieces for Rows<'a, T> {
    type Shared = (SharedMut<'a, T>, usize);
    fn common_len(&self) -> Option<usize> {
        // Rows without elements: any number of them.
        self.elements.len().checked_div(self.width)
    }
    fn share(self) -> Self::Shared {
        (self.elements.share(), self.width)
    }
    unsafe fn piece((shared, width): Self::Shared, range: Range<usize>) -> Self {
        // SAFETY: the caller keeps `range` within the length of a borrow that is alive, and no row in two pieces; the
        // elements of these rows exist, so the products do not overflow.
        let elements =
            unsafe { <&'a mut [T] as Pieces>::piece(shared, range.start * width..range.end * width) };
        Rows { elements, width }
    }
}

// SAFETY: forwards to the inner implementation.
unsafe impl<P: Pieces> Pieces for Option<P> {
    type Shared = Option<P::Shared>;
    fn common_len(&self) -> Option<usize> {
        self.as_ref().and_then(P::common_len)
    }
    fn share(self) -> Self::Shared {
        self.map(P::share)
    }
    unsafe fn piece(shared: Self::Shared, range: Range<usize>) -> Self {
        // SAFETY: the caller's promises are passed on.
        shared.map(|shared| unsafe { P::piece(shared, range) })
    }
}

// SAFETY: forwards to the inner implementations; the elements of an array are distinct borrows.
unsafe impl<P: Pieces, const N: usize> Pieces for [P; N] {
    type Shared = [P::Shared; N];
    fn common_len(&self) -> Option<usize> {
        common(self.iter().map(P::common_len))
    }
    fn share(self) -> Self::Shared {
        self.map(P::share)
    }
    unsafe fn piece(shared: Self::Shared, range: Range<usize>) -> Self {
        // SAFETY: the caller's promises are passed on.
        shared.map(|shared| unsafe { P::piece(shared, range.clone()) })
    }
}

macro_rules! tuple_pieces {
    ($($name:ident $index:tt),+) => {
        // SAFETY: forwards to the inner implementations; the elements of a tuple are distinct borrows.
        unsafe impl<$($name: Pieces),+> Pieces for ($($name,)+) {
            type Shared = ($($name::Shared,)+);
            fn common_len(&self) -> Option<usize> {
                common([$(self.$index.common_len()),+].into_iter())
            }
            fn share(self) -> Self::Shared {
                ($(self.$index.share(),)+)
            }
            unsafe fn piece(shared: Self::Shared, range: Range<usize>) -> Self {
                // SAFETY: the caller's promises are passed on.
                unsafe { ($($name::piece(shared.$index, range.clone()),)+) }
            }
        }
    };
}
tuple_pieces!(A 0);
tuple_pieces!(A 0, B 1);
tuple_pieces!(A 0, B 1, C 2);
tuple_pieces!(A 0, B 1, C 2, D 3);
tuple_pieces!(A 0, B 1, C 2, D 3, E 4);

/// The shortest length is common to all: an oversized slice wastes elements, it never reads out of bounds.
fn common(lengths: impl Iterator<Item = Option<usize>>) -> Option<usize> {
    lengths.flatten().min()
}

/// Calls `body(start, piece)` for each piece of `piece_len` elements (the last may be shorter), on the threads of
/// `context`.
///
/// Slices in `data` have the same length; where they do not, the shortest counts.
pub(crate) fn for_each_piece<P: Pieces>(
    context: &Context,
    data: P,
    piece_len: usize,
    body: impl Fn(usize, P) + Sync,
) {
    let len = data.common_len().unwrap_or(0);
    let piece_len = piece_len.max(1);
    let shared = data.share();
    context.parallel().run(len.div_ceil(piece_len), &|index| {
        let start = index * piece_len;
        let end = (start + piece_len).min(len);
        // SAFETY: `data`'s borrow lives until this function returns, which is after `run` has; the range ends at `len`
        // or before; `run` calls with each index once, and different indices give disjoint ranges.
        body(start, unsafe { P::piece(shared, start..end) });
    });
}

/// `map(range)` for each piece of `0..len`, combined in order: the same result at any thread count.
///
/// Allocates nothing: partial results wait on the stack, a round of pieces at a time.
pub(crate) fn reduce_pieces<R: Clone + Send + Sync>(
    context: &Context,
    len: usize,
    piece_len: usize,
    identity: R,
    map: impl Fn(Range<usize>) -> R + Sync,
    combine: impl Fn(R, R) -> R,
) -> R {
    const ROUND: usize = 64;
    let piece_len = piece_len.max(1);
    let pieces = len.div_ceil(piece_len);
    let mut result = identity.clone();
    let mut first = 0;
    while first < pieces {
        let count = (pieces - first).min(ROUND);
        let mut partial: [R; ROUND] = std::array::from_fn(|_| identity.clone());
        for_each_piece(context, &mut partial[..count], 1, |index, slot: &mut [R]| {
            let start = (first + index) * piece_len;
            slot[0] = map(start..(start + piece_len).min(len));
        });
        result = partial.into_iter().take(count).fold(result, &combine);
        first += count;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, Parallel};

    fn contexts() -> [Context; 2] {
        let context = Context::new().unwrap().with_isa(Isa::scalar());
        [context.clone().with_parallel(Parallel::Serial), context]
    }

    #[test]
    fn pieces_cover_every_element_once() {
        for context in contexts() {
            for len in [0, 1, 6, 7, 8, 1000] {
                let indices: Vec<usize> = (0..len).collect();
                let mut seen = vec![0; len];
                let absent: Option<&[u8]> = None;
                for_each_piece(
                    &context,
                    (&indices[..], &mut seen[..], absent),
                    7,
                    |start, (indices, seen, absent)| {
                        assert!(absent.is_none());
                        for (offset, (&index, seen)) in indices.iter().zip(seen).enumerate() {
                            assert_eq!(index, start + offset);
                            *seen += 1;
                        }
                    },
                );
                assert_eq!(seen, vec![1; len]);
            }
        }
    }

    #[test]
    fn a_float_sum_is_the_same_at_any_thread_count() {
        let values: Vec<f32> = (0..100_000).map(|i| (i as f32).sin()).collect();
        let sums = contexts().map(|context| {
            reduce_pieces(
                &context,
                values.len(),
                100,
                0.0,
                |range| values[range].iter().sum::<f32>(),
                |a, b| a + b,
            )
        });
        assert_eq!(sums[0].to_bits(), sums[1].to_bits());
    }
}
