//! The product of a block of rows and some panels, by tiles of the result that stay in registers.

use super::Matrix;
use crate::vector::{Kernel, MOST_LANES, Simd};
use std::ops::Range;

/// Most steps of the inner dimension that are summed up before they are added to the result: longer sums round worse, shorter ones
/// visit it more often.
const DEPTH: usize = 512;
/// Rows of the left-hand side that meet one panel after the other.
const ROWS: usize = 96;
/// Rows this many elements apart fall on the same sets of the first-level cache.
const ALIASED: usize = 1024;

/// What a result is before the products are added. They are summed up among themselves first, at most [`DEPTH`] of them: a long
/// sum in parts is more exact.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    Zero,
    /// This in every row.
    Bias(&'a [f32]),
    /// What it holds.
    Out,
}

impl Start<'_> {
    /// Of these columns alone.
    pub(super) fn some(self, cols: Range<usize>) -> Self {
        match self {
            Self::Bias(bias) => Self::Bias(&bias[cols]),
            other => other,
        }
    }
}

/// A row-major result that several threads write at once, each another part.
#[derive(Clone, Copy)]
pub(super) struct Out {
    first: *mut f32,
    row: usize,
}

// SAFETY: a pointer; who writes where is the promise of `Panels::block`'s callers.
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

impl Out {
    /// `row` elements from a row to the next.
    pub(super) fn new(out: &mut [f32], row: usize) -> Self {
        Self {
            first: out.as_mut_ptr(),
            row,
        }
    }

    /// The result from row `r` and column `c` on.
    pub(super) fn at(self, r: usize, c: usize) -> Self {
        Self {
            first: self.first.wrapping_add(r * self.row + c),
            ..self
        }
    }
}

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

/// Whether the rows are better copied before they are used.
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
        // At least one visit: with no inner dimension the result is what it starts from.
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
        if let Some(from) = a.data[first + k * a.col_stride..].first_chunk() {
            *out = *from;
        }
    }
}

/// The left-hand side of a tile: row r, step k is at `first + r * row + k * step`.
#[derive(Clone, Copy)]
struct Left {
    first: *const f32,
    row: usize,
    step: usize,
}

/// A part of the result that stays in registers: `count` columns, which are those from `first` on of the bias.
struct Tile<'a> {
    a: Left,
    steps: usize,
    panel: *const f32,
    out: Out,
    first: usize,
    count: usize,
    start: Start<'a>,
}

impl Tile<'_> {
    /// # Safety
    /// `a` is readable for `rows` rows and `steps` steps, `panel` for `steps` rows of two registers, `start`'s bias and `out` have
    /// the columns.
    #[inline(always)]
    unsafe fn of_height<S: Simd>(&self, s: S, rows: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match rows {
                1 => self.of_width::<S, 1>(s),
                2 => self.of_width::<S, 2>(s),
                3 => self.of_width::<S, 3>(s),
                4 => self.of_width::<S, 4>(s),
                5 => self.of_width::<S, 5>(s),
                6 => self.of_width::<S, 6>(s),
                7 => self.of_width::<S, 7>(s),
                8 => self.of_width::<S, 8>(s),
                9 => self.of_width::<S, 9>(s),
                10 => self.of_width::<S, 10>(s),
                11 => self.of_width::<S, 11>(s),
                12 => self.of_width::<S, 12>(s),
                more => unreachable!("{more} rows of a tile"),
            }
        }
    }

    /// A tile of two registers' width at once; of another one by way of a copy.
    ///
    /// # Safety
    /// As [`Tile::of_height`].
    #[inline(always)]
    unsafe fn of_width<S: Simd, const R: usize>(&self, s: S) {
        // SAFETY: the caller's promise; the copies have room for two registers.
        unsafe {
            let Out { first: out, row } = self.out;
            if self.count == 2 * S::LANES {
                let bias = match self.start {
                    Start::Bias(bias) => bias[self.first..].as_ptr(),
                    _ => std::ptr::null(),
                };
                return self.sum::<S, R, 2>(s, bias, out, row);
            }
            let mut bias = [0f32; MOST_LANES];
            if let Start::Bias(from) = self.start {
                bias[..self.count].copy_from_slice(&from[self.first..][..self.count]);
            }
            let mut copy = [[0f32; MOST_LANES]; R];
            if let Start::Out = self.start {
                for (r, copy) in copy.iter_mut().enumerate() {
                    let from = out.add(r * row);
                    from.copy_to_nonoverlapping(copy.as_mut_ptr(), self.count);
                }
            }
            let to = copy.as_mut_ptr().cast();
            if self.count <= S::LANES {
                self.sum::<S, R, 1>(s, bias.as_ptr(), to, MOST_LANES);
            } else {
                self.sum::<S, R, 2>(s, bias.as_ptr(), to, MOST_LANES);
            }
            for (r, copy) in copy.iter().enumerate() {
                let to = out.add(r * row);
                copy.as_ptr().copy_to_nonoverlapping(to, self.count);
            }
        }
    }

    /// `R` rows of `N` registers of `out`, `row` elements from one to the next.
    ///
    /// # Safety
    /// As [`Tile::of_height`]; `bias` is readable if the tile starts from it.
    #[inline(always)]
    unsafe fn sum<S: Simd, const R: usize, const N: usize>(
        &self,
        s: S,
        bias: *const f32,
        out: *mut f32,
        row: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[s.splat(0.0); N]; R];
            let Left {
                first: mut a,
                row: a_row,
                step,
            } = self.a;
            let mut panel = self.panel;
            for _ in 0..self.steps {
                let mut lanes = [s.splat(0.0); N];
                for (v, lanes) in lanes.iter_mut().enumerate() {
                    *lanes = s.load(panel.add(v * S::LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = s.splat(*a.add(r * a_row));
                    for (sum, lanes) in sums.iter_mut().zip(lanes) {
                        *sum = s.mul_add(a, lanes, *sum);
                    }
                }
                a = a.wrapping_add(step);
                panel = panel.wrapping_add(2 * S::LANES);
            }
            for (r, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    let out = out.add(r * row + v * S::LANES);
                    let sum = match self.start {
                        Start::Zero => sum,
                        Start::Bias(_) => s.add(sum, s.load(bias.add(v * S::LANES))),
                        Start::Out => s.add(sum, s.load(out)),
                    };
                    s.store(out, sum);
                }
            }
        }
    }
}
