//! Reading a subject from a folder of photos.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::captions::{Captions, some};
use super::listing::{Listing, list, name};
use super::masks;
use super::{Reference, Subject, is_live};
use crate::picture::{self, Limit, shown};

/// Reads the subject in `dir`: its photos sorted by name, with their [`Captions`], and their masks where there are some:
/// `photo.mask.png` for `photo.jpg`, or the photo's transparency.
///
/// Layouts:
/// - a flat folder of photos; the class is `class`;
/// - DreamBench, `dataset/<subject>/00.jpg`: without `class`, it is read from `dataset/prompts_and_classes.txt`;
/// - kohya, `N_token class/`, given as this folder or its parent: without `class`, token and class are read from the folder's
///   name, else `token` and `class` are used. `N`, its number of repeats, is ignored.
///
/// The subject is named after `dir`. What else is in the folder is passed over and named; hidden files are not.
///
/// # Errors
/// If the folder is missing or has no photo, a photo cannot be decoded or is above `limit`, a caption or a mask cannot be read, a
/// mask does not fit its photo, or the class is unknown; with the path and a hint.
pub fn load_folder(
    dir: impl AsRef<Path>,
    class: Option<&str>,
    token: &str,
    limit: Limit,
) -> Result<Subject> {
    let found = look(dir.as_ref(), class, token)?;
    let captions = Captions::find(&found.photos, &found.others)?;
    let references = found.photos.iter().zip(captions.of);
    let references = references.map(|(path, caption)| {
        let loaded = picture::read(path, limit)?;
        let mask = masks::of_photo(path, &loaded, &found.masks, limit)?;
        Ok(Reference::of(path, loaded, caption, mask))
    });
    Ok(Subject {
        references: references.collect::<Result<Vec<_>>>()?,
        live: is_live(&found.class),
        look: None,
        name: found.name,
        class: found.class,
        token: found.token,
        notes: [found.notes, captions.notes].concat(),
        passed_over: [found.passed_over, captions.unused].concat(),
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
    /// Masks of photos.
    pub masks: Vec<PathBuf>,
    /// Further files beside them: captions, tables, notes.
    pub others: Vec<PathBuf>,
    /// What is read otherwise than by the program that made the folder.
    pub notes: Vec<String>,
    /// Names of files and folders that nothing is read from.
    pub passed_over: Vec<String>,
}

/// Lists the subject in `dir`; see [`load_folder`].
///
/// # Errors
/// As [`load_folder`], except for undecodable photos.
pub fn look(dir: &Path, class: Option<&str>, token: &str) -> Result<Found> {
    let name = folder_name(dir)?;
    let mut listing = list(dir)?;
    let mut passed_over = Vec::new();
    let mut notes = Vec::new();
    let mut words = kohya_words(&name);
    if listing.photos.is_empty() {
        let nested: Vec<_> = listing
            .folders
            .iter()
            .filter_map(|p| Some((p.clone(), kohya_words(&folder_name(p).ok()?)?)))
            .collect();
        match nested.as_slice() {
            [] => bail!("{}", no_photo(dir, &listing)),
            [(path, found)] => {
                let inner = list(path)?;
                if inner.photos.is_empty() {
                    bail!("{}", no_photo(path, &inner));
                }
                listing.folders.retain(|folder| folder != path);
                passed_over = left(std::mem::replace(&mut listing, inner));
                words = Some(found.clone());
            }
            several => bail!(
                "the folder {} holds {} subjects ({}): give the folder of one of them",
                shown(dir),
                several.len(),
                several
                    .iter()
                    .map(|(p, _)| format!("{:?}", p.file_name().unwrap_or_default()))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }
    let Listing {
        photos,
        masks,
        others,
        folders,
        passed_over: inner,
    } = listing;
    passed_over.extend(masks::without_photo(&masks, &photos));
    passed_over.extend(left(Listing {
        folders,
        passed_over: inner,
        ..Listing::default()
    }));
    let given = class.map(str::trim).filter(|c| !c.is_empty());
    let (token, class) = match (given, words) {
        (Some(class), _) => (token.to_string(), class.to_string()),
        (None, Some((own_token, own_class))) => {
            notes.push(format!(
                "token `{own_token}` and class `{own_class}` are from the folder's name; its repeats are not used"
            ));
            (own_token, own_class)
        }
        (None, None) => (token.to_string(), listed_class(dir, &name)?),
    };
    Ok(Found {
        name,
        class,
        token,
        photos,
        masks,
        others,
        notes,
        passed_over,
    })
}

/// What of a listing nothing is read from.
fn left(listing: Listing) -> Vec<String> {
    let folders = listing.folders.iter().map(|f| counted(f));
    let others = listing.others.iter().chain(&listing.masks);
    (listing.passed_over.into_iter())
        .chain(others.map(|f| name(f)))
        .chain(folders)
        .collect()
}

/// `set/ (5 photos)`
fn counted(folder: &Path) -> String {
    match list(folder) {
        Ok(inner) if !inner.photos.is_empty() => {
            format!("{}/ ({} photos)", name(folder), inner.photos.len())
        }
        _ => format!("{}/", name(folder)),
    }
}

/// The message about a folder without photos, with what is there instead.
fn no_photo(dir: &Path, listing: &Listing) -> String {
    let mut text = format!(
        "the folder {} holds no photo: put the subject's photos into it (JPEG, PNG or WebP; 3 to 6 are usual)",
        shown(dir)
    );
    let files = listing.others.iter().chain(&listing.masks);
    let files = files.map(|f| name(f));
    let files: Vec<String> = files.chain(listing.passed_over.iter().cloned()).collect();
    if !files.is_empty() {
        text += &format!("\n  no photos: {}", some(&files, files.len()));
    }
    let folders: Vec<String> = listing.folders.iter().take(4).map(|f| counted(f)).collect();
    if !folders.is_empty() {
        let folders = some(&folders, listing.folders.len());
        text +=
            &format!("\n  hint: it holds {folders}: give the folder with the photos themselves");
    }
    text
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
