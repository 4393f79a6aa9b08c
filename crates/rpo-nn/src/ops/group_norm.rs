//! Group normalisation, with SiLU fused in on request.

use crate::autograd::{Differentiable, Gradient, View, apply3};
use crate::math::{fma, sigmoid};
use crate::parallel::{build_images, fresh, map, map_image_chunks, rows_per_task};
use crate::simd::simd;
use candle_core::{Result, Tensor, bail};
use std::sync::OnceLock;

/// Normalises `x` `[B, .., C]` over all positions and the C / `groups` channels of each group, then scales by `gamma` `[C]`
/// and shifts by `beta` `[C]`: y = (x - mean) / sqrt(var + eps) · gamma + beta, followed by SiLU if `silu`.
///
/// # Errors
/// If the shapes do not fit, `groups` does not divide C, or a dtype is not f32.
pub fn group_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    groups: usize,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    let channels = x.dims().last().copied().unwrap_or(0);
    if x.rank() < 2 || gamma.dims() != [channels] || beta.dims() != [channels] {
        bail!(
            "group_norm: x {:?}, gamma {:?}, beta {:?}; expected [B, .., C], [C], [C]",
            x.shape(),
            gamma.shape(),
            beta.shape()
        )
    }
    if groups == 0 || channels % groups != 0 {
        bail!("group_norm: {channels} channels do not divide into {groups} groups")
    }
    apply3(
        GroupNorm {
            groups,
            eps,
            silu,
            statistics: OnceLock::new(),
            #[cfg(feature = "cuda")]
            on_gpu: Default::default(),
        },
        x,
        gamma,
        beta,
    )
}

/// Rows whose sums are kept in f32 before they are added in f64.
const BLOCK: usize = 64;

pub(crate) struct GroupNorm {
    pub(crate) groups: usize,
    pub(crate) eps: f64,
    pub(crate) silu: bool,
    statistics: OnceLock<Statistics>,
    #[cfg(feature = "cuda")]
    pub(crate) on_gpu: crate::gpu::Statistics,
}

/// Mean and 1 / sqrt(var + eps) of every image and group, repeated for every channel of the group: `[B, C]`.
struct Statistics {
    mean: Vec<f32>,
    rstd: Vec<f32>,
}

/// Adds the sums of x - shift and of its square, channel by channel, to `total` = `[sums, sums of squares]`.
#[inline(always)]
fn moments_body<const FMA: bool>(x: &[f32], shift: &[f32], total: &mut [f64]) {
    let c = shift.len();
    let mut block = vec![0f32; 2 * c];
    for rows in x.chunks(BLOCK * c) {
        block.fill(0.0);
        let (sum, square) = block.split_at_mut(c);
        for row in rows.chunks_exact(c) {
            for i in 0..c {
                let d = row[i] - shift[i];
                sum[i] += d;
                square[i] = fma::<FMA>(d, d, square[i]);
            }
        }
        for (total, &block) in total.iter_mut().zip(&block) {
            *total += f64::from(block);
        }
    }
}

/// y = (x - mean) scale + beta, then SiLU.
#[inline(always)]
fn normalise_body<const FMA: bool>(
    x: &[f32],
    y: &mut [f32],
    mean: &[f32],
    scale: &[f32],
    beta: &[f32],
    silu: bool,
) {
    let c = mean.len();
    let (scale, beta) = (&scale[..c], &beta[..c]);
    for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
        if silu {
            for i in 0..c {
                let z = fma::<FMA>(x[i] - mean[i], scale[i], beta[i]);
                y[i] = z * sigmoid::<FMA>(z);
            }
        } else {
            for i in 0..c {
                y[i] = fma::<FMA>(x[i] - mean[i], scale[i], beta[i]);
            }
        }
    }
}

/// One image's channels: inputs of the backward pass besides x and the gradient.
struct Channels<'a> {
    mean: &'a [f32],
    rstd: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
}

