//! The photos of a plan's subjects.

use super::masks;
use crate::paths;
use anyhow::Result;
use rpo_data::picture::Limit;
use rpo_data::stickerbench;
use rpo_data::subject::{self, Subject};
use rpo_experiment::plan::{Plan, SubjectFolder, subject_folders};
use rpo_experiment::{Layers, SubjectSource};
use rpo_files::failure::OrBadInput;

/// Reads or renders the subjects, in the plan's order.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] if a folder is missing, a photo cannot be read, or lacks the mask that an arm needs.
pub fn read(plan: &Plan, layers: &Layers) -> Result<Vec<Subject>> {
    let s = &plan.experiment.subjects;
    let limit = Limit {
        megapixels: s.max_megapixels,
        key: "subjects.max_megapixels",
    };
    let load = |folder: &SubjectFolder| {
        let path = match &folder.path {
            Some(path) => path.clone(),
            None => paths::find(&folder.given, &layers.folder)
                .map_err(|e| layers.error(&folder.key, &e.to_string()))?,
        };
        let token = folder.token.as_ref().unwrap_or(&s.token);
        subject::load_folder(path, folder.class.as_deref(), token, limit).or_bad_input(&folder.key)
    };
    let mut found = match s.source {
        SubjectSource::Stickerbench => {
            let names: Vec<String> = plan.subjects.iter().map(|s| s.name.clone()).collect();
            stickerbench::named(s.seed, &names, 64)
        }
        SubjectSource::Folder | SubjectSource::Dreambench => {
            let folders = subject_folders(&plan.experiment, layers)?;
            folders.iter().map(load).collect::<Result<_>>()?
        }
    };
    // Values that come from the experiment file, not from the photos.
    for (subject, planned) in found.iter_mut().zip(&plan.subjects) {
        subject.name.clone_from(&planned.name);
        subject.token.clone_from(&planned.token);
        subject.live = planned.live;
        if let (true, Some(look)) = (s.captions, &subject.look) {
            let captions = stickerbench::captions(s.seed, &subject.name, look, &subject.token);
            for (reference, caption) in subject.references.iter_mut().zip(captions) {
                reference.caption = Some(caption);
            }
        }
    }
    masks::present(plan, &found, layers)?;
    Ok(found)
}
