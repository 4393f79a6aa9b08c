//! The inverted bottleneck: expand, depthwise convolution, squeeze and excite, project.

use candle_core::{Result, Tensor};
use rpo_nn::Place;
use rpo_nn::frozen::{After, Depthwise, Maps, Pointwise};
use rpo_nn::ops::{self, Activation, ConvSpec};
use rpo_nn::weights::Scope;

use super::config::BlockConfig;
use super::fold::BatchNorm;

/// Buffers for the inside of a block.
#[derive(Debug, Default)]
pub(super) struct Inside {
    expanded: Maps,
    filtered: Maps,
}

#[derive(Debug, Clone)]
pub(super) struct Block {
    expand: Option<Pointwise>,
    depthwise: Depthwise,
    squeeze: Dense,
    excite: Dense,
    project: Pointwise,
    activation: Activation,
    residual: bool,
}

/// A 1x1 convolution on a map of one position.
#[derive(Debug, Clone)]
struct Dense {
    /// `[out, in]`
    weight: Tensor,
    bias: Tensor,
}

impl Dense {
    fn new(scope: &Scope, from: usize, to: usize, place: &Place) -> Result<Self> {
        let weight = scope.tensor("weight", &[to, from, 1, 1])?;
        Ok(Self {
            weight: place.enter(&weight.reshape((to, from))?)?,
            bias: place.enter(&scope.tensor("bias", &[to])?)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weight, Some(&self.bias))
    }
}

/// A 1x1 convolution without bias, with the batch norm after it.
fn folded(
    conv: &Scope,
    norm: &BatchNorm,
    from: usize,
    to: usize,
    place: &Place,
) -> Result<Pointwise> {
    let weight = conv
        .tensor("weight", &[to, from, 1, 1])?
        .reshape((to, from))?;
    Pointwise::new(&norm.scale_first(&weight)?, &norm.bias()?, place)
}

impl Block {
    pub(super) fn new(
        config: &BlockConfig,
        activation: Activation,
        eps: f64,
        scope: &Scope,
        place: &Place,
    ) -> Result<Self> {
        let (input, expanded) = (config.input, config.expanded);
        let norm = |path: &str, channels: usize| BatchNorm::new(&scope.sub(path), channels, eps);
        // An expansion of 1 has no layer.
        let expand = if expanded == input {
            None
        } else {
            Some(folded(
                &scope.sub("expansion.expand_conv"),
                &norm("expansion.expand_bn", expanded)?,
                input,
                expanded,
                place,
            )?)
        };
        let depthwise_norm = norm("depthwise_conv.depthwise_norm", expanded)?;
        let weight = scope
            .sub("depthwise_conv.depthwise_conv")
            .depthwise("weight", [expanded, 1, config.kernel, config.kernel])?;
        let spec = ConvSpec {
            stride: config.stride,
            padding: config.padding,
        };
        let excitation = scope.sub("squeeze_excite");
        Ok(Self {
            expand,
            depthwise: Depthwise::new(
                &depthwise_norm.scale_last(&weight)?,
                &depthwise_norm.bias()?,
                spec,
                place,
            )?,
            squeeze: Dense::new(&excitation.sub("reduce"), expanded, config.squeezed, place)?,
            excite: Dense::new(&excitation.sub("expand"), config.squeezed, expanded, place)?,
            project: folded(
                &scope.sub("projection.project_conv"),
                &norm("projection.project_bn", config.output)?,
                expanded,
                config.output,
                place,
            )?,
            activation,
            residual: config.residual,
        })
    }

    /// `x` `[B, H, W, input]` to `out` `[B, h, w, output]`.
    pub(super) fn forward(&self, x: &Maps, inside: &mut Inside, out: &mut Maps) -> Result<()> {
        let Inside { expanded, filtered } = inside;
        let wide = match &self.expand {
            Some(expand) => {
                expand.forward(x, None, After::Activation(self.activation), expanded)?;
                &*expanded
            }
            None => x,
        };
        let means = self.depthwise.forward(wide, self.activation, filtered)?;
        let squeezed = ops::activation(&self.squeeze.forward(&means)?, self.activation)?;
        let gate = ops::activation(&self.excite.forward(&squeezed)?, Activation::Sigmoid)?;
        let after = if self.residual {
            After::Add(x)
        } else {
            After::Nothing
        };
        self.project.forward(filtered, Some(&gate), after, out)
    }
}
