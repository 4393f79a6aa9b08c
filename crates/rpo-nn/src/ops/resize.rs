//! Nearest-neighbour upsampling.

use super::elementwise::accumulate;
use crate::autograd::{Differentiable, Gradient, View, apply1};
use crate::parallel;
use candle_core::{Result, Tensor, bail};

/// `x` `[B, H, W, C]` resized to `[B, h, w, C]`: output row i is input row floor(i H / h), likewise the columns, as PyTorch's
/// `interpolate(mode="nearest")`.
///
/// # Errors
/// If `x` does not have four dimensions, a size is 0, the result would be smaller, or the dtype is not f32.
pub fn upsample_nearest(x: &Tensor, (height, width): (usize, usize)) -> Result<Tensor> {
    match *x.dims() {
        [_, h, w, _] if h > 0 && w > 0 && height >= h && width >= w => {
            apply1(Nearest { height, width }, x)
        }
        _ => bail!(
            "upsample_nearest: x {:?} to {height} x {width}; expected [B, H, W, C] and no smaller size",
            x.shape()
        ),
    }
}

pub(crate) struct Nearest {
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Differentiable<1> for Nearest {
    const NAME: &'static str = "upsample_nearest";

    fn forward(&self, [x]: [View<'_>; 1]) -> Result<(Vec<f32>, Vec<usize>)> {
        let &[b, h, w, c] = x.dims else {
            bail!("upsample_nearest: not four dimensions")
        };
        let mut y = vec![0f32; b * self.height * self.width * c];
        parallel::for_chunks(&mut y, self.width * c, |r, y| {
            let iy = r % self.height * h / self.height;
            let row = &x.data[(r / self.height * h + iy) * w * c..][..w * c];
            for (ox, y) in y.chunks_exact_mut(c).enumerate() {
                y.copy_from_slice(&row[ox * w / self.width * c..][..c]);
            }
        });
        Ok((y, vec![b, self.height, self.width, c]))
    }

    fn backward(
        &self,
        [x]: [View<'_>; 1],
        [wanted]: [bool; 1],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 1]> {
        let &[_, h, w, c] = x.dims else {
            bail!("upsample_nearest: not four dimensions")
        };
        Ok([Gradient::when(wanted, || {
            let mut dx = vec![0f32; x.data.len()];
            parallel::for_chunks(&mut dx, w * c, |r, dx| {
                let (b, iy) = (r / h, r % h);
                for oy in (0..self.height).filter(|oy| oy * h / self.height == iy) {
                    let grad =
                        &grad.data[(b * self.height + oy) * self.width * c..][..self.width * c];
                    for (ox, grad) in grad.chunks_exact(c).enumerate() {
                        accumulate(&mut dx[ox * w / self.width * c..][..c], grad);
                    }
                }
            });
            dx
        })])
    }
}
