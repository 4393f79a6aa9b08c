//! Hints for causes of I/O errors.

use crate::spelling::odd_spelling;
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// Bytes that common file systems allow in one name.
const LONGEST_NAME: usize = 255;

/// What was tried.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Read,
    Write,
    Remove,
}

/// What to do about `cause`, which `act` on `path` ended with; `None` where nothing better than the cause can be said.
pub(crate) fn hint(act: Act, path: &Path, cause: &Error) -> Option<String> {
    Some(match cause.kind() {
        ErrorKind::NotFound => missing(path)?,
        ErrorKind::PermissionDenied => forbidden(act, path),
        ErrorKind::StorageFull => "free some space, then run the same command again".into(),
        ErrorKind::QuotaExceeded => {
            "your quota is used up: remove files of yours, then run the same command again".into()
        }
        ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only: name a place on another one".into()
        }
        ErrorKind::InvalidFilename => too_long(path),
        ErrorKind::IsADirectory => "this is a folder, and a file is wanted".into(),
        // Creating a folder where a file is ends with the second.
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            let file = path.ancestors().find(|p| p.is_file())?;
            format!("{} is a file, and a folder is wanted", file.display())
        }
        ErrorKind::FileTooLarge => "the file system, or `ulimit -f`, allows no larger file".into(),
        ErrorKind::InvalidData => "this is not text in UTF-8".into(),
        _ => unnamed(cause)?.into(),
    })
}

/// Causes whose kinds have no stable name.
fn unnamed(cause: &Error) -> Option<&'static str> {
    /// The same on every Unix.
    const EIO: i32 = 5;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    if format!("{:?}", cause.kind()) == "FilesystemLoop" {
        return Some("links lead in a circle");
    }
    match cause.raw_os_error().filter(|_| cfg!(unix))? {
        EIO => Some("the device reports an error; the system's log may say more"),
        ENFILE | EMFILE => Some("too many files are open: raise `ulimit -n`"),
        _ => None,
    }
}

/// Where the existing part of a missing path ends, or what its spelling suggests.
fn missing(path: &Path) -> Option<String> {
    if let Some(hint) = odd_spelling(&path.to_string_lossy()) {
        return Some(hint);
    }
    if let Ok(to) = fs::read_link(path) {
        return Some(format!(
            "this is a link to {}, which does not exist",
            to.display()
        ));
    }
    let there = path.ancestors().skip(1).find(|p| p.exists());
    let missing = match there {
        Some(there) => path.strip_prefix(there).ok()?,
        None => path,
    };
    let there = there.map_or("the current folder".into(), |there| {
        there.display().to_string()
    });
    let missing = missing.components().next()?.as_os_str().display();
    Some(format!("{there} has no {missing}"))
}

fn forbidden(act: Act, path: &Path) -> String {
    let (right, place) = match act {
        Act::Read => ("read", path.to_owned()),
        Act::Write if path.exists() => ("write", path.to_owned()),
        // New files need the right to write their folder.
        Act::Write | Act::Remove => ("write", existing_folder(path)),
    };
    format!("this needs the right to {right} {}", place.display())
}

fn existing_folder(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find(|p| p.exists());
    above
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
        .to_owned()
}

fn too_long(path: &Path) -> String {
    let names = path.components().map(|c| c.as_os_str());
    match names.max_by_key(|name| name.len()) {
        Some(name) if name.len() > LONGEST_NAME => {
            let start: String = name.to_string_lossy().chars().take(20).collect();
            format!(
                "a name has at most {LONGEST_NAME} bytes, `{start}…` has {}",
                name.len()
            )
        }
        _ => format!(
            "the path has {} bytes: name a shorter one",
            path.as_os_str().len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(act: Act, path: &Path, cause: Error) -> String {
        hint(act, path, &cause).unwrap_or_default()
    }

    #[test]
    fn missing_paths_are_told_by_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let read = |path: &Path| said(Act::Read, path, fs::read(path).unwrap_err());
        let below = folder.path().join("runs/x/run.json");
        assert_eq!(
            read(&below),
            format!("{} has no runs", folder.path().display())
        );
        assert!(read(Path::new("~/pictures")).contains("shell"));
        assert!(read(Path::new("no such folder /x ")).contains("space"));
        #[cfg(unix)]
        {
            assert!(read(Path::new(r"C:\dogs\1.jpg")).contains("C:/dogs/1.jpg"));
            let link = folder.path().join("link");
            std::os::unix::fs::symlink("nowhere", &link).unwrap();
            assert!(read(&link).contains("a link to nowhere"));
        }
    }

    #[test]
    fn every_cause_has_its_own_hint() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"\xff").unwrap();
        let of = |kind: ErrorKind| said(Act::Write, &file, kind.into());
        let hints = [
            (of(ErrorKind::StorageFull), "free some space"),
            (of(ErrorKind::QuotaExceeded), "quota"),
            (of(ErrorKind::ReadOnlyFilesystem), "read-only"),
            (of(ErrorKind::PermissionDenied), "right to write"),
            (of(ErrorKind::IsADirectory), "this is a folder"),
            (of(ErrorKind::AlreadyExists), "is a file, and a folder"),
            (of(ErrorKind::FileTooLarge), "ulimit -f"),
            (of(ErrorKind::Other), ""),
        ];
        for (said, words) in &hints {
            assert!(said.contains(words), "no `{words}` in: {said}");
        }
        // Space helps against nothing else.
        assert_eq!(
            hints
                .iter()
                .filter(|(said, _)| said.contains("space"))
                .count(),
            1
        );
        let text = fs::read_to_string(&file).unwrap_err();
        assert!(said(Act::Read, &file, text).contains("UTF-8"));
        let below = file.join("below");
        let error = fs::create_dir_all(&below).unwrap_err();
        assert!(said(Act::Write, &below, error).contains("file is a file"));
    }

    #[cfg(unix)]
    #[test]
    fn the_system_says_what_these_mean() {
        let folder = tempfile::tempdir().unwrap();
        let read = |path: &Path| said(Act::Read, path, fs::read(path).unwrap_err());
        let long = folder.path().join("名".repeat(100));
        assert!(read(&long).contains("has at most 255 bytes") && read(&long).contains("has 300"));
        let circle = folder.path().join("circle");
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        assert!(read(&circle).contains("circle"), "{}", read(&circle));
        assert!(read(folder.path()).contains("this is a folder"));
        assert!(said(Act::Read, &circle, Error::from_raw_os_error(24)).contains("ulimit -n"));
    }
}
