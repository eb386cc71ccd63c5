//! Arrays as row-major slices: the one place where a strided view becomes contiguous, so that every operation can be
//! written for slices.

use ndarray::{ArrayBase, ArrayView, DataMut, Dimension};
use std::borrow::Cow;

/// The elements in row-major order: borrowed where the view is laid out so, else copied.
pub(crate) fn row_major<'a, T: Copy, D: Dimension>(view: ArrayView<'a, T, D>) -> Cow<'a, [T]> {
    match view.to_slice() {
        Some(slice) => Cow::Borrowed(slice),
        None => Cow::Owned(view.iter().copied().collect()),
    }
}

/// Runs `body` on the elements in row-major order, in place where the array is laid out so, else on a copy that is
/// written back only if `body` succeeds.
pub(crate) fn with_row_major_mut<T, S, D, R, E>(
    array: &mut ArrayBase<S, D>,
    body: impl FnOnce(&mut [T]) -> Result<R, E>,
) -> Result<R, E>
where
    T: Copy,
    S: DataMut<Elem = T>,
    D: Dimension,
{
    if let Some(slice) = array.as_slice_mut() {
        return body(slice);
    }
    let mut copy: Vec<T> = array.iter().copied().collect();
    let result = body(&mut copy)?;
    array.iter_mut().zip(copy).for_each(|(element, value)| *element = value);
    Ok(result)
}
