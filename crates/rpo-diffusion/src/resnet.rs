//! The convolutional blocks shared by the U-Net and the VAE. Activations are `[B, H, W, C]`.

use candle_core::{Result, Tensor};
use rpo_nn::layers::{Conv2d, GroupNorm, Linear};
use rpo_nn::ops::{self, ConvSpec};
use rpo_nn::weights::Scope;

/// A 3x3 convolution that keeps the size.
pub(crate) fn conv3x3(scope: &Scope, ci: usize, co: usize) -> Result<Conv2d> {
    Conv2d::new(scope, ci, co, 3, ConvSpec::same(3), true)
}

/// A 1x1 convolution.
pub(crate) fn conv1x1(scope: &Scope, ci: usize, co: usize) -> Result<Conv2d> {
    Conv2d::new(scope, ci, co, 1, ConvSpec::same(1), true)
}

/// A 3x3 convolution of stride 2; `padding` is top, bottom, left, right.
pub(crate) fn downsample(scope: &Scope, channels: usize, padding: [usize; 4]) -> Result<Conv2d> {
    let spec = ConvSpec { stride: 2, padding };
    Conv2d::new(&scope.sub("conv"), channels, channels, 3, spec, true)
}

/// Nearest-neighbour upsampling to a given size, then a 3x3 convolution.
#[derive(Debug, Clone)]
pub(crate) struct Upsample2D {
    conv: Conv2d,
}

impl Upsample2D {
    pub(crate) fn new(scope: &Scope, channels: usize) -> Result<Self> {
        Ok(Self {
            conv: conv3x3(&scope.sub("conv"), channels, channels)?,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor, size: (usize, usize)) -> Result<Tensor> {
        self.conv.forward(&ops::upsample_nearest(x, size)?)
    }
}

/// diffusers' `ResnetBlock2D`: `shortcut(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time)))`.
#[derive(Debug, Clone)]
pub(crate) struct ResnetBlock2D {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlock2D {
    /// `time`: width of the timestep embedding, `None` in the VAE.
    pub(crate) fn new(
        scope: &Scope,
        ci: usize,
        co: usize,
        time: Option<usize>,
        groups: usize,
        eps: f64,
    ) -> Result<Self> {
        let time_emb_proj = time
            .map(|dim| Linear::new(&scope.sub("time_emb_proj"), dim, co, true))
            .transpose()?;
        let conv_shortcut = (ci != co)
            .then(|| conv1x1(&scope.sub("conv_shortcut"), ci, co))
            .transpose()?;
        Ok(Self {
            norm1: GroupNorm::new(&scope.sub("norm1"), groups, ci, eps)?,
            conv1: conv3x3(&scope.sub("conv1"), ci, co)?,
            time_emb_proj,
            norm2: GroupNorm::new(&scope.sub("norm2"), groups, co, eps)?,
            conv2: conv3x3(&scope.sub("conv2"), co, co)?,
            conv_shortcut,
        })
    }

    /// `time`: SiLU of the timestep embedding, `[B, T]`; absent in the VAE.
    pub(crate) fn forward(&self, x: &Tensor, time: Option<&Tensor>) -> Result<Tensor> {
        let mut h = self.conv1.forward(&self.norm1.forward_silu(x)?)?;
        if let (Some(proj), Some(time)) = (&self.time_emb_proj, time) {
            h = ops::add_channels(&h, &proj.forward(time)?)?;
        }
        h = self.conv2.forward(&self.norm2.forward_silu(&h)?)?;
        match &self.conv_shortcut {
            Some(conv) => ops::add(&conv.forward(x)?, &h),
            None => ops::add(x, &h),
        }
    }
}
