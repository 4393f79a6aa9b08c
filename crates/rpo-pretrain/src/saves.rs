//! A state folder on disk: one save at a time, always whole, and one program at a time.
//!
//! A save is a folder `step-000000123`, filled under another name and renamed. The newest one counts; older ones are taken out of
//! the way after it. A kill at any moment leaves the last save.

use crate::failure::BadInput;
use anyhow::{Context, Result};
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A file that is in every whole save.
pub const RECORD: &str = "record.json";

const SAVE: &str = "step-";
const UNFINISHED: &str = ".tmp-";

/// Keeps other programs out of a state folder. The operating system lets go of it when the process ends, killed or not.
pub struct Lock {
    folder: PathBuf,
    _file: fs::File,
}

impl Lock {
    /// Makes the folder if need be, takes the lock and removes what a kill left half-written.
    ///
    /// # Errors
    /// [`BadInput`] if another program holds it; I/O errors naming the path.
    pub fn of(folder: &Path) -> Result<Self> {
        let path = folder.join("lock");
        let open = || {
            fs::create_dir_all(folder)?;
            let mut options = fs::File::options();
            options.create(true).truncate(false).write(true).open(&path)
        };
        let file = open().with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(BadInput::new(format!(
                    "{}: another program works in this folder\n  hint: wait for it, or name another folder",
                    folder.display()
                )));
            }
            Err(fs::TryLockError::Error(e)) => {
                return Err(e).with_context(|| path.display().to_string());
            }
        }
        for path in entries(folder, UNFINISHED)? {
            fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            _file: file,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds the save of `step`, which `fill` writes into the folder it is given, and removes those before it.
    ///
    /// # Errors
    /// Those of `fill`, and I/O errors; the older saves are untouched then.
    pub fn add(&self, step: u64, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let folder = &self.folder;
        let inner = || -> Result<()> {
            let whole = folder.join(format!("{SAVE}{step:09}"));
            if whole.join(RECORD).is_file() {
                return Ok(());
            }
            let new = temporary(folder)?;
            fill(new.path())?;
            sync(new.path())?;
            fs::rename(new.keep(), &whole)?;
            sync(folder)?;
            for older in saves(folder)?.into_iter().filter(|p| *p < whole) {
                // A removal that is cut short must not leave something that looks like a save.
                let aside = temporary(folder)?;
                fs::rename(&older, aside.path().join("older"))?;
            }
            Ok(())
        };
        let hint =
            "hint: free some space and run the same command again; it resumes from the last save";
        inner().with_context(|| format!("{}: cannot save\n  {hint}", folder.display()))
    }
}

/// The newest save in `folder`, if there is one. Nothing is changed.
///
/// # Errors
/// A folder that cannot be read.
pub fn newest(folder: &Path) -> Result<Option<PathBuf>> {
    let mut found = saves(folder)?;
    found.retain(|p| p.join(RECORD).is_file());
    Ok(found.pop())
}

/// Writes a file that is whole or not there, and on the disk when this returns.
///
/// # Errors
/// I/O errors naming the path.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let inner = || -> std::io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        // Readable by others as far as the umask allows: tempfile's own default is for secrets.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.prefix(UNFINISHED).tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    inner().with_context(|| format!("{}: cannot write", path.display()))
}

fn temporary(folder: &Path) -> std::io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.prefix(UNFINISHED).tempdir_in(folder)
}

fn saves(folder: &Path) -> Result<Vec<PathBuf>> {
    entries(folder, SAVE)
}

/// The entries whose names begin with `prefix`, sorted; none of a folder that does not exist.
fn entries(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let inner = || -> std::io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(prefix) {
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

/// Puts a folder's entries on the disk, where folders can be synced.
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
        let lock = Lock::of(path).unwrap();
        lock.add(5, record).unwrap();
        lock.add(12, record).unwrap();
        assert!(!path.join("step-000000005").exists());
        // A folder without a record is none, and a save that fails changes nothing.
        fs::create_dir(path.join("step-000000099")).unwrap();
        assert!(lock.add(13, |_| anyhow::bail!("full")).is_err());
        assert_eq!(newest(path).unwrap().unwrap(), path.join("step-000000012"));
        drop(lock);
        fs::create_dir(path.join(".tmp-half")).unwrap();
        let _lock = Lock::of(path).unwrap();
        assert!(!path.join(".tmp-half").exists());
    }

    #[test]
    fn one_program_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::of(folder.path()).unwrap();
        let error = Lock::of(folder.path()).err().unwrap().to_string();
        assert!(error.contains("another program"), "{error}");
        drop(lock);
        Lock::of(folder.path()).unwrap();
    }
}
