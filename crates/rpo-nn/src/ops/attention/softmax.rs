//! Softmax over tiles of scores: maximum and sum are carried from tile to tile.

use crate::math::{LANES, dot, exp, exp_at_most_1, fold, max_from};
use crate::simd::simd;

/// Below every score that can occur, yet finite: a row of minus infinities must not become NaN.
const LOWEST: f32 = -1e30;

/// Maximum of a row so far and the sum of exp(score - max).
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    max: f32,
    pub(super) total: f32,
}

impl Running {
    pub(super) fn start() -> Self {
        Self {
            max: LOWEST,
            total: 0.0,
        }
    }

    pub(super) fn log_sum(&self) -> f32 {
        self.max + self.total.ln()
    }
}

#[inline(always)]
fn exp_block<const FMA: bool>(block: &mut [f32; LANES], max: f32) {
    for score in block {
        *score = exp_at_most_1::<FMA>(*score - max);
    }
}

/// Replaces scores by exp(score - max), takes them into `running`, and rescales `result` (`d` elements a row) to a new maximum.
/// A NaN score makes the row's total NaN.
#[inline(always)]
fn advance_body<const FMA: bool>(
    scores: &mut [f32],
    cols: usize,
    running: &mut [Running],
    result: &mut [f32],
    d: usize,
) {
    for ((row, state), result) in scores
        .chunks_exact_mut(cols)
        .zip(running)
        .zip(result.chunks_exact_mut(d))
    {
        let max = max_from::<FMA>(row, state.max);
        let (blocks, rest) = row.as_chunks_mut::<LANES>();
        let mut sums = [0f32; LANES];
        for block in blocks {
            exp_block::<FMA>(block, max);
            for (sum, value) in sums.iter_mut().zip(block) {
                *sum += *value;
            }
        }
        if !rest.is_empty() {
            let mut block = [max; LANES];
            block[..rest.len()].copy_from_slice(rest);
            exp_block::<FMA>(&mut block, max);
            rest.copy_from_slice(&block[..rest.len()]);
            for (sum, value) in sums.iter_mut().zip(rest) {
                *sum += *value;
            }
        }
        if max != state.max {
            let factor = exp::<FMA>(state.max - max);
            state.total *= factor;
            for result in result.iter_mut() {
                *result *= factor;
            }
        }
        state.max = max;
        state.total += fold(sums);
    }
}

/// p = exp(p - log sum) and ds = p (ds - delta), row by row.
#[inline(always)]
fn slopes_body<const FMA: bool>(
    p: &mut [f32],
    ds: &mut [f32],
    cols: usize,
    log_sums: &[f32],
    deltas: &[f32],
) {
    let rows = p.chunks_exact_mut(cols).zip(ds.chunks_exact_mut(cols));
    for (((p, ds), &log_sum), &delta) in rows.zip(log_sums).zip(deltas) {
        for (p, ds) in p.iter_mut().zip(ds) {
            *p = exp::<FMA>(*p - log_sum);
            *ds = *p * (*ds - delta);
        }
    }
}

#[inline(always)]
fn row_dots_body<const FMA: bool>(a: &[f32], b: &[f32], d: usize, out: &mut [f32]) {
    for ((a, b), out) in a.chunks_exact(d).zip(b.chunks_exact(d)).zip(out) {
        *out = dot::<FMA>(a, b);
    }
}

simd! {
    pub(super) fn advance(scores: &mut [f32], cols: usize, running: &mut [Running], result: &mut [f32], d: usize) = advance_body;
    pub(super) fn slopes(p: &mut [f32], ds: &mut [f32], cols: usize, log_sums: &[f32], deltas: &[f32]) = slopes_body;
    /// Dot products of the rows (`d` elements) of two matrices.
    pub(super) fn row_dots(a: &[f32], b: &[f32], d: usize, out: &mut [f32]) = row_dots_body;
}
