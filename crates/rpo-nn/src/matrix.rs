//! Matrix products on slices, by the `gemm` crate.

use crate::ops::rows::{add_to, fill_rows};
use crate::parallel;

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

    /// The rows `from..from + rows`.
    fn some_rows(self, from: usize, rows: usize) -> Self {
        assert!(from + rows <= self.rows);
        Self {
            data: &self.data[(from * self.row_stride).min(self.data.len())..],
            rows,
            ..self
        }
    }
}

/// out = a b, or out += a b with `accumulate`, in the caller's thread. `out` is row-major.
pub(crate) fn product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner dimensions of a product");
    assert!(
        out.len() >= m * n,
        "a {m} x {n} product into {} elements",
        out.len()
    );
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !accumulate {
            out[..m * n].fill(0.0);
        }
        return;
    }
    // SAFETY: `Matrix` guarantees that every element (row, column) of `a` and `b` lies in its slice (checked in `strided`, kept
    // by `t` and `some_rows`), `out` holds m * n elements and is borrowed exclusively.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// a b, plus `bias` in every row, shared between threads in blocks of rows that depend on the shapes alone.
pub(crate) fn product_new(a: Matrix<'_>, b: Matrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    let parts = inner_parts(m, n, k);
    if parts > 1 && bias.is_none() {
        return sum_of_parts(a, b, parts);
    }
    let rows = block_rows(m, n, k);
    parallel::build(m * n, rows * n, |i, out| {
        if let Some(bias) = bias {
            fill_rows(out, bias);
        }
        let count = out.len() / n;
        product(out, a.some_rows(i * rows, count), b, bias.is_some());
    })
}

/// How many parts the inner dimension is cut into. A product of few rows and columns and a long inner dimension (the gradient of
/// a weight) has no other way to be shared.
fn inner_parts(m: usize, n: usize, k: usize) -> usize {
    if block_rows(m, n, k) * 4 <= m {
        return 1;
    }
    (m * n * k / 2_000_000).min(k / 256).clamp(1, 8)
}

/// Products of parts of the inner dimension, added up in their order.
fn sum_of_parts(a: Matrix<'_>, b: Matrix<'_>, parts: usize) -> Vec<f32> {
    let (size, depth) = (a.rows * b.cols, a.cols.div_ceil(parts));
    let mut all = parallel::build(parts * size, size, |i, out| {
        let from = (i * depth).min(a.cols);
        let depth = depth.min(a.cols - from);
        let a = a.t().some_rows(from, depth).t();
        product(out, a, b.some_rows(from, depth), false);
    });
    let (total, rest) = all.split_at_mut(size);
    for part in rest.chunks_exact(size) {
        add_to(total, part);
    }
    all.truncate(size);
    all.shrink_to_fit();
    all
}

/// As [`product`], shared between threads in blocks of rows that depend on the shapes alone.
pub(crate) fn product_parallel(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
    let n = b.cols;
    let rows = block_rows(a.rows, n, a.cols);
    parallel::for_chunks(&mut out[..a.rows * n], rows * n, |i, out| {
        let count = out.len() / n;
        product(out, a.some_rows(i * rows, count), b, accumulate);
    });
}

/// Rows of a block: as many blocks (a power of two, at most 32) as leave each a million multiplications and 128 rows.
/// Every block packs all of `b` again, hence not fewer rows.
fn block_rows(m: usize, n: usize, k: usize) -> usize {
    let blocks = (m * n * k / 1_000_000).min(m / 128).clamp(1, 32);
    let blocks = 1 << blocks.ilog2();
    m.div_ceil(blocks).max(1)
}
