//! Where a command may write its result: a free path, or its own earlier result, and a place that can be written.

use crate::failure::{BadInput, OrBadInput};
use crate::file_error::{AtPath, FileError};
use crate::temporary::{sweep_abandoned, temporary_file};
use crate::write::{refuse_unless_plain, same_file};
use anyhow::Result;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Bytes read of a file to recognise it.
const START: u64 = 1 << 16;

/// Checks a path for a result, given by the argument `name`, before anything is computed: free, or an earlier result of the same
/// command, which `ours` recognises by its first bytes; an empty file counts as free. `inputs` are refused under any name or
/// link, even if an earlier call wrote them.
///
/// # Errors
/// [`BadInput`] with the path and what is there; a [`FileError`] if the folder, or the nearest one that exists, cannot be written.
pub fn replaceable<'a>(
    name: &str,
    path: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
    ours: impl Fn(&[u8]) -> bool,
) -> Result<()> {
    refuse_unless_plain(path).or_bad_input(name)?;
    if path.exists() {
        if inputs.into_iter().any(|input| same_file(input, path)) {
            return Err(BadInput::new(format!(
                "{name} {}: this is a file that is read\n  hint: name another one",
                path.display()
            )));
        }
        let mut start = Vec::new();
        let file = File::open(path).reading(path).or_bad_input(name)?;
        let read = file.take(START).read_to_end(&mut start);
        read.reading(path).or_bad_input(name)?;
        if !start.is_empty() && !ours(&start) {
            return Err(BadInput::new(format!(
                "{name} {}: there is a file already that is no earlier result of this command, and nothing is overwritten\n  hint: name another one, or remove it",
                path.display()
            )));
        }
    }
    Ok(writable(path)?)
}

/// Checks a path for a result that replaces nothing: it must be free. An empty folder counts as free where `folder` is wanted.
///
/// # Errors
/// As [`replaceable`].
pub fn free(name: &str, path: &Path, folder: bool) -> Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        about => Some(about.writing(path).or_bad_input(name)?),
    };
    let empty = |about: &fs::Metadata| {
        about.is_dir() && fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
    };
    if there.is_some_and(|about| !(folder && empty(&about))) {
        return Err(BadInput::new(format!(
            "{}: there is something already, and nothing is overwritten\n  hint: name a new place with {name}, or remove what is there",
            path.display()
        )));
    }
    Ok(writable(path)?)
}

/// Checks a folder for results: it may exist, or not yet.
///
/// # Errors
/// [`BadInput`] if something else is there; a [`FileError`] if it cannot be written.
pub fn folder_of_results(name: &str, path: &Path) -> Result<()> {
    if !path.is_dir() && fs::symlink_metadata(path).is_ok() {
        return Err(BadInput::new(format!(
            "{name} {}: this is no folder\n  hint: name a folder",
            path.display()
        )));
    }
    Ok(writable(&path.join("result"))?)
}

/// Whether the first bytes of a file, `start`, have `text` in them.
pub fn holds(start: &[u8], text: &str) -> bool {
    start.windows(text.len()).any(|w| w == text.as_bytes())
}

/// Tries to write where `path` or its missing folders would be created, and removes what killed programs left there.
fn writable(path: &Path) -> Result<(), FileError> {
    let above = path.ancestors().skip(1);
    let mut there = above.filter(|p| fs::symlink_metadata(p).is_ok());
    let folder = there.next().unwrap_or(Path::new("."));
    sweep_abandoned(folder);
    temporary_file(folder).map(drop).writing(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_earlier_result_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        let said = |inputs: &[&Path]| {
            let ours = |start: &[u8]| holds(start, "OURS");
            replaceable("--out", &path, inputs.iter().copied(), ours)
                .err()
                .map(|e| e.to_string())
        };
        assert_eq!(said(&[]), None);
        for (text, fine) in [("", true), ("it is OURS", true), ("a photo", false)] {
            fs::write(&path, text).unwrap();
            assert_eq!(said(&[]).is_none(), fine, "{text}");
            assert!(said(&[&path]).unwrap().contains("is read"), "{text}");
        }
        assert!(said(&[]).unwrap().contains("nothing is overwritten"));
    }

    #[test]
    fn a_new_result_has_a_free_place_that_can_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("empty")).unwrap();
        fs::write(at("file"), "").unwrap();
        let said = |name: &str, folder: bool| {
            let result = free("--to", &at(name), folder);
            result.err().map_or_else(String::new, |e| e.to_string())
        };
        assert_eq!(said("new/folder/result", false), "");
        assert_eq!(said("empty", true), "");
        assert!(said("empty", false).contains("nothing is overwritten"));
        assert!(said("file", true).contains("--to"));
        folder_of_results("--out", &at("empty")).unwrap();
        folder_of_results("--out", &at("new/folder")).unwrap();
        assert!(folder_of_results("--out", &at("file")).is_err());
        assert!(said("file/result", false).contains("file is a file"));
        assert!(said(&"x".repeat(300), true).contains("255 bytes"));
        // Nothing was written.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(fs::read(at("file")).unwrap(), b"");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nothing_is_not_free() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        assert!(free("--to", &link, true).is_err());
        assert!(replaceable("--out", &link, [], |_| true).is_err());
    }
}
