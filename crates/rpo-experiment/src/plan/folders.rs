//! The folders of photos that an experiment names.

use crate::fields::{Experiment, SubjectSource};
use crate::layer::Layers;
use crate::paths;
use anyhow::Result;
use rpo_data::subject::some;
use rpo_files::failure::OrBadInput;
use rpo_files::nearest;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The key of one folder.
const ONE: &str = "subjects.path";

/// The name of one subject whose folder is missing.
const MISSING: &str = "subject";

/// A folder of photos that is a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectFolder {
    /// The folder, if it was found: that of the photos.
    pub path: Option<PathBuf>,
    /// The path as the experiment has it: of DreamBench, the folder of all subjects.
    pub given: String,
    /// The key that has it.
    pub key: String,
    /// Its name; without one, that of the folder.
    pub name: Option<String>,
    /// Its class; without one, what the folder says.
    pub class: Option<String>,
    /// Its own token.
    pub token: Option<String>,
    /// Whether it is a living subject; without it the class decides.
    pub live: Option<bool>,
}

impl SubjectFolder {
    /// Its name where the folder is missing.
    pub(super) fn missing_name(&self) -> String {
        let own = Path::new(&self.given).file_name();
        let own = own.map(|name| name.to_string_lossy().into_owned());
        match (&self.name, self.key == ONE) {
            (Some(name), _) => name.clone(),
            (None, false) => own.unwrap_or_else(|| MISSING.to_owned()),
            (None, true) => MISSING.to_owned(),
        }
    }
}

/// The folders of an experiment's subjects, in order; none if they are rendered. A folder that is missing is one without a path.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] if DreamBench's folder cannot be listed or lacks a name that is asked for.
pub fn subject_folders(e: &Experiment, layers: &Layers) -> Result<Vec<SubjectFolder>> {
    let s = &e.subjects;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let plain = |path: Option<PathBuf>, class: Option<String>| SubjectFolder {
        path,
        given: s.path.clone(),
        key: ONE.into(),
        name: None,
        class,
        token: None,
        live: None,
    };
    let found = paths::local(&s.path, &layers.folder);
    Ok(match s.source {
        SubjectSource::Stickerbench => Vec::new(),
        SubjectSource::Folder if e.own_subjects.is_empty() => vec![SubjectFolder {
            live: s.live,
            ..plain(found, text(&s.class))
        }],
        SubjectSource::Folder => {
            let own = e.own_subjects.iter().enumerate();
            own.map(|(i, own)| SubjectFolder {
                path: paths::local(&own.path, &layers.folder),
                given: own.path.clone(),
                key: format!("subject.{i}.path"),
                name: text(&own.name),
                class: text(&own.class).or_else(|| text(&s.class)),
                token: text(&own.token),
                live: own.live.or(s.live),
            })
            .collect()
        }
        SubjectSource::Dreambench => match found {
            None => vec![plain(None, None)],
            Some(path) => {
                let folders = chosen(inner(&path)?, e, layers)?.into_iter();
                folders.map(|path| plain(Some(path), None)).collect()
            }
        },
    })
}

/// The folders in `folder` by name.
fn inner(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).or_bad_input(folder.display())?;
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    Ok(folders)
}

/// Those of `all` with the names that are asked for, in their order, or the first `subjects.count`, 0 for all.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] with a name that is not among them, and the nearest that is.
pub(super) fn chosen<T: AsRef<Path> + Clone>(
    mut all: Vec<T>,
    e: &Experiment,
    layers: &Layers,
) -> Result<Vec<T>> {
    let s = &e.subjects;
    if s.names.is_empty() {
        if s.count > 0 {
            all.truncate(s.count);
        }
        return Ok(all);
    }
    let last = |path: &T| -> String {
        let name = path.as_ref().file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let known: Vec<String> = all.iter().map(last).collect();
    let places = known.iter().enumerate().map(|(i, name)| (name.as_str(), i));
    let places: HashMap<&str, usize> = places.collect();
    let names = s.names.iter().enumerate();
    names
        .map(|(i, name)| {
            if let Some(place) = places.get(name.as_str()) {
                return Ok(all[*place].clone());
            }
            let words: Vec<&str> = known.iter().map(String::as_str).collect();
            let hint = match nearest(name, &words) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are {}", some(&known, known.len())),
            };
            let message = format!("`{}` has no subject `{name}`\n  hint: {hint}", s.path);
            Err(layers.error(&format!("subjects.names.{i}"), &message))
        })
        .collect()
}
