//! Sums, channel-wise scales and concatenation.

use crate::autograd::{Differentiable, Gradient, View, apply1, apply2};
use crate::parallel::{self, GRAIN, build, for_chunks, map_image_chunks, rows_per_task};
use crate::rows::{add_to, sum_rows};
use crate::simd::simd;
use candle_core::{Result, Tensor, bail};

/// a + b, of the same shape.
///
/// # Errors
/// If the shapes differ or a dtype is not f32.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        bail!("add: {:?} and {:?} differ", a.shape(), b.shape())
    }
    apply2(Add, a, b)
}

/// s x.
///
/// # Errors
/// If the dtype is not f32.
pub fn scale(x: &Tensor, s: f64) -> Result<Tensor> {
    apply1(Scale(s as f32), x)
}

/// `x` `[B, .., C]` + `t` `[B, C]`, the same at every position.
///
/// # Errors
/// If the shapes do not fit or a dtype is not f32.
pub fn add_channels(x: &Tensor, t: &Tensor) -> Result<Tensor> {
    check_channels("add_channels", x, t)?;
    apply2(AddChannels, x, t)
}

/// `x` `[B, .., C]` · `s` `[B, C]`, the same at every position (squeeze and excite).
///
/// # Errors
/// If the shapes do not fit or a dtype is not f32.
pub fn mul_channels(x: &Tensor, s: &Tensor) -> Result<Tensor> {
    check_channels("mul_channels", x, s)?;
    apply2(MulChannels, x, s)
}

/// Concatenates `a` `[.., Ca]` and `b` `[.., Cb]`: `[.., Ca + Cb]`.
///
/// # Errors
/// If the leading dimensions differ or a dtype is not f32.
pub fn concat_channels(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (da, db) = (a.dims(), b.dims());
    if da.is_empty() || da.len() != db.len() || da[..da.len() - 1] != db[..db.len() - 1] {
        bail!(
            "concat_channels: {:?} and {:?} differ before the last dimension",
            a.shape(),
            b.shape()
        )
    }
    apply2(Concat, a, b)
}

fn check_channels(name: &str, x: &Tensor, t: &Tensor) -> Result<()> {
    let d = x.dims();
    if d.len() < 2 || t.dims() != [d[0], d[d.len() - 1]] {
        bail!(
            "{name}: x {:?}, t {:?}; expected [B, .., C] and [B, C]",
            x.shape(),
            t.shape()
        )
    }
    Ok(())
}

#[inline(always)]
fn sum_body<const FMA: bool>(a: &[f32], b: &[f32], y: &mut [f32]) {
    for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
        *y = a + b;
    }
}

#[inline(always)]
fn scale_body<const FMA: bool>(x: &[f32], s: &[f32], y: &mut [f32]) {
    for ((y, x), s) in y.iter_mut().zip(x).zip(s) {
        *y = x * s;
    }
}

simd! {
    fn sum_of(a: &[f32], b: &[f32], y: &mut [f32]) = sum_body;
    pub(crate) fn product_of(x: &[f32], s: &[f32], y: &mut [f32]) = scale_body;
}

pub(crate) struct Add;

impl Differentiable<2> for Add {
    const NAME: &'static str = "add";

