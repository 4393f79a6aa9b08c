//! One name for each tensor of a single file, however the program that wrote it spelled it.
//!
//! | written | read as | by |
//! |---|---|---|
//! | `state_dict.`, `module.` in front, `_orig_mod.` within | nothing | training loops, torch.compile |
//! | `conditioner.embedders.0.` without an `.1.` | `cond_stage_model.` | SD 1.x and 2.x in XL's layout (SD Turbo) |
//! | `vae.encoder.`, `vae.decoder.`, `vae.quant_conv` … | `first_stage_model.…` | forks; diffusers reads both |
//! | `attn_1.to_q`, `attn_1.query`, `attn_1.to_out.0`, `attn_1.proj_attn` … | `attn_1.q`, `attn_1.proj_out` … | versions of diffusers' script |
//! | text encoders with `transformer.`, `model.` or `text_model.` left out or twice | as the family has it | forks, mergers |

use super::Family;

/// What all names of the U-Net begin with.
pub(super) const UNET: &str = "model.diffusion_model.";

/// What wrappers of training loops put in front of all names.
const WRAPPERS: [&str; 3] = ["state_dict.", "module.", "_forward_module."];

/// What `torch.compile` puts within names.
const COMPILED: &str = "_orig_mod.";

/// The VAE's middle attention: what files call its matrices, and what the original does.
const ATTENTION: [(&str, &str); 8] = [
    ("to_q.", "q."),
    ("to_k.", "k."),
    ("to_v.", "v."),
    ("to_out.0.", "proj_out."),
    ("query.", "q."),
    ("key.", "k."),
    ("value.", "v."),
    ("proj_attn.", "proj_out."),
];

/// Modules of the VAE below its prefix.
const VAE: [&str; 5] = [
    "encoder.",
    "decoder.",
    "quant_conv.",
    "post_quant_conv.",
    "loss.",
];

/// Modules of a text encoder in CLIP's own names, below `text_model.`.
const CLIP: [&str; 3] = ["embeddings.", "encoder.layers.", "final_layer_norm."];

/// Without the wrappers of training loops.
pub(super) fn bare(name: &str) -> String {
    let mut rest = name;
    while let Some(inner) = WRAPPERS.iter().find_map(|w| rest.strip_prefix(w)) {
        rest = inner;
    }
    rest.replace(COMPILED, "")
}

/// The name in the original's spelling for a file of this family.
pub(super) fn original(name: &str, family: Family) -> String {
    let name = bare(name);
    if let Some(rest) = name.strip_prefix("vae.")
        && VAE.iter().any(|module| rest.starts_with(module))
    {
        return vae(rest);
    }
    if let Some(rest) = name.strip_prefix("first_stage_model.") {
        return vae(rest);
    }
    let (first, second) = match family {
        Family::Sd1 => (text_prefix(family, false), None),
        Family::Sd2 => (text_prefix(family, false), None),
        Family::Sdxl => (text_prefix(family, false), Some(text_prefix(family, true))),
    };
    let below = |head: &str| name.strip_prefix(head);
    match (below("conditioner.embedders.1."), second) {
        (Some(rest), Some(prefix)) => return text(rest, prefix),
        (Some(_), None) => return name,
        _ => {}
    }
    match below("conditioner.embedders.0.").or_else(|| below("cond_stage_model.")) {
        Some(rest) => text(rest, first),
        None => name,
    }
}

/// What the names of a text encoder begin with in the original.
pub(super) fn text_prefix(family: Family, second: bool) -> &'static str {
    match (family, second) {
        (Family::Sd1, _) => "cond_stage_model.transformer.",
        (Family::Sd2, _) => "cond_stage_model.model.",
        (Family::Sdxl, false) => "conditioner.embedders.0.transformer.",
        (Family::Sdxl, true) => "conditioner.embedders.1.model.",
    }
}

fn vae(rest: &str) -> String {
    let name = format!("first_stage_model.{rest}");
    let Some((module, leaf)) = name.split_once(".attn_1.") else {
        return name;
    };
    let inner = ATTENTION
        .iter()
        .find_map(|(theirs, ours)| Some(format!("{ours}{}", leaf.strip_prefix(theirs)?)));
    match inner {
        Some(inner) => format!("{module}.attn_1.{inner}"),
        None => name,
    }
}

/// `rest`: a text encoder's name without its head.
fn text(rest: &str, prefix: &str) -> String {
    let mut core = rest;
    while let Some(inner) = ["model.", "transformer.", "text_model."]
        .iter()
        .find_map(|wrapper| core.strip_prefix(wrapper))
    {
        core = inner;
    }
    let wrapper = if core.starts_with("resblocks.") {
        "transformer."
    } else if CLIP.iter().any(|module| core.starts_with(module)) {
        "text_model."
    } else {
        ""
    };
    format!("{prefix}{wrapper}{core}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_the_original() {
        let clip = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight";
        let block = "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight";
        let big = "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight";
        let q = "first_stage_model.encoder.mid.attn_1.q.weight";
        for (family, written, read) in [
            (Family::Sd1, clip, clip),
            (
                Family::Sd1,
                "cond_stage_model.transformer.embeddings.token_embedding.weight",
                clip,
            ),
            (
                Family::Sd1,
                "cond_stage_model.text_model.embeddings.token_embedding.weight",
                clip,
            ),
            (
                Family::Sd1,
                "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
                clip,
            ),
            (
                Family::Sd1,
                "state_dict.cond_stage_model.transformer.transformer.text_model.embeddings.token_embedding.weight",
                clip,
            ),
            (Family::Sd2, block, block),
            (
                Family::Sd2,
                "conditioner.embedders.0.model.transformer.resblocks.0.attn.in_proj_weight",
                block,
            ),
            (
                Family::Sd2,
                "cond_stage_model.transformer.resblocks.0.attn.in_proj_weight",
                block,
            ),
            (
                Family::Sd2,
                "cond_stage_model.model.model.transformer.resblocks.0.attn.in_proj_weight",
                block,
            ),
            (
                Family::Sd2,
                clip,
                "cond_stage_model.model.text_model.embeddings.token_embedding.weight",
            ),
            (Family::Sdxl, big, big),
            (
                Family::Sdxl,
                "module.conditioner.embedders.1.transformer.resblocks.0.attn.in_proj_weight",
                big,
            ),
            (Family::Sd1, "vae.encoder.mid.attn_1.to_q.weight", q),
            (
                Family::Sd1,
                "first_stage_model.encoder.mid.attn_1.query.weight",
                q,
            ),
            (
                Family::Sdxl,
                "first_stage_model.decoder.mid.attn_1.proj_attn.bias",
                "first_stage_model.decoder.mid.attn_1.proj_out.bias",
            ),
            (
                Family::Sd1,
                "model.diffusion_model._orig_mod.out.0.weight",
                "model.diffusion_model.out.0.weight",
            ),
            (Family::Sd1, "vae.down_blocks.0", "vae.down_blocks.0"),
        ] {
            assert_eq!(original(written, family), read, "{written}");
        }
    }
}
