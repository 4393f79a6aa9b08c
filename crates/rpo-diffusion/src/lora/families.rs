//! LoRA files of other families of models, by name.

use rpo_files::printable::printable_name;
use std::collections::BTreeMap;

/// Other families of models by marks in their keys, in which dots count as underscores; the more telling ones first.
const FAMILIES: [(&[&str], &str); 17] = [
    (&["lora_prior_unet_", "prior_unet_"], "Stable Cascade"),
    (&["motion_modules_"], "AnimateDiff (a motion LoRA)"),
    (&["distilled_guidance_layer"], "Chroma"),
    (
        &["double_stream_blocks_", "single_stream_blocks_"],
        "HiDream",
    ),
    (
        &[
            "individual_token_refiner",
            "single_blocks_0_modulation_linear_v",
        ],
        "HunyuanVideo",
    ),
    (&["joint_transformer_blocks_"], "AuraFlow"),
    (&["joint_blocks_"], "Stable Diffusion 3"),
    (
        &[
            "double_blocks_",
            "single_blocks_",
            "single_transformer_blocks_",
        ],
        "Flux or a model with its blocks",
    ),
    (&["img_mlp_", "txt_mlp_"], "Qwen-Image"),
    (
        &[
            "noise_refiner_",
            "context_refiner_",
            "feed_forward_w",
            "layers_0_attention_",
            "layers_1_attention_",
        ],
        "Z-Image or Lumina",
    ),
    (&["conv_inverted", "conv_depth"], "Sana"),
    (&["attn_qkv_x", "attn_qkv_y"], "Mochi"),
    (&["add_q_proj", "attn_add_k_proj"], "Stable Diffusion 3"),
    (
        &[
            "_self_attn_q",
            "_self_attn_k",
            "_self_attn_v",
            "_self_attn_o",
            "_cross_attn_",
            "_ffn_",
        ],
        "Wan or a model with its blocks",
    ),
    (
        &["caption_projection", "adaln_single", "audio_attn"],
        "PixArt or LTX",
    ),
    (
        &["attentions_0_add_k_proj", "attentions_1_add_k_proj"],
        "Kandinsky or DeepFloyd",
    ),
    (
        &["transformer_blocks_"],
        "a transformer such as PixArt or LTX",
    ),
];

/// The refusal of a module that no Stable Diffusion U-Net has; `keys` are all of the file.
pub(super) fn refuse_module(
    label: &str,
    key: &str,
    keys: &[&str],
    metadata: &BTreeMap<String, String>,
) -> String {
    let said = ["modelspec.architecture", "ss_base_model_version"]
        .iter()
        .find_map(|name| metadata.get(*name));
    let said = said.map_or(String::new(), |said| {
        format!(" (its metadata says \"{}\")", printable_name(said))
    });
    let whose = family(keys).unwrap_or("another model");
    format!(
        "{label}: {} is no module of a U-Net of Stable Diffusion 1.x, 2.x or XL; this is a LoRA of {whose}{said}\n  hint: it works with that model only, in a program that draws with it",
        printable_name(key)
    )
}

/// The family of models that the keys name.
fn family(keys: &[&str]) -> Option<&'static str> {
    let flat: Vec<String> = keys.iter().map(|key| key.replace('.', "_")).collect();
    let has = |mark: &str| flat.iter().any(|key| key.contains(mark));
    // A U-Net has transformers inside its blocks.
    let unet = [
        "down_blocks_",
        "up_blocks_",
        "mid_block_",
        "input_blocks_",
        "output_blocks_",
        "middle_block_",
    ];
    let unet = unet.iter().any(|mark| has(mark));
    FAMILIES
        .iter()
        .find(|(marks, _)| {
            let inside = unet && marks.contains(&"transformer_blocks_");
            !inside && marks.iter().any(|mark| has(mark))
        })
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_families_are_named() {
        for (key, name) in [
            (
                "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight",
                "Flux",
            ),
            (
                "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight",
                "Flux",
            ),
            (
                "lora_unet_joint_blocks_0_x_block_attn_qkv.lora_up.weight",
                "Stable Diffusion 3",
            ),
            (
                "transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight",
                "Stable Diffusion 3",
            ),
            ("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "Wan"),
            (
                "diffusion_model.layers.0.attention.qkv.lora_A.weight",
                "Z-Image",
            ),
            (
                "transformer_blocks.0.img_mlp.net.2.lora_A.weight",
                "Qwen-Image",
            ),
            (
                "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight",
                "PixArt or LTX",
            ),
            (
                "lora_prior_unet_down_blocks_0_2_attention_attn_to_q.alpha",
                "Stable Cascade",
            ),
            (
                "lora_unet_distilled_guidance_layer_layers_0_in_layer.alpha",
                "Chroma",
            ),
            (
                "unet.down_blocks.0.attentions.0.transformer_blocks.0.extra.alpha",
                "another model",
            ),
        ] {
            let told = refuse_module("x", key, &[key], &BTreeMap::new());
            assert!(told.contains(name), "{told}");
        }
        let metadata =
            BTreeMap::from([("modelspec.architecture".into(), "flux\u{1b}/lora".into())]);
        let told = refuse_module("x", "k", &["k"], &metadata);
        assert!(told.contains(r#"says "flux\u{1b}/lora""#), "{told}");
    }
}
