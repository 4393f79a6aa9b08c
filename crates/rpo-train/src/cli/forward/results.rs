//! The file of results: tensors by name.

use anyhow::{Context, Result};
use candle_core::Tensor;
use rpo_files::AtPath;
use safetensors::SafeTensorError;
use std::collections::HashMap;
use std::path::Path;

pub(super) type Results = HashMap<String, Tensor>;

/// Streams the tensors to a temporary file and renames it: an earlier result stays whole until the new one is complete.
pub(super) fn write(path: &Path, results: &Results) -> Result<()> {
    let metadata = HashMap::from([("rpo".to_owned(), "forward".to_owned())]);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let aside = rpo_files::temporary_folder(folder).writing(path)?;
    let part = aside.path().join("result");
    let tensors = results.iter().map(|(k, v)| (k.as_str(), v));
    match safetensors::serialize_to_file(tensors, Some(metadata), &part) {
        Err(SafeTensorError::IoError(e)) => Err(e).writing(path)?,
        written => written.with_context(|| path.display().to_string())?,
    }
    Ok(std::fs::rename(&part, path).writing(path)?)
}
