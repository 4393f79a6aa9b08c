//! The starting point of a training: a pipeline, initial weights, and hashes of both.

use anyhow::Result;
use rpo_diffusion::{Pipeline, load_unet};
use rpo_encoders::folder;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_nn::weights::Params;
use std::path::{Path, PathBuf};

/// A pipeline, and the hash of everything that samples depend on: VAE, text encoder, tokenizer, schedule, the U-Net's configuration.
///
/// # Errors
/// [`BadInput`] if the folder cannot be read.
pub fn pipeline(model: &Path) -> Result<(Pipeline, String)> {
    let pipeline = Pipeline::load(model).or_bad_input("--model")?;
    let mut files = vec![
        model.join("scheduler/scheduler_config.json"),
        model.join("unet/config.json"),
    ];
    for part in ["vae", "text_encoder"] {
        let found = folder::source_files(&model.join(part));
        files.extend(found.or_bad_input("--model")?);
    }
    for name in ["vocab.json", "merges.txt", "tokenizer.json"] {
        let path = model.join("tokenizer").join(name);
        files.extend(path.is_file().then_some(path));
    }
    Ok((pipeline, hash(&files)?))
}

/// The weights of a `unet` folder, which must be of the pipeline's own configuration, and their hash.
///
/// # Errors
/// [`BadInput`] if the folder cannot be read or has another configuration.
pub fn first_weights(from: &Path, pipeline: &Pipeline) -> Result<(Params, String)> {
    let (config, weights) = load_unet(from, None).or_bad_input("--from")?;
    if config != pipeline.unet_config {
        return Err(BadInput::new(format!(
            "--from {}: its config.json is not that of {}\n  hint: --from takes weights for the model's own unet/config.json",
            from.display(),
            pipeline.folder.join("unet").display()
        )));
    }
    let files = folder::source_files(from).or_bad_input("--from")?;
    Ok((weights, hash(&files)?))
}

/// A hash of files by name, length and content.
fn hash(files: &[PathBuf]) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for path in files {
        let bytes = std::fs::read(path).or_bad_input(path.display())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        hasher.update(format!("{name}|{}|", bytes.len()).as_bytes());
        hasher.update(&bytes);
    }
    Ok(hasher.finalize().to_hex()[..16].to_owned())
}
