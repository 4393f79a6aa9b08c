//! Unfinished files and folders, under names that nobody else would choose.

use std::fs::{self, File, TryLockError};
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use tempfile::{Builder, NamedTempFile, TempDir};

/// Prefix of their names, followed by [`RANDOM`] random letters and digits.
const PREFIX: &str = ".rpo-unfinished-";
const RANDOM: usize = 6;

/// Attempts to make one while other programs sweep.
const ATTEMPTS: usize = 8;

/// A folder to be renamed when complete; removed if dropped before. It is locked meanwhile, which tells
/// [`sweep_abandoned`] that it is in use.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    _lock: Option<File>,
}

impl TemporaryFolder {
    /// Its path.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives it up without removing it: it was renamed, or is to be.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

/// A temporary folder in `parent`.
///
/// # Errors
/// I/O errors.
pub fn temporary_folder(parent: &Path) -> Result<TemporaryFolder> {
    let mut made = builder(0o777).tempdir_in(parent).map_err(plain)?;
    for _ in 0..ATTEMPTS {
        let open = File::open(made.path());
        // Swept by another program before it could be locked.
        let gone = open
            .as_ref()
            .is_err_and(|e| e.kind() == ErrorKind::NotFound);
        let lock = open.ok();
        if !gone && lock.as_ref().is_none_or(|lock| claimed(lock, made.path())) {
            return Ok(TemporaryFolder {
                folder: made,
                _lock: lock,
            });
        }
        made = builder(0o777).tempdir_in(parent).map_err(plain)?;
    }
    Err(ErrorKind::ResourceBusy.into())
}

/// A temporary file in `parent`, locked while it is open.
pub(crate) fn temporary_file(parent: &Path) -> Result<NamedTempFile> {
    let mut made = builder(0o666).tempfile_in(parent).map_err(plain)?;
    for _ in 0..ATTEMPTS {
        if claimed(made.as_file(), made.path()) {
            return Ok(made);
        }
        made = builder(0o666).tempfile_in(parent).map_err(plain)?;
    }
    Err(ErrorKind::ResourceBusy.into())
}

/// Sees what other machines have put into a folder and the folders in it: a network file system remembers for up to a minute that
/// a file is missing, unless its client changes that folder.
pub fn look_again(folder: &Path) {
    let within = fs::read_dir(folder).into_iter().flatten().flatten();
    let within = within.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
    for folder in within.map(|e| e.path()).chain([folder.to_owned()]) {
        // Removed at once. Where nothing may be written, nothing was missed that matters.
        drop(builder(0o666).tempfile_in(folder));
    }
}

/// The system's error in one of tempfile, whose text ends in a random path.
fn plain(error: Error) -> Error {
    let text = error.to_string();
    match text.split_once(" at path ") {
        Some((cause, _)) => Error::new(error.kind(), cause.to_owned()),
        None => error,
    }
}

/// Locks what was opened at `path`. False if another program has it, or removed it before it was locked. A file system without
/// locks counts as locked: there nothing is swept.
fn claimed(file: &File, path: &Path) -> bool {
    match file.try_lock() {
        Ok(()) => is_at(file, path),
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => true,
    }
}

/// Whether an open file or folder is what `path` names.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (open, there) = (file.metadata(), fs::symlink_metadata(path));
    let id = |about: fs::Metadata| (about.dev(), about.ino());
    matches!((open.map(id), there.map(id)), (Ok(open), Ok(there)) if open == there)
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

/// `mode`: readable by others as far as the umask allows, unlike tempfile's default for secrets.
#[cfg_attr(not(unix), expect(unused_variables, reason = "modes are of unix"))]
fn builder(mode: u32) -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    builder.prefix(PREFIX).rand_bytes(RANDOM);
    builder
}

fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|end| end.len() == RANDOM && end.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// Removes the unfinished files and folders that a kill left in and below `folder`, and nothing else. Links are not
/// followed. The caller must hold the folder's [`Lock`](crate::Lock), as another program may still be writing.
///
/// # Errors
/// I/O errors, by path; a missing folder is no error.
pub fn sweep(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|e| named(folder, e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| named(folder, e))?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let ours = is_ours(&entry.file_name().to_string_lossy());
        let swept = match (kind.is_dir(), ours) {
            (true, true) => fs::remove_dir_all(&path),
            (true, false) => sweep(&path),
            (false, true) if kind.is_file() => fs::remove_file(&path),
            (false, _) => Ok(()),
        };
        swept.map_err(|e| named(&path, e))?;
    }
    Ok(())
}

