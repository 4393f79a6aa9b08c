//! Between `[B, N, heads d]` and one contiguous matrix a head.

use crate::parallel;
use crate::simd::simd;

#[inline(always)]
fn copy_scaled_body<const FMA: bool>(
    x: &[f32],
    stride: usize,
    d: usize,
    scale: f32,
    out: &mut [f32],
) {
    for (x, out) in x.chunks(stride).zip(out.chunks_exact_mut(d)) {
        for (out, x) in out.iter_mut().zip(&x[..d]) {
            *out = x * scale;
        }
    }
}

simd! {
    /// The first `d` of every `stride` elements of `x`, times `scale`.
    fn copy_scaled(x: &[f32], stride: usize, d: usize, scale: f32, out: &mut [f32]) = copy_scaled_body;
}

/// All sizes of one attention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heads {
    pub(super) batch: usize,
    pub(super) heads: usize,
    /// Channels of a head.
    pub(super) dim: usize,
    pub(super) queries: usize,
    pub(super) keys: usize,
}

impl Heads {
    pub(super) fn scale(&self) -> f32 {
        (1.0 / (self.dim as f64).sqrt()) as f32
    }

    /// Rows from `first` on of head `bh % heads` of image `bh / heads` of `x` `[B, len, C]`, times `scale`, into `out` `[rows, d]`.
    pub(super) fn gather(
        &self,
        x: &[f32],
        len: usize,
        bh: usize,
        first: usize,
        scale: f32,
        out: &mut [f32],
    ) {
        let (d, c) = (self.dim, self.dim * self.heads);
        let (b, h) = (bh / self.heads, bh % self.heads);
        copy_scaled(&x[(b * len + first) * c + h * d..], c, d, scale, out);
    }

    /// `[B, len, C]` to `[B, heads, len, d]`.
    pub(super) fn split(&self, x: &[f32], len: usize) -> Vec<f32> {
        parallel::build(x.len(), len * self.dim, |bh, out| {
            self.gather(x, len, bh, 0, 1.0, out);
        })
    }

    /// `[B, heads, len, stride]`, of which the first d of each row count, to `[B, len, C]`.
    pub(super) fn join(&self, x: &[f32], len: usize, stride: usize) -> Vec<f32> {
        self.merge(len, |bh, r| &x[(bh * len + r) * stride..])
    }

    /// Matrices `[len, d]` that lie `from` elements into each of the blocks of `block` elements a head, to `[B, len, C]`.
    pub(super) fn join_parts(&self, x: &[f32], block: usize, from: usize, len: usize) -> Vec<f32> {
        self.merge(len, |bh, r| &x[bh * block + from + r * self.dim..])
    }

    fn merge<'a>(&self, len: usize, row: impl Fn(usize, usize) -> &'a [f32] + Sync) -> Vec<f32> {
        let (d, c) = (self.dim, self.dim * self.heads);
        let rows = parallel::rows_per_task(c);
        parallel::build(self.batch * len * c, rows * c, |i, out| {
            for (r, out) in (i * rows..).zip(out.chunks_exact_mut(c)) {
                for (h, out) in out.chunks_exact_mut(d).enumerate() {
                    out.copy_from_slice(&row(r / len * self.heads + h, r % len)[..d]);
                }
            }
        })
    }
}
