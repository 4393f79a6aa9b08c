//! The product of a block of rows and some panels, tile by tile.

use super::strided::Matrix;
use super::tile::{Left, Out, Start, Tile};
use crate::vector::{Kernel, Simd};
use std::ops::Range;

/// Maximum steps of the inner dimension that are summed before they are added to the result: longer sums round worse and their
/// panels leave the first-level cache (AVX2), shorter ones access the result more often.
const DEPTH: usize = 256;
/// Rows of the left-hand side that are multiplied with one panel after the other.
const ROWS: usize = 96;
/// Rows this many elements apart map to the same sets of the first-level cache.
const ALIASED: usize = 1024;

/// `cols` of `start` + a b. To be run only where [`super::Panels::block`] has checked the sizes.
pub(super) struct Block<'a> {
    pub(super) a: Matrix<'a>,
    pub(super) panels: &'a [f32],
    pub(super) stride: usize,
    pub(super) out: Out,
    pub(super) cols: Range<usize>,
    pub(super) start: Start<'a>,
    /// Room for [`room`] elements.
    pub(super) copy: &'a mut [f32],
}

/// Whether copying the rows before use is faster.
pub(super) fn far(a: Matrix<'_>) -> bool {
    a.col_stride != 1 || a.rows > 4 && a.row_stride.is_multiple_of(ALIASED)
}

/// Elements of a copy of the rows that are used together.
pub(super) fn room(a: Matrix<'_>) -> usize {
    if far(a) {
        a.rows.min(ROWS) * a.cols.min(DEPTH)
    } else {
        0
    }
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (m, k) = (self.a.rows, self.a.cols);
        // At least one visit: without an inner dimension the result is its start.
        let visits = k.div_ceil(DEPTH).max(1);
        for (m0, m1) in parts(m, m.div_ceil(ROWS)) {
            for (visit, (k0, k1)) in parts(k, visits).enumerate() {
                let start = if visit == 0 { self.start } else { Start::Out };
                let a = self.a.some_rows(m0, m1 - m0);
                self.visit(s, a, m0, k0..k1, start);
            }
        }
    }
}

impl Block<'_> {
    /// Adds the products of the steps `depth` to the rows of `a`, which begin at row `m0`.
    #[inline(always)]
    fn visit<S: Simd>(
        &mut self,
        s: S,
        a: Matrix<'_>,
        m0: usize,
        depth: Range<usize>,
        start: Start<'_>,
    ) {
        let (steps, width) = (depth.len(), 2 * S::LANES);
        let tiles = a.rows.div_ceil(S::PAIRS);
        let far = far(a);
        if far {
            for (r0, r1) in parts(a.rows, tiles) {
                gather(a, r0..r1, &depth, &mut self.copy[r0 * steps..r1 * steps]);
            }
        }
        for first in self.cols.clone().step_by(width) {
            let panel = &self.panels[first / width * self.stride + depth.start * width..];
            for (r0, r1) in parts(a.rows, tiles) {
                let left = if far {
                    let copy = &self.copy[r0 * steps..r1 * steps];
                    Left {
                        first: copy.as_ptr(),
                        row: 1,
                        step: r1 - r0,
                    }
                } else {
                    let data = &a.data[(r0 * a.row_stride + depth.start).min(a.data.len())..];
                    Left {
                        first: data.as_ptr(),
                        row: a.row_stride,
                        step: 1,
                    }
                };
                let tile = Tile {
                    a: left,
                    steps,
                    panel: panel[..steps * width].as_ptr(),
                    out: self.out.at(m0 + r0, first),
                    first,
                    count: (self.cols.end - first).min(width),
                    start,
                };
                // SAFETY: `left` has these rows and steps (of the copy or of the matrix), the slice above is the panel, and
                // `Panels::block` has checked that `start` has the columns, and was promised the result.
                unsafe { tile.of_height(s, r1 - r0) };
            }
        }
    }
}

/// `n` cut into `count` nearly equal parts.
#[inline(always)]
fn parts(n: usize, count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count).map(move |i| (i * n / count, (i + 1) * n / count))
}

/// The rows `rows` of `a`, step after step.
#[inline(always)]
fn gather(a: Matrix<'_>, rows: Range<usize>, depth: &Range<usize>, out: &mut [f32]) {
    match rows.len() {
        // The usual heights: a copy of known size is a few moves.
        12 if a.row_stride == 1 => gather_columns::<12>(a, rows.start, depth, out),
        11 if a.row_stride == 1 => gather_columns::<11>(a, rows.start, depth, out),
        10 if a.row_stride == 1 => gather_columns::<10>(a, rows.start, depth, out),
        8 if a.row_stride == 1 => gather_columns::<8>(a, rows.start, depth, out),
        6 if a.row_stride == 1 => gather_columns::<6>(a, rows.start, depth, out),
        height => {
            for (k, out) in depth.clone().zip(out.chunks_exact_mut(height)) {
                let from = &a.data[rows.start * a.row_stride + k * a.col_stride..];
                for (r, out) in out.iter_mut().enumerate() {
                    *out = from[r * a.row_stride];
                }
            }
        }
    }
}

#[inline(always)]
fn gather_columns<const R: usize>(
    a: Matrix<'_>,
    first: usize,
    depth: &Range<usize>,
    out: &mut [f32],
) {
    for (k, out) in depth.clone().zip(out.as_chunks_mut::<R>().0) {
        out.copy_from_slice(&a.data[first + k * a.col_stride..][..R]);
    }
}
