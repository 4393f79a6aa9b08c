//! One block of a U-Net by itself, for benches.

use candle_core::{Result, Tensor, bail};
use rpo_nn::weights::Scope;

use super::config::UNetConfig;
use super::transformer::{TextContext, Transformer2D};
use crate::resnet::ResnetBlock2D;

/// The first ResNet block or transformer at one resolution.
#[derive(Debug, Clone)]
pub struct Block(Inner);

#[derive(Debug, Clone)]
enum Inner {
    ResNet(Box<ResnetBlock2D>),
    Transformer(Box<Transformer2D>),
}

impl Block {
    /// `down_blocks.{level}.resnets.0` of a U-Net's tensors: `[B, h, w, C of the level above]` to `[B, h, w, C of this one]`.
    ///
    /// # Errors
    /// With the missing or misshapen tensor.
    pub fn resnet(config: &UNetConfig, root: &Scope, level: usize) -> Result<Self> {
        let channels = &config.block_out_channels;
        let scope = root.sub("down_blocks").sub(level).sub("resnets").sub(0);
        let (ci, co) = (channels[level.saturating_sub(1)], channels[level]);
        let (time, groups) = (Some(config.time_embed_dim()), config.norm_num_groups);
        let block = ResnetBlock2D::new(&scope, ci, co, time, groups, config.norm_eps)?;
        Ok(Self(Inner::ResNet(Box::new(block))))
    }

    /// `down_blocks.{level}.attentions.0`, at the innermost level `mid_block.attentions.0`: `[B, h, w, C]` to the same.
    ///
    /// # Errors
    /// If the level has no attention; with the missing or misshapen tensor.
    pub fn transformer(config: &UNetConfig, root: &Scope, level: usize) -> Result<Self> {
        let scope = if config.down_block_types[level] == "CrossAttnDownBlock2D" {
            root.sub("down_blocks").sub(level)
        } else if level + 1 == config.blocks() {
            root.sub("mid_block")
        } else {
            bail!("level {level} of this U-Net has no attention")
        };
        let scope = scope.sub("attentions").sub(0);
        let block = Transformer2D::new(&scope, config, level, &mut 0)?;
        Ok(Self(Inner::Transformer(Box::new(block))))
    }

    /// `time`: SiLU of the timestep's embedding `[B, T]`, read by a ResNet block; `text` `[B, S, D]`, by attention.
    ///
    /// # Errors
    /// Those of shapes.
    pub fn forward(&self, x: &Tensor, time: &Tensor, text: &Tensor) -> Result<Tensor> {
        match &self.0 {
            Inner::ResNet(block) => block.forward(x, Some(time)),
            Inner::Transformer(block) => {
                let mut keys_values = Vec::new();
                block.push_keys_values(text, false, &mut keys_values)?;
                let text = TextContext {
                    keys_values,
                    added: None,
                    batch: x.dim(0)?,
                };
                block.forward(x, &text)
            }
        }
    }
}
