//! The parts of a model folder that an export does not change.

use crate::files;
use anyhow::{Context, Result};
use rpo_encoders::folder::{weight_files_of, weight_names};
use rpo_files::failure::{BadInput, OrBadInput};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Parts of a pipeline with weights, and the names of their files.
pub const NETWORKS: [(&str, &str); 4] = [
    ("unet", "diffusion_pytorch_model"),
    ("vae", "diffusion_pytorch_model"),
    ("text_encoder", "model"),
    ("text_encoder_2", "model"),
];

/// Parts of a pipeline without weights, and those whose weights only other programs read.
const OTHERS: [&str; 6] = [
    "tokenizer",
    "tokenizer_2",
    "scheduler",
    "safety_checker",
    "feature_extractor",
    "image_encoder",
];

/// Extensions of weight files in all formats.
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
/// tokenizers, one set of weights each, without the `variant` in its name. Missing parts are written as absent. With `link`,
/// weights are linked instead of copied: hard links, or symbolic ones to another disk.
///
/// # Errors
/// I/O errors, by path.
pub fn copy_rest(base: &Path, to: &Path, variant: Option<&str>, link: bool) -> Result<()> {
    let there = |part: &str| base.join(part).is_dir();
    for part in write_index(base, to, there)? {
        if part != "unet" {
            copy_files(base, part, &to.join(part), variant, Some(link))?;
        }
    }
    Ok(())
}

/// Copies `model_index.json` and every part that it lists, without weights. Optional parts that consist of weights, a safety
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
        copy_files(base, part, &to.join(part), None, None)?;
    }
    Ok(())
}

/// Writes `model_index.json` with the parts that `keep` rejects as absent; returns those that are left. A name becomes a
/// path only if it is one of the known ones.
fn write_index(base: &Path, to: &Path, keep: impl Fn(&str) -> bool) -> Result<Vec<&'static str>> {
    let path = inside(base, &base.join("model_index.json"))?;
    let mut index: Value = files::read_json(&path).or_bad_input("model")?;
    let known: Vec<&'static str> = NETWORKS
        .iter()
        .map(|(name, _)| *name)
        .chain(OTHERS)
        .collect();
    let mut parts = Vec::new();
    for (part, value) in index.as_object_mut().into_iter().flatten() {
        if !value[1].is_string() {
            continue;
        }
        let Some(part) = known.iter().find(|name| *name == part) else {
            return Err(BadInput::new(format!(
                "{}: `{}` is no part of a Stable Diffusion pipeline\n  hint: take it out of that file if it is not needed; the parts are {}",
                path.display(),
                part.escape_debug(),
                known.join(", ")
            )));
        };
        if keep(part) {
            parts.push(*part);
        } else {
            *value = json!([null, null]);
        }
    }
    files::write_json(&to.join("model_index.json"), &index)?;
    Ok(parts)
}

/// Copies the files of one part, the folder `part`, except its weights.
///
/// # Errors
/// [`BadInput`] if a link leads out of it; I/O errors, by path.
pub fn copy_part(part: &Path, to: &Path) -> Result<()> {
    copy_files(part, "", to, None, None)
}

/// Copies the files of `base/part`; `weights`: whether to link its weights or copy them, `None` omits them.
fn copy_files(
    base: &Path,
    part: &str,
    to: &Path,
    variant: Option<&str>,
    weights: Option<bool>,
) -> Result<()> {
    let from = base.join(part);
    let entries = std::fs::read_dir(&from).with_context(|| from.display().to_string())?;
    let files = entries.flatten().filter(|e| e.path().is_file());
    let mut names: Vec<String> = files
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let chosen = weight_names(&names, variant);
    let taken = weight_files_of(&from, variant).ok().and_then(|f| f.variant);
    std::fs::create_dir_all(to).with_context(|| files::cannot_write(to))?;
    for name in &names {
        let real = inside(base, &from.join(name))?;
        let is_weight = WEIGHTS.iter().any(|end| name.ends_with(end)) || name.contains(".index.");
        if !is_weight {
            copy(&real, &to.join(name), false)?;
        } else if let Some(link) = weights
            && (chosen.contains(name) || chosen.is_empty())
        {
            let target = match &taken {
                // The index of shards lists these names.
                Some(variant) if !name.contains("-of-") => {
                    name.replacen(&format!(".{variant}."), ".", 1)
                }
                _ => name.clone(),
            };
            copy(&real, &to.join(target), link)?;
        }
    }
    Ok(())
}

/// The file at `path`, links followed, if it is in the model folder `base`, or in the `blobs` folder of the hub's cache that
/// the snapshot links to.
fn inside(base: &Path, path: &Path) -> Result<PathBuf> {
    let real = |path: &Path| {
        path.canonicalize()
            .with_context(|| path.display().to_string())
    };
    let (root, file) = (real(base)?, real(path)?);
    // models--org--name/snapshots/<commit> beside models--org--name/blobs
    let snapshots = root
        .ancestors()
        .find(|p| p.file_name().is_some_and(|name| name == "snapshots"));
    let blobs = snapshots.map(|p| p.with_file_name("blobs"));
    if file.starts_with(&root) || blobs.is_some_and(|blobs| file.starts_with(blobs)) {
        return Ok(file);
    }
    Err(BadInput::new(format!(
        "{} is a link to {}, outside of the model's folder, and is not followed\n  hint: if that file belongs to the model, copy it into the place of the link",
        path.display(),
        file.display()
    )))
}

/// Copies a file, or links it.
fn copy(real: &Path, to: &Path, link: bool) -> Result<()> {
    if link {
        if std::fs::hard_link(real, to).is_ok() {
            return Ok(());
        }
        #[cfg(unix)]
        return std::os::unix::fs::symlink(real, to).with_context(|| files::cannot_write(to));
    }
    std::fs::copy(real, to).with_context(|| files::cannot_write(to))?;
    Ok(())
}
