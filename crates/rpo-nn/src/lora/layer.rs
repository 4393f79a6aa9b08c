//! The adapter of one layer.

use crate::ops::{self, ConvSpec, KeptKernels, KeptWeights, dropout::mix};
use crate::weights::{Controls, Scope};
use candle_core::{Result, Tensor};
use std::sync::Arc;

/// The suffixes of A and B, as peft names them.
pub(super) const A: &str = "lora_A.weight";
pub(super) const B: &str = "lora_B.weight";

/// A and B of one layer, ready to be applied.
#[derive(Clone, Debug)]
pub(crate) struct Lora {
    a: Tensor,
    b: Tensor,
    /// Caches of A and of B.
    kept: [KeptLora; 2],
    /// α / r.
    scaling: f64,
    /// Hash of this layer's name, for its dropout mask.
    site: u64,
    controls: Arc<Controls>,
}

/// Caches of values derived from one of the matrices.
#[derive(Clone, Debug)]
pub(crate) struct KeptLora {
    weights: KeptWeights,
    kernels: KeptKernels,
}

impl KeptLora {
    fn of(scope: &Scope, name: &str) -> Self {
        Self {
            weights: KeptWeights::new(scope.keeping(name)),
            kernels: KeptKernels::new(scope.keeping(name)),
        }
    }
}

impl Lora {
    /// The adapter of the layer at `scope`, whose weight is stored in `shape`; `None` if it has none.
    pub(crate) fn of(scope: &Scope, shape: &[usize]) -> Result<Option<Self>> {
        let Some((adapters, scope)) = scope.adapters() else {
            return Ok(None);
        };
        let Some(alpha) = adapters.alphas.get(scope.module()) else {
            return Ok(None);
        };
        let rank = scope.shape(A).map_or(1, |s| s[0]);
        let (a, b) = adapter_shapes(shape, rank);
        let get = |name: &str, shape: &[usize]| match *shape {
            [o, i, h, w] => scope.conv(name, [o, i, h, w]),
            _ => scope.tensor(name, shape),
        };
        Ok(Some(Self {
            a: get(A, &a)?,
            b: get(B, &b)?,
            kept: [A, B].map(|name| KeptLora::of(&scope, name)),
            scaling: alpha / rank as f64,
            site: site(scope.module()),
            controls: adapters.controls.clone(),
        }))
    }

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
        // Scaled where the tensor is smaller.
        let h = if scale == 1.0 {
            h
        } else {
            ops::scale(&h, scale)?
        };
        ops::add(&y, &up(&h)?)
    }
}

/// FNV-1a of a name.
fn site(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Shapes of A and B for a weight `[output, input]` or `[co, ci, k, k]`.
pub(super) fn adapter_shapes(weight: &[usize], rank: usize) -> (Vec<usize>, Vec<usize>) {
    let mut a = weight.to_vec();
    let mut b = vec![1; weight.len()];
    a[0] = rank;
    (b[0], b[1]) = (weight[0], rank);
    (a, b)
}
