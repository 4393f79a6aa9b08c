//! Checks of the subjects' keys: which are needed for a source, names, paths, tokens. Each error names file, line and key.

use crate::fields::{Experiment, SubjectSource};
use crate::layer::Layers;
use crate::ranges::in_range;
use anyhow::Result;
use rpo_data::stickerbench;
use rpo_data::stickerbench::sprites::NOUNS;
use rpo_data::subject::some;
use rpo_files::{nearest, odd_spelling};
use std::collections::HashSet;

/// Subjects that are rendered for a run; a folder may have more.
const MOST_SUBJECTS: usize = 10_000;

/// Checks `[subjects]`, `[[subject]]` and the paths of `[prompts]`.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] about the first key that is out of range.
pub(super) fn check_subjects(e: &Experiment, layers: &Layers) -> Result<()> {
    let s = &e.subjects;
    check_paths(e, layers)?;
    check_token("subjects.token", &s.token, layers)?;
    check_class("subjects.class", &s.class, layers)?;
    in_range(
        "subjects.max_megapixels",
        s.max_megapixels,
        0.001,
        10_000.0,
        layers,
    )?;
    check_names(e, layers)?;
    if !e.own_subjects.is_empty() {
        return check_own(e, layers);
    }
    match s.source {
        SubjectSource::Stickerbench if !s.names.is_empty() => Ok(()),
        SubjectSource::Stickerbench if s.count == 0 => {
            Err(layers.error("subjects.count", "must be 1 or more"))
        }
        SubjectSource::Stickerbench if s.count > MOST_SUBJECTS => {
            let message = format!(
                "{} subjects, of at most {MOST_SUBJECTS}\n  hint: another seed has others; `rpo-train stickerbench` writes more",
                s.count
            );
            Err(layers.error("subjects.count", &message))
        }
        SubjectSource::Folder if s.path.is_empty() => Err(layers.error(
            "subjects.path",
            "is needed\n  hint: the folder of the photos, or several as [[subject]]",
        )),
        SubjectSource::Dreambench if s.path.is_empty() => Err(layers.error(
            "subjects.path",
            "is needed\n  hint: the folder `dataset` of DreamBench",
        )),
        _ => Ok(()),
    }
}

/// Refuses paths that only a shell or another system would understand.
fn check_paths(e: &Experiment, layers: &Layers) -> Result<()> {
    let prompts = &e.prompts;
    let mut paths = vec![
        ("subjects.path".to_owned(), &e.subjects.path),
        ("subjects.class_folder".into(), &e.subjects.class_folder),
        ("prompts.train".into(), &prompts.train),
        ("prompts.validation".into(), &prompts.validation),
        ("prompts.test".into(), &prompts.test),
    ];
    let own = e.own_subjects.iter().enumerate();
    paths.extend(own.flat_map(|(i, own)| {
        let paths = [("path", &own.path), ("class_folder", &own.class_folder)];
        paths.map(|(key, path)| (format!("subject.{i}.{key}"), path))
    }));
    for (key, path) in paths {
        if let Some(hint) = odd_spelling(path) {
            return Err(layers.error(
                &key,
                &format!("\"{path}\" is taken literally\n  hint: {hint}"),
            ));
        }
    }
    Ok(())
}

fn no_braces(key: &str, word: &str, layers: &Layers) -> Result<()> {
    if word.contains(['{', '}']) {
        let message = "must have no braces, which stand around placeholders of prompts";
        return Err(layers.error(key, message));
    }
    Ok(())
}

fn check_class(key: &str, class: &str, layers: &Layers) -> Result<()> {
    no_braces(key, class, layers)?;
    if class.chars().any(char::is_control) {
        return Err(layers.error(key, "must be one line, for example \"dog\""));
    }
    Ok(())
}

fn check_token(key: &str, token: &str, layers: &Layers) -> Result<()> {
    no_braces(key, token, layers)?;
    if token.trim().is_empty() {
        return Err(layers.error(key, "must be a word, for example \"[v]\""));
    }
    Ok(())
}

/// The names that choose among a source's subjects. Those of folders are compared when the folders are listed.
fn check_names(e: &Experiment, layers: &Layers) -> Result<()> {
    let s = &e.subjects;
    if s.names.is_empty() {
        return Ok(());
    }
    if s.source == SubjectSource::Folder {
        let message = "choose among the subjects of `stickerbench` or `dreambench`, and the source is \"folder\"\n  hint: leave the key away; one folder is `subjects.path`, several are [[subject]]";
        return Err(layers.error("subjects.names", message));
    }
    let mut before = HashSet::new();
    for (i, name) in s.names.iter().enumerate() {
        let key = format!("subjects.names.{i}");
        if !before.insert(name) {
            let message = format!("`{name}` is given twice\n  hint: leave one away");
            return Err(layers.error(&key, &message));
        }
        if s.source == SubjectSource::Stickerbench && stickerbench::noun_of(name).is_none() {
            let all = stickerbench::names(s.seed, NOUNS.len() - 1);
            let known: Vec<&str> = all.iter().map(String::as_str).collect();
            let hint = match nearest(name, &known) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are {}", some(&all, all.len())),
            };
            let message = format!("StickerBench has no `{name}`\n  hint: {hint}");
            return Err(layers.error(&key, &message));
        }
    }
    Ok(())
}

/// Several folders of photos.
fn check_own(e: &Experiment, layers: &Layers) -> Result<()> {
    let s = &e.subjects;
    if s.source != SubjectSource::Folder {
        let message = "are folders of photos, and subjects.source is another one\n  hint: [subjects] source = \"folder\"";
        return Err(layers.error("subject", message));
    }
    if !s.path.is_empty() {
        let message = "is one folder, and there is [[subject]] too\n  hint: leave the key away, and make it one more [[subject]]";
        return Err(layers.error("subjects.path", message));
    }
    for (i, own) in e.own_subjects.iter().enumerate() {
        let key = |name: &str| format!("subject.{i}.{name}");
        if own.path.is_empty() {
            let message = "needs a `path`\n  hint: the folder of its photos";
            return Err(layers.error(&format!("subject.{i}"), message));
        }
        if !own.token.is_empty() {
            check_token(&key("token"), &own.token, layers)?;
        }
        if own.name.contains(['/', '\\']) || own.name.chars().any(char::is_control) {
            return Err(layers.error(&key("name"), "must be a plain folder name"));
        }
        check_class(&key("class"), &own.class, layers)?;
    }
    Ok(())
}
