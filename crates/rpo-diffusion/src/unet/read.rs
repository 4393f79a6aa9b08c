//! Reading `unet/config.json`: what is not supported is refused by its key, and every number has bounds.

use std::ops::RangeInclusive;

use candle_core::{Result, bail};
use serde_json::Value;

use super::config::{PerBlock, UNetConfig};
use crate::config_check::{self, Neutral};
use crate::config_keys::Keys;

/// The most resolutions.
const MOST_BLOCKS: usize = 8;

/// Channels of a block, and widths of what it reads: released models have at most 2816.
const WIDTH: RangeInclusive<usize> = 1..=32_768;

/// Height and width of latents: released models have at most 128.
const SIDE: RangeInclusive<usize> = 1..=4096;

/// diffusers' other arguments of `UNet2DConditionModel`, and keys that its training scripts add.
const NEUTRAL: &[Neutral] = &[
    Neutral::only("act_fn", &["\"silu\"", "\"swish\""]),
    Neutral::only("mid_block_type", &["\"UNetMidBlock2DCrossAttn\""]),
    Neutral::only("num_attention_heads", &["null"]),
    Neutral::only("center_input_sample", &["false"]),
    Neutral::only("only_cross_attention", &["false"]),
    Neutral::only("mid_block_only_cross_attention", &["null", "false"]),
    Neutral::only("mid_block_scale_factor", &["1"]),
    // 0 would pad two sides only, 2 makes sizes that the skip connections do not fit.
    Neutral::only("downsample_padding", &["1"]),
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
    // Of other embedding types.
    Neutral::any("addition_embed_type_num_heads"),
    Neutral::any("addition_time_embed_dim"),
    Neutral::any("projection_class_embeddings_input_dim"),
    Neutral::any("class_embeddings_concat"),
    // State of the average of weights, which its `save_pretrained` adds.
    Neutral::any("decay"),
    Neutral::any("inv_gamma"),
    Neutral::any("min_decay"),
    Neutral::any("optimization_step"),
    Neutral::any("power"),
    Neutral::any("update_after_step"),
    Neutral::any("use_ema_warmup"),
];

impl UNetConfig {
    /// Parses the text of a `config.json` and refuses unsupported values; `label` names it in errors.
    pub fn from_json(text: &str, label: &str) -> Result<Self> {
        let mut keys = Keys::parse(text, label)?;
        if let Some(class) = keys
            .take("_class_name")
            .filter(|v| *v != "UNet2DConditionModel")
        {
            bail!("{label}: class {class} is not supported, only UNet2DConditionModel");
        }
        let added = addition(&mut keys)?;
        let channels = keys.counts("block_out_channels", MOST_BLOCKS, WIDTH)?;
        let blocks = channels.len();
        let groups = keys.count("norm_num_groups", 32, WIDTH)?;
        let config = Self {
            in_channels: keys.count("in_channels", 4, WIDTH)?,
            out_channels: keys.count("out_channels", 4, WIDTH)?,
            sample_size: sample_size(&mut keys)?,
            down_block_types: keys.words("down_block_types", MOST_BLOCKS)?,
            up_block_types: keys.words("up_block_types", MOST_BLOCKS)?,
            layers_per_block: per_block(&mut keys, "layers_per_block", 2, 1..=32, blocks)?,
            transformer_layers_per_block: per_block(
                &mut keys,
                "transformer_layers_per_block",
                1,
                0..=64,
                blocks,
            )?,
            attention_head_dim: per_block(&mut keys, "attention_head_dim", 8, WIDTH, blocks)?,
            cross_attention_dim: cross_attention_dim(&mut keys)?,
            use_linear_projection: keys.flag("use_linear_projection", false)?,
            norm_num_groups: groups,
            norm_eps: keys
                .number(
                    "norm_eps",
                    |eps| 0. < eps && eps <= 1.,
                    "a number above 0 and at most 1",
                )?
                .unwrap_or(1e-5),
            flip_sin_to_cos: keys.flag("flip_sin_to_cos", true)?,
            freq_shift: keys
                .number(
                    "freq_shift",
                    |shift| (0. ..=1.).contains(&shift),
                    "a number from 0 to 1",
                )?
                .unwrap_or(0.),
            block_out_channels: channels,
            added,
        };
        config_check::refuse_others(label, keys.rest(), NEUTRAL)?;
        config.check(label)?;
        Ok(config)
    }

