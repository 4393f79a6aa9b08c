//! Tokens without a gradient.

use crate::autograd::{Differentiable, Gradient, View, apply1};
use candle_core::{Result, Tensor, bail};

/// `x` `[B, S, C]` with the first of the S tokens detached: its values are those of `x`, its gradient is 0, as Custom Diffusion has it
/// for keys and values of a text.
///
/// # Errors
/// Another number of dimensions; a dtype that is not f32.
pub fn detach_first(x: &Tensor) -> Result<Tensor> {
    if x.rank() != 3 {
        bail!("detach_first: {:?}; expected [B, S, C]", x.shape())
    }
    apply1(DetachFirst, x)
}

pub(crate) struct DetachFirst;

impl Differentiable<1> for DetachFirst {
    const NAME: &'static str = "detach_first";

    fn forward(&self, [x]: [View<'_>; 1]) -> Result<(Vec<f32>, Vec<usize>)> {
        Ok((x.data.to_vec(), x.dims.to_vec()))
    }

    fn backward(
        &self,
        [x]: [View<'_>; 1],
        [wanted]: [bool; 1],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 1]> {
        let (sample, token) = (x.dims[1] * x.dims[2], x.dims[2]);
        let masked = || {
            let mut dx = grad.data.to_vec();
            for dx in dx.chunks_exact_mut(sample.max(1)) {
                dx[..token].fill(0.0);
            }
            dx
        };
        Ok([Gradient::when(wanted, masked)])
    }
}
