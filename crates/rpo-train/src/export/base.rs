//! The parts of a model folder that an export does not train.

use super::index::write_index;
use super::links::{check_part_links, inside};
use super::parts::NETWORKS;
use super::sound::Sound;
use crate::files;
use anyhow::Result;
use rpo_encoders::folder::{open_archive, weight_files_of, weight_names};
use rpo_files::AtPath;
use rpo_files::failure::OrBadInput;
use rpo_nn::weights::{MAX_SHARD_SIZE, Precision, pt, write_sharded};
use serde_json::{Value, json};
use std::path::Path;

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

/// The dtype that transformers loads a part in, in its `config.json`, now and before version 5.
const DTYPE_KEYS: [&str; 2] = ["dtype", "torch_dtype"];

/// How weights get into a copy.
#[derive(Clone, Copy)]
pub struct How<'a> {
    /// The variant to take, where a part has it.
    pub variant: Option<&'a str>,
    /// Link weights instead of copying them: hard links, or symbolic ones to another disk.
    pub link: bool,
    /// dtype of all weights: those of another one are converted.
    pub precision: Precision,
    /// Parts whose weights are written otherwise.
    pub trained: &'a [&'a str],
}

/// Copies `model_index.json` and every part that it lists, but `unet`, from the diffusers folder `base` to `to`: configurations,
/// tokenizers, one set of weights each in one dtype, without the variant in its name. Missing parts are written as absent.
///
/// # Errors
/// I/O errors, by path; weights that are not finite or that the dtype cannot hold.
pub fn copy_rest(base: &Path, to: &Path, how: How) -> Result<()> {
    let there = |part: &str| base.join(part).is_dir();
    for part in write_index(base, to, there)? {
        if part != "unet" {
            let own = how.trained.contains(&part);
            copy_files(base, part, &to.join(part), (!own).then_some(how))?;
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
        copy_files(base, part, &to.join(part), None)?;
    }
    Ok(())
}

/// Copies a part's configuration, so that it is loaded in f32 as the other parts are.
///
/// # Errors
/// I/O errors, by path.
pub fn copy_config(config: &Path, to: &Path) -> Result<()> {
    if !settle_dtype(config, to)? {
        files::write(to, &std::fs::read(config).reading(config)?)?;
    }
    Ok(())
}

/// Copies the files of one part, the folder `part`, except its weights.
///
/// # Errors
/// [`BadInput`](rpo_files::failure::BadInput) if a link leads out of it; I/O errors, by path.
pub fn copy_part(part: &Path, to: &Path) -> Result<()> {
    copy_files(part, "", to, None)
}

/// Copies the files of `base/part`; without `how`, its weights are omitted.
fn copy_files(base: &Path, part: &str, to: &Path, how: Option<How>) -> Result<()> {
    let from = base.join(part);
    check_part_links(base, &from)?;
    let entries = std::fs::read_dir(&from).reading(&from)?;
    let files = entries.flatten().filter(|e| e.path().is_file());
    let mut names: Vec<String> = files
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    std::fs::create_dir_all(to).writing(to)?;
    for name in &names {
        let is_weight = WEIGHTS.iter().any(|end| name.ends_with(end)) || name.contains(".index.");
        if is_weight {
            continue;
        }
        let (file, copy) = (inside(base, &from.join(name))?, to.join(name));
        if name != "config.json" || !settle_dtype(&file, &copy)? {
            place(&file, &copy, false)?;
        }
    }
    let Some(how) = how else { return Ok(()) };
    let chosen = weight_names(&names, how.variant);
    if chosen.is_empty() {
        // Of a safety checker, for example, in a format that is not read here.
        for name in names
            .iter()
            .filter(|n| WEIGHTS.iter().any(|end| n.ends_with(end)))
        {
            place(&inside(base, &from.join(name))?, &to.join(name), how.link)?;
        }
        return Ok(());
    }
    copy_weights(base, part, &chosen, to, how)
}

/// Copies or links the weights `chosen` of `base/part`, or writes them anew in another dtype.
fn copy_weights(base: &Path, part: &str, chosen: &[String], to: &Path, how: How) -> Result<()> {
    let from = base.join(part);
    let archive = open_archive(&from, how.variant).or_bad_input("model")?;
    let sound = Sound::new(how.precision);
    let items = sound.items(archive.items(), archive.label());
    if archive.stored() != Some(how.precision) {
        let stem = NETWORKS
            .iter()
            .find(|(name, _)| *name == part)
            .map_or("model", |(_, stem)| stem);
        let written = write_sharded(to, stem, items, how.precision, &pt(), MAX_SHARD_SIZE);
        return sound.told(written).map(drop);
    }
    for item in &items {
        sound.told(item.values())?;
    }
    let taken = weight_files_of(&from, how.variant)
        .ok()
        .and_then(|f| f.variant);
    for name in chosen {
        let target = match &taken {
            // The index of shards lists these names.
            Some(variant) if !name.contains("-of-") => {
                name.replacen(&format!(".{variant}."), ".", 1)
            }
            _ => name.clone(),
        };
        place(&inside(base, &from.join(name))?, &to.join(target), how.link)?;
    }
    Ok(())
}

/// Writes a configuration of transformers so that a pipeline loads the part in f32, as it loads the others, unless told
/// otherwise: a text encoder in f16 beside a U-Net in f32 does not draw. False, and nothing written, if that changes nothing.
fn settle_dtype(config: &Path, to: &Path) -> Result<bool> {
    let mut value: Value = files::read_json(config).or_bad_input("model")?;
    let Some(keys) = value.as_object_mut() else {
        return Ok(false);
    };
    // Only transformers' configurations have this key.
    if !keys.contains_key("model_type") {
        return Ok(false);
    }
    let wanted = json!("float32");
    let present: Vec<&str> = DTYPE_KEYS
        .into_iter()
        .filter(|key| keys.contains_key(*key))
        .collect();
    if !present.is_empty() && present.iter().all(|key| keys[*key] == wanted) {
        return Ok(false);
    }
    let present = if present.is_empty() {
        vec![DTYPE_KEYS[0]]
    } else {
        present
    };
    for key in present {
        keys.insert(key.to_owned(), wanted.clone());
    }
    files::write_json(to, &value)?;
    Ok(true)
}

/// Copies a file, or links it.
fn place(real: &Path, to: &Path, link: bool) -> Result<()> {
    if link {
        if std::fs::hard_link(real, to).is_ok() {
            return Ok(());
        }
        #[cfg(unix)]
        return std::os::unix::fs::symlink(real, to)
            .writing(to)
            .map_err(Into::into);
    }
    std::fs::copy(real, to).writing(to)?;
    Ok(())
}
