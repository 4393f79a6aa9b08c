//! Sums over the rows of a matrix, for the gradients of biases and the like.

use crate::parallel;
use crate::simd::simd;

/// Rows that are summed in f32 before they are added in f64.
const BLOCK: usize = 64;

#[inline(always)]
fn add_body<const FMA: bool>(out: &mut [f32], x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
}

#[inline(always)]
fn block_body<const FMA: bool>(total: &mut [f64], block: &mut [f32], x: &[f32]) {
    for rows in x.chunks(BLOCK * block.len()) {
        block.fill(0.0);
        for row in rows.chunks_exact(block.len()) {
            add_body::<FMA>(block, row);
        }
        for (total, &block) in total.iter_mut().zip(&*block) {
            *total += f64::from(block);
        }
    }
}

simd! {
    /// out += x.
    pub(crate) fn add_to(out: &mut [f32], x: &[f32]) = add_body;
    fn add_rows(total: &mut [f64], block: &mut [f32], x: &[f32]) = block_body;
}

/// out += x, shared between threads.
pub(crate) fn add_parallel(out: &mut [f32], x: &[f32]) {
    parallel::for_chunks(out, parallel::GRAIN, |i, out| {
        add_to(out, &x[i * parallel::GRAIN..][..out.len()]);
    });
}

/// Sum over the rows of `x` (`cols` columns).
pub(crate) fn sum_rows(x: &[f32], cols: usize) -> Vec<f32> {
    let chunk = (parallel::rows_per_task(cols) * 4).max(BLOCK) * cols;
    let parts = parallel::map(x.len().div_ceil(chunk.max(1)), |i| {
        let mut total = vec![0f64; cols];
        let mut block = vec![0f32; cols];
        add_rows(
            &mut total,
            &mut block,
            &x[i * chunk..((i + 1) * chunk).min(x.len())],
        );
        total
    });
    sum_parts(parts, cols)
}

/// As [`sum_rows`], in the caller's thread and not yet rounded.
pub(crate) fn sum_rows_f64(x: &[f32], cols: usize) -> Vec<f64> {
    let mut total = vec![0f64; cols];
    let mut block = vec![0f32; cols];
    if cols > 0 {
        add_rows(&mut total, &mut block, x);
    }
    total
}

/// Sum of partial results in order, rounded to f32 at the end.
pub(crate) fn sum_parts(parts: Vec<Vec<f64>>, cols: usize) -> Vec<f32> {
    let mut total = vec![0f64; cols];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    total.into_iter().map(|v| v as f32).collect()
}

/// Copies `row` into every row of `out`.
pub(crate) fn fill_rows(out: &mut [f32], row: &[f32]) {
    if row.is_empty() {
        return;
    }
    for out in out.chunks_exact_mut(row.len()) {
        out.copy_from_slice(row);
    }
}
