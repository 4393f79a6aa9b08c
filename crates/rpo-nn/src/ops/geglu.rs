//! Gated GELU of the U-Net's feed-forward layers.

use super::activation::{INV_SQRT_2PI, normal_cdf};
use super::linear::{KeptWeights, linear_keeping};
use crate::autograd::{Differentiable, Gradient, View, apply1, is_watched, with_views};
use crate::math;
use crate::matrix::{Matrix, Panels, Start, is_arranged_once, keep};
use crate::parallel;
use crate::scratch;
use crate::simd::simd;
use candle_core::{DType, Device, Result, Tensor, bail};

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
fn gate<const FMA: bool>(a: &[f32], g: &[f32], y: &mut [f32]) {
    for ((y, &a), &g) in y.iter_mut().zip(a).zip(g) {
        *y = a * (g * normal_cdf::<FMA>(g));
    }
}

#[inline(always)]
fn forward_body<const FMA: bool>(x: &[f32], y: &mut [f32], f: usize) {
    for (x, y) in x.chunks_exact(2 * f).zip(y.chunks_exact_mut(f)) {
        let (a, g) = x.split_at(f);
        gate::<FMA>(a, g, y);
    }
}

#[inline(always)]
fn columns_body<const FMA: bool>(a: &[f32], g: &[f32], cols: usize, y: &mut [f32], f: usize) {
    for ((a, g), y) in a
        .chunks_exact(cols)
        .zip(g.chunks_exact(cols))
        .zip(y.chunks_mut(f))
    {
        gate::<FMA>(a, g, &mut y[..cols]);
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
    fn columns(a: &[f32], g: &[f32], cols: usize, y: &mut [f32], f: usize) = columns_body;
    fn backward(x: &[f32], grad: &[f32], dx: &mut [f32], f: usize) = backward_body;
}

/// Maximum and minimum rows per task of [`fused`].
const ROWS: [usize; 2] = [128, 32];
/// Elements of the linear layer's result that stay in the second-level cache.
const BLOCK: usize = 96 * 1024;

/// [`geglu`] of x W^T + b for `w` `[2 F, in]` and `b` `[2 F]`, bit for bit; the linear layer's result is not written to memory if
/// no gradient is needed.
pub(crate) fn linear_geglu(
    x: &Tensor,
    w: &Tensor,
    b: &Tensor,
    kept: &KeptWeights,
) -> Result<Tensor> {
    let in_two_passes = || geglu(&linear_keeping(x, w, b.into(), kept)?);
    let (&[out, input], Some((&last, rows))) = (w.dims(), x.dims().split_last()) else {
        return in_two_passes();
    };
    let (m, f) = (rows.iter().product(), out / 2);
    let fits =
        last == input && b.dims() == [out] && out == 2 * f && f.is_multiple_of(Panels::width());
    let plain = [x, w, b]
        .iter()
        .all(|t| t.dtype() == DType::F32 && t.is_contiguous() && t.device().is_cpu());
    if !fits || !plain || is_watched(&[x, w, b]) {
        return in_two_passes();
    }
    let y = with_views([x, w, b], |[x, w, b]| {
        let w = Matrix::new(w.data, out, input).t();
        Ok(is_arranged_once(m, w).then(|| {
            let panels = keep(w, &kept.panels);
            let x = Matrix::new(x.data, m, input);
            fused(x, Panels::arranged(&panels, input, out), b.data)
        }))
    })?;
    match y {
        Some(y) => Tensor::from_vec(y, [rows, &[f]].concat(), &Device::Cpu),
        None => in_two_passes(),
    }
}

fn fused(x: Matrix<'_>, w: Panels<'_>, b: &[f32]) -> Vec<f32> {
    let f = b.len() / 2;
    // At least eight tasks if there are enough rows, so that threads share the work evenly.
    let share = x.rows().div_ceil(8).clamp(ROWS[1], ROWS[0]);
    let most = (BLOCK / (2 * share)).next_multiple_of(Panels::width());
    parallel::build(x.rows() * f, share * f, |i, y| {
        let rows = y.len() / f;
        let x = x.some_rows(i * share, rows);
        scratch::with(2 * rows * most, |buffer| {
            for first in (0..f).step_by(most) {
                let cols = most.min(f - first);
                let (a, rest) = buffer.split_at_mut(rows * cols);
                let g = &mut rest[..rows * cols];
                for (out, from) in [(&mut *a, first), (&mut *g, f + first)] {
                    let cols = from..from + cols;
                    w.some(cols.clone()).product(out, x, Start::Bias(&b[cols]));
                }
                columns(a, g, cols, &mut y[first..], f);
            }
        });
    })
}

pub(crate) struct Geglu;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::{Changes, Kept};
    use candle_core::Var;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn one_pass_gives_the_bits_of_two() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut random = |shape: &[usize]| {
            let n = shape.iter().product();
            let values: Vec<f32> = (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
            Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
        };
        for (rows, input, f) in [([3, 100], 20, 32), ([1, 128], 64, 640), ([2, 257], 33, 96)] {
            let x = random(&[&rows[..], &[input]].concat());
            let (w, b) = (random(&[2 * f, input]), random(&[2 * f]));
            let two = geglu(&super::super::linear(&x, &w, Some(&b)).unwrap()).unwrap();
            let kept = KeptWeights {
                panels: Kept::when(Some(Changes::default())),
                #[cfg(feature = "cuda")]
                casts: Default::default(),
            };
            for _ in 0..2 {
                let one = linear_geglu(&x, &w, &b, &kept).unwrap();
                assert_eq!(one.dims(), two.dims());
                let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert!(flat(&one) == flat(&two), "{rows:?} {input} {f}");
            }
        }
    }

    #[test]
    fn a_gradient_that_is_wanted_is_there() {
        let x = Var::ones((200, 8), DType::F32, &Device::Cpu).unwrap();
        let w = Tensor::ones((64, 8), DType::F32, &Device::Cpu).unwrap();
        let b = Tensor::zeros(64, DType::F32, &Device::Cpu).unwrap();
        let y = linear_geglu(&x, &w, &b, &KeptWeights::default()).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        assert!(grads.get(&x).is_some());
    }
}
