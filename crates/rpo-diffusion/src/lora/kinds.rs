//! Other kinds of adapters than plain LoRA, and whole models, by name.

use rpo_files::printable::printable_name;

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

fn kind(key: &str) -> Option<&'static Kind> {
    let marked = |mark: &str| match mark.ends_with(['.', '_']) {
        true => key.contains(mark),
        false => key.ends_with(mark),
    };
    KINDS
        .iter()
        .find(|kind| kind.marks.iter().any(|mark| marked(mark)))
}

#[cfg(test)]
mod tests {
    use super::*;

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
