//! Which weights live and die together: patterns cut a tensor into units and know nothing of criteria.

use crate::error::{Error, Result};
use ndarray::Axis;

/// Which weights live and die together.
///
/// A tensor is seen as a matrix for blocks, columns and the scope [`Scope::Rows`](super::Scope::Rows): the first axis
/// are its rows, all other axes, flattened, its columns. That is how [`Mask::rows`](crate::Mask::rows) sees it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    kind: Kind,
    pooling: Pooling,
    same_padding: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Single,
    NOfM { n: usize, m: usize },
    Block { rows: usize, cols: usize },
    Columns,
    Slices { axis: usize },
}

/// How the scores of the weights of one unit become the score of the unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pooling {
    /// Their mean, over the weights that are really there (a block at the edge has fewer). Summed in f64.
    #[default]
    Mean,
    /// The largest.
    Max,
}

impl Default for Pattern {
    fn default() -> Self {
        Pattern::single()
    }
}

impl Pattern {
    /// The largest m of [`n_of_m`](Pattern::n_of_m).
    pub const MAX_M: usize = 32;

    /// Every weight for itself. The default.
    pub fn single() -> Self {
        Pattern::of(Kind::Single)
    }

    /// Of every m consecutive weights along the last axis, the best n survive. The pattern itself says how many weights
    /// survive, so it takes no [`Amount`](super::Amount) and every scope gives the same mask.
    ///
    /// Groups begin anew in every line of the last axis. A line whose length is no multiple of m ends in a shorter group,
    /// which is treated as if it were padded with weights that die first: it keeps at most n.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] unless 1 <= n <= m <= 32.
    pub fn n_of_m(n: usize, m: usize) -> Result<Self> {
        if !(1..=Pattern::MAX_M).contains(&m) {
            return Err(Error::out_of_range("m", m, format!("1 to {}", Pattern::MAX_M)));
        }
        if !(1..=m).contains(&n) {
            return Err(Error::out_of_range("n", n, format!("1 to {m}, the size of the group")));
        }
        Ok(Pattern::of(Kind::NOfM { n, m }))
    }

    /// Blocks of `rows` x `cols` of the matrix. Those at the lower and right edge are as large as what is left.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] when a size is 0.
    pub fn block(rows: usize, cols: usize) -> Result<Self> {
        for (name, size) in [("rows", rows), ("cols", cols)] {
            if size == 0 {
                return Err(Error::out_of_range(name, size, "at least 1"));
            }
        }
        Ok(Pattern::of(Kind::Block { rows, cols }))
    }

    /// Rows of the matrix: the output channels of a layer. The same as [`slices`](Pattern::slices) of axis 0.
    pub fn rows() -> Self {
        Pattern::slices(Axis(0))
    }

    /// Columns of the matrix: the inputs of a fully connected layer.
    pub fn columns() -> Self {
        Pattern::of(Kind::Columns)
    }

    /// Everything that shares an index of `axis`: channels. An axis that a tensor does not have is refused when that
    /// tensor is pruned.
    pub fn slices(axis: Axis) -> Self {
        Pattern::of(Kind::Slices { axis: axis.index() })
    }

    /// The same pattern with another pooling. Single weights and n of m have nothing to pool.
    #[must_use]
    pub fn pooled(self, pooling: Pooling) -> Self {
        Pattern { pooling, ..self }
    }

    /// TensorFlow Model Optimization's blocks, by name: where a block does not divide the matrix, the *windows that are
    /// pooled* are centred (TensorFlow's `SAME` padding puts half of what is missing before the first row and column)
    /// while the *blocks that die* start at the first row and column. Where blocks divide the matrix, this changes
    /// nothing; it has no meaning for other patterns.
    #[must_use]
    pub fn with_same_padding(self) -> Self {
        Pattern { same_padding: true, ..self }
    }

    fn of(kind: Kind) -> Self {
        Pattern { kind, pooling: Pooling::default(), same_padding: false }
    }

