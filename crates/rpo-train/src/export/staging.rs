//! A folder that appears whole or not at all, and never replaces another.

use anyhow::Result;
use rpo_files::failure::OrBadInput;
use rpo_files::{AtPath, TemporaryFolder, destination};
use std::path::{Path, PathBuf};

/// A temporary folder beside its target.
pub struct Staging {
    folder: TemporaryFolder,
    target: PathBuf,
}

impl Staging {
    /// Begins a folder that will become `target`.
    ///
    /// # Errors
    /// [`rpo_files::failure::BadInput`] if `target` exists, unless it is an empty folder; I/O errors.
    pub fn begin(target: &Path) -> Result<Self> {
        refuse_occupied(target)?;
        let target = std::path::absolute(target).or_bad_input(target.display())?;
        let parent = target.parent().unwrap_or(Path::new("."));
        let begin = || -> std::io::Result<TemporaryFolder> {
            std::fs::create_dir_all(parent)?;
            rpo_files::temporary_folder(parent)
        };
        let folder = begin().writing(&target)?;
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
        std::fs::rename(self.folder.path(), &self.target).writing(&self.target)?;
        // Renamed, so nothing is left to remove.
        let _ = self.folder.keep();
        Ok(())
    }
}

/// Refuses to overwrite.
///
/// # Errors
/// As [`destination::free`].
pub fn refuse_occupied(target: &Path) -> Result<()> {
    destination::free("--to", target, true)
}
