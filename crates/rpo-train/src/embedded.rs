//! The embedded model, `micro`: its files are inside this program and are unpacked once into a cache folder of the user, because
//! all loaders read folders.
//!
//! The copy's name ends in a hash of its contents, so programs with different models have different copies. It is compared byte
//! by byte before each use: a damaged copy, or one with extra files, is unpacked again, so that a run's inputs match their hash.

use crate::hub::expand;
use anyhow::{Result, anyhow};
use rpo_files::failure::BadInput;
use rpo_files::{sweep_abandoned, temporary_folder};
use rpo_micro::{FILES, File};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// Name of the embedded model in experiment files; its parts are `micro/reward` and so on.
const NAME: &str = "micro";

/// Attempts to move a copy into place while other processes do the same.
const ATTEMPTS: usize = 8;

/// The path of `micro`, or of a folder or file below it, in the unpacked copy; `None` for every other name.
pub fn find(name: &str) -> Option<Result<PathBuf>> {
    let below = within(name, FILES)?;
    // By components: joining an empty path would append a slash.
    Some(copy().map(|copy| below.components().fold(copy, |path, part| path.join(part))))
}

/// The folder of the unpacked copy, created or repaired if needed.
///
/// # Errors
/// [`BadInput`] with the folders that cannot be written.
pub fn copy() -> Result<PathBuf> {
    static COPY: OnceLock<std::result::Result<PathBuf, Refused>> = OnceLock::new();
    let made = COPY.get_or_init(|| {
        let variable = |name: &str| std::env::var(name).ok();
        unpack(&caches(variable, &std::env::temp_dir()), FILES)
    });
    made.clone()
        .map_err(|Refused { message, full }| match full {
            true => anyhow!(message),
            false => BadInput::new(message),
        })
}

/// Name of the copy's folder: `micro-` and a hash of paths and contents.
pub fn folder_name() -> String {
    name_of(FILES)
}

/// Summary of the embedded files: `29 files, 21.0 MB`.
pub fn describe() -> String {
    let bytes: usize = FILES.iter().map(|f| f.bytes.len()).sum();
    format!("{} files, {:.1} MB", FILES.len(), bytes as f64 / 1e6)
}

fn name_of(files: &[File]) -> String {
    let mut hasher = blake3::Hasher::new();
    for file in files {
        // Lengths make the concatenation unambiguous.
        let lengths = format!("{}|{}|", file.path.len(), file.bytes.len());
        hasher.update(lengths.as_bytes());
        hasher.update(file.path.as_bytes()).update(file.bytes);
    }
    format!("{NAME}-{}", &hasher.finalize().to_hex()[..16])
}

/// The path of `name` within the model's folder, if it is the model or a folder or file of it.
fn within(name: &str, files: &[File]) -> Option<PathBuf> {
    let mut parts = Path::new(name).components();
    if parts.next()? != Component::Normal(NAME.as_ref()) {
        return None;
    }
    let below = parts.as_path();
    let known = |file: &File| Path::new(file.path).starts_with(below);
    files.iter().any(known).then(|| below.to_path_buf())
}

/// Candidate folders for the copy, of which the first writable one is used: `RPO_CACHE`, else `rpo` in the user's cache folder;
/// then one in `temporary`. `variable` is as in [`crate::hub::Environment::new`].
fn caches(variable: impl Fn(&str) -> Option<String>, temporary: &Path) -> Vec<PathBuf> {
    let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let path = |name: &str| get(name).map(|value| expand(&value, &get));
    let below = |name: &str| path(name).map(|caches| caches.join("rpo"));
    let own = path("RPO_CACHE")
        .or_else(|| below("XDG_CACHE_HOME"))
        .or_else(|| cfg!(windows).then(|| below("LOCALAPPDATA")).flatten())
        .or_else(|| path("HOME").map(|home| home.join(".cache/rpo")));
    // Users of a machine share the temporary folder but cannot write each other's files.
    let user = get("USER").or_else(|| get("USERNAME")).unwrap_or_default();
    let plain = user.chars().filter(|c| c.is_alphanumeric());
    let name: String = "rpo-".chars().chain(plain).collect();
    own.into_iter()
        .chain([temporary.join(name.trim_end_matches('-'))])
        .map(|folder| std::path::absolute(&folder).unwrap_or(folder))
        .collect()
}

/// Why there is no copy.
#[derive(Clone, Debug)]
struct Refused {
    message: String,
    /// Whether a disk is full.
    full: bool,
}

/// The copy in the first folder that has it or can be written; else a message that lists the folders.
fn unpack(folders: &[PathBuf], files: &[File]) -> std::result::Result<PathBuf, Refused> {
    let (mut tried, mut full) = (Vec::new(), false);
    for folder in folders {
        match unpack_in(folder, files) {
            Ok(copy) => return Ok(copy),
            Err(e) => {
                full |= e.kind() == io::ErrorKind::StorageFull;
                tried.push(format!("    {}: {e}", folder.display()));
            }
        }
    }
    let hint = match full {
        true => "free some space, or name a folder on another disk",
        false => "name a folder that can be written",
    };
    let tried = tried.join("\n");
    let message = format!(
        "the embedded model cannot be unpacked. Tried:\n{tried}\n  hint: {hint} in the environment variable RPO_CACHE"
    );
    Err(Refused { message, full })
}

/// The copy appears whole: it is written to a temporary folder beside its path and renamed.
fn unpack_in(folder: &Path, files: &[File]) -> io::Result<PathBuf> {
    let copy = folder.join(name_of(files));
    sweep_abandoned(folder);
    if is_whole(&copy, files) {
        return Ok(copy);
    }
    fs::create_dir_all(folder)?;
    let fresh = temporary_folder(folder)?;
    for file in files {
        let path = fresh.path().join(file.path);
        fs::create_dir_all(path.parent().unwrap_or(&path))?;
        fs::write(&path, file.bytes)?;
    }
    let mut result = Ok(());
    for _ in 0..ATTEMPTS {
        result = fs::rename(fresh.path(), &copy);
        if result.is_ok() {
            // Renamed, so nothing is left to remove.
            let _ = fresh.keep();
            return Ok(copy);
        }
        // Another process may have been faster; its copy serves as well.
        if is_whole(&copy, files) {
            return Ok(copy);
        }
        set_aside(&copy, folder)?;
    }
    result.map(|()| copy)
}

/// Whether `copy` has exactly `files`, with the same bytes.
fn is_whole(copy: &Path, files: &[File]) -> bool {
    let same = |file: &File| {
        let path = copy.join(file.path);
        let long = fs::metadata(&path).map(|about| about.len());
        long.is_ok_and(|n| n == file.bytes.len() as u64)
            && fs::read(&path).is_ok_and(|bytes| bytes == file.bytes)
    };
    files.iter().all(same) && count(copy).is_ok_and(|n| n == files.len())
}

/// Number of files below a folder.
fn count(folder: &Path) -> io::Result<usize> {
    let mut n = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        n += match entry.file_type()?.is_dir() {
            true => count(&entry.path())?,
            false => 1,
        };
    }
    Ok(n)
}

/// Renames a damaged copy and removes it; processes that read from it keep their open files.
fn set_aside(copy: &Path, folder: &Path) -> io::Result<()> {
    let aside = temporary_folder(folder)?;
    match fs::rename(copy, aside.path().join(NAME)) {
        // Another process did it.
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests;
