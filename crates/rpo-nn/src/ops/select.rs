//! One token of a sequence.

use crate::autograd::{Differentiable, Gradient, View, apply1};
use candle_core::{Result, Tensor, bail};

/// Token `index` of every sample of `x` `[B, N, C]`: `[B, C]`.
///
/// # Errors
/// If `x` does not have three dimensions, there is no such token, or the dtype is not f32.
pub fn select_token(x: &Tensor, index: usize) -> Result<Tensor> {
    match *x.dims() {
        [_, n, _] if index < n => apply1(Select(index), x),
        _ => bail!(
            "select_token: token {index} of x {:?}; expected [B, N, C] with more tokens",
            x.shape()
        ),
    }
}

pub(crate) struct Select(pub(crate) usize);

impl Differentiable<1> for Select {
    const NAME: &'static str = "select_token";

    fn forward(&self, [x]: [View<'_>; 1]) -> Result<(Vec<f32>, Vec<usize>)> {
        let (c, sample) = (x.last(), x.dims[1] * x.last());
        let tokens = (0..x.dims[0]).map(|b| &x.data[b * sample + self.0 * c..][..c]);
        Ok((tokens.collect::<Vec<_>>().concat(), vec![x.dims[0], c]))
    }

    fn backward(
        &self,
        [x]: [View<'_>; 1],
        [wanted]: [bool; 1],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 1]> {
        let (c, sample) = (x.last(), x.dims[1] * x.last());
        Ok([Gradient::when(wanted, || {
            let mut dx = vec![0f32; x.data.len()];
            for (b, grad) in grad.data.chunks_exact(c).enumerate() {
                dx[b * sample + self.0 * c..][..c].copy_from_slice(grad);
            }
            dx
        })])
    }
}
