//! Model folders in transformers layout: `config.json`, related files, and the safetensors files.

mod weights;

use std::path::{Path, PathBuf};

use candle_core::Result;
use serde::de::DeserializeOwned;

pub use weights::{
    WeightFiles, open_archive, open_fitting, open_params, open_variant, parameters, weight_files,
    weight_files_of, weight_names,
};

/// Reads the JSON file `name` of the folder `dir`.
///
/// # Errors
/// If the file is missing, is not JSON, or does not fit `T`; with the file, the key and a hint.
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

/// Reads the text file `name` of the folder `dir`, with an error that says which file was expected where.
pub fn read_text(dir: &Path, name: &str) -> Result<String> {
    let path = dir.join(name);
    std::fs::read_to_string(&path).map_err(|error| {
        let hint = if !dir.is_dir() {
            format!("There is no folder {}: check the path", dir.display())
        } else {
            format!(
                "A model folder in transformers layout holds `{name}`: copy the folder as a whole"
            )
        };
        candle_core::Error::msg(format!("cannot read {}: {error}. {hint}", path.display()))
    })
}

/// The last component of the path, or the whole path if there is none.
pub fn name(dir: &Path) -> String {
    let full = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    full.file_name().map_or_else(
        || dir.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// The files of an encoder's folder that determine its embeddings: configs, tokenizer and weights, sorted.
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
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    ];
    let found = weight_files(dir)?;
    let mut files = found.files;
    files.extend(found.index);
    files.extend(
        SMALL
            .iter()
            .map(|name| dir.join(name))
            .filter(|path| path.is_file()),
    );
    files.sort();
    Ok(files)
}
