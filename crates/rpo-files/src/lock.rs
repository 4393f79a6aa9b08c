//! One writer per folder at a time.
//!
//! The lock is the operating system's, on a file `.rpo-lock` in the folder (`flock`; on NFS from version 4, or 3 with its lock
//! manager, Linux turns it into a lock of the server, which other hosts see). It ends with the process, killed or not, so a
//! crash leaves none behind. The file's text names the holder, for users only. On a file system without locks, taking the
//! lock is an error.

use crate::refuse_unless_plain;
use crate::temporary::named;
use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = ".rpo-lock";

/// [`Lock::is_held`] holds a lock for a moment, which must refuse nobody.
const LOOKS: u32 = 10;

/// A held lock, released on drop.
#[derive(Debug)]
pub struct Lock {
    folder: PathBuf,
    file: File,
}

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another program holds it.
    #[error("{}: {holder} works in this folder\n  hint: wait for it to end, or name another folder", folder.display())]
    Held {
        /// The folder.
        folder: PathBuf,
        /// `process 123 on host`, as far as known.
        holder: String,
    },
    /// The file cannot be created, opened or locked.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Lock {
    /// Creates the folder if needed and takes its lock without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] if another program holds it; I/O errors, by path.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(NAME);
        let open = || {
            fs::create_dir_all(folder)?;
            refuse_unless_plain(&path)?;
            let mut options = File::options();
            options.create(true).truncate(false).read(true).write(true);
            options.open(&path)
        };
        let mut file = open().map_err(|e| named(&path, e))?;
        let mut locked = file.try_lock();
        for _ in 1..LOOKS {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Best effort: the holder's name is only informative.
                let _ = file.read_to_string(&mut text);
                let line = text.lines().next().unwrap_or_default().trim();
                let known = !line.is_empty() && line.chars().all(|c| !c.is_control());
                return Err(LockError::Held {
                    folder: folder.to_owned(),
                    holder: if known { line } else { "another program" }.to_owned(),
                });
            }
            Err(TryLockError::Error(e)) => return Err(named(&path, e).into()),
        }
        let mut note = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "process {}{}", std::process::id(), on_host())
        };
        note().map_err(|e| named(&path, e))?;
        Ok(Self {
            folder: folder.to_owned(),
            file,
        })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether a program holds the lock of `folder`, as far as this file system tells; writes nothing.
    pub fn is_held(folder: &Path) -> bool {
        let path = folder.join(NAME);
        let file = refuse_unless_plain(&path).and_then(|()| File::open(&path));
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An empty file means that nobody holds it; the lock itself ends with the file handle.
        let _ = self.file.set_len(0);
    }
}

/// ` on tower`, if the machine's name can be read.
fn on_host() -> String {
    match fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) if !name.trim().is_empty() => format!(" on {}", name.trim()),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs/one");
        let lock = Lock::take(&path).unwrap();
        let error = Lock::take(&path).unwrap_err().to_string();
        let holder = format!("process {}{} works", std::process::id(), on_host());
        assert!(error.contains(&holder), "{error}");
        assert!(Lock::is_held(&path));
        drop(lock);
        assert!(!Lock::is_held(&path) && !Lock::is_held(folder.path()));
        assert_eq!(fs::read_to_string(path.join(NAME)).unwrap(), "");
        Lock::take(&path).unwrap();
    }

    #[test]
    fn what_a_file_says_decides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "process 1 on nowhere\n").unwrap();
        let lock = Lock::take(folder.path()).unwrap();
        fs::write(folder.path().join(NAME), "\x1b[2J\n").unwrap();
        let error = Lock::take(folder.path()).unwrap_err().to_string();
        assert!(error.contains("another program works"), "{error}");
        drop(lock);
    }
}
