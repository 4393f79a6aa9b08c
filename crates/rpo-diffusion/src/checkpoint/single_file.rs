//! Conversion of all parts of a model to one file and back.

use candle_core::{Result, bail};
use rpo_nn::weights::{Archive, Item};

use super::{Family, Names};

/// Prefixes of known tensors that are not weights of a part: moving averages of the U-Net from training, tables of the noise
/// schedule, and the VAE's training loss.
const BESIDES: [&str; 12] = [
    "model_ema.",
    "first_stage_model.loss.",
    "betas",
    "alphas_cumprod",
    "sqrt_",
    "log_one_minus_alphas_cumprod",
    "posterior_",
    "lvlb_weights",
    "logvar",
    "scale_factor",
    "denoiser.",
    "global_step",
];

/// Suffixes of tensors that follow from the configuration or that Stable Diffusion does not read.
const UNREAD: [&str; 3] = [".position_ids", ".logit_scale", ".attn_mask"];

/// The tensors of a file by part.
#[derive(Debug)]
pub struct Folders<'a> {
    /// Folder and tensors of each part.
    pub parts: Vec<(&'static str, Vec<Item<'a>>)>,
    /// Names of tensors that no part reads.
    pub passed_over: Vec<String>,
}

/// The family of a file.
///
/// # Errors
/// If the file is not a checkpoint of Stable Diffusion 1.x, 2.x or XL base, with what it seems to be.
pub fn family(archive: &Archive) -> Result<Family> {
    let label = archive.label();
    let has = |prefix: &str| archive.names().any(|name| name.starts_with(prefix));
    if !has("model.diffusion_model.input_blocks.") {
        let what = if has("lora_unet_") || has("unet.down_blocks.") {
            "it looks like a LoRA, which goes on top of a model"
        } else if has("down_blocks.") || has("encoder.down") || has("text_model.") {
            "it looks like one part of a diffusers folder"
        } else {
            "no tensor of it begins with model.diffusion_model.input_blocks."
        };
        bail!(
            "{label}: this is no single-file checkpoint of Stable Diffusion 1.x, 2.x or XL: {what}"
        )
    }
    let input = archive.shape("model.diffusion_model.input_blocks.0.0.weight");
    if let Some(&[_, channels, ..]) = input
        && channels > 4
    {
        bail!(
            "{label}: its U-Net takes {channels} channels: an inpainting or depth model cannot be used"
        )
    }
    if has("conditioner.embedders.1.model.") {
        Ok(Family::Sdxl)
    } else if has("conditioner.embedders.0.model.") {
        bail!(
            "{label}: this is the refiner of Stable Diffusion XL; only the base model can be used"
        )
    } else if has("cond_stage_model.model.") {
        Ok(Family::Sd2)
    } else if has("cond_stage_model.transformer.") {
        Ok(Family::Sd1)
    } else {
        bail!(
            "{label}: it holds no text encoder (no tensor begins with cond_stage_model. or conditioner.): use a checkpoint of the whole model"
        )
    }
}

/// The tensors of a file for those of all parts of a folder, named `(part, tensors)`.
///
/// # Errors
/// If a tensor has no name in the file, or a part is missing.
pub fn to_file<'a>(names: &Names, mut parts: Vec<(&str, Vec<Item<'a>>)>) -> Result<Vec<Item<'a>>> {
    let mut out = Vec::new();
    for (part, map) in &names.parts {
        let Some(i) = parts.iter().position(|(name, _)| name == part) else {
            bail!("the part {part} is missing")
        };
        out.extend(map.to_file(parts.swap_remove(i).1, part)?);
    }
    Ok(out)
}

/// The tensors of all parts of a folder for those of a file.
///
/// # Errors
/// If the file has no tensor of a part, or a tensor that does not fit its part's configuration.
pub fn to_folders<'a>(names: &Names, archive: &'a Archive) -> Result<Folders<'a>> {
    let label = archive.label();
    let mut items = archive.items();
    let mut parts = Vec::new();
    let unread = archive.names().filter(|name| is_unread(names, name));
    let passed_over = unread.map(String::from).collect();
    items.retain(|item| !is_unread(names, &item.name));
    for (part, map) in &names.parts {
        let mut rest = Vec::new();
        let tensors = map.to_folder(items, &mut rest, label)?;
        if tensors.is_empty() {
            bail!(
                "{label}: it holds no {part} (no tensor begins with {}): use a checkpoint of the whole model",
                map.prefix()
            )
        }
        if let Some(item) = rest.iter().find(|item| item.name.starts_with(map.prefix())) {
            bail!(
                "{label}: tensor {} has no place in a {part} of the given configuration: file and configuration must be of one model",
                item.name
            )
        }
        parts.push((*part, tensors));
        items = rest;
    }
    if let Some(item) = items.first() {
        bail!(
            "{label}: tensor {} belongs to no part of {}",
            item.name,
            names.family
        )
    }
    Ok(Folders { parts, passed_over })
}

/// Whether a tensor is known not to be needed.
fn is_unread(names: &Names, name: &str) -> bool {
    if BESIDES.iter().any(|b| name.starts_with(b)) || UNREAD.iter().any(|u| name.ends_with(u)) {
        return true;
    }
    // Stable Diffusion 2.x reads OpenCLIP's penultimate layer: folders omit the last layer and the projection.
    names.family == Family::Sd2
        && name
            .strip_prefix("cond_stage_model.model.")
            .is_some_and(|inner| {
                let beyond = |map: &super::NameMap| map.origin(name).is_none();
                let layer = inner.starts_with("transformer.resblocks.");
                inner == "text_projection"
                    || layer && names.parts.iter().all(|(_, map)| beyond(map))
            })
}
