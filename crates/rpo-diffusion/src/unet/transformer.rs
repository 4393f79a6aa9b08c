//! Self- and cross-attention over the pixels of a block.

use candle_core::{Result, Tensor, bail};
use rpo_nn::layers::{Conv2d, GroupNorm, LayerNorm, Linear};
use rpo_nn::ops::{self, Mask};
use rpo_nn::weights::Scope;

use super::config::UNetConfig;
use crate::resnet::conv1x1;

/// A U-Net's precomputed text inputs, which do not depend on the timestep.
#[derive(Debug, Clone)]
pub struct TextContext {
    /// Keys and values of the text for every cross-attention.
    pub(super) keys_values: Vec<(Tensor, Tensor)>,
    /// SDXL's embedding of pooled text and sizes, `[B, T]`.
    pub(super) added: Option<Tensor>,
    pub(super) batch: usize,
}

/// diffusers' `Attention`: multi-head attention of pixels over pixels, or over text.
#[derive(Debug, Clone)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
}

impl Attention {
    fn new(scope: &Scope, dim: usize, context_dim: usize, heads: usize) -> Result<Self> {
        Ok(Self {
            to_q: Linear::new(&scope.sub("to_q"), dim, dim, false)?,
            to_k: Linear::new(&scope.sub("to_k"), context_dim, dim, false)?,
            to_v: Linear::new(&scope.sub("to_v"), context_dim, dim, false)?,
            to_out: Linear::new(&scope.sub("to_out").sub(0), dim, dim, true)?,
            heads,
        })
    }

    fn keys_values(&self, context: &Tensor) -> Result<(Tensor, Tensor)> {
        Ok((self.to_k.forward(context)?, self.to_v.forward(context)?))
    }

    /// The same with the first token's detached, where `detach` says so.
    fn keys_values_of_text(&self, text: &Tensor, detach: bool) -> Result<(Tensor, Tensor)> {
        let (k, v) = self.keys_values(text)?;
        match detach {
            true => Ok((ops::detach_first(&k)?, ops::detach_first(&v)?)),
            false => Ok((k, v)),
        }
    }

    fn forward(&self, x: &Tensor, (k, v): &(Tensor, Tensor)) -> Result<Tensor> {
        let q = self.to_q.forward(x)?;
        self.to_out
            .forward(&ops::attention(&q, k, v, self.heads, &Mask::None)?)
    }
}

/// diffusers' `BasicTransformerBlock` on `[B, H, W, C]`: every pixel is a token.
#[derive(Debug, Clone)]
struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    ff_in: Linear,
    ff_out: Linear,
}

impl TransformerBlock {
    fn new(scope: &Scope, dim: usize, text_dim: usize, heads: usize) -> Result<Self> {
        let norm = |name| LayerNorm::new(&scope.sub(name), dim, 1e-5);
        let ff = scope.sub("ff").sub("net");
        Ok(Self {
            norm1: norm("norm1")?,
            attn1: Attention::new(&scope.sub("attn1"), dim, dim, heads)?,
            norm2: norm("norm2")?,
            attn2: Attention::new(&scope.sub("attn2"), dim, text_dim, heads)?,
            norm3: norm("norm3")?,
            ff_in: Linear::new(&ff.sub(0).sub("proj"), dim, 8 * dim, true)?,
            ff_out: Linear::new(&ff.sub(2), 4 * dim, dim, true)?,
        })
    }

    fn forward(&self, x: &Tensor, text: &(Tensor, Tensor)) -> Result<Tensor> {
        let h = self.norm1.forward(x)?;
        let x = ops::add(&self.attn1.forward(&h, &self.attn1.keys_values(&h)?)?, x)?;
        let h = self.norm2.forward(&x)?;
        let x = ops::add(&self.attn2.forward(&h, text)?, &x)?;
        let h = self.ff_in.forward_geglu(&self.norm3.forward(&x)?)?;
        ops::add(&self.ff_out.forward(&h)?, &x)
    }
}

#[derive(Debug, Clone)]
enum Projection {
    Conv(Conv2d),
    Linear(Linear),
}

impl Projection {
    fn new(scope: &Scope, dim: usize, linear: bool) -> Result<Self> {
        Ok(if linear {
            Self::Linear(Linear::new(scope, dim, dim, true)?)
        } else {
            Self::Conv(conv1x1(scope, dim, dim)?)
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Conv(conv) => conv.forward(x),
            Self::Linear(linear) => linear.forward(x),
        }
    }
}

/// diffusers' `Transformer2DModel`: `x + proj_out(blocks(proj_in(norm(x))))` on `[B, H, W, C]`.
#[derive(Debug, Clone)]
pub(crate) struct Transformer2D {
    norm: GroupNorm,
    proj_in: Projection,
    blocks: Vec<TransformerBlock>,
    proj_out: Projection,
    /// Index of this model's keys and values in a [`TextContext`].
    first_slot: usize,
}

impl Transformer2D {
    /// `level`: the resolution, 0 the outermost. `slots` counts the cross-attentions of the whole U-Net.
    pub(crate) fn new(
        scope: &Scope,
        config: &UNetConfig,
        level: usize,
        slots: &mut usize,
    ) -> Result<Self> {
        let dim = config.block_out_channels[level];
        let linear = config.use_linear_projection;
        let first_slot = *slots;
        *slots += config.depth(level);
        let blocks = scope.sub("transformer_blocks");
        Ok(Self {
            norm: GroupNorm::new(&scope.sub("norm"), config.norm_num_groups, dim, 1e-6)?,
            proj_in: Projection::new(&scope.sub("proj_in"), dim, linear)?,
            blocks: (0..config.depth(level))
                .map(|i| {
                    TransformerBlock::new(
                        &blocks.sub(i),
                        dim,
                        config.cross_attention_dim,
                        config.heads(level),
                    )
                })
                .collect::<Result<_>>()?,
            proj_out: Projection::new(&scope.sub("proj_out"), dim, linear)?,
            first_slot,
        })
    }

    /// Appends this model's keys and values of the text `[B, S, D]`, in slot order; `detach`: the first token's without a gradient.
    pub(crate) fn push_keys_values(
        &self,
        text: &Tensor,
        detach: bool,
        into: &mut Vec<(Tensor, Tensor)>,
    ) -> Result<()> {
        for block in &self.blocks {
            into.push(block.attn2.keys_values_of_text(text, detach)?);
        }
        Ok(())
    }

    pub(crate) fn forward(&self, x: &Tensor, text: &TextContext) -> Result<Tensor> {
        let slots = self.first_slot..self.first_slot + self.blocks.len();
        let Some(keys_values) = text.keys_values.get(slots) else {
            bail!("the text context was prepared by another U-Net");
        };
        let mut tokens = self.proj_in.forward(&self.norm.forward(x)?)?;
        for (block, kv) in self.blocks.iter().zip(keys_values) {
            tokens = block.forward(&tokens, kv)?;
        }
        let out = self.proj_out.forward(&tokens)?;
        ops::add(&out, x)
    }
}