/// Removes the unfinished files and folders directly in `folder` whose program has ended. What is in use is locked and stays; so
/// does everything where there are no locks. Best effort: what cannot be removed stays.
pub fn sweep_abandoned(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let kind = entry.file_type();
        let ours = is_ours(&entry.file_name().to_string_lossy());
        let Some(kind) = kind.ok().filter(|k| ours && (k.is_file() || k.is_dir())) else {
            continue;
        };
        let path = entry.path();
        let Ok(lock) = File::open(&path) else {
            continue;
        };
        if cfg!(not(unix)) || lock.try_lock().is_err() || !is_at(&lock, &path) {
            continue;
        }
        let _ = match kind.is_dir() {
            true => fs::remove_dir_all(&path),
            false => fs::remove_file(&path),
        };
    }
}

/// The same error with the path in front, unless it already has it.
pub(crate) fn named(path: &Path, error: std::io::Error) -> std::io::Error {
    let (said, path) = (error.to_string(), path.display().to_string());
    if said.contains(&path) {
        return error;
    }
    std::io::Error::new(error.kind(), format!("{path}: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of users and other programs.
    const THEIRS: [&str; 6] = [
        "video.part",
        ".tmp-abcdef",
        ".rpo-unfinished-",
        ".rpo-unfinished-notes",
        ".rpo-unfinished-a.b.c",
        "step-000120",
    ];

    #[test]
    fn nothing_but_its_own_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("state/step-000010");
        fs::create_dir_all(&below).unwrap();
        for name in THEIRS {
            fs::write(below.join(name), "mine").unwrap();
        }
        fs::write(below.join(".rpo-unfinished-a1B2c3"), "half").unwrap();
        fs::create_dir_all(folder.path().join(".rpo-unfinished-zzzzzz/deep")).unwrap();
        sweep(folder.path()).unwrap();
        let left: Vec<String> = fs::read_dir(&below)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left.len(), THEIRS.len(), "{left:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        sweep(&folder.path().join("nowhere")).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        use std::os::unix::fs::symlink;
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let half = elsewhere.path().join(".rpo-unfinished-abcdef");
        fs::write(&half, "of another run").unwrap();
        symlink(elsewhere.path(), folder.path().join("linked")).unwrap();
        symlink(folder.path(), folder.path().join("itself")).unwrap();
        symlink(&half, folder.path().join(".rpo-unfinished-ffffff")).unwrap();
        sweep(folder.path()).unwrap();
        assert!(half.exists());
        assert!(folder.path().join("linked").exists());
    }

    #[cfg(unix)]
    #[test]
    fn only_what_was_abandoned_is_swept_without_a_lock_on_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (used, file) = (
            temporary_folder(folder.path()).unwrap(),
            temporary_file(folder.path()).unwrap(),
        );
        for name in THEIRS {
            fs::write(folder.path().join(name), "mine").unwrap();
        }
        let (left, half) = (
            folder.path().join(".rpo-unfinished-abcdef"),
            folder.path().join(".rpo-unfinished-uvwxyz"),
        );
        fs::create_dir_all(left.join("deep")).unwrap();
        fs::write(&half, "half").unwrap();
        let link = folder.path().join(".rpo-unfinished-ffffff");
        std::os::unix::fs::symlink(used.path(), &link).unwrap();
        // Below it nothing is looked for.
        let below = folder.path().join("below/.rpo-unfinished-abcdef");
        fs::create_dir_all(&below).unwrap();
        sweep_abandoned(folder.path());
        assert!(used.path().exists() && file.path().exists());
        assert!(!left.exists() && !half.exists());
        assert!(below.exists() && fs::symlink_metadata(&link).is_ok());
        assert!(THEIRS.iter().all(|name| folder.path().join(name).exists()));
        let nowhere = folder.path().join("nowhere");
        sweep_abandoned(&nowhere);
        let error = temporary_file(&nowhere).unwrap_err().to_string();
        assert!(!error.contains(PREFIX), "{error}");
    }

    #[test]
    fn what_is_made_here_is_what_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let path = temporary_folder(folder.path()).unwrap().keep();
        let (_, file) = temporary_file(folder.path()).unwrap().keep().unwrap();
        assert!(path.exists() && file.exists());
        sweep(folder.path()).unwrap();
        assert!(!path.exists() && !file.exists());
    }
}
