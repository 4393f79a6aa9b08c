//! Right-hand sides of products, arranged for the kernel.

use super::kernel::{Block, room};
use super::strided::Matrix;
use super::tile::{Out, Start};
use crate::parallel;
use crate::scratch;
use crate::vector::{Level, MOST_LANES, turn_block};
use std::ops::Range;

/// Rows of a column-major matrix that are arranged together, in the first-level cache.
const ROWS: usize = 64;

/// A `k` x `n` matrix in panels of [`Panels::width`] columns: panel p holds, row after row, the columns from p times the width on,
/// and zeros beyond the last one.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    level: Level,
    data: &'a [f32],
    k: usize,
    n: usize,
    /// From a panel to the next.
    stride: usize,
}

impl<'a> Panels<'a> {
    /// Columns of a panel on this machine.
    pub(crate) fn width() -> usize {
        Level::best().tile_lanes()
    }

    /// Already arranged panels, `stride` elements from one to the next.
    pub(crate) fn new(data: &'a [f32], k: usize, n: usize, stride: usize) -> Self {
        Self::at(Level::best(), data, k, n, stride)
    }

    /// The result of [`Panels::arrange`] for a `k` x `n` matrix.
    pub(crate) fn arranged(data: &'a [f32], k: usize, n: usize) -> Self {
        Self::new(data, k, n, k * Self::width())
    }

    /// As [`Panels::new`], for other instructions.
    pub(super) fn at(level: Level, data: &'a [f32], k: usize, n: usize, stride: usize) -> Self {
        let width = level.tile_lanes();
        let panels = n.div_ceil(width);
        assert!(
            panels == 0 || (panels - 1) * stride + k * width <= data.len(),
            "{panels} panels {stride} apart of {k} x {width} in {} elements",
            data.len()
        );
        Self {
            level,
            data,
            k,
            n,
            stride,
        }
    }

    /// `b` in panels one after the other, arranged by all threads.
    pub(crate) fn arrange(b: Matrix<'_>) -> Vec<f32> {
        let (width, k) = (Self::width(), b.rows);
        let mut data = parallel::fresh(b.cols.next_multiple_of(width) * k);
        let some = parallel::rows_per_task(k * width);
        parallel::for_chunks(&mut data, some * k * width, |i, out| {
            for (p, out) in (i * some..).zip(out.chunks_exact_mut((k * width).max(1))) {
                arrange_panel(b, p * width, width, out);
            }
        });
        data
    }

    /// Calls `f` with `b` in panels, arranged in this thread.
    pub(crate) fn with<T>(b: Matrix<'_>, f: impl FnOnce(Panels<'_>) -> T) -> T {
        Self::with_at(Level::best(), b, f)
    }

    /// As [`Panels::with`], for other instructions.
    pub(super) fn with_at<T>(level: Level, b: Matrix<'_>, f: impl FnOnce(Panels<'_>) -> T) -> T {
        let (width, k) = (level.tile_lanes(), b.rows);
        let panels = b.cols.div_ceil(width);
        scratch::with(panels * k * width, |data| {
            for (p, out) in data.chunks_exact_mut((k * width).max(1)).enumerate() {
                arrange_panel(b, p * width, width, out);
            }
            f(Panels::at(level, data, k, b.cols, k * width))
        })
    }

    /// Some of the columns, from a panel on.
    pub(crate) fn some(self, cols: Range<usize>) -> Self {
        let width = self.level.tile_lanes();
        assert!(cols.start.is_multiple_of(width) && cols.end <= self.n);
        Self {
            data: &self.data[(cols.start / width * self.stride).min(self.data.len())..],
            n: cols.len(),
            ..self
        }
    }

    pub(super) fn rows(self) -> usize {
        self.k
    }

    pub(super) fn cols(self) -> usize {
        self.n
    }

    /// out = `start` + a b in the caller's thread. `out` is row-major.
    pub(crate) fn product(self, out: &mut [f32], a: Matrix<'_>, start: Start<'_>) {
        assert!(
            out.len() >= a.rows * self.n,
            "a {} x {} product into {} elements",
            a.rows,
            self.n,
            out.len()
        );
        let all = 0..self.n;
        // SAFETY: `out` is borrowed exclusively and holds the whole result.
        unsafe { self.block(Out::new(out, self.n), a, 0..a.rows, all, start) }
    }

    /// The rectangle `rows` x `cols` of [`Panels::product`]; `cols` begins at a panel and ends at one or at the last column.
    ///
    /// # Safety
    /// `out` holds the rectangle, and nobody else reads or writes it.
    pub(super) unsafe fn block(
        self,
        out: Out,
        a: Matrix<'_>,
        rows: Range<usize>,
        cols: Range<usize>,
        start: Start<'_>,
    ) {
        let width = self.level.tile_lanes();
        assert_eq!(a.cols, self.k, "inner dimensions of a product");
        assert!(rows.end <= a.rows && cols.end <= self.n && cols.start.is_multiple_of(width));
        assert!(cols.end == self.n || cols.end.is_multiple_of(width));
        if let Start::Bias(bias) = start {
            assert_eq!(bias.len(), self.n, "one bias a column");
        }
        let a = a.some_rows(rows.start, rows.len());
        scratch::with(room(a), |copy| {
            self.level.run(Block {
                a,
                panels: self.data,
                stride: self.stride,
                out: out.at(rows.start, 0),
                cols,
                start,
                copy,
            });
        });
    }
}

/// out = `start` + a b in the caller's thread. `out` is row-major.
pub(crate) fn product(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, start: Start<'_>) {
    Panels::with(b, |b| b.product(out, a, start));
}

/// Writes `width` columns of `b` from `first` on, row after row, with zeros beyond the last column.
pub(super) fn arrange_panel(b: Matrix<'_>, first: usize, width: usize, out: &mut [f32]) {
    let count = width.min(b.cols - first);
    if count < width {
        out.fill(0.0);
    }
    if b.col_stride == 1 {
        if count == width && width == MOST_LANES {
            // A copy of known size is a few moves.
            for (r, out) in out.as_chunks_mut::<MOST_LANES>().0.iter_mut().enumerate() {
                out.copy_from_slice(&b.data[r * b.row_stride + first..][..MOST_LANES]);
            }
            return;
        }
        for (r, out) in out.chunks_exact_mut(width).enumerate() {
            out[..count].copy_from_slice(&b.data[r * b.row_stride + first..][..count]);
        }
        return;
    }
    for (block, out) in out.chunks_mut(ROWS * width).enumerate() {
        let rows = out.len() / width;
        let column = |c: usize| &b.data[(first + c) * b.col_stride + block * ROWS * b.row_stride..];
        let (mut c, four) = (0, rows / 4 * 4);
        while b.row_stride == 1 && c + 4 <= count {
            let from = [0, 1, 2, 3].map(|i| column(c + i)[..rows].as_ptr());
            for r in (0..four).step_by(4) {
                let to = out[r * width + c..][..3 * width + 4].as_mut_ptr();
                // SAFETY: r + 4 <= rows, the columns have so many, and the slice holds four elements in each of four rows.
                unsafe {
                    let to = [0, 1, 2, 3].map(|i| to.add(i * width));
                    turn_block::<false>(from.map(|column| column.add(r)), [1.0; 4], to);
                }
            }
            for c in c..c + 4 {
                for r in four..rows {
                    out[r * width + c] = column(c)[r];
                }
            }
            c += 4;
        }
        for c in c..count {
            for r in 0..rows {
                out[r * width + c] = column(c)[r * b.row_stride];
            }
        }
    }
}
