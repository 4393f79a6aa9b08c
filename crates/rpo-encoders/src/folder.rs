//! Model folders in transformers layout: `config.json` and its relatives, and the safetensors file or files.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Result, bail};
use rpo_nn::weights::Params;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The names a folder's weights may have, in the order in which they are looked for.
const WEIGHT_FILES: [&str; 4] = [
    "model.safetensors",
    "model.fp16.safetensors",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
];

/// The names of the list of shards when the weights are split over several files.
const INDEX_FILES: [&str; 2] = [
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.json",
];

/// Reads the JSON file `name` of the folder `dir`.
///
/// # Errors
/// A file that is missing, is not JSON, or whose value does not fit `T`; the message names the file, the key and the mend.
pub fn read_json<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<T> {
    let path = dir.join(name);
    let text = read_text(dir, name)?;
    let mut json = serde_json::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let key = error.path().to_string();
        let place = if key == "." {
            "at its top level".to_string()
        } else {
            format!("key `{key}`")
        };
        candle_core::Error::msg(format!(
            "{}, {place}: {}. Compare with the same file of a folder that transformers or diffusers wrote",
            path.display(),
            error.inner()
        ))
    })
}

/// Reads `config.json` of the folder `dir`; see [`read_json`].
pub fn read_config<T: DeserializeOwned>(dir: &Path) -> Result<T> {
    read_json(dir, "config.json")
}

/// Reads the text file `name` of the folder `dir`, with an error that says what was expected where.
pub fn read_text(dir: &Path, name: &str) -> Result<String> {
    let path = dir.join(name);
    std::fs::read_to_string(&path).map_err(|error| {
        let mend = if !dir.is_dir() {
            format!("There is no folder {}: check the path", dir.display())
        } else {
            format!(
                "A model folder in transformers layout holds `{name}`: copy the folder as a whole"
            )
        };
        candle_core::Error::msg(format!("cannot read {}: {error}. {mend}", path.display()))
    })
}

/// The safetensors files that hold the weights of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightFiles {
    /// The files, in the order of their names; one unless the weights are sharded.
    pub files: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Finds the weights of the folder `dir`: `model.safetensors`, its `fp16` or `diffusion_pytorch_model` relatives,
/// or the shards that an index file lists.
///
/// # Errors
/// None of these is there (the message says when a `.bin` file is), or a shard is missing.
pub fn weight_files(dir: &Path) -> Result<WeightFiles> {
    for name in WEIGHT_FILES {
        let path = dir.join(name);
        if path.is_file() {
            return Ok(WeightFiles { files: vec![path] });
        }
    }
    for name in INDEX_FILES {
        if dir.join(name).is_file() {
            let index: ShardIndex = read_json(dir, name)?;
            let shards: BTreeSet<String> = index.weight_map.into_values().collect();
            let files: Vec<PathBuf> = shards.iter().map(|shard| dir.join(shard)).collect();
            if let Some(missing) = files.iter().find(|file| !file.is_file()) {
                bail!(
                    "{} lists the shard {}, which is not there: copy the folder as a whole",
                    dir.join(name).display(),
                    missing.display()
                );
            }
            if files.is_empty() {
                bail!(
                    "{}, key `weight_map`: it lists no tensor",
                    dir.join(name).display()
                );
            }
            return Ok(WeightFiles { files });
        }
    }
    let pickled = ["pytorch_model.bin", "diffusion_pytorch_model.bin"]
        .iter()
        .any(|name| dir.join(name).is_file());
    if pickled {
        bail!(
            "{} holds pickled weights (.bin) only. Convert them: load the model in Python and call \
             save_pretrained(..., safe_serialization=True)",
            dir.display()
        );
    }
    bail!(
        "no weights in {}: expected one of {} or {}",
        dir.display(),
        WEIGHT_FILES.join(", "),
        INDEX_FILES.join(", ")
    )
}

/// Opens the weights of the folder `dir`, raised to f32; whole-number tensors (counters, position tables) are left out.
///
/// # Errors
/// See [`weight_files`]; files that are not safetensors, or a tensor that two shards hold.
pub fn open_params(dir: &Path, trainable: bool) -> Result<Params> {
    let found = weight_files(dir)?;
    if let [file] = found.files.as_slice() {
        return Params::open(file, trainable);
    }
    let mut tensors = HashMap::new();
    for file in &found.files {
        let shard = candle_core::safetensors::load(file, &Device::Cpu)
            .map_err(|error| error.context(format!("reading {}", file.display())))?;
        for (name, tensor) in shard {
            if !tensor.dtype().is_float() {
                continue;
            }
            if tensors
                .insert(name.clone(), tensor.to_dtype(DType::F32)?)
                .is_some()
            {
                bail!(
                    "{}: tensor {name} is in another shard too: copy the folder as a whole",
                    file.display()
                );
            }
        }
    }
    Params::from_tensors(tensors, &dir.display().to_string(), trainable)
}

/// The last part of the path, or all of it where there is none.
pub fn name(dir: &Path) -> String {
    let full = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    full.file_name().map_or_else(
        || dir.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The files of an encoder's folder that decide what its embeddings are: configs, tokenizer and weights, sorted.
///
/// # Errors
/// See [`weight_files`].
pub fn source_files(dir: &Path) -> Result<Vec<PathBuf>> {
    const SMALL: [&str; 9] = [
        "added_tokens.json",
        "config.json",
        "merges.txt",
        "preprocessor_config.json",
        "special_tokens_map.json",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
        "model.safetensors.index.json",
    ];
    let mut files = weight_files(dir)?.files;
    files.extend(
        SMALL
            .iter()
            .map(|name| dir.join(name))
            .filter(|path| path.is_file()),
    );
    files.sort();
    Ok(files)
}
