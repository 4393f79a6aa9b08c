//! Products shared between threads: how they are split depends on the sizes alone, and affects only the time, except where the
//! inner dimension is split.

use super::kernel;
use super::panels::{Panels, product};
use super::strided::Matrix;
use super::tile::{Out, Start};
use crate::kept::Kept;
use crate::parallel;
use crate::rows::add_to;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Arc;

/// Multiplications that pay for a task.
const TASK: usize = 1_000_000;
/// Minimum rows per task, so that panels in the cache are used often.
const ROWS: usize = 48;
/// Maximum number of tasks.
const TASKS: usize = 32;
/// Up to this many rows, each task arranges its own panels if the right-hand side has at least [`LARGE`] elements.
pub(crate) const FEW_ROWS: usize = 512;
/// Elements from which an uncached right-hand side is better not written to memory a second time.
const LARGE: usize = 256 * 1024;

/// a b.
pub(crate) fn product_new(a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    let mut out = parallel::fresh(a.rows * b.cols);
    product_parallel(&mut out, a, b, Start::Zero);
    out
}

/// a b, plus `bias` in every row; the panels of `b` are cached in `kept` if it caches and they are not many.
pub(crate) fn product_keeping(
    a: Matrix<'_>,
    b: Matrix<'_>,
    bias: Option<&[f32]>,
    kept: &Kept,
) -> Vec<f32> {
    let mut out = parallel::fresh(a.rows * b.cols);
    let start = bias.map_or(Start::Zero, Start::Bias);
    if kept.is_place() && is_small(b) {
        let panels = keep(b, kept);
        Panels::arranged(&panels, b.rows, b.cols).product_parallel(&mut out, a, start);
    } else {
        product_parallel(&mut out, a, b, start);
    }
    out
}

/// The panels of `b`, cached if they are not many.
pub(crate) fn keep(b: Matrix<'_>, kept: &Kept) -> Arc<Vec<f32>> {
    kept.get(is_small(b), || Panels::arrange(b))
}

fn is_small(b: Matrix<'_>) -> bool {
    b.rows * b.cols <= LARGE
}

/// a b for a long inner dimension, which may be split into parts: the gradient of a weight.
pub(crate) fn product_long(a: Matrix<'_>, b: Matrix<'_>) -> Vec<f32> {
    match inner_parts(a.rows, b.cols, a.cols) {
        1 => product_new(a, b),
        parts => sum_of_parts(a, b, parts),
    }
}

/// Whether `b` is best arranged in panels as a whole for `m` rows; else each task arranges its own.
pub(crate) fn is_arranged_once(m: usize, b: Matrix<'_>) -> bool {
    m > FEW_ROWS || is_small(b) || b.cols < 8 * Panels::width()
}

/// out = `start` + a b. `out` is row-major.
pub(crate) fn product_parallel(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, start: Start<'_>) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    if is_arranged_once(m, b) {
        return Panels::arranged(&Panels::arrange(b), k, n).product_parallel(out, a, start);
    }
    assert!(out.len() >= m * n, "a {m} x {n} product into {}", out.len());
    // Every task reads all rows: they are rearranged once.
    let apart = kernel::far(a).then(|| rows_apart(a));
    let a = match &apart {
        Some(copy) => Matrix::strided(copy, m, k, copy.len() / m),
        None => a,
    };
    let out = Out::new(out, n);
    let width = Panels::width();
    (0..n.div_ceil(width)).into_par_iter().for_each(|p| {
        let cols = p * width..((p + 1) * width).min(n);
        let some = b.t().some_rows(cols.start, cols.len()).t();
        Panels::with(some, |some| {
            // SAFETY: the columns of this task alone.
            unsafe {
                some.block(
                    out.at(0, cols.start),
                    a,
                    0..m,
                    0..cols.len(),
                    start.some(cols),
                )
            }
        });
    });
}

/// The rows of `a` with padding, so that they do not all map to the same cache set.
fn rows_apart(a: Matrix<'_>) -> Vec<f32> {
    let k = a.cols;
    let stride = k.next_multiple_of(32) + 16;
    let some = parallel::rows_per_task(stride);
    parallel::build(a.rows * stride, some * stride, |i, out| {
        for (r, out) in (i * some..).zip(out.chunks_exact_mut(stride)) {
            let from = &a.data[r * a.row_stride..];
            if a.col_stride == 1 {
                out[..k].copy_from_slice(&from[..k]);
            } else {
                for (c, out) in out[..k].iter_mut().enumerate() {
                    *out = from[c * a.col_stride];
                }
            }
        }
    })
}

impl Panels<'_> {
    /// As [`Panels::product`], shared between threads.
    pub(crate) fn product_parallel(self, out: &mut [f32], a: Matrix<'_>, start: Start<'_>) {
        let (m, n, k) = (a.rows, self.cols(), self.rows());
        let [down, across] = grid(m, n, k);
        if down * across == 1 {
            return self.product(out, a, start);
        }
        assert!(out.len() >= m * n, "a {m} x {n} product into {}", out.len());
        let out = Out::new(out, n);
        (0..down * across).into_par_iter().for_each(|task| {
            let rows = part(m, down, task / across);
            let panels = part(n.div_ceil(Self::width()), across, task % across);
            let cols = panels.start * Self::width()..(panels.end * Self::width()).min(n);
            // SAFETY: the rectangles of the tasks are disjoint.
            unsafe { self.block(out, a, rows, cols, start) }
        });
    }
}

/// Part i of `n` split into `count`.
fn part(n: usize, count: usize, i: usize) -> Range<usize> {
    i * n / count..(i + 1) * n / count
}

/// Number of blocks of rows and of panels of a product.
fn grid(m: usize, n: usize, k: usize) -> [usize; 2] {
    let tasks = (m * n * k / TASK).clamp(1, TASKS);
    let down = tasks.min(m / ROWS).max(1);
    let across = (tasks / down).clamp(1, n.div_ceil(Panels::width()).max(1));
    [down, across]
}

/// Number of parts of the inner dimension. A product of few rows and columns with a long inner dimension (the gradient of a
/// weight) cannot be shared otherwise.
fn inner_parts(m: usize, n: usize, k: usize) -> usize {
    let [down, across] = grid(m, n, k);
    if down * across >= 4 {
        return 1;
    }
    (m * n * k / 2_000_000).min(k / 256).clamp(1, 8)
}

/// Products of parts of the inner dimension, summed in order.
fn sum_of_parts(a: Matrix<'_>, b: Matrix<'_>, parts: usize) -> Vec<f32> {
    let (size, depth) = (a.rows * b.cols, a.cols.div_ceil(parts));
    let mut all = parallel::build(parts * size, size, |i, out| {
        let from = (i * depth).min(a.cols);
        let depth = depth.min(a.cols - from);
        let a = a.t().some_rows(from, depth).t();
        product(out, a, b.some_rows(from, depth), Start::Zero);
    });
    let (total, rest) = all.split_at_mut(size);
    for part in rest.chunks_exact(size) {
        add_to(total, part);
    }
    all.truncate(size);
    all.shrink_to_fit();
    all
}
