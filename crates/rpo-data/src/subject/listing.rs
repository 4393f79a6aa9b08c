//! The files of a folder: photos by their content, texts, folders; and what is passed over, which is told.

use std::fs::{self, DirEntry, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::picture::form::{Content, START};
use crate::picture::{ending, shown};

/// Endings of pictures, whether they are read or not: a file with one is no note that may be passed over.
const PICTURES: [&str; 38] = [
    "jpg",
    "jpeg",
    "jpe",
    "jfif",
    "pjpeg",
    "pjp",
    "jpg_large",
    "mpo",
    "thm",
    "png",
    "apng",
    "webp",
    "bmp",
    "dib",
    "gif",
    "tif",
    "tiff",
    "tga",
    "ppm",
    "pgm",
    "pbm",
    "pnm",
    "pam",
    "qoi",
    "heic",
    "heif",
    "hif",
    "avif",
    "avifs",
    "jxl",
    "jp2",
    "dng",
    "cr2",
    "cr3",
    "nef",
    "arw",
    "raf",
    "raw",
];
/// What the name of a mask has before its ending.
pub(super) const MASK: &str = ".mask";
/// Endings of texts, which are no photos even if they begin like one.
const TEXTS: [&str; 7] = ["txt", "caption", "json", "jsonl", "csv", "md", "toml"];
/// Files and folders that systems and cameras' programs make.
const SYSTEM: [&str; 9] = [
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "@eadir",
    "__macosx",
    "#recycle",
    "$recycle.bin",
    "system volume information",
    "lost+found",
];

/// The contents of a folder, each sorted by name; hidden files and those of systems are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Pictures that are read, and files that claim to be pictures by their ending.
    pub photos: Vec<PathBuf>,
    /// Pictures whose names end in `.mask` before the ending: `photo.mask.png`, the mask of `photo.jpg`.
    pub masks: Vec<PathBuf>,
    /// Inner folders.
    pub folders: Vec<PathBuf>,
    /// Other regular files: captions, tables, notes.
    pub others: Vec<PathBuf>,
    /// Names of files that nothing is read from, with the reason.
    pub passed_over: Vec<String>,
}

/// Lists a folder.
///
/// # Errors
/// If the folder is missing; if a picture in it cannot be opened, or is of a form that is not read (HEIC, AVIF, raw files of
/// cameras) and no photo of the same name is beside it.
pub fn list(dir: &Path) -> Result<Listing> {
    list_of(dir, "the subject's photos")
}

/// As [`list`]; `wanted` is what the folder should hold.
pub(super) fn list_of(dir: &Path, wanted: &str) -> Result<Listing> {
    if !dir.exists() {
        bail!(
            "the folder {} does not exist: give a folder with {wanted}",
            shown(dir)
        );
    }
    if !dir.is_dir() {
        bail!(
            "{} is a file: give the folder that holds {wanted}",
            shown(dir)
        );
    }
    let named = || format!("cannot list the folder {}", shown(dir));
    let entries = fs::read_dir(dir).with_context(named)?;
    let mut entries: Vec<DirEntry> = entries.collect::<Result<_, _>>().with_context(named)?;
    entries.sort_by_key(DirEntry::path);
    let mut found = Listing::default();
    let mut foreign = Vec::new();
    for path in entries.iter().map(DirEntry::path).filter(|p| !is_hidden(p)) {
        let claims = PICTURES.contains(&ending(&path).as_str());
        match kind(&path) {
            Err(e) if claims => {
                return Err(e).with_context(|| format!("cannot open the picture {}", shown(&path)));
            }
            Err(e) => found.passed_over.push(format!("{} ({e:#})", name(&path))),
            Ok(Kind::Folder) => found.folders.push(path),
            Ok(Kind::File(Content::Picture(_))) if is_mask(&path) => found.masks.push(path),
            Ok(Kind::File(Content::Picture(_))) => found.photos.push(path),
            Ok(Kind::File(Content::Foreign(what))) if what.picture => foreign.push((path, what)),
            // Reading it says what it is instead.
            Ok(Kind::File(_)) if claims && is_mask(&path) => found.masks.push(path),
            Ok(Kind::File(_)) if claims => found.photos.push(path),
            Ok(Kind::File(Content::Foreign(what))) => {
                found
                    .passed_over
                    .push(format!("{} ({})", name(&path), what.what));
            }
            Ok(Kind::File(Content::Unknown)) => found.others.push(path),
        }
    }
    for (path, what) in foreign {
        // A converted photo, its original left beside it.
        let same = found.photos.iter().find(|p| stem(p) == stem(&path));
        match same {
            Some(read) => {
                let text = format!("{} ({}; {} is read)", name(&path), what.what, name(read));
                found.passed_over.push(text);
            }
            None => bail!(
                "{} is {}\n  hint: {}, or remove it",
                shown(&path),
                what.what,
                what.hint
            ),
        }
    }
    Ok(found)
}

enum Kind {
    Folder,
    File(Content),
}

fn kind(path: &Path) -> Result<Kind> {
    let about = fs::metadata(path).map_err(|e| match fs::symlink_metadata(path) {
        Ok(link) if link.is_symlink() => anyhow::anyhow!("a link that leads nowhere: {e}"),
        _ => e.into(),
    })?;
    if about.is_dir() {
        return Ok(Kind::Folder);
    }
    if !about.is_file() {
        bail!("no regular file");
    }
    let ending = ending(path);
    let mut start = Vec::new();
    File::open(path)?
        .take(START as u64)
        .read_to_end(&mut start)?;
    Ok(Kind::File(match Content::of(&start, &ending) {
        Content::Picture(_) if TEXTS.contains(&ending.as_str()) => Content::Unknown,
        content => content,
    }))
}

fn is_hidden(path: &Path) -> bool {
    let name = name(path).to_lowercase();
    name.starts_with('.') || name.starts_with("~$") || SYSTEM.contains(&name.as_str())
}

/// Whether a picture's name says that it is the mask of another.
fn is_mask(path: &Path) -> bool {
    stem(path).ends_with(MASK)
}

/// A file's name, for messages and comparison.
pub(super) fn name(path: &Path) -> String {
    shown(Path::new(path.file_name().unwrap_or_default()))
}

/// A file's name without its ending, in small letters.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase()
}
