//! Products Q K^T of few columns, which a general matrix product does slowly: keys are packed in panels.

use crate::math::fma;
use crate::simd::simd;

/// Keys of a panel.
pub(super) const PANEL: usize = 32;
/// Queries handled together: `QUERIES` x `PANEL` sums stay in registers.
const QUERIES: usize = 4;

/// Length of [`pack`]'s result.
pub(super) fn packed_len(len: usize, d: usize) -> usize {
    len.div_ceil(PANEL) * PANEL * d
}

/// `x` `[len, d]` as panels `[d, 32]` one after the other in `out`; the last is filled up with zeros.
pub(super) fn pack(x: &[f32], d: usize, out: &mut [f32]) {
    for (rows, panel) in x.chunks(PANEL * d).zip(out.chunks_exact_mut(PANEL * d)) {
        if rows.len() < panel.len() {
            panel.fill(0.0);
        }
        for (i, row) in rows.chunks_exact(d).enumerate() {
            for (e, &v) in row.iter().enumerate() {
                panel[e * PANEL + i] = v;
            }
        }
    }
}

/// [`QUERIES`] rows of q, given column by column, times one panel.
#[inline(always)]
fn tile<const FMA: bool>(q: &[f32], panel: &[f32]) -> [[f32; PANEL]; QUERIES] {
    let mut sums = [[0f32; PANEL]; QUERIES];
    let (q, panel) = (q.as_chunks::<QUERIES>().0, panel.as_chunks::<PANEL>().0);
    for (q, keys) in q.iter().zip(panel) {
        for r in 0..QUERIES {
            for lane in 0..PANEL {
                sums[r][lane] = fma::<FMA>(q[r], keys[lane], sums[r][lane]);
            }
        }
    }
    sums
}

#[inline(always)]
fn scores_body<const FMA: bool>(
    q: &[f32],
    d: usize,
    panels: &[f32],
    out: &mut [f32],
    cols: usize,
    turned: &mut [f32],
) {
    for (q, out) in q.chunks(QUERIES * d).zip(out.chunks_mut(QUERIES * cols)) {
        for (r, row) in q.chunks_exact(d).enumerate() {
            for (e, &v) in row.iter().enumerate() {
                turned[e * QUERIES + r] = v;
            }
        }
        let starts = (0..cols).step_by(PANEL);
        for (panel, from) in panels.chunks_exact(PANEL * d).zip(starts) {
            let sums = tile::<FMA>(&turned[..QUERIES * d], panel);
            let width = PANEL.min(cols - from);
            // Of a block of fewer queries, the rest of the sums means nothing.
            for (out, sums) in out.chunks_exact_mut(cols).zip(&sums) {
                out[from..from + width].copy_from_slice(&sums[..width]);
            }
        }
    }
}

simd! {
    fn run(q: &[f32], d: usize, panels: &[f32], out: &mut [f32], cols: usize, turned: &mut [f32]) = scores_body;
}

/// out `[rows, cols]` = q `[rows, d]` times the first `cols` keys of `panels`, transposed.
pub(super) fn scores(q: &[f32], d: usize, panels: &[f32], out: &mut [f32], cols: usize) {
    run(q, d, panels, out, cols, &mut vec![0f32; QUERIES * d]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_product_with_the_transpose() {
        for (rows, cols, d) in [
            (1, 1, 1),
            (5, 33, 7),
            (4, 32, 16),
            (11, 70, 3),
            (128, 100, 40),
        ] {
            let numbers = |n: usize, k: usize| -> Vec<f32> {
                (0..n).map(|i| ((i * k) % 23) as f32 - 11.0).collect()
            };
            let (q, k) = (numbers(rows * d, 7), numbers(cols * d, 5));
            let mut out = vec![f32::NAN; rows * cols];
            let mut panels = vec![f32::NAN; packed_len(cols, d)];
            pack(&k, d, &mut panels);
            scores(&q, d, &panels, &mut out, cols);
            let mut plain = vec![f32::NAN; rows * cols];
            let mut turned = vec![f32::NAN; QUERIES * d];
            scores_body::<false>(&q, d, &panels, &mut plain, cols, &mut turned);
            for i in 0..rows {
                for j in 0..cols {
                    // Whole numbers: exact.
                    let want: f32 = (0..d).map(|e| q[i * d + e] * k[j * d + e]).sum();
                    assert_eq!(
                        [out[i * cols + j], plain[i * cols + j]],
                        [want; 2],
                        "{rows} x {cols} x {d}"
                    );
                }
            }
        }
    }
}
