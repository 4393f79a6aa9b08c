//! Products of dense tiles whose sums stay in registers.
//!
//! The right-hand side and the result are rows of `N` registers, one row after the other; the left-hand side is read element by
//! element in place. Lanes are queries (then neither scores nor their softmax need a sum across a register) or channels.

use crate::vector::{Kernel, Simd};

/// A matrix read element by element: row r, column c is at `r * stride + c`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    data: &'a [f32],
    stride: usize,
    rows: usize,
    cols: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(data: &'a [f32], stride: usize, rows: usize, cols: usize) -> Self {
        assert!(
            rows == 0 || cols <= stride && (rows - 1) * stride + cols <= data.len(),
            "{rows} rows of {cols}, {stride} apart, in {} elements",
            data.len()
        );
        Self {
            data,
            stride,
            rows,
            cols,
        }
    }

    /// `rows` rows from `first` on.
    pub(super) fn some(self, first: usize, rows: usize) -> Self {
        assert!(first + rows <= self.rows);
        Self {
            data: &self.data[(first * self.stride).min(self.data.len())..],
            rows,
            ..self
        }
    }

    pub(super) fn len(self) -> usize {
        self.rows
    }

    pub(super) fn width(self) -> usize {
        self.cols
    }

    /// Prefetches all rows into the cache: the processor does not predict rows that are far apart.
    pub(super) fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        for r in 0..self.rows {
            let row = self.row(r);
            for line in row.iter().step_by(16).chain(row.last()) {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                // SAFETY: a hint, to an address within the data.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(line).cast()) };
            }
        }
    }

    /// Row r.
    pub(super) fn row(self, r: usize) -> &'a [f32] {
        &self.data[r * self.stride..][..self.cols]
    }
}

/// out = a b, or out += a b with `add`. With `TURNED` the same of a^T.
pub(super) struct Product<'a, const N: usize, const TURNED: bool> {
    pub(super) a: Rows<'a>,
    pub(super) b: &'a [f32],
    pub(super) out: &'a mut [f32],
    pub(super) add: bool,
}

impl<const N: usize, const TURNED: bool> Kernel for Product<'_, N, TURNED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Rows { rows, cols, .. } = self.a;
        let (rows, depth) = if TURNED { (cols, rows) } else { (rows, cols) };
        let width = N * S::LANES;
        assert!(self.b.len() >= depth * width && self.out.len() >= rows * width);
        // Tiles of nearly the same height.
        let most = if N == 1 { 12 } else { S::PAIRS };
        let count = rows.div_ceil(most);
        for i in 0..count {
            let (from, end) = (i * rows / count, (i + 1) * rows / count);
            // SAFETY: rows `from..end` of a (its columns, if `TURNED`) lie in a's data by the invariant of `Rows`; the assertion
            // above holds all elements of `b` and `out`.
            unsafe {
                match end - from {
                    1 => self.tile::<S, 1>(s, from, depth),
                    2 => self.tile::<S, 2>(s, from, depth),
                    3 => self.tile::<S, 3>(s, from, depth),
                    4 => self.tile::<S, 4>(s, from, depth),
                    5 => self.tile::<S, 5>(s, from, depth),
                    6 => self.tile::<S, 6>(s, from, depth),
                    7 => self.tile::<S, 7>(s, from, depth),
                    8 => self.tile::<S, 8>(s, from, depth),
                    9 => self.tile::<S, 9>(s, from, depth),
                    10 => self.tile::<S, 10>(s, from, depth),
                    11 => self.tile::<S, 11>(s, from, depth),
                    12 => self.tile::<S, 12>(s, from, depth),
                    more => unreachable!("{more} rows of a tile"),
                }
            }
        }
    }
}

impl<const N: usize, const TURNED: bool> Product<'_, N, TURNED> {
    /// Rows `from..from + R` of the result.
    ///
    /// # Safety
    /// These rows exist in `a` and `out`, and `b` has `depth` rows of N registers.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize>(&mut self, s: S, from: usize, depth: usize) {
        let (row, step) = if TURNED {
            (1, self.a.stride)
        } else {
            (self.a.stride, 1)
        };
        // SAFETY: the caller's promise.
        unsafe {
            let mut a = self.a.data.as_ptr().add(from * row);
            let mut b = self.b.as_ptr();
            let out = self.out.as_mut_ptr().add(from * N * S::LANES);
            let mut sums = [[s.splat(0.0); N]; R];
            if self.add {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = s.load(out.add((r * N + v) * S::LANES));
                    }
                }
            }
            for _ in 0..depth {
                let mut lanes = [s.splat(0.0); N];
                for (v, lanes) in lanes.iter_mut().enumerate() {
                    *lanes = s.load(b.add(v * S::LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let a = s.splat(*a.add(r * row));
                    for (sum, lanes) in sums.iter_mut().zip(lanes) {
                        *sum = s.mul_add(a, lanes, *sum);
                    }
                }
                a = a.wrapping_add(step);
                b = b.add(N * S::LANES);
            }
            for (r, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate() {
                    s.store(out.add((r * N + v) * S::LANES), sum);
                }
            }
        }
    }
}
