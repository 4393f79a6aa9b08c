//! The weight files of a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{Result, bail};
use rpo_nn::weights::{Archive, Params};
use serde::Deserialize;

use super::read_json;

/// Names of weights in transformers and diffusers, in the order searched.
const STEMS: [&str; 2] = ["model", "diffusion_pytorch_model"];

/// Variants used where a folder lacks the plain files: the same weights, rounded.
const STAND_INS: [&str; 2] = ["fp16", "bf16"];

/// Extension of weight files.
const ENDING: &str = ".safetensors";

/// Extensions of files that would run code when read.
const PICKLES: [&str; 4] = [".bin", ".ckpt", ".pt", ".pth"];

/// The safetensors files that hold the weights of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightFiles {
    /// The files, sorted by name; one unless the weights are sharded.
    pub files: Vec<PathBuf>,
    /// The index of shards, if sharded.
    pub index: Option<PathBuf>,
    /// The variant, if they are not the plain files.
    pub variant: Option<String>,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Finds the weights of the folder `dir`; see [`weight_files_of`].
///
/// # Errors
/// As [`weight_files_of`].
pub fn weight_files(dir: &Path) -> Result<WeightFiles> {
    weight_files_of(dir, None)
}

/// Finds the weights of the folder `dir`: `model.safetensors` or `diffusion_pytorch_model.safetensors`, or the shards that
/// `<name>.safetensors.index.json` lists.
///
/// With a `variant`, `<name>.<variant>.safetensors` is used if it exists (`fp16`, `non_ema`), or its shards, listed by
/// `<name>.<variant>.safetensors.index.json` or the older `<name>.safetensors.index.<variant>.json`; a folder without the
/// variant gives its plain files, as in diffusers. Without a `variant` the plain files come first; if there are none, `fp16`
/// and `bf16` are used instead.
///
/// # Errors
/// If none of these exists (the message mentions pickles, or links to files that were never downloaded), or a shard is missing.
pub fn weight_files_of(dir: &Path, variant: Option<&str>) -> Result<WeightFiles> {
    match choose(|name| dir.join(name).is_file(), variant) {
        Some(Choice {
            list: None,
            prefix,
            variant,
        }) => Ok(WeightFiles {
            files: vec![dir.join(prefix + ENDING)],
            index: None,
            variant,
        }),
        Some(Choice {
            list: Some(name),
            variant,
            ..
        }) => shards(dir, &name, variant),
        None => Err(nothing(dir)),
    }
}

/// Of the file names of a folder, those that [`weight_files_of`] would read, for a download: one file, or an index and its
/// shards; none if there are no weights.
pub fn weight_names(names: &[String], variant: Option<&str>) -> Vec<String> {
    let has = |name: &str| names.iter().any(|n| n == name);
    match choose(has, variant) {
        None => vec![],
        Some(Choice {
            list: None, prefix, ..
        }) => vec![prefix + ENDING],
        Some(Choice {
            list: Some(index),
            prefix,
            ..
        }) => {
            let is_shard = |name: &&String| {
                let number = name
                    .strip_prefix(&prefix)
                    .and_then(|rest| rest.strip_suffix(ENDING));
                number.is_some_and(|n| n.starts_with('-') && n.contains("-of-"))
            };
            let shards = names.iter().filter(is_shard).cloned();
            std::iter::once(index).chain(shards).collect()
        }
    }
}

/// Weights that exist.
struct Choice {
    /// Prefix of the names of the file or the shards.
    prefix: String,
    /// The index of shards, if sharded.
    list: Option<String>,
    variant: Option<String>,
}

fn choose(has: impl Fn(&str) -> bool, variant: Option<&str>) -> Option<Choice> {
    let wanted = variant.filter(|v| !v.is_empty());
    let order = [wanted, None].into_iter().chain(STAND_INS.map(Some));
    for variant in order {
        for stem in STEMS {
            let prefix = match variant {
                None => stem.to_owned(),
                Some(variant) => format!("{stem}.{variant}"),
            };
            if has(&format!("{prefix}{ENDING}")) {
                return Some(Choice {
                    prefix,
                    list: None,
                    variant: variant.map(String::from),
                });
            }
            let mut lists = vec![format!("{prefix}{ENDING}.index.json")];
            lists.extend(variant.map(|variant| format!("{stem}{ENDING}.index.{variant}.json")));
            if let Some(list) = lists.into_iter().find(|list| has(list)) {
                return Some(Choice {
                    prefix,
                    list: Some(list),
                    variant: variant.map(String::from),
                });
            }
        }
    }
    None
}

