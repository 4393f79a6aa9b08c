//! Reading a subject from a folder of photos.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Reference, Subject, is_live};
use crate::picture;

/// Extensions of photos.
const READ: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];
/// Extensions of photos that this build cannot decode. Skipping them silently would train on part of a subject.
const REFUSED: [&str; 10] = [
    "heic", "heif", "avif", "jxl", "jp2", "raw", "dng", "cr2", "nef", "arw",
];

/// Reads the subject in `dir`: its photos sorted by name, with captions from `photo.txt` beside `photo.jpg`.
///
/// Layouts:
/// - a flat folder of photos; the class is `class`;
/// - DreamBench, `dataset/<subject>/00.jpg`: without `class`, it is read from `dataset/prompts_and_classes.txt`;
/// - kohya, `N_token class/`, given as this folder or its parent: without `class`, token and class are read from the folder's
///   name, else `token` and `class` are used. `N`, its number of repeats, is ignored.
///
/// The subject is named after `dir`. Hidden files, text files and other non-pictures are skipped.
///
/// # Errors
/// If the folder is missing or has no photo, a photo cannot be decoded, or the class is unknown; with the path and a hint.
pub fn load_folder(dir: impl AsRef<Path>, class: Option<&str>, token: &str) -> Result<Subject> {
    let found = look(dir.as_ref(), class, token)?;
    let references = found.photos.iter().map(|path| reference(path));
    Ok(Subject {
        references: references.collect::<Result<Vec<_>>>()?,
        live: is_live(&found.class),
        name: found.name,
        class: found.class,
        token: found.token,
    })
}

/// A subject's folder as [`load_folder`] reads it, without decoding the photos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The subject's name.
    pub name: String,
    /// Its class.
    pub class: String,
    /// Its token.
    pub token: String,
    /// Its photos, sorted by name.
    pub photos: Vec<PathBuf>,
}

/// Lists the subject in `dir`; see [`load_folder`].
///
/// # Errors
/// As [`load_folder`], except for undecodable photos.
pub fn look(dir: &Path, class: Option<&str>, token: &str) -> Result<Found> {
    let name = folder_name(dir)?;
    let (mut photos, inner) = list(dir)?;
    let mut words = kohya_words(&name);
    if photos.is_empty() {
        let nested: Vec<_> = inner
            .iter()
            .filter_map(|p| Some((p, kohya_words(&folder_name(p).ok()?)?)))
            .collect();
        match nested.as_slice() {
            [] => bail!(
                "the folder {} holds no photo: put the subject's photos into it (.jpg, .png or .webp; 3 to 6 are usual)",
                dir.display()
            ),
            [(path, found)] => {
                photos = list(path)?.0;
                if photos.is_empty() {
                    bail!(
                        "the folder {} holds no photo: put the subject's photos into it (.jpg, .png or .webp)",
                        path.display()
                    );
                }
                words = Some(found.clone());
            }
            several => bail!(
                "the folder {} holds {} subjects ({}): give the folder of one of them",
                dir.display(),
                several.len(),
                several
                    .iter()
                    .map(|(p, _)| format!("{:?}", p.file_name().unwrap_or_default()))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }
    let given = class.map(str::trim).filter(|c| !c.is_empty());
    let (token, class) = match (given, words) {
        (Some(class), _) => (token.to_string(), class.to_string()),
        (None, Some((own_token, own_class))) => (own_token, own_class),
        (None, None) => (token.to_string(), listed_class(dir, &name)?),
    };
    Ok(Found {
        name,
        class,
        token,
        photos,
    })
}

fn reference(path: &Path) -> Result<Reference> {
    let picture = picture::load(path)?;
    let beside = path.with_extension("txt");
    let caption = if beside.is_file() {
        let text = fs::read_to_string(&beside).with_context(|| {
            format!(
                "cannot read the caption {}: save it as UTF-8 text or remove it",
                beside.display()
            )
        })?;
        Some(
            text.trim_start_matches('\u{feff}')
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
        )
        .filter(|t| !t.is_empty())
    } else {
        None
    };
    let name = path
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok(Reference {
        name,
        picture,
        caption,
    })
}

/// The photos and the folders in `dir`, each sorted by name, without hidden ones.
///
/// # Errors
/// If the folder is missing, or a photo is of a format that this build cannot decode.
pub fn list(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    if !dir.exists() {
        bail!(
            "the folder {} does not exist: give a folder with the subject's photos",
            dir.display()
        );
    }
    if !dir.is_dir() {
        bail!(
            "{} is a file: give the folder that holds the subject's photos",
            dir.display()
        );
    }
    let (mut photos, mut folders) = (Vec::new(), Vec::new());
    for entry in
        fs::read_dir(dir).with_context(|| format!("cannot list the folder {}", dir.display()))?
    {
        let path = entry
            .with_context(|| format!("cannot list the folder {}", dir.display()))?
            .path();
        if path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with('.'))
        {
            continue;
        }
        if path.is_dir() {
            folders.push(path);
            continue;
        }
        let ending = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        if REFUSED.contains(&ending.as_str()) {
            bail!(
                "{} is a {} file, which this build cannot decode: convert it to JPEG or PNG, or remove it",
                path.display(),
                ending.to_uppercase()
            );
        }
        if READ.contains(&ending.as_str()) {
            photos.push(path);
        }
    }
    photos.sort();
    folders.sort();
    Ok((photos, folders))
}

/// The last component of a path, with "." and the like resolved.
fn folder_name(dir: &Path) -> Result<String> {
    let whole = match dir.file_name() {
        Some(_) => dir.to_path_buf(),
        None => dir
            .canonicalize()
            .with_context(|| format!("cannot find the folder {}", dir.display()))?,
    };
    Ok(whole
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_else(|| "subject".to_string()))
}

/// `"10_sks dog"` is token "sks", class "dog".
fn kohya_words(name: &str) -> Option<(String, String)> {
    let (repeats, words) = name.split_once('_')?;
    if repeats.is_empty() || !repeats.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (token, class) = words.trim().split_once(' ')?;
    let class = class.trim();
    (!token.is_empty() && !class.is_empty()).then(|| (token.to_string(), class.to_string()))
}

/// The class of `name` in DreamBench's list beside the folder.
fn listed_class(dir: &Path, name: &str) -> Result<String> {
    let hint = "give its class, the word a prompt would use for it, such as \"dog\"";
    let whole = dir
        .canonicalize()
        .with_context(|| format!("cannot find the folder {}", dir.display()))?;
    let Some(list) = whole
        .parent()
        .map(|p| p.join("prompts_and_classes.txt"))
        .filter(|p| p.is_file())
    else {
        bail!(
            "nothing says what the subject in {} is: {hint}",
            dir.display()
        );
    };
    let text =
        fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    text.lines()
        .filter_map(|line| line.split_once(','))
        .find(|(subject, _)| subject.trim() == name)
        .map(|(_, class)| class.trim().to_string())
        .with_context(|| {
            format!(
                "{} does not list the subject {name:?}: {hint}",
                list.display()
            )
        })
}
