//! The parts of a model folder that an export does not change.

use crate::failure::OrBadInput;
use crate::files;
use anyhow::{Context, Result};
use rpo_encoders::folder::{weight_files_of, weight_names};
use serde_json::{Value, json};
use std::path::Path;

/// Parts with weights of a pipeline here, and what their files are called.
pub const NETWORKS: [(&str, &str); 4] = [
    ("unet", "diffusion_pytorch_model"),
    ("vae", "diffusion_pytorch_model"),
    ("text_encoder", "model"),
    ("text_encoder_2", "model"),
];

/// Endings of files of weights in all formats.
const WEIGHTS: [&str; 9] = [
    ".safetensors",
    ".bin",
    ".ckpt",
    ".pt",
    ".pth",
    ".msgpack",
    ".h5",
    ".onnx",
    ".onnx_data",
];

/// Copies `model_index.json` and every part that it lists, but `unet`, from the diffusers folder `base` to `to`: configurations,
/// tokenizers, one set of weights each, which loses the name of its `variant`. Parts that are not there are written as absent. With
/// `link`, weights are linked instead of copied: hard, or by a symbolic link to another disk.
///
/// # Errors
/// I/O errors, by path.
pub fn copy_rest(base: &Path, to: &Path, variant: Option<&str>, link: bool) -> Result<()> {
    let there = |part: &str| base.join(part).is_dir();
    for part in write_index(base, to, there)? {
        if part != "unet" {
            copy_part(&base.join(&part), &to.join(&part), variant, Some(link))?;
        }
    }
    Ok(())
}

/// Copies `model_index.json` and every part that it lists without weights of any. Optional parts that are weights, a safety
/// checker for example, are written as absent.
///
/// # Errors
/// I/O errors, by path.
pub fn copy_configurations(base: &Path, to: &Path) -> Result<()> {
    let ours = |part: &str| {
        let kept = ["scheduler", "tokenizer", "tokenizer_2"];
        let network = NETWORKS.iter().any(|(name, _)| *name == part);
        (network || kept.contains(&part)) && base.join(part).is_dir()
    };
    for part in write_index(base, to, ours)? {
        copy_part(&base.join(&part), &to.join(&part), None, None)?;
    }
    Ok(())
}

/// Writes `model_index.json` with the parts that `keep` does not want as absent; returns those that are left.
fn write_index(base: &Path, to: &Path, keep: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let path = base.join("model_index.json");
    let mut index: Value = files::read_json(&path).or_bad_input("model")?;
    let mut parts = Vec::new();
    for (part, value) in index.as_object_mut().into_iter().flatten() {
        if !value[1].is_string() {
            continue;
        }
        if keep(part) {
            parts.push(part.clone());
        } else {
            *value = json!([null, null]);
        }
    }
    files::write_json(&to.join("model_index.json"), &index)?;
    Ok(parts)
}

/// Copies the files of one part; `weights`: whether to link its weights or copy them, `None` leaves them away.
///
/// # Errors
/// I/O errors, by path.
pub fn copy_part(
    from: &Path,
    to: &Path,
    variant: Option<&str>,
    weights: Option<bool>,
) -> Result<()> {
    let entries = std::fs::read_dir(from).with_context(|| from.display().to_string())?;
    let files = entries.flatten().filter(|e| e.path().is_file());
    let names: Vec<String> = files
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    let chosen = weight_names(&names, variant);
    let taken = weight_files_of(from, variant).ok().and_then(|f| f.variant);
    std::fs::create_dir_all(to).with_context(|| files::cannot_write(to))?;
    for name in &names {
        let is_weight = WEIGHTS.iter().any(|end| name.ends_with(end)) || name.contains(".index.");
        if !is_weight {
            copy(&from.join(name), &to.join(name), false)?;
        } else if let Some(link) = weights
            && (chosen.contains(name) || chosen.is_empty())
        {
            let target = match &taken {
                // The list of shards names them as they are.
                Some(variant) if !name.contains("-of-") => {
                    name.replacen(&format!(".{variant}."), ".", 1)
                }
                _ => name.clone(),
            };
            copy(&from.join(name), &to.join(target), link)?;
        }
    }
    Ok(())
}

/// Copies a file, or links it. Links, as the hub's cache is made of, are followed first.
fn copy(from: &Path, to: &Path, link: bool) -> Result<()> {
    let real = from
        .canonicalize()
        .with_context(|| from.display().to_string())?;
    if link {
        if std::fs::hard_link(&real, to).is_ok() {
            return Ok(());
        }
        #[cfg(unix)]
        return std::os::unix::fs::symlink(&real, to).with_context(|| files::cannot_write(to));
    }
    std::fs::copy(&real, to).with_context(|| files::cannot_write(to))?;
    Ok(())
}
