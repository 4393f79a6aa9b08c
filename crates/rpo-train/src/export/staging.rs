//! A folder that appears whole or not at all, and never replaces another.

use crate::files;
use anyhow::{Context, Result};
use rpo_files::failure::{BadInput, OrBadInput};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A temporary folder beside its target.
pub struct Staging {
    folder: TempDir,
    target: PathBuf,
}

impl Staging {
    /// Begins a folder that will become `target`.
    ///
    /// # Errors
    /// [`BadInput`] if `target` exists, unless it is an empty folder; I/O errors.
    pub fn begin(target: &Path) -> Result<Self> {
        refuse_occupied(target)?;
        let target = std::path::absolute(target).or_bad_input(target.display())?;
        let parent = target.parent().unwrap_or(Path::new("."));
        let begin = || -> std::io::Result<TempDir> {
            std::fs::create_dir_all(parent)?;
            rpo_files::temporary_folder(parent)
        };
        let folder = begin().with_context(|| files::cannot_write(&target))?;
        Ok(Self { folder, target })
    }

    /// Where to write meanwhile.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Renames the folder to its target.
    ///
    /// # Errors
    /// If the target has come to exist meanwhile; I/O errors.
    pub fn finish(self) -> Result<()> {
        refuse_occupied(&self.target)?;
        // A rename replaces an empty folder.
        std::fs::rename(self.folder.path(), &self.target)
            .with_context(|| files::cannot_write(&self.target))?;
        // Renamed, so nothing is left to remove.
        let _ = self.folder.keep();
        Ok(())
    }
}

/// Refuses to overwrite.
///
/// # Errors
/// [`BadInput`] unless `target` does not exist or is an empty folder.
pub fn refuse_occupied(target: &Path) -> Result<()> {
    let Ok(about) = std::fs::symlink_metadata(target) else {
        return Ok(());
    };
    let empty = about.is_dir() && std::fs::read_dir(target).is_ok_and(|mut e| e.next().is_none());
    if empty {
        return Ok(());
    }
    Err(BadInput::new(format!(
        "{}: there is something already, and nothing is overwritten\n  hint: name a new place with --to, or remove what is there",
        target.display()
    )))
}
