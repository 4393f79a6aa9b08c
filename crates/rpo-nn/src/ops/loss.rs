//! Squared error, one number per sample.

use crate::autograd::{Differentiable, Gradient, View, apply2};
use crate::math::fma;
use crate::parallel::{GRAIN, map, map_image_chunks};
use crate::simd::simd;
use candle_core::{Result, Tensor, bail};

/// Mean of (pred - target)^2 over all dimensions but the first: `[B]`, for two tensors `[B, ..]` of the same shape. Summed in
/// f64. The target also gets a gradient if it is tracked.
///
/// # Errors
/// If the shapes differ, a sample has no elements, or a dtype is not f32.
pub fn mean_squared_per_sample(pred: &Tensor, target: &Tensor) -> Result<Tensor> {
    if pred.dims() != target.dims() || pred.rank() == 0 || pred.elem_count() == 0 {
        bail!(
            "mean_squared_per_sample: pred {:?}, target {:?}; expected the same [B, ..], not empty",
            pred.shape(),
            target.shape()
        )
    }
    apply2(MeanSquared, pred, target)
}

#[inline(always)]
fn total_body<const FMA: bool>(a: &[f32], b: &[f32]) -> f64 {
    const LANES: usize = crate::math::LANES;
    const BLOCK: usize = 64 * LANES;
    let mut total = 0.0;
    for (a, b) in a.chunks(BLOCK).zip(b.chunks(BLOCK)) {
        let mut lanes = [0f32; LANES];
        for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
            for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *lane = fma::<FMA>(a - b, a - b, *lane);
            }
        }
        total += lanes.iter().map(|&v| f64::from(v)).sum::<f64>();
    }
    total
}

#[inline(always)]
fn gradient_body<const FMA: bool>(a: &[f32], b: &[f32], scale: f32, out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = (a - b) * scale;
    }
}

simd! {
    fn total(a: &[f32], b: &[f32]) -> f64 = total_body;
    fn gradient(a: &[f32], b: &[f32], scale: f32, out: &mut [f32]) = gradient_body;
}

pub(crate) struct MeanSquared;

impl Differentiable<2> for MeanSquared {
    const NAME: &'static str = "mean_squared_per_sample";

    fn forward(&self, [a, b]: [View<'_>; 2]) -> Result<(Vec<f32>, Vec<usize>)> {
        let sample = a.data.len() / a.dims[0];
        let per_sample = sample.div_ceil(GRAIN);
        let parts = map(a.dims[0] * per_sample, |task| {
            let from = task % per_sample * GRAIN;
            let span = from..(from + GRAIN).min(sample);
            let first = task / per_sample * sample;
            total(&a.data[first..][span.clone()], &b.data[first..][span])
        });
        let means = parts
            .chunks(per_sample)
            .map(|parts| (parts.iter().sum::<f64>() / sample as f64) as f32)
            .collect();
        Ok((means, vec![a.dims[0]]))
    }

    fn backward(
        &self,
        [a, b]: [View<'_>; 2],
        [want_a, want_b]: [bool; 2],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 2]> {
        let sample = a.data.len() / a.dims[0];
        let side = |sign: f32| {
            let mut out = vec![0f32; a.data.len()];
            map_image_chunks(&mut out, sample, GRAIN, |i, at, out| {
                let span = i * sample + at..i * sample + at + out.len();
                let scale = sign * 2.0 * grad.data[i] / sample as f32;
                gradient(&a.data[span.clone()], &b.data[span], scale, out);
            });
            out
        };
        Ok([
            Gradient::when(want_a, || side(1.0)),
            Gradient::when(want_b, || side(-1.0)),
        ])
    }
}
