//! The adapter of one layer.

use super::adapters::Controls;
use crate::ops::{self, ConvSpec, KeptKernels, KeptWeights, dropout::mix};
use crate::weights::Scope;
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// A and B of one layer, ready to be applied.
#[derive(Clone, Debug)]
pub(crate) struct Lora {
    pub(super) a: Tensor,
    pub(super) b: Tensor,
    /// Of A and of B.
    pub(super) kept: [KeptLora; 2],
    /// α / r.
    pub(super) scaling: f64,
    /// A number of this layer's own, for its dropout mask.
    pub(super) site: u64,
    pub(super) controls: Arc<Controls>,
}

/// Places for what is made of one of the matrices.
#[derive(Clone, Debug)]
pub(crate) struct KeptLora {
    weights: KeptWeights,
    kernels: KeptKernels,
}

impl KeptLora {
    pub(super) fn of(scope: &Scope, name: &str) -> Self {
        Self {
            weights: KeptWeights::of(scope, name),
            kernels: KeptKernels::of(scope, name),
        }
    }
}

impl Lora {
    /// `y` + s α/r · B A dropout(x), for a linear layer.
    pub(crate) fn linear(&self, x: &Tensor, y: Tensor) -> Result<Tensor> {
        self.apply(
            x,
            y,
            |x| ops::linear_keeping(x, &self.a, None, &self.kept[0].weights),
            |h| ops::linear_keeping(h, &self.b, None, &self.kept[1].weights),
        )
    }

    /// The same for a convolution: A is one of its shape and `spec`, B is 1x1.
    pub(crate) fn conv(&self, x: &Tensor, y: Tensor, spec: ConvSpec) -> Result<Tensor> {
        self.apply(
            x,
            y,
            |x| ops::conv2d_keeping(x, &self.a, None, spec, &self.kept[0].kernels),
            |h| ops::conv2d_keeping(h, &self.b, None, ConvSpec::same(1), &self.kept[1].kernels),
        )
    }

    fn apply(
        &self,
        x: &Tensor,
        y: Tensor,
        down: impl Fn(&Tensor) -> Result<Tensor>,
        up: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let scale = self.scaling * self.controls.scale();
        if scale == 0.0 {
            return Ok(y);
        }
        let h = match self.controls.dropout() {
            Some((p, key)) => down(&ops::dropout(x, p, mix(key ^ mix(self.site)))?)?,
            None => down(x)?,
        };
        // Scaled where it is narrow.
        let h = if scale == 1.0 {
            h
        } else {
            ops::scale(&h, scale)?
        };
        ops::add(&y, &up(&h)?)
    }
}

/// FNV-1a of a name.
pub(super) fn site(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