    /// n and m, when that is what the pattern is.
    pub(super) fn as_n_of_m(&self) -> Option<(usize, usize)> {
        match self.kind {
            Kind::NOfM { n, m } => Some((n, m)),
            _ => None,
        }
    }

    /// The units of a tensor that is not empty. `by_rows`: the strips of the grid must be the rows of the matrix.
    ///
    /// `argument` names the tensor.
    pub(super) fn grid(&self, argument: &str, shape: &[usize], by_rows: bool) -> Result<Grid> {
        let len = shape.iter().product::<usize>();
        let rows = shape.first().copied().unwrap_or(1);
        let cols = len.checked_div(rows).unwrap_or(0);
        let (grid, row_local) = match self.kind {
            Kind::Single | Kind::NOfM { .. } if by_rows => (Grid::new(rows, cols, 1, 1), true),
            Kind::Single | Kind::NOfM { .. } => (Grid::new(1, len, 1, 1), true),
            Kind::Block { rows: block_rows, cols: block_cols } => {
                (Grid::new(rows, cols, block_rows, block_cols), true)
            }
            Kind::Columns => (Grid::new(rows, cols, rows, 1), false),
            Kind::Slices { axis } => {
                let (outer, rest) = shape.split_at(axis.min(shape.len()));
                let Some((&size, inner)) = rest.split_first() else {
                    return Err(Error::out_of_range(
                        "axis",
                        axis,
                        format!("below {}, the number of axes of {argument}", shape.len()),
                    ));
                };
                let (outer, inner) = (outer.iter().product(), inner.iter().product::<usize>());
                (Grid::new(outer, size * inner, outer, inner), false)
            }
        };
        if by_rows && !row_local {
            return Err(Error::Unsupported {
                what: format!("ranking {:?} within each row", self.kind),
                instead: "take the scope `Tensor` or `All`, or the pattern `single` or `block`".into(),
            });
        }
        Ok(Grid { pooling: self.pooling, ..if self.same_padding { grid.with_same_padding() } else { grid } })
    }
}

/// A tensor as a matrix that is cut into equal blocks, the units; a row of blocks is a strip. Every pattern but n of m is
/// such a grid: a single weight is a block of 1 x 1, a channel one of "everything outside" x "everything inside".
#[derive(Clone, Copy, Debug)]
pub(super) struct Grid {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) block_rows: usize,
    pub(super) block_cols: usize,
    /// By how much the windows that are pooled begin before the blocks.
    pub(super) shift_rows: usize,
    pub(super) shift_cols: usize,
    pub(super) pooling: Pooling,
}

impl Grid {
    fn new(rows: usize, cols: usize, block_rows: usize, block_cols: usize) -> Self {
        Grid {
            rows,
            cols,
            // Cut to the matrix, so that no product of these can overflow.
            block_rows: block_rows.min(rows).max(1),
            block_cols: block_cols.min(cols).max(1),
            shift_rows: 0,
            shift_cols: 0,
            pooling: Pooling::Mean,
        }
    }

    fn with_same_padding(mut self) -> Self {
        self.shift_rows = (self.strips() * self.block_rows - self.rows) / 2;
        self.shift_cols = (self.units_per_strip() * self.block_cols - self.cols) / 2;
        self
    }

    /// Whether every unit is one weight.
    pub(super) fn is_single(&self) -> bool {
        self.block_rows == 1 && self.block_cols == 1
    }

    pub(super) fn strips(&self) -> usize {
        self.rows.div_ceil(self.block_rows)
    }

    pub(super) fn units_per_strip(&self) -> usize {
        self.cols.div_ceil(self.block_cols)
    }

    pub(super) fn units(&self) -> usize {
        self.strips() * self.units_per_strip()
    }

    /// The unit of the weight with row-major index `index`.
    pub(super) fn unit_of(&self, index: usize) -> usize {
        let (row, col) = (index / self.cols, index % self.cols);
        row / self.block_rows * self.units_per_strip() + col / self.block_cols
    }
}
