//! The `gemm` crate behind a safe signature.

use super::tile::TileMut;
use ndarray::ArrayView2;

/// `tile = a * b`, on the calling thread. The shapes fit each other, or nothing is done.
pub(crate) fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, mut tile: TileMut<'_, f32>) {
    let (rows, cols, depth) = (tile.rows(), tile.cols(), a.ncols());
    if a.nrows() != rows || b.ncols() != cols || b.nrows() != depth {
        debug_assert!(false, "the caller checks shapes");
        return;
    }
    let (start, row_stride, col_stride) = tile.raw();
    let (a_strides, b_strides) = (a.strides(), b.strides());
    // SAFETY: the three pointers and strides describe the elements of two views and of a tile that nobody else touches, in
    // the sizes that were just compared; `alpha` is unused because `read_dst` is false.
    unsafe {
        gemm::gemm(
            rows,
            cols,
            depth,
            start,
            col_stride,
            row_stride,
            false,
            a.as_ptr(),
            a_strides[1],
            a_strides[0],
            b.as_ptr(),
            b_strides[1],
            b_strides[0],
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
