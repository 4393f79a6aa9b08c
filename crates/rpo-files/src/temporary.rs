//! Unfinished files and folders, under names that nobody else would choose.

use std::fs;
use std::io::{ErrorKind, Result};
use std::path::Path;
use tempfile::{Builder, NamedTempFile, TempDir};

/// Prefix of their names, followed by [`RANDOM`] random letters and digits.
const PREFIX: &str = ".rpo-unfinished-";
const RANDOM: usize = 6;

/// A temporary folder in `parent`, to be renamed when complete; removed if dropped before.
///
/// # Errors
/// I/O errors.
pub fn temporary_folder(parent: &Path) -> Result<TempDir> {
    builder(0o777).tempdir_in(parent)
}

/// A temporary file in `parent`.
pub(crate) fn temporary_file(parent: &Path) -> Result<NamedTempFile> {
    builder(0o666).tempfile_in(parent)
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
