//! `vae/config.json`.

use std::path::Path;

use candle_core::{Error, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config_check::{self, Neutral};

/// The supported part of diffusers' `AutoencoderKL` configuration, with the file's field names.
#[derive(Debug, Clone, Deserialize)]
pub struct VaeConfig {
    /// Picture channels in.
    #[serde(default = "three")]
    pub in_channels: usize,
    /// Picture channels out.
    #[serde(default = "three")]
    pub out_channels: usize,
    /// Latent channels.
    #[serde(default = "four")]
    pub latent_channels: usize,
    /// Channels of each block, from the picture side.
    pub block_out_channels: Vec<usize>,
    /// `DownEncoderBlock2D` each.
    pub down_block_types: Vec<String>,
    /// `UpDecoderBlock2D` each.
    pub up_block_types: Vec<String>,
    /// ResNet blocks per encoder block; a decoder block has one more.
    #[serde(default = "one")]
    pub layers_per_block: usize,
    /// Groups of every GroupNorm.
    #[serde(default = "thirty_two")]
    pub norm_num_groups: usize,
    /// The U-Net sees `scaling_factor * z`.
    #[serde(default = "default_scaling_factor")]
    pub scaling_factor: f64,
    /// Whether a 1x1 convolution follows the encoder.
    #[serde(default = "default_true")]
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    #[serde(default = "default_true")]
    pub use_post_quant_conv: bool,
    /// Whether the middle blocks have an attention.
    #[serde(default = "default_true")]
    pub mid_block_add_attention: bool,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn one() -> usize {
    1
}
fn three() -> usize {
    3
}
fn four() -> usize {
    4
}
fn thirty_two() -> usize {
    32
}
fn default_scaling_factor() -> f64 {
    0.18215
}
fn default_true() -> bool {
    true
}

const NEUTRAL: &[Neutral] = &[
    Neutral::only("act_fn", &["\"silu\"", "\"swish\""]),
    Neutral::only("shift_factor", &["null", "0"]),
    Neutral::only("latents_mean", &["null"]),
    Neutral::only("latents_std", &["null"]),
    Neutral::any("sample_size"),
    // Everything is f32 here.
    Neutral::any("force_upcast"),
];

impl VaeConfig {
    /// Reads a `config.json`. Errors name the file and the key.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_json(&config_check::read(path)?, &path.display().to_string())
    }

    /// Parses the text of a `config.json` and refuses unsupported values; `label` names it in errors.
    pub fn from_json(text: &str, label: &str) -> Result<Self> {
        let config: Self =
            serde_json::from_str(text).map_err(|e| Error::msg(format!("{label}: {e}")))?;
        if let Some(class) = config
            .rest
            .get("_class_name")
            .filter(|v| *v != "AutoencoderKL")
        {
            bail!("{label}: class {class} is not supported, only AutoencoderKL");
        }
        config_check::refuse_others(label, &config.rest, NEUTRAL)?;
        let blocks = config.block_out_channels.len();
        if blocks == 0
            || config.down_block_types != vec!["DownEncoderBlock2D"; blocks]
            || config.up_block_types != vec!["UpDecoderBlock2D"; blocks]
        {
            bail!(
                "{label}: needs a DownEncoderBlock2D and an UpDecoderBlock2D for each of the {blocks} block_out_channels"
            );
        }
        let groups = config.norm_num_groups;
        if let Some(c) = config
            .block_out_channels
            .iter()
            .find(|&c| groups == 0 || c % groups != 0)
        {
            bail!("{label}: {c} channels are not a multiple of norm_num_groups = {groups}");
        }
        if !(config.scaling_factor.is_finite() && config.scaling_factor > 0.) {
            bail!(
                "{label}: scaling_factor = {} must be positive",
                config.scaling_factor
            );
        }
        Ok(config)
    }

    /// Pixels per latent along one side: 8 for Stable Diffusion.
    pub fn factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}
