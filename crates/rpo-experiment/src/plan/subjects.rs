//! The subjects of an experiment: rendered, listed in folders, or known by name where their folders are missing.

use super::folders::{chosen, subject_folders};
use super::planned::PlannedSubject;
use super::prompts::Lists;
use crate::fields::{Experiment, SubjectSource};
use crate::layer::Layers;
use anyhow::Result;
use rpo_data::prompts::dreambench::SUBJECTS;
use rpo_data::stickerbench;
use rpo_data::subject;
use rpo_files::failure::OrBadInput;

/// The subjects of an experiment.
pub(super) fn of(e: &Experiment, lists: &Lists, layers: &Layers) -> Result<Vec<PlannedSubject>> {
    let s = &e.subjects;
    let sets = [false, true].map(|live| lists.set(e, live));
    let planned = |name: &str, class: &str, live: Option<bool>| {
        let live = live.unwrap_or_else(|| subject::is_live(class));
        PlannedSubject {
            name: name.to_owned(),
            class: class.to_owned(),
            token: s.token.clone(),
            live,
            photos: 0,
            class_pictures: None,
            prompts: sets[usize::from(live)].clone(),
        }
    };
    let mut found = Vec::new();
    if s.source == SubjectSource::Stickerbench {
        let names = match s.names.as_slice() {
            [] => stickerbench::names(s.seed, s.count),
            names => names.to_vec(),
        };
        found.extend(names.iter().map(|name| {
            let class = stickerbench::noun_of(name).map_or(name.as_str(), |(noun, _)| noun);
            PlannedSubject {
                photos: stickerbench::REFERENCES,
                ..planned(name, class, None)
            }
        }));
    }
    for folder in subject_folders(e, layers)? {
        let Some(path) = &folder.path else {
            if s.source == SubjectSource::Dreambench {
                let all = SUBJECTS.iter().map(|(name, _)| *name).collect();
                for name in chosen::<&str>(all, e, layers)? {
                    let class = SUBJECTS.iter().find(|s| s.0 == name);
                    found.push(planned(name, class.map_or(name, |s| s.1), None));
                }
                continue;
            }
            let class = folder.class.as_deref().unwrap_or_default();
            let name = folder.missing_name();
            found.push(PlannedSubject {
                token: folder.token.clone().unwrap_or_else(|| s.token.clone()),
                ..planned(&name, class, folder.live)
            });
            continue;
        };
        let token = folder.token.as_deref().unwrap_or(&s.token);
        let seen = subject::look(path, folder.class.as_deref(), token).or_bad_input(&folder.key)?;
        let name = folder.name.clone().unwrap_or(seen.name);
        found.push(PlannedSubject {
            token: folder.token.clone().unwrap_or(seen.token),
            photos: seen.photos.len(),
            ..planned(&name, &seen.class, folder.live)
        });
    }
    if found.is_empty() {
        return Err(layers.error("subjects", "no subject was found"));
    }
    Ok(found)
}
