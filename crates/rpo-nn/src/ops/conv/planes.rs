//! Winograd's transform of kernels and its transpose, plane by plane: plane k of `w` holds one tap of all channel pairs.

use crate::math::fma;
use crate::matrix::Panels;
use crate::parallel;
use crate::scratch;
use crate::simd::simd;

/// G of F(4x4, 3x3).
const G: [[f32; 3]; 6] = [
    [1.0 / 4.0, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

/// Elements of a plane handled together.
const BLOCK: usize = 512;

/// Rows i of G w G^T: six planes from nine.
#[inline(always)]
fn transform_body<const FMA: bool>(w: &[f32], n: usize, i: usize, out: &mut [f32]) {
    let mut t = [[0f32; BLOCK]; 3];
    for from in (0..n).step_by(BLOCK) {
        let len = BLOCK.min(n - from);
        for (kx, t) in t.iter_mut().enumerate() {
            let taps: [&[f32]; 3] = std::array::from_fn(|ky| &w[(ky * 3 + kx) * n + from..][..len]);
            for k in 0..len {
                let last = fma::<FMA>(G[i][1], taps[1][k], G[i][2] * taps[2][k]);
                t[k] = fma::<FMA>(G[i][0], taps[0][k], last);
            }
        }
        for (j, out) in out.chunks_exact_mut(n).enumerate() {
            let out = &mut out[from..from + len];
            for k in 0..len {
                let last = fma::<FMA>(G[j][1], t[1][k], G[j][2] * t[2][k]);
                out[k] = fma::<FMA>(G[j][0], t[0][k], last);
            }
        }
    }
}

/// Row ky of G^T s G: three planes from 36.
#[inline(always)]
fn restore_body<const FMA: bool>(s: &[f32], n: usize, ky: usize, out: &mut [f32]) {
    let mut t = [[0f32; BLOCK]; 6];
    for from in (0..n).step_by(BLOCK) {
        let len = BLOCK.min(n - from);
        for (j, t) in t.iter_mut().enumerate() {
            t.fill(0.0);
            for (i, g) in G.iter().enumerate() {
                let plane = &s[(i * 6 + j) * n + from..][..len];
                for k in 0..len {
                    t[k] = fma::<FMA>(g[ky], plane[k], t[k]);
                }
            }
        }
        for (kx, out) in out.chunks_exact_mut(n).enumerate() {
            let out = &mut out[from..from + len];
            out.fill(0.0);
            for (t, g) in t.iter().zip(&G) {
                for k in 0..len {
                    out[k] = fma::<FMA>(g[kx], t[k], out[k]);
                }
            }
        }
    }
}

simd! {
    fn transform_row(w: &[f32], n: usize, i: usize, out: &mut [f32]) = transform_body;
    fn restore_row(s: &[f32], n: usize, ky: usize, out: &mut [f32]) = restore_body;
}

/// G w G^T of kernels `[3, 3, rows, cols]`: for every panel of columns 36 right-hand sides of `rows` rows, see [`Panels`].
pub(super) fn transform_weights(w: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    let width = Panels::width();
    let panel = 36 * rows * width;
    parallel::build(cols.div_ceil(width) * panel, panel, |p, out| {
        transform_panel(w, rows, cols, p * width, out);
    })
}

/// One panel of [`transform_weights`]: the columns from `first` on.
pub(super) fn transform_panel(w: &[f32], rows: usize, cols: usize, first: usize, out: &mut [f32]) {
    let width = Panels::width();
    let n = rows * width;
    scratch::with(9 * n, |part| {
        let count = width.min(cols - first);
        for (row, part) in w.chunks_exact(cols).zip(part.chunks_exact_mut(width)) {
            part[..count].copy_from_slice(&row[first..first + count]);
            part[count..].fill(0.0);
        }
        for (i, out) in out.chunks_exact_mut(6 * n).enumerate() {
            transform_row(part, n, i, out);
        }
    });
}

/// G^T s G: 36 planes of `n` elements to nine.
pub(super) fn restore_weights(s: &[f32], n: usize) -> Vec<f32> {
    let mut w = parallel::fresh(9 * n);
    parallel::for_chunks(&mut w, 3 * n, |ky, w| restore_row(s, n, ky, w));
    w
}
