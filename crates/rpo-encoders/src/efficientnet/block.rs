//! The inverted bottleneck: expand, depthwise convolution, squeeze and excite, project.

use candle_core::{Result, Tensor};
use rpo_nn::ops::{self, Activation, ConvSpec};
use rpo_nn::weights::Scope;

use super::config::BlockConfig;
use super::fold::BatchNorm;
use crate::pooling;

/// A 1x1 convolution as a matrix product over the channels.
#[derive(Debug, Clone)]
struct Pointwise {
    /// `[out, in]`
    weight: Tensor,
    bias: Tensor,
}

impl Pointwise {
    /// A convolution with a bias of its own.
    fn new(scope: &Scope, from: usize, to: usize) -> Result<Self> {
        Ok(Self {
            weight: scope
                .tensor("weight", &[to, from, 1, 1])?
                .reshape((to, from))?,
            bias: scope.tensor("bias", &[to])?,
        })
    }

    /// A convolution without bias and the batch norm after it.
    fn folded(conv: &Scope, norm: &BatchNorm, from: usize, to: usize) -> Result<Self> {
        let weight = conv
            .tensor("weight", &[to, from, 1, 1])?
            .reshape((to, from))?;
        Ok(Self {
            weight: norm.scale_first(&weight)?,
            bias: norm.bias()?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, Some(&self.bias))
    }
}

#[derive(Debug, Clone)]
pub(super) struct Block {
    expand: Option<Pointwise>,
    depthwise_weight: Tensor,
    depthwise_bias: Tensor,
    spec: ConvSpec,
    squeeze: Pointwise,
    excite: Pointwise,
    project: Pointwise,
    activation: Activation,
    residual: bool,
}

impl Block {
    pub(super) fn new(
        config: &BlockConfig,
        activation: Activation,
        eps: f64,
        scope: &Scope,
    ) -> Result<Self> {
        let (input, expanded) = (config.input, config.expanded);
        let norm = |path: &str, channels: usize| BatchNorm::new(&scope.sub(path), channels, eps);
        // An expansion of 1 has no layer of its own.
        let expand = if expanded == input {
            None
        } else {
            Some(Pointwise::folded(
                &scope.sub("expansion.expand_conv"),
                &norm("expansion.expand_bn", expanded)?,
                input,
                expanded,
            )?)
        };
        let depthwise_norm = norm("depthwise_conv.depthwise_norm", expanded)?;
        let weight = scope
            .sub("depthwise_conv.depthwise_conv")
            .depthwise("weight", [expanded, 1, config.kernel, config.kernel])?;
        let excitation = scope.sub("squeeze_excite");
        Ok(Self {
            expand,
            depthwise_weight: depthwise_norm.scale_last(&weight)?,
            depthwise_bias: depthwise_norm.bias()?,
            spec: ConvSpec {
                stride: config.stride,
                padding: config.padding,
            },
            squeeze: Pointwise::new(&excitation.sub("reduce"), expanded, config.squeezed)?,
            excite: Pointwise::new(&excitation.sub("expand"), config.squeezed, expanded)?,
            project: Pointwise::folded(
                &scope.sub("projection.project_conv"),
                &norm("projection.project_bn", config.output)?,
                expanded,
                config.output,
            )?,
            activation,
            residual: config.residual,
        })
    }

    /// `[B, H, W, input]` to `[B, h, w, output]`.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let expanded = match &self.expand {
            Some(expand) => ops::activation(&expand.forward(x)?, self.activation)?,
            None => x.clone(),
        };
        let inner = ops::depthwise_conv2d(
            &expanded,
            &self.depthwise_weight,
            Some(&self.depthwise_bias),
            self.spec,
        )?;
        let inner = ops::activation(&inner, self.activation)?;
        let squeezed = self.squeeze.forward(&pooling::mean(&inner)?)?;
        let squeezed = ops::activation(&squeezed, self.activation)?;
        let gate = ops::activation(&self.excite.forward(&squeezed)?, Activation::Sigmoid)?;
        let out = self.project.forward(&ops::mul_channels(&inner, &gate)?)?;
        if self.residual {
            ops::add(&out, x)
        } else {
            Ok(out)
        }
    }
}
