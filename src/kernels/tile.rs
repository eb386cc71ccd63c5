//! Rectangles of a matrix, so that several threads may write one matrix of any strides without locks or copies.

use super::prefetch;
use crate::context::Context;
use bytemuck::Pod;
use ndarray::{ArrayViewMut, ArrayViewMut2, Dimension};
use std::marker::PhantomData;

/// A rectangle of a matrix that one thread may write.
pub(crate) struct TileMut<'a, T> {
    start: *mut T,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
    borrow: PhantomData<&'a mut T>,
}

impl<T: Copy> TileMut<'_, T> {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Writes `values` into row `row` from column `col` on, as far as the tile goes.
    #[inline(always)]
    pub(crate) fn store_row(&mut self, row: usize, col: usize, values: &[T]) {
        if row >= self.rows || col >= self.cols {
            return;
        }
        let len = values.len().min(self.cols - col);
        // SAFETY: `row` and `col + len` lie within the tile, whose elements are in the matrix that `for_each_tile` borrows
        // exclusively, and are nobody else's.
        unsafe {
            let start = self.start.offset(row as isize * self.row_stride + col as isize * self.col_stride);
            if self.col_stride == 1 {
                std::ptr::copy_nonoverlapping(values.as_ptr(), start, len);
            } else {
                for (index, value) in values.iter().take(len).enumerate() {
                    start.offset(index as isize * self.col_stride).write(*value);
                }
            }
        }
    }

    /// As [`store_row`](TileMut::store_row), of a length that the compiler knows: vectors go from registers to `y`.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&mut self, row: usize, col: usize, values: [T; N]) {
        if row < self.rows && col <= self.cols && self.cols - col >= N && self.col_stride == 1 {
            // SAFETY: `row` and `col + N` lie within the tile, as in `store_row`, and its elements side by side.
            unsafe {
                let start = self.start.offset(row as isize * self.row_stride + col as isize);
                start.cast::<[T; N]>().write_unaligned(values);
            }
        } else {
            // Of a copy, so that only this path has the values in memory.
            self.store_row(row, col, &{ values });
        }
    }

    /// `R` rows of `N` columns from row `row` and column `col` on.
    #[inline(always)]
    pub(crate) fn block<const R: usize, const N: usize>(
        &mut self,
        row: usize,
        col: usize,
    ) -> TileBlock<'_, T, R, N> {
        let is_whole = row + R <= self.rows && col + N <= self.cols && self.col_stride == 1;
        let offset = row as isize * self.row_stride + col as isize * self.col_stride;
        let start = self.start.wrapping_offset(offset);
        let (rows, cols) = (self.rows.saturating_sub(row), self.cols.saturating_sub(col));
        TileBlock { tile: TileMut { start, rows, cols, ..*self }, is_whole }
    }

    /// Says that `cols` elements of each of `rows` rows, from row `row` and column `col` on, will soon be written. Rows are far
    /// apart, so nothing else would fetch them before the stores wait for them.
    #[inline(always)]
    pub(crate) fn expect_store(&self, (row, rows): (usize, usize), (col, cols): (usize, usize)) {
        let size = cols * size_of::<T>();
        if row + rows > self.rows || col >= self.cols || self.col_stride != 1 || size == 0 {
            return;
        }
        let mut start = self.start.wrapping_offset(row as isize * self.row_stride + col as isize);
        for _ in 0..rows {
            for line in (0..size).step_by(64) {
                prefetch::near(start.cast::<i8>().wrapping_add(line));
            }
            // Where rows do not begin at a line.
            prefetch::near(start.cast::<i8>().wrapping_add(size - 1));
            start = start.wrapping_offset(self.row_stride);
        }
    }

    /// `N` columns from column `col` on, of the `rows` rows from row `row` on.
    #[inline(always)]
    pub(crate) fn strip<const N: usize>(
        &mut self,
        (row, rows): (usize, usize),
        col: usize,
    ) -> TileStrip<'_, T, N> {
        let is_whole = row + rows <= self.rows && col + N <= self.cols && self.col_stride == 1;
        let offset = row as isize * self.row_stride + col as isize * self.col_stride;
        let start = self.start.wrapping_offset(offset);
        let (from, cols) = (self.rows.saturating_sub(row), self.cols.saturating_sub(col));
        TileStrip {
            tile: TileMut { start, rows: from, cols, ..*self },
            below: from.saturating_sub(rows),
            is_whole,
        }
    }

    /// Row `row` as a slice; nothing if its elements do not lie side by side.
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [T] {
        if row >= self.rows || self.col_stride != 1 {
            return &mut [];
        }
        // SAFETY: as in `store_row`; the elements lie side by side, and the tile is borrowed for as long as the slice.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.offset(row as isize * self.row_stride), self.cols)
        }
    }

    /// The first element, and how far apart rows and columns are.
    #[cfg(feature = "linear")]
    pub(super) fn raw(&mut self) -> (*mut T, isize, isize) {
        (self.start, self.row_stride, self.col_stride)
    }
}

