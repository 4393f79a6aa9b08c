//! `rpo-train cache`: shows and prunes the cache of drawn pictures.

use crate::memory::size;
use crate::runner::store::Store;
use anyhow::Result;
use rpo_files::say;
use std::path::Path;
use std::time::Duration;

/// Prints what the folder holds; with `prune`, removes pictures unused for that many days.
pub(super) fn cache(folder: &Path, prune: Option<f64>) -> Result<()> {
    let store = Store::new(folder.to_owned());
    let unused = prune.map(|days| Duration::from_secs_f64(86_400.0 * days));
    let (held, removed) = store.look(unused)?;
    say!(
        "{}: {} files, {}",
        folder.display(),
        held.files,
        size(held.bytes as usize)
    );
    if prune.is_some() {
        say!(
            "removed: {} files, {}",
            removed.files,
            size(removed.bytes as usize)
        );
    }
    Ok(())
}

/// A number of days.
///
/// # Errors
/// A message for any other text.
pub(super) fn days(text: &str) -> Result<f64, String> {
    let days: f64 = text.parse().map_err(|e| format!("{e}"))?;
    match (0.0..=1e5).contains(&days) {
        true => Ok(days),
        false => Err("days from 0 to 100000".into()),
    }
}