/// dz, the gradient before SiLU, into `dz`; adds the sums over positions of dz and of dz x̂ to `total`.
#[inline(always)]
fn unsilu_body<const FMA: bool>(
    x: &[f32],
    grad: &[f32],
    dz: &mut [f32],
    ch: &Channels,
    silu: bool,
    total: &mut [f64],
) {
    let c = ch.mean.len();
    let (mean, rstd, gamma, beta) = (ch.mean, &ch.rstd[..c], &ch.gamma[..c], &ch.beta[..c]);
    let mut block = vec![0f32; 2 * c];
    for ((x, grad), dz) in x
        .chunks(BLOCK * c)
        .zip(grad.chunks(BLOCK * c))
        .zip(dz.chunks_mut(BLOCK * c))
    {
        block.fill(0.0);
        let (sum, weighted) = block.split_at_mut(c);
        for ((x, grad), dz) in x
            .chunks_exact(c)
            .zip(grad.chunks_exact(c))
            .zip(dz.chunks_exact_mut(c))
        {
            if silu {
                for i in 0..c {
                    let normed = (x[i] - mean[i]) * rstd[i];
                    let z = fma::<FMA>(normed, gamma[i], beta[i]);
                    let s = sigmoid::<FMA>(z);
                    let d = grad[i] * s * fma::<FMA>(z, 1.0 - s, 1.0);
                    dz[i] = d;
                    sum[i] += d;
                    weighted[i] = fma::<FMA>(d, normed, weighted[i]);
                }
            } else {
                for i in 0..c {
                    let normed = (x[i] - mean[i]) * rstd[i];
                    dz[i] = grad[i];
                    sum[i] += grad[i];
                    weighted[i] = fma::<FMA>(grad[i], normed, weighted[i]);
                }
            }
        }
        for (total, &block) in total.iter_mut().zip(&block) {
            *total += f64::from(block);
        }
    }
}

/// dx = dz scale + (x - mean) slope + offset, in place of dz.
#[inline(always)]
fn finish_body<const FMA: bool>(
    x: &[f32],
    dx: &mut [f32],
    mean: &[f32],
    scale: &[f32],
    slope: &[f32],
    offset: &[f32],
) {
    let c = mean.len();
    let (scale, slope, offset) = (&scale[..c], &slope[..c], &offset[..c]);
    for (x, dx) in x.chunks_exact(c).zip(dx.chunks_exact_mut(c)) {
        for i in 0..c {
            dx[i] = fma::<FMA>(
                dx[i],
                scale[i],
                fma::<FMA>(x[i] - mean[i], slope[i], offset[i]),
            );
        }
    }
}

simd! {
    fn moments(x: &[f32], shift: &[f32], total: &mut [f64]) = moments_body;
    fn normalise(x: &[f32], y: &mut [f32], mean: &[f32], scale: &[f32], beta: &[f32], silu: bool) = normalise_body;
    fn unsilu(x: &[f32], grad: &[f32], dz: &mut [f32], ch: &Channels, silu: bool, total: &mut [f64]) = unsilu_body;
    fn finish(x: &[f32], dx: &mut [f32], mean: &[f32], scale: &[f32], slope: &[f32], offset: &[f32]) = finish_body;
}

impl GroupNorm {
    /// Statistics of `x`, whose images have `image` elements. Sums are taken around the first position of the image, so that
    /// a mean far from 0 does not cancel.
    fn measure(&self, x: &[f32], image: usize, c: usize) -> Statistics {
        let chunk = rows_per_task(c) * c;
        let per_image = image.div_ceil(chunk);
        let parts = map(x.len() / image * per_image, |task| {
            let x = &x[task / per_image * image..][..image];
            let from = task % per_image * chunk;
            let mut total = vec![0f64; 2 * c];
            moments(&x[from..(from + chunk).min(image)], &x[..c], &mut total);
            total
        });
        let (positions, width) = ((image / c) as f64, c / self.groups);
        let mut statistics = Statistics {
            mean: vec![],
            rstd: vec![],
        };
        for (b, parts) in parts.chunks(per_image).enumerate() {
            let shift = &x[b * image..][..c];
            let total = |i: usize| parts.iter().map(|p| p[i]).sum::<f64>() / positions;
            let means: Vec<f64> = (0..c).map(|i| total(i) + f64::from(shift[i])).collect();
            let variances: Vec<f64> = (0..c).map(|i| total(c + i) - total(i) * total(i)).collect();
            for first in (0..c).step_by(width) {
                let group = first..first + width;
                let mean = means[group.clone()].iter().sum::<f64>() / width as f64;
                let var = group
                    .map(|i| variances[i].max_keeping_nan() + (means[i] - mean).powi(2))
                    .sum::<f64>()
                    / width as f64;
                let rstd = 1.0 / (var + self.eps).sqrt();
                statistics
                    .mean
                    .extend(std::iter::repeat_n(mean as f32, width));
                statistics
                    .rstd
                    .extend(std::iter::repeat_n(rstd as f32, width));
            }
        }
        statistics
    }
}