/// Rows of a tile that are written one by one, as far as the tile goes; whether they fit is found out once for all of them.
pub(crate) struct TileBlock<'a, T, const R: usize, const N: usize> {
    tile: TileMut<'a, T>,
    is_whole: bool,
}

impl<T: Copy, const R: usize, const N: usize> TileBlock<'_, T, R, N> {
    /// Whether all of it lies within the tile, its columns side by side.
    #[inline(always)]
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Writes row `row`: vectors go from registers to `y`.
    #[inline(always)]
    pub(crate) fn store(&mut self, row: usize, values: [T; N]) {
        if self.is_whole && row < R {
            // SAFETY: the tile has the `R` rows and `N` columns, as in `TileMut::store_row`, and its elements side by side.
            unsafe {
                let start = self.tile.start.offset(row as isize * self.tile.row_stride);
                start.cast::<[T; N]>().write_unaligned(values);
            }
        } else {
            // Of a copy, so that only this path has the values in memory.
            self.tile.store_row(row, 0, &{ values });
        }
    }
}

/// Rows of a tile that are written one after the other; whether they fit is found out once for all of them.
pub(crate) struct TileStrip<'a, T, const N: usize> {
    /// From the next row on.
    tile: TileMut<'a, T>,
    /// Rows of the tile that are below the strip.
    below: usize,
    is_whole: bool,
}

impl<T: Copy, const N: usize> TileStrip<'_, T, N> {
    /// Writes the next row; nothing after the last.
    #[inline(always)]
    pub(crate) fn store_next(&mut self, values: [T; N]) {
        if self.tile.rows <= self.below {
            return;
        }
        if self.is_whole {
            // SAFETY: the tile has this row and `N` columns, as in `TileMut::store_row`, and its elements side by side.
            unsafe { self.tile.start.cast::<[T; N]>().write_unaligned(values) }
        } else {
            // Of a copy, so that only this path has the values in memory.
            self.tile.store_row(0, 0, &{ values });
        }
        self.tile.start = self.tile.start.wrapping_offset(self.tile.row_stride);
        self.tile.rows -= 1;
    }

    /// Says that the row that is `ahead` of the next one, of the strip or below it, will soon be written.
    #[inline(always)]
    pub(crate) fn expect_store(&self, ahead: usize) {
        if self.is_whole && ahead < self.tile.rows {
            let start = self.tile.start.wrapping_offset(ahead as isize * self.tile.row_stride).cast::<i8>();
            for line in (0..N * size_of::<T>()).step_by(64) {
                prefetch::near(start.wrapping_add(line));
            }
            // Where rows do not begin at a line.
            prefetch::near(start.wrapping_add(N * size_of::<T>() - 1));
        }
    }
}

/// Elements of a byte each as their bytes.
pub(crate) fn as_bytes<T: Pod, D: Dimension>(mut codes: ArrayViewMut<'_, T, D>) -> ArrayViewMut<'_, u8, D> {
    const { assert!(size_of::<T>() == 1) };
    let bytes = codes.raw_view_mut().cast::<u8>();
    // SAFETY: a `Pod` is a byte like any other, and any byte is a `Pod`, both aligned anywhere; the view is consumed, and what it
    // borrowed stays borrowed for as long as the result.
    unsafe { bytes.deref_into_view_mut() }
}

/// A matrix without its exclusive borrow, sent to the threads that take tiles of it.
struct Shared<T>(*mut T);

// SAFETY: it stands for disjoint `&mut T` handed to several threads, which needs `T: Send`.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn start(&self) -> *mut T {
        self.0
    }
}

