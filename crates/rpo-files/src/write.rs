//! Atomic writes: under a temporary name, synced to the disk, renamed. Readers see the old file or the whole new one.

use crate::temporary::{named, temporary_file};
use std::fs::{self, File};
use std::io::{Error, ErrorKind, Result, Write};
use std::path::Path;

/// Writes `bytes` to `path` and creates its folder.
///
/// # Errors
/// As [`write_with`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// As [`write()`], with the temporary file in `folder`, which must be on the same file system, instead of beside it.
///
/// # Errors
/// As [`write_with`].
pub fn write_via(folder: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    place(folder, path, |file| file.write_all(bytes))
}

/// Writes the output of `fill` to `path` and creates its folder.
///
/// # Errors
/// Those of `fill`; I/O errors (also a full disk); if `path` is not a regular file. An older file is then untouched, and
/// nothing is left beside it.
pub fn write_with<E: From<Error>>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    place(beside(path), path, fill)
}

fn beside(path: &Path) -> &Path {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn place<E: From<Error>>(
    temporary: &Path,
    path: &Path,
    fill: impl FnOnce(&mut File) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    refuse_unless_plain(path)?;
    for folder in [beside(path), temporary] {
        fs::create_dir_all(folder).map_err(|e| named(folder, e))?;
    }
    let mut file = temporary_file(temporary).map_err(|e| named(temporary, e))?;
    fill(file.as_file_mut())?;
    file.as_file().sync_data()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

/// Refuses a path where a rename would replace a device, a pipe, a link or a folder.
///
/// # Errors
/// [`ErrorKind::InvalidInput`] with what `path` is; I/O errors of inspecting it. A missing `path` is no error.
pub fn refuse_unless_plain(path: &Path) -> Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        about => about.map_err(|e| named(path, e))?.file_type(),
    };
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a folder is there"
    } else if kind.is_symlink() {
        "a link is there, and what it points to would not be written"
    } else {
        "a device or a pipe is there, and a file would take its place"
    };
    Err(Error::new(
        ErrorKind::InvalidInput,
        format!("{}: {what}; name a plain file", path.display()),
    ))
}

/// Whether two paths are the same file, under any names or links. False if one does not exist.
pub fn same_file(a: &Path, b: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        match (fs::metadata(a), fs::metadata(b)) {
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.json");
        write(&path, b"old").unwrap();
        let failed: Result<()> = write_with(&path, |file| {
            file.write_all(b"ne")?;
            Err(Error::other("full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn only_plain_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| write(path, b"x").unwrap_err().to_string();
        assert!(said(folder.path()).contains("a folder is there"));
        #[cfg(unix)]
        {
            let (file, link) = (folder.path().join("file"), folder.path().join("link"));
            fs::write(&file, "mine").unwrap();
            std::os::unix::fs::symlink(&file, &link).unwrap();
            assert!(said(&link).contains("a link is there"));
            assert!(same_file(&file, &link));
            fs::remove_file(&file).unwrap();
            assert!(said(&link).contains("a link is there"));
            let socket = folder.path().join("socket");
            let _open = std::os::unix::net::UnixListener::bind(&socket).unwrap();
            assert!(said(&socket).contains("a device or a pipe"));
        }
    }

    #[test]
    fn files_are_known_by_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        assert!(!same_file(&a, &a));
        fs::write(&a, "").unwrap();
        fs::write(&b, "").unwrap();
        assert!(same_file(&a, &folder.path().join("./a")));
        assert!(!same_file(&a, &b));
        let hard = folder.path().join("hard");
        fs::hard_link(&a, &hard).unwrap();
        assert!(same_file(&a, &hard));
    }
}
