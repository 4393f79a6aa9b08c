//! Softmax along the rows of tiles of scores: lanes are queries, rows are keys, so nothing is summed across a register.
//!
//! Scores are in units of ln 2: weights are powers of 2.

use crate::vector::{Kernel, Simd};

/// Below every possible score, yet finite: rows with only minus infinity must not become NaN.
pub(super) const LOWEST: f32 = -1e30;

/// Replaces scores (rows of N registers) by 2^(score - max), updates the running `max` and `total` of every lane, and
/// rescales `result` (rows of as many lanes) where a maximum has grown. A NaN score makes its lane's total NaN.
pub(super) struct Advance<'a, const N: usize> {
    pub(super) scores: &'a mut [f32],
    pub(super) max: &'a mut [f32],
    pub(super) total: &'a mut [f32],
    pub(super) result: &'a mut [f32],
}

impl<const N: usize> Kernel for Advance<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = N * S::LANES;
        assert!(self.max.len() >= width && self.total.len() >= width);
        // SAFETY: all rows are exact chunks of N registers, `max` and `total` hold at least as much.
        unsafe {
            let old = load::<S, N>(s, self.max.as_ptr());
            let mut max = old;
            for row in self.scores.chunks_exact(width) {
                let row = load::<S, N>(s, row.as_ptr());
                for v in 0..N {
                    max[v] = s.max(row[v], max[v]);
                }
            }
            let mut total = load::<S, N>(s, self.total.as_ptr());
            let grown = (0..N).any(|v| !s.equal(old[v], max[v]));
            if grown {
                let mut factors = old;
                for v in 0..N {
                    factors[v] = s.exp2(s.sub(old[v], max[v]));
                    total[v] = s.mul(total[v], factors[v]);
                }
                for row in self.result.chunks_exact_mut(width) {
                    let mut values = load::<S, N>(s, row.as_ptr());
                    for v in 0..N {
                        values[v] = s.mul(values[v], factors[v]);
                    }
                    store::<S, N>(s, row.as_mut_ptr(), values);
                }
                store::<S, N>(s, self.max.as_mut_ptr(), max);
            }
            for row in self.scores.chunks_exact_mut(width) {
                let mut weights = load::<S, N>(s, row.as_ptr());
                for v in 0..N {
                    weights[v] = s.exp2(s.sub(weights[v], max[v]));
                    total[v] = s.add(total[v], weights[v]);
                }
                store::<S, N>(s, row.as_mut_ptr(), weights);
            }
            store::<S, N>(s, self.total.as_mut_ptr(), total);
        }
    }
}

/// Replaces scores by the weights p = 2^(score - max), and `slopes` by p (slope - delta).
pub(super) struct Slopes<'a, const N: usize> {
    pub(super) scores: &'a mut [f32],
    pub(super) slopes: &'a mut [f32],
    pub(super) max: &'a [f32],
    pub(super) deltas: &'a [f32],
}

impl<const N: usize> Kernel for Slopes<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = N * S::LANES;
        assert!(self.max.len() >= width && self.deltas.len() >= width);
        let rows = self.scores.chunks_exact_mut(width);
        // SAFETY: all rows are exact chunks of N registers, `max` and `deltas` hold at least as much.
        unsafe {
            let max = load::<S, N>(s, self.max.as_ptr());
            let deltas = load::<S, N>(s, self.deltas.as_ptr());
            for (scores, slopes) in rows.zip(self.slopes.chunks_exact_mut(width)) {
                let mut p = load::<S, N>(s, scores.as_ptr());
                let mut ds = load::<S, N>(s, slopes.as_ptr());
                for v in 0..N {
                    p[v] = s.exp2(s.sub(p[v], max[v]));
                    ds[v] = s.mul(p[v], s.sub(ds[v], deltas[v]));
                }
                store::<S, N>(s, scores.as_mut_ptr(), p);
                store::<S, N>(s, slopes.as_mut_ptr(), ds);
            }
        }
    }
}

/// The sum of `out` times `grad` (rows of N registers) in every lane.
pub(super) struct Deltas<'a, const N: usize> {
    pub(super) out: &'a [f32],
    pub(super) grad: &'a [f32],
    pub(super) deltas: &'a mut [f32],
}

impl<const N: usize> Kernel for Deltas<'_, N> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = N * S::LANES;
        assert!(self.deltas.len() >= width);
        let rows = self.out.chunks_exact(width);
        // SAFETY: all rows are exact chunks of N registers, `deltas` holds at least as much.
        unsafe {
            let mut sums = [s.splat(0.0); N];
            for (out, grad) in rows.zip(self.grad.chunks_exact(width)) {
                let (out, grad) = (
                    load::<S, N>(s, out.as_ptr()),
                    load::<S, N>(s, grad.as_ptr()),
                );
                for v in 0..N {
                    sums[v] = s.mul_add(out[v], grad[v], sums[v]);
                }
            }
            store::<S, N>(s, self.deltas.as_mut_ptr(), sums);
        }
    }
}

/// # Safety
/// N registers are readable from `from` on.
#[inline(always)]
unsafe fn load<S: Simd, const N: usize>(s: S, from: *const f32) -> [S::V; N] {
    let mut values = [s.splat(0.0); N];
    for (v, value) in values.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *value = unsafe { s.load(from.add(v * S::LANES)) };
    }
    values
}

/// # Safety
/// N registers are writable from `to` on.
#[inline(always)]
unsafe fn store<S: Simd, const N: usize>(s: S, to: *mut f32, values: [S::V; N]) {
    for (v, value) in values.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { s.store(to.add(v * S::LANES), value) };
    }
}
