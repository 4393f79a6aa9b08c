//! Gated GELU of the U-Net's feed-forward layers.

use super::activation::{INV_SQRT_2PI, normal_cdf};
use crate::autograd::{Differentiable, Gradient, View, apply1};
use crate::math;
use crate::parallel;
use crate::simd::simd;
use candle_core::{Result, Tensor, bail};

/// a · gelu(g) for `x` `[.., 2 F]` = `[a, g]`, with the exact erf, as diffusers' `GEGLU`; the result is `[.., F]`.
///
/// # Errors
/// If the last dimension is odd or the dtype is not f32.
pub fn geglu(x: &Tensor) -> Result<Tensor> {
    match x.dims().last() {
        Some(last) if last % 2 == 0 => apply1(Geglu, x),
        _ => bail!("geglu: x {:?}; expected an even last dimension", x.shape()),
    }
}

#[inline(always)]
fn forward_body<const FMA: bool>(x: &[f32], y: &mut [f32], f: usize) {
    for (x, y) in x.chunks_exact(2 * f).zip(y.chunks_exact_mut(f)) {
        let (a, g) = x.split_at(f);
        for ((y, &a), &g) in y.iter_mut().zip(a).zip(g) {
            *y = a * (g * normal_cdf::<FMA>(g));
        }
    }
}

#[inline(always)]
fn backward_body<const FMA: bool>(x: &[f32], grad: &[f32], dx: &mut [f32], f: usize) {
    for ((x, grad), dx) in x
        .chunks_exact(2 * f)
        .zip(grad.chunks_exact(f))
        .zip(dx.chunks_exact_mut(2 * f))
    {
        let (a, g) = x.split_at(f);
        let (da, dg) = dx.split_at_mut(f);
        for i in 0..f {
            let (a, g, grad) = (a[i], g[i], grad[i]);
            let cdf = normal_cdf::<FMA>(g);
            let density = INV_SQRT_2PI * math::exp::<FMA>(-0.5 * g * g);
            da[i] = grad * (g * cdf);
            dg[i] = grad * a * (cdf + g * density);
        }
    }
}

simd! {
    fn forward(x: &[f32], y: &mut [f32], f: usize) = forward_body;
    fn backward(x: &[f32], grad: &[f32], dx: &mut [f32], f: usize) = backward_body;
}

struct Geglu;

impl Differentiable<1> for Geglu {
    const NAME: &'static str = "geglu";

    fn forward(&self, [x]: [View<'_>; 1]) -> Result<(Vec<f32>, Vec<usize>)> {
        let f = x.last() / 2;
        let mut dims = x.dims.to_vec();
        *dims.last_mut().expect("checked: x has a last dimension") = f;
        let chunk = parallel::rows_per_task(f) * f;
        let y = parallel::build(x.data.len() / 2, chunk, |i, y| {
            forward(&x.data[2 * i * chunk..][..2 * y.len()], y, f);
        });
        Ok((y, dims))
    }

    fn backward(
        &self,
        [x]: [View<'_>; 1],
        [wanted]: [bool; 1],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 1]> {
        Ok([Gradient::when(wanted, || {
            let f = x.last() / 2;
            let chunk = parallel::rows_per_task(f) * f;
            parallel::build(x.data.len(), 2 * chunk, |i, dx| {
                let span = 2 * i * chunk..2 * i * chunk + dx.len();
                backward(
                    &x.data[span],
                    &grad.data[i * chunk..][..dx.len() / 2],
                    dx,
                    f,
                );
            })
        })])
    }
}
