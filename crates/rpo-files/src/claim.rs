//! A claim on a piece of work that other programs may want to do at the same moment.
//!
//! The work must be harmless to do twice: a claim saves time, it protects nothing. It is a locked file, which ends with its
//! holder; its time of change is the holder's sign of life.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A claim, given up on drop.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    file: File,
}

impl Claim {
    /// Claims the work named by a file; `None` if another program has.
    ///
    /// # Errors
    /// I/O errors: also on a file system without locks, or one that may not be written.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        crate::refuse_unless_plain(path)?;
        let mut options = File::options();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self {
                path: path.to_owned(),
                file,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// A sign of life: the file changes.
    pub fn renew(&mut self) {
        // Without it others do the same work, too early.
        let _ = self.file.rewind().and_then(|()| self.file.write_all(b"."));
    }

    /// When the holder of a claim last gave a sign of life, by the clock of the file system.
    pub fn renewed(path: &Path) -> Option<SystemTime> {
        fs::metadata(path).and_then(|about| about.modified()).ok()
    }

    /// Removes the claims in `folder` whose holders were killed.
    pub fn sweep(folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                // Given up at once.
                drop(Self::take(&entry.path()));
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Before the lock ends. Who has opened the file meanwhile gets a lock on a file without a name, beside others: allowed.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drawing/a");
        let mut claim = Claim::take(&path).unwrap().unwrap();
        assert!(Claim::take(&path).unwrap().is_none());
        let before = Claim::renewed(&path).unwrap();
        let later = || {
            claim.renew();
            Claim::renewed(&path).unwrap() > before
        };
        assert!(std::iter::repeat_with(later).take(1_000_000).any(|is| is));
        Claim::sweep(path.parent().unwrap());
        assert!(path.exists(), "a claim that is held stays");
        drop(claim);
        assert!(!path.exists());
        fs::write(&path, "").unwrap();
        Claim::sweep(path.parent().unwrap());
        assert!(!path.exists());
    }
}
