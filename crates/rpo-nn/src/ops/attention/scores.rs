//! Products Q K^T of few columns, which a general matrix product does slowly: keys are packed in panels.

use crate::math::fma;
use crate::simd::simd;

/// Keys of a panel.
pub(super) const PANEL: usize = 32;
/// Queries handled together: `QUERIES` x `PANEL` sums stay in registers.
const QUERIES: usize = 4;

/// `x` `[len, d]` as panels `[d, 32]` one after the other; the last is filled up with zeros.
pub(super) fn pack(x: &[f32], d: usize) -> Vec<f32> {
    let len = x.len() / d;
    let mut out = vec![0f32; len.div_ceil(PANEL) * PANEL * d];
    for (rows, panel) in x.chunks(PANEL * d).zip(out.chunks_exact_mut(PANEL * d)) {
        for (i, row) in rows.chunks_exact(d).enumerate() {
            for (e, &v) in row.iter().enumerate() {
                panel[e * PANEL + i] = v;
            }
        }
    }
    out
}

/// `R` rows of q times one panel.
#[inline(always)]
fn tile<const FMA: bool, const R: usize>(
    q: &[f32],
    d: usize,
    panel: &[f32],
    out: &mut [f32],
    cols: usize,
    from: usize,
) {
    let mut sums = [[0f32; PANEL]; R];
    let rows: [&[f32]; R] = std::array::from_fn(|r| &q[r * d..][..d]);
    for (e, keys) in panel.as_chunks::<PANEL>().0.iter().enumerate().take(d) {
        for r in 0..R {
            let q = rows[r][e];
            for lane in 0..PANEL {
                sums[r][lane] = fma::<FMA>(q, keys[lane], sums[r][lane]);
            }
        }
    }
    let width = PANEL.min(cols - from);
    for r in 0..R {
        out[r * cols + from..][..width].copy_from_slice(&sums[r][..width]);
    }
}

#[inline(always)]
fn scores_body<const FMA: bool>(q: &[f32], d: usize, panels: &[f32], out: &mut [f32], cols: usize) {
    let starts = (0..cols).step_by(PANEL);
    for (panel, from) in panels.chunks_exact(PANEL * d).zip(starts) {
        let blocks = q.chunks(QUERIES * d).zip(out.chunks_mut(QUERIES * cols));
        for (q, out) in blocks {
            if q.len() == QUERIES * d {
                tile::<FMA, QUERIES>(q, d, panel, out, cols, from);
            } else {
                for (q, out) in q.chunks_exact(d).zip(out.chunks_exact_mut(cols)) {
                    tile::<FMA, 1>(q, d, panel, out, cols, from);
                }
            }
        }
    }
}

simd! {
    /// out `[rows, cols]` = q `[rows, d]` times the first `cols` keys of `panels`, transposed.
    pub(super) fn scores(q: &[f32], d: usize, panels: &[f32], out: &mut [f32], cols: usize) = scores_body;
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
            scores(&q, d, &pack(&k, d), &mut out, cols);
            let mut plain = vec![f32::NAN; rows * cols];
            scores_body::<false>(&q, d, &pack(&k, d), &mut plain, cols);
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
