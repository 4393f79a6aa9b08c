//! Links in a model that somebody else made are not followed out of it.

use super::parts::known;
use anyhow::{Context, Result};
use rpo_files::failure::BadInput;
use std::path::{Path, PathBuf};

/// Checks every file of the known parts of the model folder `base`, and its `model_index.json`.
///
/// # Errors
/// [`BadInput`] with the first link that leads out of the folder; I/O errors, by path.
pub fn check_links(base: &Path) -> Result<()> {
    let index = base.join("model_index.json");
    if index.exists() {
        inside(base, &index)?;
    }
    for part in known() {
        let folder = base.join(part);
        if folder.is_dir() {
            check_part_links(base, &folder)?;
        }
    }
    Ok(())
}

/// Checks every file of the folder `part` of the model `base`.
///
/// # Errors
/// As [`check_links`].
pub fn check_part_links(base: &Path, part: &Path) -> Result<()> {
    let entries = std::fs::read_dir(part).with_context(|| part.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths.iter().filter(|p| p.is_file()) {
        inside(base, path)?;
    }
    Ok(())
}

/// The file at `path`, links followed, if it is in the model folder `base`, or in the `blobs` folder of the hub's cache that
/// the snapshot links to.
pub(super) fn inside(base: &Path, path: &Path) -> Result<PathBuf> {
    let real = |path: &Path| {
        path.canonicalize()
            .with_context(|| path.display().to_string())
    };
    let (root, file) = (real(base)?, real(path)?);
    // models--org--name/snapshots/<commit> beside models--org--name/blobs
    let snapshots = root
        .ancestors()
        .find(|p| p.file_name().is_some_and(|name| name == "snapshots"));
    let blobs = snapshots.map(|p| p.with_file_name("blobs"));
    if file.starts_with(&root) || blobs.is_some_and(|blobs| file.starts_with(blobs)) {
        return Ok(file);
    }
    Err(BadInput::new(format!(
        "{} is a link to {}, outside of the model's folder, and is not followed\n  hint: if that file belongs to the model, copy it into the place of the link",
        path.display(),
        file.display()
    )))
}

/// Refuses a target in the model folder `base`, which is only read.
///
/// # Errors
/// [`BadInput`] with both.
pub fn refuse_within(base: &Path, to: &Path) -> Result<()> {
    let Ok(root) = base.canonicalize() else {
        return Ok(());
    };
    let to_whole = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
    // What exists of the target's path, links followed.
    let there = to_whole.ancestors().find_map(|p| p.canonicalize().ok());
    if there.is_none_or(|there| !there.starts_with(&root)) {
        return Ok(());
    }
    Err(BadInput::new(format!(
        "--to {}: this is inside {}, which is only read\n  hint: name a place outside of it",
        to.display(),
        base.display()
    )))
}