fn shards(dir: &Path, name: &str, variant: Option<String>) -> Result<WeightFiles> {
    let path = dir.join(name);
    let index: ShardIndex = read_json(dir, name)?;
    let shards: BTreeSet<String> = index.weight_map.into_values().collect();
    let files: Vec<PathBuf> = shards.iter().map(|shard| dir.join(shard)).collect();
    if let Some(missing) = files.iter().find(|file| !file.is_file()) {
        bail!(
            "{} lists the shard {}, which is not there: copy the folder as a whole",
            path.display(),
            missing.display()
        );
    }
    Ok(WeightFiles {
        files,
        index: Some(path),
        variant,
    })
}

/// The error about a folder without weights.
fn nothing(dir: &Path) -> candle_core::Error {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let shown = dir.display();
    let ends = |name: &&String, endings: &[&str]| endings.iter().any(|e| name.ends_with(e));
    let text = if !dir.is_dir() {
        format!("there is no folder {shown}: check the path")
    } else if let Some(link) = names
        .iter()
        .find(|n| n.ends_with(ENDING) && !dir.join(n).exists())
    {
        format!(
            "{} is a link to a file that is not there: the download was not finished, or the folder was copied without what \
             its links point to",
            dir.join(link).display()
        )
    } else if let Some(other) = names.iter().find(|n| n.ends_with(ENDING)) {
        format!(
            "{shown} has {other}, but weights are looked for as {}; a variant is asked for by its name",
            STEMS.map(|stem| format!("{stem}{ENDING}")).join(" or ")
        )
    } else if let Some(pickle) = names.iter().find(|n| ends(n, &PICKLES)) {
        format!(
            "{shown} holds pickled weights ({pickle}) only, which run code when they are read and are not read here. Convert \
             them: load the model in Python and call save_pretrained(..., safe_serialization=True)"
        )
    } else {
        format!(
            "no weights in {shown}: expected {}, or their shards with an index",
            STEMS.map(|stem| format!("{stem}{ENDING}")).join(" or ")
        )
    };
    candle_core::Error::msg(text)
}

/// Opens the files of [`weight_files_of`] without reading a value.
///
/// # Errors
/// As [`weight_files_of`] and [`Archive::open_shards`].
pub fn open_archive(dir: &Path, variant: Option<&str>) -> Result<Archive> {
    let found = weight_files_of(dir, variant)?;
    match (&found.index, found.files.as_slice()) {
        (None, [file]) => Archive::open(file),
        (Some(index), _) => {
            let name = index.file_name().unwrap_or_default().to_string_lossy();
            let ShardIndex { weight_map } = read_json(dir, &name)?;
            Archive::open_shards(index, &weight_map)
        }
        (None, _) => Err(nothing(dir)),
    }
}

/// The number of parameters of the folder `dir`, without reading their values.
///
/// # Errors
/// As [`open_archive`].
pub fn parameters(dir: &Path) -> Result<usize> {
    let archive = open_archive(dir, None)?;
    let count = |name: &str| archive.shape(name).map(|s| s.iter().product::<usize>());
    Ok(archive.names().filter_map(count).sum())
}

/// Opens the weights of the folder `dir`, converted to f32; integer tensors (counters, position tables) are left out.
///
/// # Errors
/// As [`open_archive`].
pub fn open_params(dir: &Path, trainable: bool) -> Result<Params> {
    open_variant(dir, None, trainable)
}

/// As [`open_params`], with a variant if the folder has it.
///
/// # Errors
/// As [`open_archive`].
pub fn open_variant(dir: &Path, variant: Option<&str>, trainable: bool) -> Result<Params> {
    Params::from_archive(&open_archive(dir, variant)?, trainable)
}

/// As [`open_variant`] with frozen tensors, after `fits` has seen their names and shapes ([`Params::outline`]): no value of a file
/// of another network is read.
///
/// # Errors
/// As [`open_archive`]; those of `fits`.
pub fn open_fitting(
    dir: &Path,
    variant: Option<&str>,
    fits: impl FnOnce(&Params) -> Result<()>,
) -> Result<Params> {
    let archive = open_archive(dir, variant)?;
    fits(&Params::outline(&archive)?)?;
    Params::from_archive(&archive, false)
}
