//! `vae/config.json`.

use std::ops::RangeInclusive;
use std::path::Path;

use candle_core::{Result, bail};

use crate::config_check::{self, Neutral};
use crate::config_keys::Keys;

/// The most resolutions: the smallest picture is then of 128 pixels.
const MOST_BLOCKS: usize = 8;

/// Channels: released models have at most 512.
const WIDTH: RangeInclusive<usize> = 1..=32_768;

/// The supported part of diffusers' `AutoencoderKL` configuration, with the file's field names; every number is in bounds.
#[derive(Debug, Clone)]
pub struct VaeConfig {
    /// Picture channels in: 3.
    pub in_channels: usize,
    /// Picture channels out: 3.
    pub out_channels: usize,
    /// Latent channels.
    pub latent_channels: usize,
    /// Channels of each block, from the picture side.
    pub block_out_channels: Vec<usize>,
    /// ResNet blocks per encoder block; a decoder block has one more.
    pub layers_per_block: usize,
    /// Groups of every GroupNorm.
    pub norm_num_groups: usize,
    /// The U-Net sees `scaling_factor * z`.
    pub scaling_factor: f64,
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle blocks have an attention.
    pub mid_block_add_attention: bool,
}

/// diffusers' other arguments of `AutoencoderKL`.
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
        let mut keys = Keys::parse(text, label)?;
        if let Some(class) = keys.take("_class_name").filter(|v| *v != "AutoencoderKL") {
            bail!("{label}: class {class} is not supported, only AutoencoderKL");
        }
        let channels = keys.counts("block_out_channels", MOST_BLOCKS, WIDTH)?;
        let blocks = channels.len();
        for (key, block) in [
            ("down_block_types", "DownEncoderBlock2D"),
            ("up_block_types", "UpDecoderBlock2D"),
        ] {
            let types = keys.words(key, MOST_BLOCKS)?;
            if types != vec![block; blocks] {
                bail!(
                    "{label}: {key} = {types:?}: a {block} for each of the {blocks} block_out_channels is needed"
                );
            }
        }
        let config = Self {
            in_channels: keys.count("in_channels", 3, 3..=3)?,
            out_channels: keys.count("out_channels", 3, 3..=3)?,
            latent_channels: keys.count("latent_channels", 4, 1..=1024)?,
            layers_per_block: keys.count("layers_per_block", 1, 1..=32)?,
            norm_num_groups: keys.count("norm_num_groups", 32, WIDTH)?,
            // Its inverse must be a number too, and both in f32.
            scaling_factor: keys
                .number(
                    "scaling_factor",
                    |scale| (1e-6..=1e6).contains(&scale),
                    "a positive number, from 1e-6 to 1e6",
                )?
                .unwrap_or(0.18215),
            use_quant_conv: keys.flag("use_quant_conv", true)?,
            use_post_quant_conv: keys.flag("use_post_quant_conv", true)?,
            mid_block_add_attention: keys.flag("mid_block_add_attention", true)?,
            block_out_channels: channels,
        };
        config_check::refuse_others(label, keys.rest(), NEUTRAL)?;
        let groups = config.norm_num_groups;
        let odd = |c: &&usize| !c.is_multiple_of(groups);
        if let Some(c) = config.block_out_channels.iter().find(odd) {
            bail!("{label}: {c} channels are not a multiple of norm_num_groups = {groups}");
        }
        Ok(config)
    }

    /// Pixels per latent along one side: 8 for Stable Diffusion.
    pub fn factor(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }
}
