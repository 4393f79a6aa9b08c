//! Tiles of a result that stay in registers during summation.

use crate::vector::{MOST_LANES, Simd};
use std::ops::Range;

/// The start value of a result, to which the sum of products is added.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a> {
    Zero,
    /// This in every row.
    Bias(&'a [f32]),
    /// Its current values.
    Out,
}

impl Start<'_> {
    /// Restricted to these columns.
    pub(super) fn some(self, cols: Range<usize>) -> Self {
        match self {
            Self::Bias(bias) => Self::Bias(&bias[cols]),
            other => other,
        }
    }
}

/// A row-major result that several threads write concurrently, each a different part.
#[derive(Clone, Copy)]
pub(super) struct Out {
    first: *mut f32,
    row: usize,
}

// SAFETY: a pointer; the callers of `Panels::block` guarantee disjoint writes.
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

/// The left-hand side of a tile: row r, step k is at `first + r * row + k * step`.
#[derive(Clone, Copy)]
pub(super) struct Left {
    pub(super) first: *const f32,
    pub(super) row: usize,
    pub(super) step: usize,
}

/// A part of the result that stays in registers: `count` columns, which are those from `first` on of the bias.
pub(super) struct Tile<'a> {
    pub(super) a: Left,
    pub(super) steps: usize,
    pub(super) panel: *const f32,
    pub(super) out: Out,
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) start: Start<'a>,
}

impl Tile<'_> {
    /// # Safety
    /// `a` is readable for `rows` rows and `steps` steps, `panel` for `steps` rows of two registers, `start`'s bias and `out` have
    /// the columns.
    #[inline(always)]
    pub(super) unsafe fn of_height<S: Simd>(&self, s: S, rows: usize) {
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

    /// A tile of two registers' width directly; other widths via a copy.
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
