//! What cannot be read, by name: LoRA files of other families of models, other kinds of adapters, and whole models.

use rpo_files::printable::printable_name;
use std::collections::BTreeMap;

/// A kind of adapter that is no plain low-rank product: marks in its keys, what it is, and who writes it.
struct Kind {
    marks: &'static [&'static str],
    name: &'static str,
    writers: &'static str,
}

/// A mark with a dot or underscore at its end may stand anywhere in a key, the others at its end.
const KINDS: [Kind; 15] = [
    Kind {
        marks: &[
            "dora_scale",
            "lora_magnitude_vector",
            "lora_magnitude_vector.",
        ],
        name: "DoRA",
        writers: "OneTrainer, LyCORIS and peft with use_dora",
    },
    Kind {
        marks: &[".hada_"],
        name: "LoHa",
        writers: "LyCORIS and peft",
    },
    Kind {
        marks: &[".lokr_"],
        name: "LoKr",
        writers: "LyCORIS and peft",
    },
    Kind {
        marks: &[".oft_", ".oft_blocks", ".oft_diag", ".boft_"],
        name: "OFT",
        writers: "LyCORIS, OneTrainer, sd-scripts and peft",
    },
    Kind {
        marks: &[
            ".a1.weight",
            ".a2.weight",
            ".b1.weight",
            ".b2.weight",
            ".bm.weight",
        ],
        name: "GLoRA",
        writers: "LyCORIS",
    },
    Kind {
        marks: &[".ia3_", ".on_input"],
        name: "IA3",
        writers: "LyCORIS and peft",
    },
    Kind {
        marks: &[".vera_lambda_"],
        name: "VeRA",
        writers: "peft",
    },
    Kind {
        marks: &[
            ".w_norm",
            ".b_norm",
            ".diff",
            ".diff_b",
            ".set_weight",
            ".diff.weight",
        ],
        name: "weight differences (\"full\")",
        writers: "LyCORIS and programs that subtract two models",
    },
    Kind {
        marks: &[".scalar", ".scale", ".reshape_weight"],
        name: "a LoRA with a factor of its own",
        writers: "LyCORIS with use_scalar and converters",
    },
    Kind {
        marks: &[
            ".lora_B.bias",
            ".lora_up.bias",
            ".lora.up.bias",
            ".lora_A.bias",
            ".lora_down.bias",
        ],
        name: "a LoRA with biases",
        writers: "peft with lora_bias",
    },
    Kind {
        marks: &[
            ".lora_embedding_A",
            ".lora_embedding_B",
            ".lora_embedding_A.",
            ".lora_embedding_B.",
        ],
        name: "a LoRA of an embedding",
        writers: "peft",
    },
    Kind {
        marks: &[".lora_E", ".ranknum", ".lora_E.", ".ranknum."],
        name: "AdaLoRA",
        writers: "peft",
    },
    Kind {
        marks: &["lora_controlnet"],
        name: "a control LoRA",
        writers: "Stability AI",
    },
    Kind {
        marks: &["lllite_"],
        name: "ControlNet-LLLite",
        writers: "sd-scripts",
    },
    Kind {
        marks: &["ip_adapter.", "image_proj."],
        name: "an IP-Adapter",
        writers: "its trainers",
    },
];

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

/// The refusal of a key that is no key of a plain LoRA.
pub(super) fn refuse_key(label: &str, key: &str, whole: bool) -> String {
    let shown = printable_name(key);
    if let Some(kind) = kind(key) {
        return format!(
            "{label}: {shown} is part of {}, as {} write it; only plain LoRA (A and B, alpha) can be read\n  hint: merge it into the model with the program that made it, and use the merged model; or train a plain LoRA",
            kind.name, kind.writers
        );
    }
    if key.starts_with("base_model.model.") || key.contains(".modules_to_save.") {
        return format!(
            "{label}: {shown} was trained as a whole (peft's modules_to_save); only plain LoRA (A and B, alpha) can be read\n  hint: merge it into the model with peft (merge_and_unload), and use the merged model"
        );
    }
    let hint = if whole {
        "the file holds weights of a model, not a LoRA: convert a single-file checkpoint with `rpo-train import`, and name a model's folder with --model"
    } else {
        "LoRA files of kohya's sd-scripts, OneTrainer, ComfyUI, diffusers and peft can be read; docs/lora.md lists their forms"
    };
    format!("{label}: {shown} is no key of a LoRA file\n  hint: {hint}")
}

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

fn kind(key: &str) -> Option<&'static Kind> {
    let marked = |mark: &str| match mark.ends_with(['.', '_']) {
        true => key.contains(mark),
        false => key.ends_with(mark),
    };
    KINDS
        .iter()
        .find(|kind| kind.marks.iter().any(|mark| marked(mark)))
}

/// The family of models that the keys name.
fn family(keys: &[&str]) -> Option<&'static str> {
    let flat: Vec<String> = keys.iter().map(|key| key.replace('.', "_")).collect();
    let has = |mark: &str| flat.iter().any(|key| key.contains(mark));
    FAMILIES
        .iter()
        .find(|(marks, _)| marks.iter().any(|mark| has(mark)))
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
                "unet.down_blocks.0.attentions.0.conv_extra.alpha",
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

    #[test]
    fn other_adapters_are_named() {
        for (key, name) in [
            ("lora_unet_x.dora_scale", "DoRA"),
            ("unet.x.lora_magnitude_vector.weight", "DoRA"),
            ("lora_unet_x.hada_w1_a", "LoHa"),
            ("lycoris_x.lokr_w1", "LoKr"),
            ("lora_unet_x.oft_blocks", "OFT"),
            ("lora_unet_x.diff", "weight differences"),
            ("diffusion_model.x.diff_b", "weight differences"),
            ("lora_unet_x.scalar", "factor"),
            ("unet.x.lora_B.bias", "biases"),
            ("base_model.model.conv_in.weight", "modules_to_save"),
            (
                "model.diffusion_model.input_blocks.0.0.weight",
                "no key of a LoRA",
            ),
        ] {
            let told = refuse_key("x", key, false);
            assert!(told.contains(name) && told.contains(key), "{told}");
        }
    }
}
