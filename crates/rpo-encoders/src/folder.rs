//! Model folders in transformers layout: `config.json`, related files, and the safetensors files.

mod left_over;
mod text;
mod weights;

use std::path::{Path, PathBuf};

use candle_core::Result;

pub use left_over::all_read;
pub use text::{read_config, read_json, read_plain, read_text};
pub use weights::{
    WeightFiles, open_archive, open_fitting, open_params, open_variant, parameters, weight_files,
    weight_files_of, weight_names,
};

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
