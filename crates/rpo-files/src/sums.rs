//! Checksums of the files of a folder, in a file beside them that `b3sum --check` can read.

use crate::file_error::AtPath;
use crate::output;
use anyhow::{Result, bail};
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

/// The file of checksums: lines of a BLAKE3 hash, two spaces and a path below the folder.
pub const SUMS: &str = "blake3.txt";

/// Writes the checksums of `files`, given by their paths below `folder`.
///
/// # Errors
/// I/O errors, by path.
pub fn write_sums(folder: &Path, files: &[impl AsRef<str>]) -> Result<()> {
    let mut text = String::new();
    for file in files {
        let file = file.as_ref();
        text += &format!("{}  {file}\n", sum(&folder.join(file))?);
    }
    output::write(&folder.join(SUMS), text.as_bytes())
}

/// Writes one file below `folder` after its checksum: after a kill in between, the file is missing or still the older one,
/// which [`check_sums`] then reports.
///
/// # Errors
/// I/O errors, by path; checksums of other files that cannot be read.
pub fn write_summed(folder: &Path, file: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(SUMS);
    let before = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
        read => read.reading(&path)?,
    };
    let mut text = String::new();
    for line in before.lines().filter(|l| named(l) != Some(file)) {
        text += &format!("{line}\n");
    }
    text += &format!("{}  {file}\n", blake3::hash(bytes).to_hex());
    output::write(&path, text.as_bytes())?;
    output::write(&folder.join(file), bytes)
}

/// Checks one file of `folder` against its checksum; a file without a checksum passes.
///
/// # Errors
/// If it has changed, by path.
pub fn check_sum(folder: &Path, file: &str) -> Result<()> {
    let path = folder.join(SUMS);
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.reading(&path)?,
    };
    match text.lines().find(|l| named(l) == Some(file)) {
        Some(line) => compare(line, &folder.join(file)),
        None => Ok(()),
    }
}

/// The file name in a line.
fn named(line: &str) -> Option<&str> {
    line.split_once("  ").map(|(_, file)| file)
}

fn compare(line: &str, file: &Path) -> Result<()> {
    let was = line.split_once("  ").map(|(sum, _)| sum);
    if was != Some(sum(file)?.as_str()) {
        bail!(
            "{} is not as it was written: its checksum has changed",
            file.display()
        )
    }
    Ok(())
}

/// Checks the files of `folder` against its checksums; a folder without checksums passes.
///
/// # Errors
/// If a file is missing or has changed, by path.
pub fn check_sums(folder: &Path) -> Result<()> {
    let path = folder.join(SUMS);
    if !path.exists() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).reading(&path)?;
    for (i, line) in text.lines().enumerate() {
        let Some(file) = named(line) else {
            bail!("{}:{}: is no line of a checksum", path.display(), i + 1)
        };
        compare(line, &folder.join(file))?;
    }
    Ok(())
}

fn sum(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let hashed = File::open(path).and_then(|file| hasher.update_reader(file).map(drop));
    hashed.reading(path)?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        check_sums(path).unwrap();
        crate::write(&path.join("a/b"), b"weights").unwrap();
        crate::write(&path.join("c"), b"").unwrap();
        write_sums(path, &["a/b", "c"]).unwrap();
        check_sums(path).unwrap();
        crate::write(&path.join("a/b"), b"weightz").unwrap();
        let said = || format!("{:#}", check_sums(path).unwrap_err());
        assert!(said().contains("a/b") && said().contains("has changed"));
        crate::write(&path.join("a/b"), b"weights").unwrap();
        std::fs::remove_file(path.join("c")).unwrap();
        assert!(said().contains("/c"), "{}", said());
        write_summed(path, "c", b"").unwrap();
        check_sums(path).unwrap();
        write_summed(path, "d", b"1").unwrap();
        write_summed(path, "d", b"2").unwrap();
        check_sums(path).unwrap();
        crate::write(&path.join("d"), b"1").unwrap();
        check_sum(path, "c").unwrap();
        check_sum(path, "not listed").unwrap();
        let d = format!("{:#}", check_sum(path, "d").unwrap_err());
        assert!(d.contains("/d") && d.contains("has changed"), "{d}");
        crate::write(&path.join(SUMS), b"nonsense\n").unwrap();
        assert!(said().contains("blake3.txt:1"));
    }
}
