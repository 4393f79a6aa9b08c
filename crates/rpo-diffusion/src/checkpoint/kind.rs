//! What a safetensors file holds: a whole model of a family, or something else, by name.

use rpo_files::printable::printable_name;
use std::collections::BTreeSet;

use candle_core::{Result, bail};
use rpo_nn::weights::Archive;

use super::Family;
use super::foreign::{foreign, is_lora, quantised};
use super::spelling::{UNET, bare};

/// Width of the only text encoder of XL's refiner: OpenCLIP bigG.
const REFINER: usize = 1280;

/// The parts of a file by the beginnings of their names.
const PARTS: [(&str, &[&str]); 3] = [
    ("U-Net", &[UNET]),
    ("VAE", &["first_stage_model.", "vae."]),
    ("text encoder", &["cond_stage_model.", "conditioner."]),
];

/// The beginnings of the names of single parts, in other files than checkpoints of whole models.
const ALONE: [(&str, &str); 12] = [
    ("input_blocks.", "a U-Net alone, in the original's names"),
    ("time_embed.", "a U-Net alone, in the original's names"),
    (
        "down_blocks.",
        "one part of a diffusers folder, a U-Net: its place is unet/",
    ),
    (
        "encoder.down_blocks.",
        "one part of a diffusers folder, a VAE: its place is vae/",
    ),
    (
        "decoder.up_blocks.",
        "one part of a diffusers folder, a VAE: its place is vae/",
    ),
    ("encoder.down.", "a VAE alone, in the original's names"),
    ("decoder.up.", "a VAE alone, in the original's names"),
    (
        "text_model.",
        "one part of a diffusers folder, a text encoder: its place is text_encoder/",
    ),
    (
        "encoder.layers.",
        "one part of a diffusers folder, a text encoder: its place is text_encoder/",
    ),
    ("transformer.resblocks.", "an OpenCLIP text encoder alone"),
    ("visual.", "an OpenCLIP vision encoder"),
    ("vision_model.", "a CLIP vision encoder"),
];

/// The family of a file.
///
/// # Errors
/// If the file is not a checkpoint of Stable Diffusion 1.x, 2.x or XL base, with what it is.
pub fn family(archive: &Archive) -> Result<Family> {
    let label = archive.label();
    let names: BTreeSet<String> = archive.names().chain(archive.buffers()).map(bare).collect();
    let has = |prefix: &str| starts(&names, prefix);
    let whole = has("model.diffusion_model.input_blocks.");
    if let Some(what) = foreign(&names, whole) {
        bail!("{label}: this is {what}\n  hint: Stable Diffusion 1.x, 2.x and XL base can be used")
    }
    if let Some(name) = names.iter().find(|name| quantised(name)) {
        bail!(
            "{label}: its weights are quantised (tensor {name})\n  hint: use the file in f16, bf16 or f32 that it was made from"
        )
    }
    let lora = names.iter().find(|name| is_lora(name));
    if !whole {
        if lora.is_some() {
            bail!(
                "{label}: this is no single-file checkpoint: it looks like a LoRA, which goes on top of a model\n  hint: rpo-train lora merge {label} --model FOLDER --to NEW_FOLDER"
            )
        }
        return Err(no_unet(label, &names));
    }
    if let Some(name) = lora {
        bail!(
            "{label}: beside a whole model it holds a LoRA that is not merged (tensor {name}), which would be lost\n  hint: save the LoRA as a file of its own, or merge it with the program that wrote this file"
        )
    }
    let shape = |name: &str| {
        let found = archive.names().find(|n| bare(n) == name);
        found.and_then(|n| archive.shape(n)).map(<[usize]>::to_vec)
    };
    if let Some(&[_, channels, ..]) =
        shape("model.diffusion_model.input_blocks.0.0.weight").as_deref()
        && let Some(what) = other_input(channels)
    {
        bail!(
            "{label}: its U-Net takes {channels} channels: {what}\n  hint: use the model for text to image that it was made from"
        )
    }
    let layout = Layout {
        second: has("conditioner.embedders.1."),
        sgm: has("conditioner.embedders.0."),
        open_clip: has("conditioner.embedders.0.model.") || has("cond_stage_model.model."),
        clip: has("cond_stage_model.") || has("conditioner.embedders.0."),
    };
    let added = has("model.diffusion_model.label_emb.");
    let width = ["ln_final.weight", "positional_embedding"]
        .iter()
        .find_map(|leaf| {
            shape(&format!("conditioner.embedders.0.model.{leaf}"))?
                .last()
                .copied()
        });
    match layout {
        Layout { second: true, .. } => Ok(Family::Sdxl),
        Layout {
            sgm: true,
            open_clip: true,
            ..
        } if added || width == Some(REFINER) => bail!(
            "{label}: this is the refiner of Stable Diffusion XL\n  hint: only the base model can be used"
        ),
        _ if added => bail!(
            "{label}: its U-Net takes pooled text as Stable Diffusion XL's does, but the second text encoder (conditioner.embedders.1.) is missing\n  hint: use a checkpoint of the whole model"
        ),
        Layout {
            open_clip: true, ..
        } => Ok(Family::Sd2),
        Layout { clip: true, .. } => Ok(if linear(&shape) {
            Family::Sd2
        } else {
            Family::Sd1
        }),
        _ => bail!(
            "{label}: it holds {}, no text encoder (no tensor begins with cond_stage_model. or conditioner.)\n  hint: use a checkpoint of the whole model",
            parts(&names).join(" and ")
        ),
    }
}

