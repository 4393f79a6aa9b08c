//! `unet/config.json` of a Stable Diffusion 1.x, 2.x or XL model.

use std::path::Path;

use candle_core::{Error, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config_check::{self, Neutral};

/// A JSON number for all blocks, or a list with one per block.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
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

/// The supported part of diffusers' `UNet2DConditionModel` configuration, with the file's field names.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct UNetConfig {
    /// Latent channels in.
    #[serde(default = "four")]
    pub in_channels: usize,
    /// Latent channels out.
    #[serde(default = "four")]
    pub out_channels: usize,
    /// Latent height and width of training, if the file has a single number.
    #[serde(default)]
    pub sample_size: Option<usize>,
    /// Channels of each block, outermost first.
    pub block_out_channels: Vec<usize>,
    /// `CrossAttnDownBlock2D` or `DownBlock2D` each.
    pub down_block_types: Vec<String>,
    /// `UpBlock2D` or `CrossAttnUpBlock2D` each, innermost first.
    pub up_block_types: Vec<String>,
    /// ResNet blocks per down block; an up block has one more.
    #[serde(default = "two")]
    pub layers_per_block: PerBlock,
    /// Transformer blocks in each attention.
    #[serde(default = "one")]
    pub transformer_layers_per_block: PerBlock,
    /// Despite its name, the number of heads: diffusers keeps the historical name.
    #[serde(default = "eight")]
    pub attention_head_dim: PerBlock,
    /// Width D of the text states.
    #[serde(default = "default_cross_attention_dim")]
    pub cross_attention_dim: usize,
    /// Linear instead of 1x1 convolution around the transformer blocks (SD 2.x).
    #[serde(default)]
    pub use_linear_projection: bool,
    /// Groups of every GroupNorm.
    #[serde(default = "thirty_two")]
    pub norm_num_groups: usize,
    /// Epsilon of the ResNet blocks' GroupNorm.
    #[serde(default = "default_norm_eps")]
    pub norm_eps: f64,
    /// Padding of the stride-2 convolutions.
    #[serde(default = "default_downsample_padding")]
    pub downsample_padding: usize,
    /// Cosines before sines in the timestep embedding.
    #[serde(default = "default_true")]
    pub flip_sin_to_cos: bool,
    /// Shift of the timestep embedding's frequencies.
    #[serde(default)]
    pub freq_shift: f64,
    /// SDXL's `add_embedding`: `addition_time_embed_dim` and `projection_class_embeddings_input_dim`, where
    /// `addition_embed_type` is `"text_time"`.
    #[serde(skip)]
    pub(crate) added: Option<(usize, usize)>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn four() -> usize {
    4
}
fn one() -> PerBlock {
    PerBlock::Same(1)
}
fn two() -> PerBlock {
    PerBlock::Same(2)
}
fn eight() -> PerBlock {
    PerBlock::Same(8)
}
fn thirty_two() -> usize {
    32
}
fn default_cross_attention_dim() -> usize {
    1280
}
fn default_norm_eps() -> f64 {
    1e-5
}
fn default_downsample_padding() -> usize {
    1
}
fn default_true() -> bool {
    true
}

const NEUTRAL: &[Neutral] = &[
    Neutral::only("act_fn", &["\"silu\"", "\"swish\""]),
    Neutral::only("mid_block_type", &["\"UNetMidBlock2DCrossAttn\""]),
    Neutral::only("num_attention_heads", &["null"]),
    Neutral::only("center_input_sample", &["false"]),
    Neutral::only("only_cross_attention", &["false"]),
    Neutral::only("mid_block_only_cross_attention", &["null", "false"]),
    Neutral::only("mid_block_scale_factor", &["1"]),
    Neutral::only("dual_cross_attention", &["false"]),
    Neutral::only("attention_type", &["\"default\""]),
    Neutral::only("cross_attention_norm", &["null"]),
    Neutral::only("class_embed_type", &["null"]),
    Neutral::only("num_class_embeds", &["null"]),
    Neutral::only("encoder_hid_dim", &["null"]),
    Neutral::only("encoder_hid_dim_type", &["null"]),
    Neutral::only("time_embedding_type", &["\"positional\""]),
    Neutral::only("time_embedding_dim", &["null"]),
    Neutral::only("time_embedding_act_fn", &["null"]),
    Neutral::only("timestep_post_act", &["null"]),
    Neutral::only("time_cond_proj_dim", &["null"]),
    Neutral::only("conv_in_kernel", &["3"]),
    Neutral::only("conv_out_kernel", &["3"]),
    Neutral::only("resnet_time_scale_shift", &["\"default\""]),
    Neutral::only("resnet_skip_time_act", &["false"]),
    Neutral::only("resnet_out_scale_factor", &["1"]),
    Neutral::only("reverse_transformer_layers_per_block", &["null"]),
    Neutral::only("dropout", &["0"]),
    // Extra precision for half types; everything is f32 here.
    Neutral::any("upcast_attention"),
    // Read if the first of them is "text_time", else unused.
    Neutral::any("addition_embed_type"),
    Neutral::any("addition_time_embed_dim"),
    Neutral::any("projection_class_embeddings_input_dim"),
    // Of other embedding types.
    Neutral::any("addition_embed_type_num_heads"),
    Neutral::any("class_embeddings_concat"),
];

impl UNetConfig {
    /// Reads a `config.json`. Errors name the file and the key.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_json(&config_check::read(path)?, &path.display().to_string())
    }

    /// Parses the text of a `config.json` and refuses unsupported values; `label` names it in errors.
    pub fn from_json(text: &str, label: &str) -> Result<Self> {
        let mut config: Self =
            serde_json::from_str(text).map_err(|e| Error::msg(format!("{label}: {e}")))?;
        config.added = config.addition(label)?;
        config.check(label)?;
        Ok(config)
    }

    /// The sizes for `addition_embed_type`.
    fn addition(&self, label: &str) -> Result<Option<(usize, usize)>> {
        match self.rest.get("addition_embed_type") {
            None | Some(Value::Null) => Ok(None),
            Some(kind) if kind == "text_time" => {
                let number = |key: &str| match self.rest.get(key).and_then(Value::as_u64) {
                    Some(n) if n > 0 => Ok(n as usize),
                    _ => {
                        bail!("{label}: addition_embed_type = \"text_time\" needs the number {key}")
                    }
                };
                Ok(Some((
                    number("addition_time_embed_dim")?,
                    number("projection_class_embeddings_input_dim")?,
                )))
            }
            Some(kind) => bail!(
                "{label}: addition_embed_type = {kind} is not supported, only null (Stable Diffusion 1.x, 2.x) and \"text_time\" (SDXL)"
            ),
        }
    }

    /// Whether the U-Net takes pooled text and picture sizes, as SDXL's does.
    pub fn takes_added(&self) -> bool {
        self.added.is_some()
    }

    fn check(&self, label: &str) -> Result<()> {
        if let Some(class) = self
            .rest
            .get("_class_name")
            .filter(|v| *v != "UNet2DConditionModel")
        {
            bail!("{label}: class {class} is not supported, only UNet2DConditionModel");
        }
        config_check::refuse_others(label, &self.rest, NEUTRAL)?;

        let blocks = self.block_out_channels.len();
        if blocks == 0
            || self.down_block_types.len() != blocks
            || self.up_block_types.len() != blocks
        {
            bail!(
                "{label}: block_out_channels, down_block_types and up_block_types must have the same length, at least 1"
            );
        }
        let unknown = |allowed: [&str; 2], types: &[String]| {
            types
                .iter()
                .find(|t| !allowed.contains(&t.as_str()))
                .cloned()
        };
        if let Some(t) = unknown(
            ["CrossAttnDownBlock2D", "DownBlock2D"],
            &self.down_block_types,
        )
        .or(unknown(
            ["CrossAttnUpBlock2D", "UpBlock2D"],
            &self.up_block_types,
        )) {
            bail!(
                "{label}: block type {t:?} is not supported, only CrossAttnDownBlock2D, DownBlock2D, UpBlock2D and CrossAttnUpBlock2D"
            );
        }
        for (i, &channels) in self.block_out_channels.iter().enumerate() {
            let (Some(heads), Some(_), Some(_)) = (
                self.attention_head_dim.get(i),
                self.layers_per_block.get(i),
                self.transformer_layers_per_block.get(i),
            ) else {
                bail!(
                    "{label}: attention_head_dim, layers_per_block and transformer_layers_per_block need one entry for each of the {blocks} blocks"
                );
            };
            if heads == 0 || channels % heads != 0 {
                bail!(
                    "{label}: block {i} has {channels} channels, not a multiple of its {heads} heads"
                );
            }
            if self.norm_num_groups == 0 || channels % self.norm_num_groups != 0 {
                bail!(
                    "{label}: block {i} has {channels} channels, not a multiple of norm_num_groups = {}",
                    self.norm_num_groups
                );
            }
        }
        Ok(())
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
