//! Encoder and decoder of the VAE.

use candle_core::{Result, Tensor};
use rpo_nn::layers::{Conv2d, GroupNorm, Linear};
use rpo_nn::ops::{self, Mask};
use rpo_nn::weights::Scope;

use super::config::VaeConfig;
use crate::resnet::{ResnetBlock2D, Upsample2D, conv3x3, downsample};

/// Epsilon of every GroupNorm of the VAE.
const EPS: f64 = 1e-6;

/// Single-head attention over the pixels of the middle block.
#[derive(Debug, Clone)]
struct MidAttention {
    group_norm: GroupNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
}

impl MidAttention {
    fn new(scope: &Scope, c: usize, groups: usize) -> Result<Self> {
        // Files written before diffusers 0.18 call them query, key, value and proj_attn.
        let [q, k, v, out] = if scope.sub("query").contains("weight") {
            ["query", "key", "value", "proj_attn"].map(|name| scope.sub(name))
        } else {
            ["to_q", "to_k", "to_v", "to_out.0"].map(|name| scope.sub(name))
        };
        let linear = |scope: Scope| Linear::new(&scope, c, c, true);
        Ok(Self {
            group_norm: GroupNorm::new(&scope.sub("group_norm"), groups, c, EPS)?,
            q: linear(q)?,
            k: linear(k)?,
            v: linear(v)?,
            out: linear(out)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (b, h, w, c) = x.dims4()?;
        let tokens = self.group_norm.forward(x)?.reshape((b, h * w, c))?;
        let q = self.q.forward(&tokens)?;
        let (k, v) = (self.k.forward(&tokens)?, self.v.forward(&tokens)?);
        let out = self
            .out
            .forward(&ops::attention(&q, &k, &v, 1, &Mask::None)?)?;
        ops::add(&out.reshape((b, h, w, c))?, x)
    }
}

/// ResNet, attention (if the configuration has it), ResNet.
#[derive(Debug, Clone)]
struct MidBlock {
    first: ResnetBlock2D,
    attention: Option<MidAttention>,
    second: ResnetBlock2D,
}

impl MidBlock {
    fn new(scope: &Scope, c: usize, config: &VaeConfig) -> Result<Self> {
        let groups = config.norm_num_groups;
        let resnet =
            |i: usize| ResnetBlock2D::new(&scope.sub("resnets").sub(i), c, c, None, groups, EPS);
        Ok(Self {
            first: resnet(0)?,
            attention: config
                .mid_block_add_attention
                .then(|| MidAttention::new(&scope.sub("attentions").sub(0), c, groups))
                .transpose()?,
            second: resnet(1)?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = self.first.forward(x, None)?;
        if let Some(attention) = &self.attention {
            h = attention.forward(&h)?;
        }
        self.second.forward(&h, None)
    }
}

fn resnets(
    scope: &Scope,
    n: usize,
    ci: usize,
    co: usize,
    config: &VaeConfig,
) -> Result<Vec<ResnetBlock2D>> {
    (0..n)
        .map(|j| {
            let scope = scope.sub("resnets").sub(j);
            let ci = if j == 0 { ci } else { co };
            ResnetBlock2D::new(&scope, ci, co, None, config.norm_num_groups, EPS)
        })
        .collect()
}

/// Picture `[B, H, W, 3]` to moments `[B, H/f, W/f, 2 L]`.
#[derive(Debug, Clone)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    down: Vec<(Vec<ResnetBlock2D>, Option<Conv2d>)>,
    mid: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Encoder {
    pub(super) fn new(scope: &Scope, config: &VaeConfig) -> Result<Self> {
        let channels = &config.block_out_channels;
        let last = channels.len() - 1;
        let mut down = Vec::with_capacity(channels.len());
        for (i, &co) in channels.iter().enumerate() {
            let scope = scope.sub("down_blocks").sub(i);
            let ci = channels[i.saturating_sub(1)];
            let blocks = resnets(&scope, config.layers_per_block, ci, co, config)?;
            // Padded at the bottom and the right only.
            let sampler = (i < last)
                .then(|| downsample(&scope.sub("downsamplers").sub(0), co, [0, 1, 0, 1]))
                .transpose()?;
            down.push((blocks, sampler));
        }
        let deepest = channels[last];
        Ok(Self {
            conv_in: conv3x3(&scope.sub("conv_in"), config.in_channels, channels[0])?,
            down,
            mid: MidBlock::new(&scope.sub("mid_block"), deepest, config)?,
            conv_norm_out: GroupNorm::new(
                &scope.sub("conv_norm_out"),
                config.norm_num_groups,
                deepest,
                EPS,
            )?,
            conv_out: conv3x3(&scope.sub("conv_out"), deepest, 2 * config.latent_channels)?,
        })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = self.conv_in.forward(x)?;
        for (blocks, sampler) in &self.down {
            for block in blocks {
                h = block.forward(&h, None)?;
            }
            if let Some(sampler) = sampler {
                h = sampler.forward(&h)?;
            }
        }
        let h = self.mid.forward(&h)?;
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&h)?)
    }
}

/// Latents `[B, h, w, L]` to picture `[B, f h, f w, 3]`.
#[derive(Debug, Clone)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid: MidBlock,
    up: Vec<(Vec<ResnetBlock2D>, Option<Upsample2D>)>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    pub(super) fn new(scope: &Scope, config: &VaeConfig) -> Result<Self> {
        let channels: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
        let last = channels.len() - 1;
        let mut up = Vec::with_capacity(channels.len());
        for (i, &co) in channels.iter().enumerate() {
            let scope = scope.sub("up_blocks").sub(i);
            let ci = channels[i.saturating_sub(1)];
            let blocks = resnets(&scope, config.layers_per_block + 1, ci, co, config)?;
            let sampler = (i < last)
                .then(|| Upsample2D::new(&scope.sub("upsamplers").sub(0), co))
                .transpose()?;
            up.push((blocks, sampler));
        }
        Ok(Self {
            conv_in: conv3x3(&scope.sub("conv_in"), config.latent_channels, channels[0])?,
            mid: MidBlock::new(&scope.sub("mid_block"), channels[0], config)?,
            up,
            conv_norm_out: GroupNorm::new(
                &scope.sub("conv_norm_out"),
                config.norm_num_groups,
                channels[last],
                EPS,
            )?,
            conv_out: conv3x3(&scope.sub("conv_out"), channels[last], config.out_channels)?,
        })
    }

    pub(super) fn forward(&self, z: &Tensor) -> Result<Tensor> {
        let mut h = self.mid.forward(&self.conv_in.forward(z)?)?;
        for (blocks, sampler) in &self.up {
            for block in blocks {
                h = block.forward(&h, None)?;
            }
            if let Some(sampler) = sampler {
                let (_, height, width, _) = h.dims4()?;
                h = sampler.forward(&h, (2 * height, 2 * width))?;
            }
        }
        self.conv_out.forward(&self.conv_norm_out.forward_silu(&h)?)
    }
}
