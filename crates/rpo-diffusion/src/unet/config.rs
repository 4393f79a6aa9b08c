//! `unet/config.json` of a Stable Diffusion 1.x, 2.x or XL model.

use std::path::Path;

use candle_core::Result;

use crate::config_check;

/// A number for all blocks, or one per block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PerBlock {
    /// The same everywhere.
    Same(usize),
    /// One value per block, outermost first.
    Each(Vec<usize>),
}

impl PerBlock {
    /// The value of block `i`, `None` past the end of a list.
    fn get(&self, i: usize) -> Option<usize> {
        match self {
            Self::Same(value) => Some(*value),
            Self::Each(values) => values.get(i).copied(),
        }
    }
}

/// The supported part of diffusers' `UNet2DConditionModel` configuration, with the file's field names; every number is in bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct UNetConfig {
    /// Latent channels in.
    pub in_channels: usize,
    /// Latent channels out.
    pub out_channels: usize,
    /// Latent height and width of training, if the file has them.
    pub sample_size: Option<usize>,
    /// Channels of each block, outermost first.
    pub block_out_channels: Vec<usize>,
    /// `CrossAttnDownBlock2D` or `DownBlock2D` each.
    pub down_block_types: Vec<String>,
    /// `UpBlock2D` or `CrossAttnUpBlock2D` each, innermost first.
    pub up_block_types: Vec<String>,
    /// ResNet blocks per down block; an up block has one more.
    pub layers_per_block: PerBlock,
    /// Transformer blocks in each attention.
    pub transformer_layers_per_block: PerBlock,
    /// Despite its name, the number of heads: diffusers keeps the historical name.
    pub attention_head_dim: PerBlock,
    /// Width D of the text states.
    pub cross_attention_dim: usize,
    /// Linear instead of 1x1 convolution around the transformer blocks (SD 2.x).
    pub use_linear_projection: bool,
    /// Groups of every GroupNorm.
    pub norm_num_groups: usize,
    /// Epsilon of the ResNet blocks' GroupNorm.
    pub norm_eps: f64,
    /// Cosines before sines in the timestep embedding.
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep embedding's frequencies.
    pub freq_shift: f64,
    /// SDXL's `add_embedding`: `addition_time_embed_dim` and `projection_class_embeddings_input_dim`, where
    /// `addition_embed_type` is `"text_time"`.
    pub(crate) added: Option<(usize, usize)>,
}

impl UNetConfig {
    /// Reads a `config.json`. Errors name the file and the key.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_json(&config_check::read(path)?, &path.display().to_string())
    }

    /// Whether the U-Net takes pooled text and picture sizes, as SDXL's does.
    pub fn takes_added(&self) -> bool {
        self.added.is_some()
    }

    /// Width of the timestep embedding.
    pub fn time_embed_dim(&self) -> usize {
        4 * self.block_out_channels[0]
    }

    /// Number of resolutions.
    pub fn blocks(&self) -> usize {
        self.block_out_channels.len()
    }

    /// Attention heads of resolution `i`, 0 the outermost.
    pub fn heads(&self, i: usize) -> usize {
        self.attention_head_dim.get(i).unwrap_or(1)
    }

    /// ResNet blocks of down block `i`.
    pub fn layers(&self, i: usize) -> usize {
        self.layers_per_block.get(i).unwrap_or(1)
    }

    /// Transformer blocks in each attention of resolution `i`.
    pub fn depth(&self, i: usize) -> usize {
        self.transformer_layers_per_block.get(i).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of the published folders of Stable Diffusion 1.5 and 2.1.
    #[test]
    fn published_configurations_are_accepted() -> Result<()> {
        let types = r#""down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
            "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
            "_class_name": "UNet2DConditionModel", "_diffusers_version": "0.6.0", "act_fn": "silu", "center_input_sample": false,
            "block_out_channels": [320, 640, 1280, 1280], "downsample_padding": 1, "flip_sin_to_cos": true, "freq_shift": 0,
            "in_channels": 4, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-05, "norm_num_groups": 32,
            "out_channels": 4"#;
        let one = format!(
            r#"{{{types}, "attention_head_dim": 8, "cross_attention_dim": 768, "sample_size": 64}}"#
        );
        let one = UNetConfig::from_json(&one, "1.5")?;
        assert_eq!(
            (one.heads(0), one.heads(3), one.layers(3), one.depth(0)),
            (8, 8, 2, 1)
        );
        assert!(!one.use_linear_projection);
        let two = format!(
            r#"{{{types}, "attention_head_dim": [5, 10, 20, 20], "cross_attention_dim": 1024, "dual_cross_attention": false,
            "num_class_embeds": null, "only_cross_attention": false, "upcast_attention": true, "use_linear_projection": true,
            "sample_size": 96}}"#
        );
        let two = UNetConfig::from_json(&two, "2.1")?;
        assert_eq!(
            (two.heads(0), two.heads(3), two.time_embed_dim()),
            (5, 20, 1280)
        );
        assert!(two.use_linear_projection && !two.takes_added());
        let xl = r#"{"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "_class_name": "UNet2DConditionModel",
            "act_fn": "silu", "addition_embed_type": "text_time", "addition_embed_type_num_heads": 64,
            "addition_time_embed_dim": 256, "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280],
            "center_input_sample": false, "class_embed_type": null, "class_embeddings_concat": false, "conv_in_kernel": 3,
            "conv_out_kernel": 3, "cross_attention_dim": 2048, "cross_attention_norm": null, "downsample_padding": 1,
            "dual_cross_attention": false, "encoder_hid_dim": null, "encoder_hid_dim_type": null, "flip_sin_to_cos": true,
            "freq_shift": 0, "in_channels": 4, "layers_per_block": 2, "mid_block_only_cross_attention": null,
            "mid_block_scale_factor": 1, "mid_block_type": "UNetMidBlock2DCrossAttn", "norm_eps": 1e-05, "norm_num_groups": 32,
            "num_attention_heads": null, "num_class_embeds": null, "only_cross_attention": false, "out_channels": 4,
            "projection_class_embeddings_input_dim": 2816, "resnet_out_scale_factor": 1.0, "resnet_skip_time_act": false,
            "resnet_time_scale_shift": "default", "sample_size": 128, "time_cond_proj_dim": null, "time_embedding_act_fn": null,
            "time_embedding_dim": null, "time_embedding_type": "positional", "timestep_post_act": null,
            "transformer_layers_per_block": [1, 2, 10], "upcast_attention": null, "use_linear_projection": true}"#;
        let xl_config = UNetConfig::from_json(xl, "xl")?;
        assert_eq!(xl_config.added, Some((256, 2816)));
        assert_eq!((xl_config.depth(2), xl_config.heads(2)), (10, 20));
        let without = xl.replace("\"addition_time_embed_dim\": 256, ", "");
        let error = UNetConfig::from_json(&without, "xl")
            .err()
            .map(|e| e.to_string());
        assert!(error.is_some_and(|e| e.contains("addition_time_embed_dim")));
        Ok(())
    }
}
