//! `model_index.json`: which pipeline a folder holds, and whether its parts exist.

use rpo_files::printable::printable_name;
use std::path::Path;

use candle_core::{Error, Result, bail};
use serde_json::Value;

use crate::config_check;

/// The supported pipeline classes, with their parts and the allowed classes of these.
const PIPELINES: [(&str, &[(&str, &str)]); 2] = [
    (
        "StableDiffusionPipeline",
        &[
            ("unet", "UNet2DConditionModel"),
            ("vae", "AutoencoderKL"),
            ("text_encoder", "CLIPTextModel"),
            ("tokenizer", "CLIPTokenizer"),
            ("scheduler", ""),
        ],
    ),
    (
        "StableDiffusionXLPipeline",
        &[
            ("unet", "UNet2DConditionModel"),
            ("vae", "AutoencoderKL"),
            ("text_encoder", "CLIPTextModel"),
            ("text_encoder_2", "CLIPTextModelWithProjection"),
            ("tokenizer", "CLIPTokenizer"),
            ("tokenizer_2", "CLIPTokenizer"),
            ("scheduler", ""),
        ],
    ),
];

/// Parts of the names of other classes, and what models of these are. The first that fits names the model.
const OTHERS: [(&str, &str); 14] = [
    ("Inpaint", "an inpainting model"),
    ("InstructPix2Pix", "a model that edits pictures"),
    ("ControlNet", "a model with a ControlNet"),
    ("Img2Img", "a model or a refiner for pictures from pictures"),
    ("Upscale", "an upscaling model"),
    ("Depth2Img", "a depth model"),
    ("AnimateDiff", "a model for films"),
    ("StableVideo", "a model for films"),
    ("StableDiffusion3", "Stable Diffusion 3"),
    ("StableCascade", "Stable Cascade"),
    ("Flux", "Flux"),
    ("PixArt", "PixArt"),
    ("Kandinsky", "Kandinsky"),
    (
        "LatentConsistency",
        "a latent consistency model, which takes the guidance as an input",
    ),
];

/// The content of `model_index.json`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index {
    /// SDXL: two text encoders and added conditioning.
    pub(super) xl: bool,
    /// Guidance uses zeros instead of the empty prompt's states.
    pub(super) zeros_for_empty_prompt: bool,
}

impl Index {
    /// Refuses a folder that is not a Stable Diffusion pipeline, or lacks a part.
    pub(super) fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("model_index.json");
        if !dir.is_dir() {
            bail!(
                "there is no folder {}: give a model folder in diffusers layout",
                dir.display()
            );
        }
        let label = path.display();
        let index: Value = serde_json::from_str(&config_check::read(&path)?)
            .map_err(|e| Error::msg(format!("{label}: {e}")))?;
        let class = index["_class_name"].as_str().unwrap_or("none");
        let Some((_, parts)) = PIPELINES.iter().find(|(name, _)| *name == class) else {
            bail!(
                "{label}: pipeline class {} is not supported{}, only StableDiffusionPipeline (Stable Diffusion 1.x and 2.x) and StableDiffusionXLPipeline",
                printable_name(class),
                OTHERS
                    .iter()
                    .find(|(part, _)| class.contains(part))
                    .map_or(String::new(), |(_, what)| format!(": it is {what}"))
            );
        };
        for (part, expected) in *parts {
            match index[part][1].as_str() {
                // Scheduler classes are checked when the part is loaded.
                Some(_) if *part == "scheduler" => {}
                Some(class) if class.trim_end_matches("Fast") == *expected => {}
                Some(class) => bail!("{label}: {part} is a {class}, only {expected} is supported"),
                None => bail!("{label}: {part} is not listed; a {class} folder has one"),
            }
            let folder = dir.join(part);
            if !folder.is_dir() {
                bail!(
                    "the folder {} is missing: copy the model folder as a whole",
                    folder.display()
                );
            }
        }
        let xl = class == "StableDiffusionXLPipeline";
        Ok(Self {
            xl,
            // diffusers' default of StableDiffusionXLPipeline.
            zeros_for_empty_prompt: xl
                && index["force_zeros_for_empty_prompt"].as_bool() != Some(false),
        })
    }
}