    /// Whether the blocks fit each other.
    fn check(&self, label: &str) -> Result<()> {
        let blocks = self.blocks();
        if self.down_block_types.len() != blocks || self.up_block_types.len() != blocks {
            bail!(
                "{label}: block_out_channels, down_block_types and up_block_types must have the same length"
            );
        }
        let known = [
            (
                &self.down_block_types,
                ["CrossAttnDownBlock2D", "DownBlock2D"],
            ),
            (&self.up_block_types, ["CrossAttnUpBlock2D", "UpBlock2D"]),
        ];
        for (types, allowed) in known {
            if let Some(t) = types.iter().find(|t| !allowed.contains(&t.as_str())) {
                bail!(
                    "{label}: block type {t:?} is not supported, only CrossAttnDownBlock2D, DownBlock2D, UpBlock2D and CrossAttnUpBlock2D"
                );
            }
        }
        // Sinusoids of time need one frequency, and one more where they are shifted.
        let least = 4;
        if let Some(c) = [self.block_out_channels[0]]
            .into_iter()
            .chain(self.added.map(|(time, _)| time))
            .find(|c| *c < least)
        {
            bail!(
                "{label}: block_out_channels and addition_time_embed_dim: {c} numbers are too few for the sinusoids of time, {least} are needed"
            );
        }
        for (i, &channels) in self.block_out_channels.iter().enumerate() {
            let (heads, groups) = (self.heads(i), self.norm_num_groups);
            if !channels.is_multiple_of(heads) {
                bail!(
                    "{label}: attention_head_dim: block {i} has {channels} channels, not a multiple of its {heads} heads"
                );
            }
            if !channels.is_multiple_of(groups) {
                bail!(
                    "{label}: block {i} has {channels} channels, not a multiple of norm_num_groups = {groups}"
                );
            }
        }
        Ok(())
    }
}

/// The sizes for `addition_embed_type`.
fn addition(keys: &mut Keys) -> Result<Option<(usize, usize)>> {
    match keys.take("addition_embed_type") {
        None => Ok(None),
        Some(kind) if kind == "text_time" => {
            let mut number = |key: &str| match keys.take(key) {
                Some(value) => keys.whole(key, &value, WIDTH),
                None => bail!(
                    "{}: addition_embed_type = \"text_time\" needs the number {key}",
                    keys.label()
                ),
            };
            let time = number("addition_time_embed_dim")?;
            let input = number("projection_class_embeddings_input_dim")?;
            Ok(Some((time, input)))
        }
        Some(kind) => bail!(
            "{}: addition_embed_type = {kind} is not supported, only null (Stable Diffusion 1.x, 2.x) and \"text_time\" (SDXL)",
            keys.label()
        ),
    }
}

/// A number, or a pair of equal ones.
fn sample_size(keys: &mut Keys) -> Result<Option<usize>> {
    const KEY: &str = "sample_size";
    let Some(value) = keys.take(KEY) else {
        return Ok(None);
    };
    let side = match value.as_array().map(Vec::as_slice) {
        Some([height, width]) if height == width => height,
        _ => &value,
    };
    keys.whole(KEY, side, SIDE).map(Some)
}

/// A number, or a list of equal ones.
fn cross_attention_dim(keys: &mut Keys) -> Result<usize> {
    const KEY: &str = "cross_attention_dim";
    let Some(value) = keys.given(KEY) else {
        return Ok(1280);
    };
    let width = match value.as_array().map(Vec::as_slice) {
        Some([first, others @ ..]) if others.iter().all(|other| other == first) => first,
        _ => &value,
    };
    keys.whole(KEY, width, WIDTH)
}

/// A number, or a list of one for each block.
fn per_block(
    keys: &mut Keys,
    key: &str,
    default: usize,
    bounds: RangeInclusive<usize>,
    blocks: usize,
) -> Result<PerBlock> {
    match keys.given(key) {
        None => Ok(PerBlock::Same(default)),
        Some(Value::Array(each)) if each.len() != blocks => bail!(
            "{}: {key} has {} entries, one entry for each of the {blocks} blocks is needed",
            keys.label(),
            each.len()
        ),
        Some(Value::Array(each)) => {
            let each = each.iter().map(|n| keys.whole(key, n, bounds.clone()));
            Ok(PerBlock::Each(each.collect::<Result<_>>()?))
        }
        Some(value) => keys.whole(key, &value, bounds).map(PerBlock::Same),
    }
}