/// Calls `body((row, column), tile)` for each tile of `tile_rows` x `tile_cols` (those at the end may be smaller), on the
/// threads of `context`. The cut never depends on how many there are.
pub(crate) fn for_each_tile<T: Send>(
    context: &Context,
    mut matrix: ArrayViewMut2<'_, T>,
    (tile_rows, tile_cols): (usize, usize),
    body: impl Fn((usize, usize), TileMut<'_, T>) + Sync,
) {
    let (rows, cols) = matrix.dim();
    let (tile_rows, tile_cols) = (tile_rows.max(1), tile_cols.max(1));
    let (row_stride, col_stride) = (matrix.strides()[0], matrix.strides()[1]);
    let shared = Shared(matrix.as_mut_ptr());
    let across = cols.div_ceil(tile_cols);
    // Fits: there are at most as many tiles as elements, or none.
    context.parallel().run(rows.div_ceil(tile_rows) * across, &|index| {
        let (row, col) = (index / across * tile_rows, index % across * tile_cols);
        // SAFETY: `row` and `col` are below `rows` and `cols`, so this is an element of the matrix, whose borrow lives until
        // `run` has returned; `run` calls with each index once, and different indices give disjoint tiles.
        let start = unsafe { shared.start().offset(row as isize * row_stride + col as isize * col_stride) };
        let tile = TileMut {
            start,
            rows: tile_rows.min(rows - row),
            cols: tile_cols.min(cols - col),
            row_stride,
            col_stride,
            borrow: PhantomData,
        };
        body((row, col), tile);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, s};

    #[test]
    fn tiles_cover_every_element_of_any_layout_once() {
        let context = Context::new().unwrap();
        for (rows, cols) in [(0, 3), (3, 0), (1, 1), (5, 7), (8, 6)] {
            let mut matrix = Array2::<usize>::zeros((2 * rows, 3 * cols));
            let mut transposed = Array2::<usize>::zeros((cols, rows));
            let mut plain = Array2::<usize>::zeros((rows, cols));
            let strided = matrix.slice_mut(s![..;-2, ..;3]);
            for view in [strided, transposed.view_mut().reversed_axes(), plain.view_mut()] {
                let mut view = view;
                for_each_tile(&context, view.view_mut(), (2, 3), |(row, col), mut tile| {
                    for r in 0..tile.rows() {
                        let values: Vec<usize> = (0..9).map(|c| (row + r) * cols + col + c + 1).collect();
                        tile.store_row(r, 0, &values[..4]);
                        tile.store::<9>(r, 0, *values.first_chunk().unwrap());
                        tile.store::<1>(r, 0, *values.first_chunk().unwrap());
                        tile.store::<9>(r + 100, 0, *values.first_chunk().unwrap());
                        tile.store::<9>(r, 100, *values.first_chunk().unwrap());
                        tile.store_row(r + 100, 0, &values);
                        tile.store_row(r, 100, &values);
                    }
                });
                assert!(view.iter().copied().eq(1..=rows * cols));
                view.fill(0);
                for_each_tile(&context, view.view_mut(), (2, 3), |(row, col), mut tile| {
                    let mut block = tile.block::<2, 3>(0, 0);
                    for r in 0..3 {
                        block.store(r, [1, 2, 3].map(|c| (row + r) * cols + col + c));
                    }
                    tile.block::<2, 3>(100, 0).store(0, [0; 3]);
                    tile.block::<2, 3>(0, 100).store(0, [0; 3]);
                });
                assert!(view.iter().copied().eq(1..=rows * cols));
                view.fill(0);
                for_each_tile(&context, view.view_mut(), (3, 3), |(row, col), mut tile| {
                    for (first, len) in [(0, 2), (2, 2)] {
                        let mut strip = tile.strip::<3>((first, len), 0);
                        for r in 0..3 {
                            strip.expect_store(1);
                            strip.store_next([1, 2, 3].map(|c| (row + first + r) * cols + col + c));
                        }
                    }
                    tile.strip::<3>((0, 0), 0).store_next([0; 3]);
                    tile.strip::<3>((100, 1), 0).store_next([0; 3]);
                    tile.strip::<3>((0, 1), 100).store_next([0; 3]);
                });
                assert!(view.iter().copied().eq(1..=rows * cols));
            }
        }
    }
}
