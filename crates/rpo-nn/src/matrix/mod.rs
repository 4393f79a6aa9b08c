//! Matrix products.
//!
//! The right-hand side is arranged in panels of as many columns as two registers hold ([`Panels`]); the left-hand side is read
//! where it lies. Every element of a result is one sum in the order of the inner dimension, however the work is shared: it
//! depends neither on the number of rows nor on the other columns. [`product_long`] alone may cut that sum.

mod kernel;
mod panels;
mod share;
#[cfg(test)]
mod tests;
mod tile;

pub(crate) use panels::Panels;
pub(crate) use share::{
    FEW_ROWS, is_arranged_once, keep, product_keeping, product_long, product_new, product_parallel,
};
pub(crate) use tile::Start;

/// A view of a slice as a matrix with arbitrary non-negative strides.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
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

/// out = `start` + a b in the caller's thread. `out` is row-major.
pub(crate) fn product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, start: Start<'_>) {
    Panels::with(b, |b| b.product(out, a, start));
}
