//! Layers: the weights of one operation, under the names in PyTorch modules (`weight`, `bias`).

use crate::lora::Lora;
use crate::ops::{self, ConvSpec, KeptKernels, KeptWeights};
use crate::weights::Scope;
use candle_core::{Result, Tensor};

/// y = x W^T + b, `torch.nn.Linear`, with its adapter if any.
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    kept: KeptWeights,
    lora: Option<Lora>,
}

impl Linear {
    /// Takes `weight` `[output, input]` and, with `bias`, `bias` `[output]`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(scope: &Scope, input: usize, output: usize, bias: bool) -> Result<Self> {
        Ok(Self {
            weight: scope.tensor("weight", &[output, input])?,
            bias: bias.then(|| scope.tensor("bias", &[output])).transpose()?,
            kept: KeptWeights::new(scope.keeping("weight")),
            lora: Lora::of(scope, &[output, input])?,
        })
    }

    /// `[.., input]` to `[.., output]`.
    ///
    /// # Errors
    /// If the shape of `x` does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = ops::linear_keeping(x, &self.weight, self.bias.as_ref(), &self.kept)?;
        match &self.lora {
            Some(lora) => lora.linear(x, y),
            None => Ok(y),
        }
    }

    /// [`ops::geglu`] of [`Linear::forward`]: `[.., input]` to `[.., output / 2]`, in one pass if no gradient is needed.
    ///
    /// # Errors
    /// If the shape of `x` does not fit or `output` is odd.
    pub fn forward_geglu(&self, x: &Tensor) -> Result<Tensor> {
        match (&self.bias, &self.lora) {
            (Some(bias), None) => ops::linear_geglu(x, &self.weight, bias, &self.kept),
            _ => ops::geglu(&self.forward(x)?),
        }
    }

    /// `[output, input]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[output]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

/// `torch.nn.Conv2d` on channels-last tensors, with its adapter if any.
#[derive(Clone, Debug)]
pub struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    spec: ConvSpec,
    kept: KeptKernels,
    lora: Option<Lora>,
}

impl Conv2d {
    /// Takes `weight` `[co, ci, k, k]` and, with `bias`, `bias` `[co]`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(
        scope: &Scope,
        ci: usize,
        co: usize,
        k: usize,
        spec: ConvSpec,
        bias: bool,
    ) -> Result<Self> {
        Ok(Self {
            weight: scope.conv("weight", [co, ci, k, k])?,
            bias: bias.then(|| scope.tensor("bias", &[co])).transpose()?,
            spec,
            kept: KeptKernels::new(scope.keeping("weight")),
            lora: Lora::of(scope, &[co, ci, k, k])?,
        })
    }

    /// `[B, H, W, ci]` to `[B, Ho, Wo, co]`.
    ///
    /// # Errors
    /// If the shape of `x` does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref();
        let y = ops::conv2d_keeping(x, &self.weight, bias, self.spec, &self.kept)?;
        match &self.lora {
            Some(lora) => lora.conv(x, y, self.spec),
            None => Ok(y),
        }
    }
}

/// `torch.nn.Conv2d` with as many groups as channels.
#[derive(Clone, Debug)]
pub struct DepthwiseConv2d {
    weight: Tensor,
    bias: Option<Tensor>,
    spec: ConvSpec,
}

impl DepthwiseConv2d {
    /// Takes `weight` `[c, 1, k, k]` and, with `bias`, `bias` `[c]`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(scope: &Scope, c: usize, k: usize, spec: ConvSpec, bias: bool) -> Result<Self> {
        Ok(Self {
            weight: scope.depthwise("weight", [c, 1, k, k])?,
            bias: bias.then(|| scope.tensor("bias", &[c])).transpose()?,
            spec,
        })
    }

    /// `[B, H, W, c]` to `[B, Ho, Wo, c]`.
    ///
    /// # Errors
    /// If the shape of `x` does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::depthwise_conv2d(x, &self.weight, self.bias.as_ref(), self.spec)
    }
}

/// `torch.nn.GroupNorm` on channels-last tensors.
#[derive(Clone, Debug)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Takes `weight` and `bias` `[c]`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(scope: &Scope, groups: usize, c: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: scope.tensor("weight", &[c])?,
            bias: scope.tensor("bias", &[c])?,
            groups,
            eps,
        })
    }

    /// Normalises `[B, .., c]`.
    ///
    /// # Errors
    /// If the shape of `x` does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm(x, &self.weight, &self.bias, self.groups, self.eps, false)
    }

    /// Normalises and applies SiLU in one pass.
    ///
    /// # Errors
    /// If the shape of `x` does not fit.
    pub fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        ops::group_norm(x, &self.weight, &self.bias, self.groups, self.eps, true)
    }
}

/// `torch.nn.LayerNorm` over the last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Takes `weight` and `bias` `[c]`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(scope: &Scope, c: usize, eps: f64) -> Result<Self> {
        Ok(Self {
            weight: scope.tensor("weight", &[c])?,
            bias: scope.tensor("bias", &[c])?,
            eps,
        })
    }

    /// Normalises `[.., c]`.
    ///
    /// # Errors
    /// If the shape of `x` does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// `torch.nn.Embedding`.
#[derive(Clone, Debug)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// Takes `weight` `[v, c]`.
    ///
    /// # Errors
    /// If the tensor is missing or has another shape.
    pub fn new(scope: &Scope, v: usize, c: usize) -> Result<Self> {
        Ok(Self {
            weight: scope.tensor("weight", &[v, c])?,
        })
    }

    /// The rows of `ids`, arranged in `shape`: `[shape.., c]`.
    ///
    /// # Errors
    /// If an id is out of range or the ids do not fill the shape.
    pub fn forward(&self, ids: &[u32], shape: &[usize]) -> Result<Tensor> {
        ops::embedding(&self.weight, ids, shape)
    }

    /// As [`Self::forward`], where ids from `v` on are rows of `added` `[n, c]`.
    ///
    /// # Errors
    /// As [`ops::embedding_with`].
    pub fn forward_with(&self, added: &Tensor, ids: &[u32], shape: &[usize]) -> Result<Tensor> {
        ops::embedding_with(&self.weight, added, ids, shape)
    }
}
