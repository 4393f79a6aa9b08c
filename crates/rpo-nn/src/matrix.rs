//! Matrix products on slices, by the `gemm` crate.

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

/// As [`product`], shared between threads in blocks of rows that depend on the shapes alone.
pub(crate) fn product_parallel(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, accumulate: bool) {
    let n = b.cols;
    let rows = block_rows(a.rows, n, a.cols);
    parallel::for_chunks(&mut out[..a.rows * n], rows * n, |i, out| {
        let count = out.len() / n;
        product(out, a.some_rows(i * rows, count), b, accumulate);
    });
}

/// Rows of a block: as many blocks (a power of two, at most 32) as leave each a million multiplications and 64 rows.
/// Every block packs all of `b` again, hence not fewer rows.
fn block_rows(m: usize, n: usize, k: usize) -> usize {
    let blocks = (m * n * k / 1_000_000).min(m / 64).clamp(1, 32);
    let blocks = 1 << blocks.ilog2();
    m.div_ceil(blocks).max(1)
}
