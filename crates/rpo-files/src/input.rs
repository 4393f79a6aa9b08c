//! Reading files, with errors that name them.

use crate::file_error::AtPath;
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads a JSON file.
///
/// # Errors
/// By path.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).reading(path)?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}
