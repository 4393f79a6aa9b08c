//! The photos of a plan's subjects.

use crate::paths;
use anyhow::Result;
use rpo_data::picture::Limit;
use rpo_data::stickerbench;
use rpo_data::subject::{self, Subject};
use rpo_experiment::plan::{Plan, subject_folders};
use rpo_experiment::{Layers, SubjectSource};
use rpo_files::failure::OrBadInput;

/// Reads or renders the subjects, in the plan's order.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] if a folder is missing or a photo cannot be read.
pub fn read(plan: &Plan, layers: &Layers) -> Result<Vec<Subject>> {
    let s = &plan.experiment.subjects;
    let folder = || {
        paths::find(&s.path, &layers.folder)
            .map_err(|e| layers.error("subjects.path", &e.to_string()))
    };
    let limit = Limit {
        megapixels: s.max_megapixels,
        key: "subjects.max_megapixels",
    };
    let load = |folder: &std::path::Path, class: Option<&str>| {
        subject::load_folder(folder, class, &s.token, limit).or_bad_input("subjects.path")
    };
    let mut found = match s.source {
        SubjectSource::Stickerbench => stickerbench::subjects(s.seed, s.count, 64),
        SubjectSource::Folder => {
            let class = (!s.class.is_empty()).then_some(s.class.as_str());
            vec![load(&folder()?, class)?]
        }
        SubjectSource::Dreambench => subject_folders(&folder()?, s.count)?
            .iter()
            .map(|folder| load(folder, None))
            .collect::<Result<_>>()?,
    };
    // Values that come from the experiment file, not from the photos.
    for (subject, planned) in found.iter_mut().zip(&plan.subjects) {
        subject.token.clone_from(&planned.token);
        subject.live = planned.live;
    }
    Ok(found)
}
