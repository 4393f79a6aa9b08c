//! Layer normalisation over the last dimension.

use crate::autograd::{Differentiable, Gradient, View, apply3};
use crate::math::{dot, fma, sum, sum_squared_from};
use crate::parallel;
use crate::rows::sum_parts;
use crate::simd::simd;
use candle_core::{Result, Tensor, bail};

/// (x - mean) / sqrt(var + eps) · gamma + beta over the last dimension of `x` `[.., C]`, with `gamma`, `beta` `[C]`.
///
/// # Errors
/// If the shapes do not fit or a dtype is not f32.
pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, eps: f64) -> Result<Tensor> {
    let channels = x.dims().last().copied().unwrap_or(0);
    if channels == 0 || gamma.dims() != [channels] || beta.dims() != [channels] {
        bail!(
            "layer_norm: x {:?}, gamma {:?}, beta {:?}; expected [.., C], [C], [C]",
            x.shape(),
            gamma.shape(),
            beta.shape()
        )
    }
    let norm = LayerNorm {
        eps: eps as f32,
        #[cfg(feature = "cuda")]
        on_gpu: Default::default(),
    };
    apply3(norm, x, gamma, beta)
}

pub(crate) struct LayerNorm {
    pub(crate) eps: f32,
    #[cfg(feature = "cuda")]
    pub(crate) on_gpu: crate::gpu::Statistics,
}

#[inline(always)]
fn statistics<const FMA: bool>(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum::<FMA>(x) / n;
    let var = sum_squared_from::<FMA>(x, mean) / n;
    (mean, 1.0 / (var + eps).sqrt())
}

#[inline(always)]
fn forward_body<const FMA: bool>(x: &[f32], y: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) {
    let c = gamma.len();
    let beta = &beta[..c];
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        let (mean, rstd) = statistics::<FMA>(x, eps);
        for i in 0..c {
            y[i] = fma::<FMA>((x[i] - mean) * rstd, gamma[i], beta[i]);
        }
    }
}

/// dx, and the sums over rows of grad x̂ and grad added to `total`.
#[inline(always)]
fn backward_body<const FMA: bool>(
    x: &[f32],
    grad: &[f32],
    dx: &mut [f32],
    gamma: &[f32],
    eps: f32,
    total: &mut [f64],
) {
    const BLOCK: usize = 64;
    let c = gamma.len();
    let mut scratch = vec![0f32; 4 * c];
    let (normed, rest) = scratch.split_at_mut(c);
    let (scaled, sums) = rest.split_at_mut(c);
    for ((x, grad), dx) in x
        .chunks(BLOCK * c)
        .zip(grad.chunks(BLOCK * c))
        .zip(dx.chunks_mut(BLOCK * c))
    {
        sums.fill(0.0);
        let (weighted, plain) = sums.split_at_mut(c);
        for ((x, grad), dx) in x
            .chunks_exact(c)
            .zip(grad.chunks_exact(c))
            .zip(dx.chunks_exact_mut(c))
        {
            let (mean, rstd) = statistics::<FMA>(x, eps);
            for i in 0..c {
                normed[i] = (x[i] - mean) * rstd;
                scaled[i] = grad[i] * gamma[i];
                weighted[i] = fma::<FMA>(grad[i], normed[i], weighted[i]);
                plain[i] += grad[i];
            }
            let m1 = sum::<FMA>(scaled) / c as f32;
            let m2 = dot::<FMA>(scaled, normed) / c as f32;
            for i in 0..c {
                dx[i] = rstd * (scaled[i] - m1 - normed[i] * m2);
            }
        }
        for (total, &sums) in total.iter_mut().zip(&*sums) {
            *total += f64::from(sums);
        }
    }
}

simd! {
    fn forward(x: &[f32], y: &mut [f32], gamma: &[f32], beta: &[f32], eps: f32) = forward_body;
    fn backward(x: &[f32], grad: &[f32], dx: &mut [f32], gamma: &[f32], eps: f32, total: &mut [f64]) = backward_body;
}

impl Differentiable<3> for LayerNorm {
    const NAME: &'static str = "layer_norm";

    fn forward(&self, [x, gamma, beta]: [View<'_>; 3]) -> Result<(Vec<f32>, Vec<usize>)> {
        let chunk = parallel::rows_per_task(x.last()) * x.last();
        let mut y = parallel::fresh(x.data.len());
        parallel::for_chunks(&mut y, chunk, |i, y| {
            forward(
                &x.data[i * chunk..][..y.len()],
                y,
                gamma.data,
                beta.data,
                self.eps,
            );
        });
        Ok((y, x.dims.to_vec()))
    }

    fn backward(
        &self,
        [x, gamma, _]: [View<'_>; 3],
        [want_x, want_gamma, want_beta]: [bool; 3],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 3]> {
        let c = x.last();
        let chunk = parallel::rows_per_task(c) * c;
        let mut dx = parallel::fresh(x.data.len());
        let parts = parallel::map_chunks(&mut dx, chunk, |i, dx| {
            let span = i * chunk..i * chunk + dx.len();
            let mut total = vec![0f64; 2 * c];
            backward(
                &x.data[span.clone()],
                &grad.data[span],
                dx,
                gamma.data,
                self.eps,
                &mut total,
            );
            total
        });
        let mut dgamma = sum_parts(parts, 2 * c);
        let dbeta = dgamma.split_off(c);
        Ok([
            Gradient::when(want_x, || dx),
            Gradient::when(want_gamma, || dgamma),
            Gradient::when(want_beta, || dbeta),
        ])
    }
}
