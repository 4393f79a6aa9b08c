//! A state folder on disk: one complete save at a time, and one program at a time.
//!
//! A save is a folder `step-000000123`, written under another name and renamed. The newest one counts; older ones are removed
//! after it. A kill at any moment leaves the last save intact.

use anyhow::{Context, Result};
use rpo_files::failure::BadInput;
use rpo_files::{Lock, LockError, temporary_folder};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A file that every complete save has.
pub const RECORD: &str = "record.json";

const SAVE: &str = "step-";

/// A locked state folder.
pub struct Saves(Lock);

impl Saves {
    /// Creates the folder if needed, takes its lock and removes unfinished files left by a kill.
    ///
    /// # Errors
    /// [`BadInput`] if another program holds it; I/O errors naming the path.
    pub fn of(folder: &Path) -> Result<Self> {
        let lock = Lock::take(folder).map_err(|e| match e {
            LockError::Held { .. } => BadInput::new(e.to_string()),
            LockError::Io(e) => anyhow::Error::new(e),
        })?;
        rpo_files::sweep(folder)?;
        Ok(Self(lock))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.0.folder()
    }

    /// Adds the save of `step`, which `fill` writes into the given folder, and removes earlier saves.
    ///
    /// # Errors
    /// Those of `fill`, and I/O errors; the older saves are then untouched.
    pub fn add(&self, step: u64, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let folder = self.folder();
        let inner = || -> Result<()> {
            let whole = folder.join(name(step));
            if whole.join(RECORD).is_file() {
                return Ok(());
            }
            let new = temporary_folder(folder)?;
            fill(new.path())?;
            sync(new.path())?;
            fs::rename(new.keep(), &whole)?;
            sync(folder)?;
            for older in saves(folder)?.into_iter().filter(|p| *p < whole) {
                // An interrupted removal must not leave something that looks like a save.
                let aside = temporary_folder(folder)?;
                fs::rename(&older, aside.path().join("older"))?;
            }
            Ok(())
        };
        let hint =
            "hint: free some space and run the same command again; it resumes from the last save";
        inner().with_context(|| format!("{}: cannot save\n  {hint}", folder.display()))
    }
}

/// The newest save in `folder`, if any. Changes nothing.
///
/// # Errors
/// If the folder cannot be read.
pub fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let mut found = saves(folder)?;
    found.retain(|p| p.join(RECORD).is_file());
    Ok(found.pop())
}

/// Writes a file atomically; it is on the disk when this returns.
///
/// # Errors
/// I/O errors naming the path.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    rpo_files::write(path, bytes).with_context(|| format!("{}: cannot write", path.display()))
}

/// The folders of saves, sorted; none if `folder` does not exist.
fn saves(folder: &Path) -> Result<Vec<PathBuf>> {
    let inner = || -> std::io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            let step = file_name.to_str().and_then(|n| n.strip_prefix(SAVE));
            // Other names are not ours.
            let ours = step.and_then(|n| n.parse().ok()).map(name);
            if ours.is_some_and(|ours| *file_name == *ours) {
                found.push(entry.path());
            }
        }
        found.sort();
        Ok(found)
    };
    match inner() {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        found => found.with_context(|| folder.display().to_string()),
    }
}

fn name(step: u64) -> String {
    format!("{SAVE}{step:09}")
}

/// Syncs a folder's entries to the disk, where that is supported.
fn sync(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(path: &Path) -> Result<()> {
        write(&path.join(RECORD), b"{}")
    }

    #[test]
    fn the_newest_whole_save_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(newest(&path.join("nowhere")).unwrap().is_none());
        let lock = Saves::of(path).unwrap();
        lock.add(5, record).unwrap();
        lock.add(12, record).unwrap();
        assert!(!path.join("step-000000005").exists());
        // A folder without a record is not a save, and a failed save changes nothing.
        fs::create_dir(path.join("step-000000099")).unwrap();
        assert!(lock.add(13, |_| anyhow::bail!("full")).is_err());
        assert_eq!(newest(path).unwrap().unwrap(), path.join("step-000000012"));
        drop(lock);
        let half = temporary_folder(path).unwrap().keep();
        fs::create_dir(path.join("step-000000001-good")).unwrap();
        let lock = Saves::of(path).unwrap();
        assert!(!half.exists());
        lock.add(14, record).unwrap();
        assert!(path.join("step-000000001-good").exists());
    }

    #[test]
    fn one_program_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Saves::of(folder.path()).unwrap();
        let error = Saves::of(folder.path()).err().unwrap().to_string();
        assert!(error.contains("works in this folder"), "{error}");
        drop(lock);
        Saves::of(folder.path()).unwrap();
    }
}
