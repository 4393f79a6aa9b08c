//! The folders of pictures of the subjects' classes, which are otherwise drawn.

use super::counts::class_pictures;
use super::planned::PlannedSubject;
use crate::arms::TrainingArm;
use crate::fields::Experiment;
use crate::layer::Layers;
use crate::paths;
use anyhow::Result;
use rpo_data::subject;
use rpo_files::failure::OrBadInput;
use std::path::PathBuf;

/// The key of all subjects.
const ALL: &str = "subjects.class_folder";

/// The folder of pictures of a subject's class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassFolder {
    /// The folder, if it was found.
    pub path: Option<PathBuf>,
    /// The path as the experiment has it.
    pub given: String,
    /// The key that has it.
    pub key: String,
}

impl ClassFolder {
    /// That of the subject at `place`, if pictures of its class are given.
    ///
    /// # Errors
    /// [`rpo_files::failure::BadInput`] if the subjects are of several classes and their folder has none for this one.
    pub fn of(
        e: &Experiment,
        subjects: &[PlannedSubject],
        place: usize,
        layers: &Layers,
    ) -> Result<Option<Self>> {
        let found = |given: &str, key: String| Self {
            path: paths::local(given, &layers.folder),
            given: given.to_owned(),
            key,
        };
        let own = e.own_subjects.get(place);
        if let Some(own) = own.filter(|own| !own.class_folder.is_empty()) {
            let key = format!("subject.{place}.class_folder");
            return Ok(Some(found(&own.class_folder, key)));
        }
        let given = &e.subjects.class_folder;
        if given.is_empty() {
            return Ok(None);
        }
        let whole = found(given, ALL.to_owned());
        let class = &subjects[place].class;
        let Some(path) = &whole.path else {
            return Ok(Some(whole));
        };
        let of_class = path.join(class);
        let is_name = !class.is_empty() && !class.contains(['/', '\\']) && !class.starts_with('.');
        if is_name && of_class.is_dir() {
            return Ok(Some(Self {
                path: Some(of_class),
                ..whole
            }));
        }
        // Subjects with folders of their own need none here.
        let needs = |i: usize| {
            let own = e.own_subjects.get(i);
            own.is_none_or(|own| own.class_folder.is_empty())
        };
        let mut others = subjects.iter().enumerate();
        if let Some((_, other)) = others.find(|(i, s)| needs(*i) && s.class != *class) {
            let message = format!(
                "\"{given}\" has no folder `{class}`, and the subjects are of several classes (`{class}`, `{}`)\n  hint: a folder for each class in it, named after it",
                other.class
            );
            return Err(layers.error(ALL, &message));
        }
        Ok(Some(whole))
    }
}

/// Counts the given pictures of every subject's class.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] if pictures are given that no arm reads, or a folder has none.
pub(super) fn count(
    e: &Experiment,
    arms: &[TrainingArm],
    subjects: &mut [PlannedSubject],
    layers: &Layers,
) -> Result<()> {
    let read = arms.iter().any(|arm| class_pictures(&arm.recipe) > 0);
    for place in 0..subjects.len() {
        let Some(folder) = ClassFolder::of(e, subjects, place, layers)? else {
            continue;
        };
        if !read {
            let message = "no arm has a loss of pictures of the class: recipe.prior_weight is 0\n  hint: recipe.prior_weight = 1.0, or leave the key away";
            return Err(layers.error(&folder.key, message));
        }
        let listed = folder.path.as_deref().map(subject::ClassFolder::look);
        let listed = listed.transpose().or_bad_input(&folder.key)?;
        subjects[place].class_pictures = Some(listed.map_or(0, |listed| listed.pictures.len()));
    }
    Ok(())
}
