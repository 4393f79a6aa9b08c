//! Writing results, with hints in the errors.

use crate::failure::BadInput;
use anyhow::Result;
use serde::Serialize;
use std::io::ErrorKind;
use std::path::Path;

/// Writes `bytes` to `path` via a temporary file beside it.
///
/// # Errors
/// [`BadInput`] if `path` is not a regular file; I/O errors (also a full disk), by path. An older file at `path` is then
/// untouched.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    crate::write(path, bytes).map_err(|e| match e.kind() {
        ErrorKind::InvalidInput => BadInput::new(e.to_string()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            anyhow::Error::new(e).context(cannot_write(path))
        }
        _ => anyhow::Error::new(e).context(format!("{}: cannot write", path.display())),
    })
}

/// The message about a file that cannot be written.
pub fn cannot_write(path: &Path) -> String {
    format!(
        "{}: cannot write\n  hint: free some space, then run the same command again; it resumes",
        path.display()
    )
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
