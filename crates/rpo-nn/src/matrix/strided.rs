//! Slices as matrices.

/// A view of a slice as a matrix with arbitrary non-negative strides.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(super) data: &'a [f32],
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, rows one after the other.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Row-major, `row_stride` elements from a row to the next.
    pub(crate) fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(
            rows == 0 || cols == 0 || (rows - 1) * row_stride + cols <= data.len(),
            "a {rows} x {cols} matrix of row stride {row_stride} in {} elements",
            data.len()
        );
        Self {
            data,
            rows,
            cols,
            row_stride,
            col_stride: 1,
        }
    }

    /// The transpose: the same elements, strides exchanged.
    pub(crate) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    pub(crate) fn rows(self) -> usize {
        self.rows
    }

    /// The rows `from..from + rows`.
    pub(crate) fn some_rows(self, from: usize, rows: usize) -> Self {
        assert!(from + rows <= self.rows);
        Self {
            data: &self.data[(from * self.row_stride).min(self.data.len())..],
            rows,
            ..self
        }
    }
}