trait MaxKeepingNan {
    fn max_keeping_nan(self) -> Self;
}

impl MaxKeepingNan for f64 {
    /// The larger of the number and 0 (rounding may leave a variance just below), NaN for NaN.
    fn max_keeping_nan(self) -> Self {
        if self < 0.0 { 0.0 } else { self }
    }
}

impl Differentiable<3> for GroupNorm {
    const NAME: &'static str = "group_norm";

    fn forward(&self, [x, gamma, beta]: [View<'_>; 3]) -> Result<(Vec<f32>, Vec<usize>)> {
        if x.data.is_empty() {
            return Ok((vec![], x.dims.to_vec()));
        }
        let (c, image) = (x.last(), x.data.len() / x.dims[0]);
        let statistics = self.measure(x.data, image, c);
        let scale: Vec<f32> = statistics
            .rstd
            .iter()
            .zip(gamma.data.iter().cycle())
            .map(|(r, g)| r * g)
            .collect();
        let y = build_images(x.data.len(), image, rows_per_task(c) * c, |b, at, y| {
            let x = &x.data[b * image + at..][..y.len()];
            let span = b * c..(b + 1) * c;
            normalise(
                x,
                y,
                &statistics.mean[span.clone()],
                &scale[span],
                beta.data,
                self.silu,
            );
        });
        // A second forward of the same op would find the same values.
        let _ = self.statistics.set(statistics);
        Ok((y, x.dims.to_vec()))
    }

    fn backward(
        &self,
        [x, gamma, beta]: [View<'_>; 3],
        [want_x, want_gamma, want_beta]: [bool; 3],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 3]> {
        let c = gamma.data.len();
        let mut dx = fresh(x.data.len());
        let (mut dgamma, mut dbeta) = (vec![0f64; c], vec![0f64; c]);
        if let (false, Some(st)) = (dx.is_empty(), self.statistics.get()) {
            let image = x.data.len() / x.dims[0];
            let chunk = rows_per_task(c) * c;
            let parts = map_image_chunks(&mut dx, image, chunk, |b, at, dz| {
                let span = b * image + at..b * image + at + dz.len();
                let ch = Channels {
                    mean: &st.mean[b * c..][..c],
                    rstd: &st.rstd[b * c..][..c],
                    gamma: gamma.data,
                    beta: beta.data,
                };
                let mut total = vec![0f64; 2 * c];
                unsilu(
                    &x.data[span.clone()],
                    &grad.data[span],
                    dz,
                    &ch,
                    self.silu,
                    &mut total,
                );
                total
            });
            let width = c / self.groups;
            let elements = (image / c * width) as f64;
            // dx = rstd (gamma dz - m1 - x̂ m2), m1 and m2 the means over the group of gamma dz and gamma dz x̂.
            let (mut scale, mut slope, mut offset) = (vec![], vec![], vec![]);
            for (b, parts) in parts.chunks(image.div_ceil(chunk)).enumerate() {
                let total: Vec<f64> = (0..2 * c)
                    .map(|i| parts.iter().map(|p| p[i]).sum())
                    .collect();
                for i in 0..c {
                    dbeta[i] += total[i];
                    dgamma[i] += total[c + i];
                }
                for first in (0..c).step_by(width) {
                    let mean = |at: usize| {
                        (first..first + width)
                            .map(|i| f64::from(gamma.data[i]) * total[at + i])
                            .sum::<f64>()
                            / elements
                    };
                    let (m1, m2, r) = (mean(0), mean(c), f64::from(st.rstd[b * c + first]));
                    for i in first..first + width {
                        scale.push((f64::from(gamma.data[i]) * r) as f32);
                        slope.push((-r * r * m2) as f32);
                        offset.push((-r * m1) as f32);
                    }
                }
            }
            if want_x {
                map_image_chunks(&mut dx, image, chunk, |b, at, dx| {
                    let span = b * c..(b + 1) * c;
                    let x = &x.data[b * image + at..][..dx.len()];
                    let mean = &st.mean[span.clone()];
                    finish(
                        x,
                        dx,
                        mean,
                        &scale[span.clone()],
                        &slope[span.clone()],
                        &offset[span],
                    );
                });
            }
        }
        let round = |v: Vec<f64>| v.into_iter().map(|v| v as f32).collect();
        Ok([
            Gradient::when(want_x, || dx),
            Gradient::when(want_gamma, || round(dgamma)),
            Gradient::when(want_beta, || round(dbeta)),
        ])
    }
}
