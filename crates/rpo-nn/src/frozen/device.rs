//! The same layers on a GPU.

use super::{After, Maps};
#[cfg(feature = "cuda")]
use crate::gpu;
use crate::ops::{self, Activation, ConvSpec};
use candle_core::{Result, Tensor, bail};

/// A weight and its bias on the GPU.
#[derive(Clone, Debug)]
pub(super) struct Weights {
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

impl Weights {
    pub(super) fn pointwise(
        &self,
        x: &Maps,
        gate: Option<&Tensor>,
        after: After<'_>,
    ) -> Result<Maps> {
        let gated = gate.map(|gate| ops::mul_channels(x.device()?, gate));
        let gated = gated.transpose()?;
        let x = gated.as_ref().map_or_else(|| x.device(), Ok)?;
        let y = ops::linear(x, &self.weight, Some(&self.bias))?;
        Maps::from_tensor(&match after {
            After::Nothing => y,
            After::Activation(function) => ops::activation(&y, function)?,
            After::Add(other) => ops::add(&y, other.device()?)?,
        })
    }

    pub(super) fn depthwise(
        &self,
        x: &Maps,
        spec: ConvSpec,
        function: Activation,
    ) -> Result<(Maps, Tensor)> {
        let y = ops::depthwise_conv2d(x.device()?, &self.weight, Some(&self.bias), spec)?;
        let y = ops::activation(&y, function)?;
        Ok((Maps::from_tensor(&y)?, means(&y)?))
    }
}

/// The mean over the positions of every image of `x` `[B, .., C]`: `[B, C]`, for tensors on a GPU. There is no gradient.
///
/// # Errors
/// Those of the device; a tensor on the CPU.
pub fn means(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let (Some(&batch), Some(&c), true) =
        (x.dims().first(), x.dims().last(), x.device().is_cuda())
    {
        return gpu::with_views([x], |gpu, [x]| {
            let scale = (batch * c) as f32 / x.len() as f32;
            gpu.means(x, scale)
                .map(|means| gpu.tensor(means, &[batch, c], false))
        });
    }
    bail!("means of {:?}: the tensor is not on a GPU", x.shape())
}

/// The first token of every sequence: `[B, N, C]` to `[B, C]`. There is no gradient.
///
/// # Errors
/// Those of the device; another number of dimensions.
pub fn first_tokens(x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        let (batch, n, c) = x.dims3()?;
        return gpu::with_views([x], |gpu, [x]| {
            let first = gpu.columns(x, 0, c, n * c)?;
            Ok(gpu.tensor(first, &[batch, c], false))
        });
    }
    x.narrow(1, 0, 1)?.squeeze(1)?.contiguous()
}
