//! Files of other architectures and kinds, by names that only they have.

use std::collections::BTreeSet;

use super::spelling::UNET;

/// Beginnings of names, and what a file with such a name is. The first that fits names the file.
const STARTS: [(&str, &str); 47] = [
    ("control_model.", "a ControlNet"),
    ("controlnet_cond_embedding.", "a ControlNet"),
    ("controlnet_down_blocks.", "a ControlNet"),
    ("controlnet_mid_block.", "a ControlNet"),
    ("control_add_embedding.", "a ControlNet"),
    ("input_hint_block.", "a ControlNet"),
    ("zero_convs.", "a ControlNet"),
    ("ip_adapter.", "an IP-Adapter"),
    ("image_proj.", "an IP-Adapter"),
    ("adapter.body.", "a T2I-Adapter"),
    ("adapter.conv_in.", "a T2I-Adapter"),
    ("depth_model.", "a depth model of Stable Diffusion 2"),
    (
        "low_scale_model.",
        "an upscaling model of Stable Diffusion 2",
    ),
    ("embedder.model.", "Stable unCLIP"),
    ("noise_augmentor.", "Stable unCLIP"),
    ("cc_projection.", "Zero123"),
    ("cond_stage_model.roberta.", "AltDiffusion"),
    (
        "conditioner.embedders.0.open_clip.",
        "Stable Video Diffusion",
    ),
    ("joint_blocks.", "Stable Diffusion 3"),
    ("text_encoders.clip_g.", "Stable Diffusion 3"),
    ("clip_txt_mapper.", "Stable Cascade"),
    ("clip_txt_pooled_mapper.", "Stable Cascade"),
    ("effnet_mapper.", "Stable Cascade"),
    ("single_stream_modulation.", "Flux 2"),
    ("distilled_guidance_layer.", "Chroma"),
    ("txt_in.individual_token_refiner.", "Hunyuan Video"),
    ("double_stream_blocks.", "HiDream"),
    ("double_blocks.", "Flux"),
    ("single_transformer_blocks.", "Flux"),
    ("double_layers.", "AuraFlow"),
    ("patchify_proj.", "LTX Video"),
    ("cap_embedder.", "Lumina 2 or Z-Image"),
    ("mlp_t5.", "Hunyuan-DiT"),
    ("head.modulation", "Wan"),
    ("txt_norm.", "Qwen-Image"),
    ("net.x_embedder.", "Cosmos"),
    ("attention_y_norm.", "Sana"),
    ("adaln_single.", "PixArt"),
    ("t_block.", "PixArt"),
    ("y_embedder.", "PixArt"),
    ("decoder.stages.", "a deep-compression autoencoder (DC-AE)"),
    ("encoder.stages.", "a deep-compression autoencoder (DC-AE)"),
    ("concept_embeds", "a safety checker"),
    ("emb_params", "a textual inversion"),
    ("string_to_param", "a textual inversion"),
    ("conv_first.", "a model that enlarges pictures (ESRGAN)"),
    ("params_ema.", "a model that enlarges pictures (ESRGAN)"),
];

/// Inner parts of names, likewise.
const WITHIN: [(&str, &str); 5] = [
    ("motion_modules.", "a motion module (AnimateDiff)"),
    (".temporal_transformer.", "a motion module (AnimateDiff)"),
    (".time_stack.", "Stable Video Diffusion"),
    (".channelwise.", "Stable Cascade"),
    (".attn.qkv_x.", "Mochi"),
];

/// Inner parts of names of LoRA and its relatives.
const LORA: [&str; 13] = [
    ".lora_A.",
    ".lora_B.",
    ".lora_down.",
    ".lora_up.",
    ".lora.down.",
    ".lora.up.",
    "_lora.down.",
    "_lora.up.",
    ".lora_linear_layer.",
    ".hada_w1_",
    ".lokr_w",
    ".oft_blocks",
    ".lora_magnitude_vector",
];

/// Ends of names that only quantised weights have: bitsandbytes, GPTQ, AWQ, scaled f8.
const QUANTISED: [&str; 10] = [
    ".absmax",
    ".quant_map",
    ".nested_absmax",
    ".SCB",
    ".qweight",
    ".qzeros",
    ".scale_weight",
    ".weight_scale",
    "scaled_fp8",
    ".weight_format",
];

/// What a file of another architecture or kind is. `whole`: it has a U-Net as Stable Diffusion has it, so that only what would
/// change that is looked for.
pub(super) fn foreign(names: &BTreeSet<String>, whole: bool) -> Option<&'static str> {
    let inner = |name: &'_ String| name.strip_prefix(UNET).unwrap_or(name).to_owned();
    let cores: BTreeSet<String> = names.iter().map(inner).collect();
    let begins = |head: &str| {
        let from = cores.range(head.to_owned()..).next();
        from.is_some_and(|name| name.starts_with(head))
    };
    let begin = STARTS.iter().find(|(head, _)| begins(head));
    // A LoRA names the modules of its base model.
    if !whole && names.iter().any(|name| is_lora(name)) {
        return None;
    }
    let within = || {
        let has = |part: &str| cores.iter().any(|name| name.contains(part));
        WITHIN.iter().find(|(part, _)| has(part))
    };
    begin.or_else(within).map(|(_, what)| *what)
}

/// Whether a tensor belongs to a LoRA or one of its relatives.
pub fn is_lora(name: &str) -> bool {
    ["lora_unet_", "lora_te", "lora_prior_"]
        .iter()
        .any(|head| name.starts_with(head))
        || LORA.iter().any(|part| name.contains(part))
}

/// Whether a tensor belongs to quantised weights.
pub(super) fn quantised(name: &str) -> bool {
    QUANTISED.iter().any(|end| name.ends_with(end)) || name.contains(".quant_state.")
}
