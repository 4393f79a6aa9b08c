//! Writing results, with hints in the errors.

use crate::failure::BadInput;
use crate::file_error::AtPath;
use anyhow::Result;
use serde::Serialize;
use std::io::ErrorKind;
use std::path::Path;

/// Writes `bytes` to `path` via a temporary file beside it.
///
/// # Errors
/// [`BadInput`] if `path` is not a regular file; else a [`FileError`](crate::FileError). An older file at `path` is then untouched.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    match crate::write(path, bytes) {
        Err(e) if e.kind() == ErrorKind::InvalidInput => Err(BadInput::new(e.to_string())),
        written => Ok(written.writing(path)?),
    }
}

/// Writes a value as indented JSON.
///
/// # Errors
/// As [`write()`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    write(path, &text)
}
