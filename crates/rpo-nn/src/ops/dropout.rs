//! Dropout whose mask is a function of a seed.

use crate::autograd::{Differentiable, Gradient, View, apply1};
use crate::parallel::{GRAIN, build};
use candle_core::{Result, Tensor, bail};

pub(crate) struct Dropout {
    /// An element is dropped if its 32-bit draw is below this.
    pub(crate) threshold: u64,
    /// 1 / (1 - p).
    pub(crate) keep: f32,
    pub(crate) seed: u64,
}

/// `x` with every element 0 with probability `p` and times 1 / (1 - p) otherwise, as `torch.nn.Dropout`.
///
/// Which elements are dropped depends on `seed` and their indices alone: the same call gives the same mask, also in a second
/// forward pass (recompute), and nothing is kept for the backward pass.
///
/// # Errors
/// If `p` is not in [0, 1) or the dtype is not f32.
pub fn dropout(x: &Tensor, p: f64, seed: u64) -> Result<Tensor> {
    if !(0.0..1.0).contains(&p) {
        bail!("dropout: p = {p} is not in [0, 1)")
    }
    let op = Dropout {
        threshold: (p * 4_294_967_296.0) as u64,
        keep: (1.0 / (1.0 - p)) as f32,
        seed,
    };
    apply1(op, x)
}

/// SplitMix64's finaliser: every bit of the result depends on every bit of `z`.
pub(crate) fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dropout {
    fn masked(&self, x: &[f32]) -> Vec<f32> {
        build(x.len(), GRAIN, |chunk, y| {
            let from = chunk * GRAIN;
            for (i, (y, x)) in (from as u64..).zip(y.iter_mut().zip(&x[from..])) {
                // SplitMix64 at index i: steps of the golden ratio, then the finaliser.
                let draw = mix(self
                    .seed
                    .wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
                *y = if draw >> 32 < self.threshold {
                    0.0
                } else {
                    x * self.keep
                };
            }
        })
    }
}

impl Differentiable<1> for Dropout {
    const NAME: &'static str = "dropout";

    fn forward(&self, [x]: [View<'_>; 1]) -> Result<(Vec<f32>, Vec<usize>)> {
        Ok((self.masked(x.data), x.dims.to_vec()))
    }

    fn backward(
        &self,
        _args: [View<'_>; 1],
        [wanted]: [bool; 1],
        _out: View<'_>,
        grad: View<'_>,
    ) -> Result<[Gradient; 1]> {
        Ok([Gradient::when(wanted, || self.masked(grad.data))])
    }
}