    fn forward(&self, [a, b]: [View<'_>; 2]) -> Result<(Vec<f32>, Vec<usize>)> {
        let y = build(a.data.len(), GRAIN, |i, y| {
            let span = i * GRAIN..i * GRAIN + y.len();
            sum_of(&a.data[span.clone()], &b.data[span], y);
        });
        Ok((y, a.dims.to_vec()))
    }

    fn backward(
        &self,
        _args: [View<'_>; 2],
        wanted: [bool; 2],
        _out: View<'_>,
        _grad: View<'_>,
    ) -> Result<[Gradient; 2]> {
        Ok(wanted.map(Gradient::same_when))
    }
}

pub(crate) struct Scale(pub(crate) f32);

impl Scale {
    fn of(&self, x: &[f32]) -> Vec<f32> {
        build(x.len(), GRAIN, |i, y| {
            let from = i * GRAIN;
            for (y, x) in y.iter_mut().zip(&x[from..]) {
                *y = x * self.0;
            }
        })
    }
}

impl Differentiable<1> for Scale {
    const NAME: &'static str = "scale";

    fn forward(&self, [x]: [View<'_>; 1]) -> Result<(Vec<f32>, Vec<usize>)> {
        Ok((self.of(x.data), x.dims.to_vec()))
    }

    fn backward(
        &self,
        _: [View<'_>; 1],
        [wanted]: [bool; 1],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 1]> {
        Ok([Gradient::when(wanted, || self.of(grad.data))])
    }
}

/// Calls `f(row of x, row of s, row of y)` for all positions of all images.
fn for_positions(
    x: &[f32],
    s: View<'_>,
    y: &mut [f32],
    f: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
) {
    let (batch, c) = (s.dims[0], s.dims[1]);
    if y.is_empty() {
        return;
    }
    let image = y.len() / batch;
    map_image_chunks(y, image, rows_per_task(c) * c, |b, at, y| {
        let s = &s.data[b * c..][..c];
        let x = &x[b * image + at..][..y.len()];
        for (x, y) in x.chunks_exact(c).zip(y.chunks_exact_mut(c)) {
            f(x, s, y);
        }
    });
}

/// Sum over the positions of every image: `[B, C]`.
fn sum_positions(x: &[f32], batch: usize, c: usize) -> Vec<f32> {
    let image = x.len() / batch.max(1);
    parallel::map(batch, |b| sum_rows(&x[b * image..][..image], c)).concat()
}

pub(crate) struct AddChannels;

impl Differentiable<2> for AddChannels {
    const NAME: &'static str = "add_channels";

    fn forward(&self, [x, t]: [View<'_>; 2]) -> Result<(Vec<f32>, Vec<usize>)> {
        let mut y = parallel::fresh(x.data.len());
        for_positions(x.data, t, &mut y, sum_of);
        Ok((y, x.dims.to_vec()))
    }

    fn backward(
        &self,
        [_, t]: [View<'_>; 2],
        [want_x, want_t]: [bool; 2],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 2]> {
        let dt = Gradient::when(want_t, || sum_positions(grad.data, t.dims[0], t.dims[1]));
        Ok([Gradient::same_when(want_x), dt])
    }
}

pub(crate) struct MulChannels;

impl Differentiable<2> for MulChannels {
    const NAME: &'static str = "mul_channels";

    fn forward(&self, [x, s]: [View<'_>; 2]) -> Result<(Vec<f32>, Vec<usize>)> {
        let mut y = parallel::fresh(x.data.len());
        for_positions(x.data, s, &mut y, product_of);
        Ok((y, x.dims.to_vec()))
    }

    fn backward(
        &self,
        [x, s]: [View<'_>; 2],
        [want_x, want_s]: [bool; 2],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 2]> {
        let dx = Gradient::when(want_x, || {
            let mut dx = parallel::fresh(x.data.len());
            for_positions(grad.data, s, &mut dx, product_of);
            dx
        });
        let ds = Gradient::when(want_s, || {
            let mut products = parallel::fresh(x.data.len());
            for_chunks(&mut products, GRAIN, |i, out| {
                let span = i * GRAIN..i * GRAIN + out.len();
                product_of(&x.data[span.clone()], &grad.data[span], out);
            });
            sum_positions(&products, s.dims[0], s.dims[1])
        });
        Ok([dx, ds])
    }
}

pub(crate) struct Concat;

impl Differentiable<2> for Concat {
    const NAME: &'static str = "concat_channels";

    fn forward(&self, [a, b]: [View<'_>; 2]) -> Result<(Vec<f32>, Vec<usize>)> {
        let (ca, cb) = (a.last(), b.last());
        let mut dims = a.dims.to_vec();
        *dims.last_mut().expect("checked: a has a last dimension") = ca + cb;
        let rows = rows_per_task(ca + cb);
        let y = build(a.data.len() + b.data.len(), rows * (ca + cb), |i, y| {
            for (r, y) in (i * rows..).zip(y.chunks_exact_mut(ca + cb)) {
                y[..ca].copy_from_slice(&a.data[r * ca..][..ca]);
                y[ca..].copy_from_slice(&b.data[r * cb..][..cb]);
            }
        });
        Ok((y, dims))
    }

    fn backward(
        &self,
        [a, b]: [View<'_>; 2],
        [want_a, want_b]: [bool; 2],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 2]> {
        let (ca, cb) = (a.last(), b.last());
        let part = |from: usize, c: usize| {
            let len = grad.data.len() / (ca + cb).max(1) * c;
            let rows = rows_per_task(c);
            build(len, rows * c, |i, out| {
                for (r, out) in (i * rows..).zip(out.chunks_exact_mut(c)) {
                    out.copy_from_slice(&grad.data[r * (ca + cb) + from..][..c]);
                }
            })
        };
        Ok([
            Gradient::when(want_a, || part(0, ca)),
            Gradient::when(want_b, || part(ca, cb)),
        ])
    }
}

/// out += x, for gradients that accumulate.
pub(super) fn accumulate(out: &mut [f32], x: &[f32]) {
    add_to(out, x);
}
