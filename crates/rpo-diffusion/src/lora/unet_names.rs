//! Which names the adaptable modules of a Stable Diffusion U-Net have, in diffusers' words.
//!
//! Every name that is read is held against this grammar: what it does not know belongs to another kind of model, and no file is
//! written with names that no U-Net has.

use super::keys::WRAPPED;
use super::names::{diffusers_name, flat_name};

/// Prefixes of flat names: sd-scripts', and those of LyCORIS used by itself.
const FLAT: [&str; 2] = ["lora_unet_", "lycoris_"];

/// What programs put before the names of modules, in any order: diffusers, ComfyUI, and PyTorch's wrappers.
const BEFORE: [&str; 6] = [
    "unet.",
    "model.",
    "diffusion_model.",
    "module.",
    "_orig_mod.",
    WRAPPED,
];

/// The diffusers name of the module that a file calls `place`, whatever its prefixes and whichever numbering its blocks have:
/// diffusers' or that of the released checkpoints, in which `layers_per_block` counts. `None` if it is no module of a U-Net.
pub(super) fn module(place: &str, layers_per_block: usize) -> Option<String> {
    let name = match FLAT.iter().find_map(|start| place.strip_prefix(start)) {
        Some(flat) => diffusers_name(flat_name(flat), layers_per_block)?,
        None => {
            let inner = place.rsplit_once(WRAPPED).map_or(place, |(_, inner)| inner);
            let plain = unprefixed(inner).replace("._orig_mod.", ".");
            // diffusers' first format has the adapters in the attention's processor.
            let plain = plain.replace(".processor.", ".");
            diffusers_name(plain, layers_per_block)?
        }
    };
    // That format also lacks the layer's number in the list `to_out`.
    let name = if name.ends_with(".to_out") {
        name + ".0"
    } else {
        name
    };
    is_module(&name).then_some(name)
}

fn unprefixed(mut place: &str) -> &str {
    while let Some(inner) = BEFORE.iter().find_map(|start| place.strip_prefix(start)) {
        place = inner;
    }
    place
}

/// Whether a Stable Diffusion U-Net can have a linear layer or a convolution of this name.
pub(super) fn is_module(name: &str) -> bool {
    let outside = [
        "conv_in",
        "conv_out",
        "time_embedding.linear_1",
        "time_embedding.linear_2",
        "add_embedding.linear_1",
        "add_embedding.linear_2",
    ];
    if outside.contains(&name) {
        return true;
    }
    let inner = name.strip_prefix("mid_block.").or_else(|| {
        let (_, inner) = ["down_blocks", "up_blocks"]
            .into_iter()
            .find_map(|kind| numbered(name, kind))?;
        Some(inner)
    });
    inner.is_some_and(is_in_block)
}

fn is_in_block(name: &str) -> bool {
    if let Some((_, layer)) = numbered(name, "resnets") {
        return ["conv1", "conv2", "time_emb_proj", "conv_shortcut"].contains(&layer);
    }
    if let Some((_, layer)) = numbered(name, "attentions") {
        return match numbered(layer, "transformer_blocks") {
            Some((_, layer)) => is_in_transformer(layer),
            None => ["proj_in", "proj_out"].contains(&layer),
        };
    }
    ["downsamplers.0.conv", "upsamplers.0.conv"].contains(&name)
}

fn is_in_transformer(name: &str) -> bool {
    let attention = name
        .strip_prefix("attn1.")
        .or_else(|| name.strip_prefix("attn2."));
    match attention {
        Some(layer) => ["to_q", "to_k", "to_v", "to_out.0"].contains(&layer),
        None => ["ff.net.0.proj", "ff.net.2"].contains(&name),
    }
}

/// The number and the rest of `kind.7.rest`. No U-Net and no text encoder has a hundred blocks of anything.
pub(super) fn numbered<'a>(name: &'a str, kind: &str) -> Option<(u8, &'a str)> {
    let (number, rest) = name
        .strip_prefix(kind)?
        .strip_prefix('.')?
        .split_once('.')?;
    let plain = number == "0" || !number.starts_with(['0', '+']);
    let number = number.parse().ok().filter(|n| plain && *n < 100)?;
    Some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO_Q: &str = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";

    #[test]
    fn every_spelling_of_a_module_is_read() {
        for place in [
            TO_Q,
            "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
            "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
            "lycoris_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
            "unet.input_blocks.4.1.transformer_blocks.0.attn1.to_q",
            "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q",
            "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q",
            "diffusion_model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
            "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
            "unet.base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
            "x.y.base_model.model.unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
            "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q",
            "module.unet._orig_mod.down_blocks.1.attentions.0._orig_mod.transformer_blocks.0.attn1.to_q",
        ] {
            assert_eq!(module(place, 2).as_deref(), Some(TO_Q), "{place}");
        }
        let out = module(
            "unet.mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_out",
            2,
        );
        assert!(out.is_some_and(|name| name.ends_with("attn2.to_out.0")));
        // SD 1.x has its first upsampler behind a block without attention.
        for (place, name) in [
            (
                "lora_unet_output_blocks_2_1_conv",
                "up_blocks.0.upsamplers.0.conv",
            ),
            (
                "lora_unet_output_blocks_5_2_conv",
                "up_blocks.1.upsamplers.0.conv",
            ),
            (
                "unet.output_blocks.3.1.proj_in",
                "up_blocks.1.attentions.0.proj_in",
            ),
            ("unet.out.2", "conv_out"),
            ("unet.time_embed.0", "time_embedding.linear_1"),
        ] {
            assert_eq!(module(place, 2).as_deref(), Some(name));
        }
    }

    #[test]
    fn no_other_model_has_such_names() {
        for place in [
            "lora_unet_double_blocks_0_img_attn_qkv",
            "transformer.transformer_blocks.0.attn.to_q",
            "transformer_blocks.0.attn1.to_q",
            "diffusion_model.blocks.0.self_attn.q",
            "lora_unet_down_blocks_0_1_attention_to_q",
            "unet.down_blocks.0.motion_modules.0.proj_in",
            "unet.down_blocks.1.attentions.0.add_k_proj",
            "unet.conv_norm_out",
            "unet.down_blocks.x.resnets.0.conv1",
            "unet.down_blocks.100.resnets.0.conv1",
            "unet.down_blocks.01.resnets.0.conv1",
            "unet.down_blocks..resnets.0.conv1",
            "lora_unet_output_blocks_4_3_proj_in",
            "unet",
            "",
        ] {
            assert_eq!(module(place, 2), None, "{place}");
        }
    }
}