/// Which text encoders a file has.
struct Layout {
    second: bool,
    /// In the layout of Stability's generative-models.
    sgm: bool,
    open_clip: bool,
    clip: bool,
}

/// Whether the transformer blocks begin with a matrix, as in 2.x, instead of a 1x1 kernel.
fn linear(shape: &impl Fn(&str) -> Option<Vec<usize>>) -> bool {
    let input = |n: usize| shape(&format!("{UNET}input_blocks.{n}.1.proj_in.weight"));
    (1..12)
        .find_map(input)
        .is_some_and(|shape| shape.len() == 2)
}

/// What a U-Net with so many input channels is, if it is not one from text to image.
fn other_input(channels: usize) -> Option<&'static str> {
    match channels {
        0..=4 => None,
        5 => Some("this is a depth model, which cannot be used"),
        7 => Some("this is an upscaling model, which cannot be used"),
        8 => Some("this is a model that edits pictures (InstructPix2Pix), which cannot be used"),
        9 => Some("this is an inpainting model, which cannot be used"),
        _ => Some(
            "this is a model with another input (an inpainting or depth model, or one with another VAE), which cannot be used",
        ),
    }
}

fn starts(names: &BTreeSet<String>, prefix: &str) -> bool {
    let from = names.range(prefix.to_owned()..).next();
    from.is_some_and(|name| name.starts_with(prefix))
}

/// The parts that a file has.
fn parts(names: &BTreeSet<String>) -> Vec<String> {
    PARTS
        .iter()
        .filter(|(_, heads)| heads.iter().any(|head| starts(names, head)))
        .map(|(part, _)| format!("a {part}"))
        .collect()
}

/// The error about a file without a U-Net in the original's names.
fn no_unet(label: &str, names: &BTreeSet<String>) -> candle_core::Error {
    let alone = ALONE.iter().find(|(head, _)| starts(names, head));
    let what = match (alone, parts(names)) {
        (Some((_, what)), _) => format!("it holds {what}"),
        (None, parts) if parts.is_empty() => format!(
            "no tensor of it begins with {UNET}input_blocks. (the first is {})",
            printable_name(names.first().map_or("none", String::as_str))
        ),
        (None, parts) => format!("it holds {}, no U-Net", parts.join(" and ")),
    };
    candle_core::Error::msg(format!(
        "{label}: this is no single-file checkpoint of Stable Diffusion 1.x, 2.x or XL: {what}\n  hint: use a checkpoint of the whole model"
    ))
}
