//! The encoder of the references that an image adapter reads: where it is, and whether it may be used.

use crate::hub::Content;
use anyhow::Result;
use candle_core::Tensor;
use image::RgbImage;
use rpo_encoders::clip::{ClipImageConfig, ClipImageEncoder};
use rpo_encoders::folder;
use rpo_experiment::{Layers, TrainingArm};
use rpo_files::failure::OrBadInput;
use rpo_nn::Place;
use std::path::{Path, PathBuf};

/// The key that names it.
pub(super) const KEY: &str = "image_adapter.encoder";

/// Where a model's folder may have one.
const OF_MODEL: [&str; 2] = ["image_encoder", "cond_clip"];

/// Released encoders as wide as the texts of Stable Diffusion.
const HINT: &str = "the folder or the repository of a CLIP: openai/clip-vit-large-patch14 has 768 numbers, as Stable Diffusion 1.5, laion/CLIP-ViT-H-14-laion2B-s32B-b79K 1024, as 2.1";

/// The folder that the arms' image adapters read, if some arm has one: the one named, which `place` finds, else one of the model's.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at [`KEY`] if there is none.
pub(super) fn find(
    arms: &[TrainingArm],
    model: &Path,
    layers: &Layers,
    mut place: impl FnMut(&str, &str, Content) -> Result<PathBuf>,
) -> Result<Option<PathBuf>> {
    let Some(keys) = arms.iter().find_map(|arm| arm.image_adapter.as_ref()) else {
        return Ok(None);
    };
    if !keys.encoder.is_empty() {
        return place(KEY, &keys.encoder, Content::Encoder).map(Some);
    }
    let own = OF_MODEL.map(|name| model.join(name));
    if let Some(found) = own.iter().find(|f| f.join("config.json").is_file()) {
        return Ok(Some(found.clone()));
    }
    let message = format!(
        "an image adapter reads the references with a CLIP, and {} has none ({})\n  hint: {HINT}",
        model.display(),
        OF_MODEL.join(", ")
    );
    Err(layers.error(KEY, &message))
}

/// Checks that the encoder in `encoder` gives as many numbers as a token of the texts has, `width`, and that it is none of the `rulers`,
/// keys and folders of what chooses and judges: a method must not see by whom it is measured.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at [`KEY`].
pub(super) fn check(
    encoder: &Path,
    width: usize,
    rulers: &[(&str, &Path)],
    layers: &Layers,
) -> Result<()> {
    let config = ClipImageConfig::load(encoder).map_err(|e| layers.error(KEY, &e.to_string()))?;
    if config.projection_dim != width {
        let message = format!(
            "{} gives {} numbers a picture, the U-Net's texts have {width} a token (cross_attention_dim): the image adapter adds them\n  hint: {HINT}",
            encoder.display(),
            config.projection_dim
        );
        return Err(layers.error(KEY, &message));
    }
    for (key, ruler) in rulers {
        if same_weights(encoder, ruler)? {
            let message = format!(
                "{} is {key} too: what chooses or judges the pictures must not be what they are learned by\n  hint: another CLIP",
                encoder.display()
            );
            return Err(layers.error(KEY, &message));
        }
    }
    Ok(())
}

/// Whether two folders have the same weights, byte by byte.
fn same_weights(a: &Path, b: &Path) -> Result<bool> {
    let files = |of: &Path| folder::weight_files(of).or_bad_input(of.display());
    let (a, b) = (files(a)?.files, files(b)?.files);
    let long = |files: &[PathBuf]| -> Result<Vec<u64>> {
        let long = |file: &PathBuf| Ok(std::fs::metadata(file).or_bad_input(file.display())?.len());
        files.iter().map(long).collect()
    };
    if long(&a)? != long(&b)? {
        return Ok(false);
    }
    let hash = |files: &[PathBuf]| -> Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        for file in files {
            let open = std::fs::File::open(file).or_bad_input(file.display())?;
            hasher.update_reader(open).or_bad_input(file.display())?;
        }
        Ok(hasher.finalize())
    };
    Ok(hash(&a)? == hash(&b)?)
}

/// f0 of the pictures, `[B, D]`, by the encoder in a folder, which is dropped then; `None` without one.
///
/// # Errors
/// Those of the encoder.
pub(super) fn embeddings(
    encoder: Option<&Path>,
    place: &Place,
    pictures: &[RgbImage],
) -> Result<Option<Tensor>> {
    let embed = |folder: &Path| -> Result<Tensor> {
        let encoder = ClipImageEncoder::load(folder, place).or_bad_input(KEY)?;
        Ok(encoder.embeddings(pictures)?)
    };
    encoder.map(embed).transpose()
}
