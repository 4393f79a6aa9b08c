//! The subjects of a plan: names, classes and prompts, without pictures.

use crate::fields::{Experiment, SubjectSource, Subjects};
use crate::layer::Layers;
use crate::paths;
use anyhow::Result;
use rpo_data::prompts::{PromptSet, dreambench, dreambench::SUBJECTS};
use rpo_data::stickerbench;
use rpo_data::subject::{self, Found};
use rpo_files::failure::OrBadInput;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A subject before its photos are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedSubject {
    /// Its name in results and folders.
    pub name: String,
    /// Its class word in prompts.
    pub class: String,
    /// The rare token that stands for it in prompts.
    pub token: String,
    /// Whether DreamBench's prompts for living subjects apply.
    pub live: bool,
    /// Number of its photos; 0 if their folder is missing.
    pub photos: usize,
    /// Its prompt templates, limited to the experiment's numbers.
    pub prompts: PromptSet,
}

/// The subjects of an experiment.
pub(super) fn of(experiment: &Experiment, layers: &Layers) -> Result<Vec<PlannedSubject>> {
    let s = &experiment.subjects;
    let folder = paths::local(&s.path, &layers.folder);
    let mut found: Vec<PlannedSubject> = match (s.source, folder) {
        (SubjectSource::Stickerbench, _) => stickerbench::names(s.seed, s.count)
            .into_iter()
            .map(|name| planned(experiment, &name, &name, stickerbench::REFERENCES))
            .collect(),
        (SubjectSource::Folder, None) => vec![planned(experiment, "subject", &s.class, 0)],
        (SubjectSource::Folder, Some(path)) => vec![listed(experiment, &own_photos(s, &path)?)],
        (SubjectSource::Dreambench, None) => {
            let count = if s.count > 0 { s.count } else { usize::MAX };
            let all = SUBJECTS.iter().take(count);
            all.map(|(name, class)| planned(experiment, name, class, 0))
                .collect()
        }
        (SubjectSource::Dreambench, Some(path)) => folders(&path, s.count)?
            .iter()
            .map(|folder| {
                let found = subject::look(folder, None, &s.token).or_bad_input("subjects.path")?;
                Ok(listed(experiment, &found))
            })
            .collect::<Result<_>>()?,
    };
    if let (SubjectSource::Folder, Some(live)) = (s.source, s.live) {
        for subject in &mut found {
            subject.live = live;
            subject.prompts = prompts(experiment, live);
        }
    }
    if found.is_empty() {
        return Err(layers.error("subjects", "no subject was found"));
    }
    Ok(found)
}

/// The user's own photos in `path`.
fn own_photos(s: &Subjects, path: &Path) -> Result<Found> {
    let class = (!s.class.is_empty()).then_some(s.class.as_str());
    subject::look(path, class, &s.token).or_bad_input("subjects.path")
}

/// The subject folders in `folder` by name, the first `count` of them, 0 for all.
pub fn folders(folder: &Path, count: usize) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).or_bad_input(folder.display())?;
    let mut folders: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect();
    folders.sort();
    if count > 0 {
        folders.truncate(count);
    }
    Ok(folders)
}

fn listed(experiment: &Experiment, found: &Found) -> PlannedSubject {
    PlannedSubject {
        token: found.token.clone(),
        ..planned(experiment, &found.name, &found.class, found.photos.len())
    }
}

fn planned(experiment: &Experiment, name: &str, class: &str, photos: usize) -> PlannedSubject {
    let live = subject::is_live(class);
    PlannedSubject {
        name: name.to_owned(),
        class: class.to_owned(),
        token: experiment.subjects.token.clone(),
        live,
        photos,
        prompts: prompts(experiment, live),
    }
}

fn prompts(experiment: &Experiment, live: bool) -> PromptSet {
    let mut set = match experiment.subjects.source {
        SubjectSource::Stickerbench => stickerbench::prompts(),
        SubjectSource::Folder | SubjectSource::Dreambench => dreambench(live),
    };
    let cut = |prompts: &mut Vec<String>, n: usize| {
        if n > 0 {
            prompts.truncate(n);
        }
    };
    cut(&mut set.validation, experiment.validation.prompts);
    cut(&mut set.test, experiment.test.prompts);
    set
}
