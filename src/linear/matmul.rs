//! The plain f32 product of views.

use crate::context::Context;
use crate::error::{Error, Result};
use crate::kernels::{for_each_tile, product};
use ndarray::{ArrayView2, ArrayViewMut2, Axis, Slice};

/// What one thread computes at a time. Large enough that packing the inputs anew for each costs little.
const PIECE: (usize, usize) = (256, 256);

/// `c[M, N] = a[M, K] * b[K, N]` in f32, of views with any strides: transposes cost nothing.
///
/// The same bytes at any thread count. Between machines, and between shapes, results differ within the error of an f32 sum
/// in any order: `|c - exact| <= K * 2^-23 * sum |a| |b|`, without overflow or underflow. An empty sum (`K = 0`) is 0. The
/// `gemm` crate does the work, by the best instruction set of the machine; it allocates.
///
/// ```
/// use ndarray::{Array2, array};
/// let (a, b) = (array![[1.0_f32, 2.0], [3.0, 4.0]], array![[1.0_f32, 10.0]]);
/// let mut c = Array2::zeros((2, 1));
/// tersor::linear::matmul(a.view(), b.t(), c.view_mut())?;
/// assert_eq!(c, array![[21.0], [43.0]]);
/// # Ok::<(), tersor::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] when the shapes do not fit each other, [`Error::Isa`] as [`Context::current`]. `c` is untouched then.
pub fn matmul(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, c: ArrayViewMut2<'_, f32>) -> Result<()> {
    if a.ncols() != b.nrows() {
        return Err(Error::shape(
            "b",
            b.shape(),
            format!("[{}, columns], with a row for each column of a", a.ncols()),
        ));
    }
    let needed = [a.nrows(), b.ncols()];
    if c.shape() != needed {
        return Err(Error::shape("c", c.shape(), format!("{needed:?}, the rows of a and the columns of b")));
    }
    let context = Context::current()?;
    for_each_tile(&context, c, PIECE, |(row, col), tile| {
        let rows = a.slice_axis(Axis(0), Slice::from(row..row + tile.rows()));
        let cols = b.slice_axis(Axis(1), Slice::from(col..col + tile.cols()));
        product(rows, cols, tile);
    });
    Ok(())
}
