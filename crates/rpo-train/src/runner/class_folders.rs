//! The pictures of subjects' classes that are given, in place of drawn ones.

use crate::paths;
use anyhow::Result;
use rpo_data::picture::{Limit, Seen};
use rpo_data::subject::{self, Reference};
use rpo_experiment::Layers;
use rpo_experiment::plan::{ClassFolder, Plan, class_pictures};
use rpo_files::failure::OrBadInput;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The given pictures of a class, as they were read and without their pixels.
#[derive(Clone, Debug)]
pub struct GivenClass {
    /// Their folder.
    pub path: PathBuf,
    /// The key of the experiment that has it.
    pub key: String,
    /// Pictures in the folder.
    pub count: usize,
    /// The first of them, as many as an arm trains on at most.
    pub pictures: Vec<ClassPicture>,
    /// What is odd about the folder's captions.
    pub notes: Vec<String>,
    /// Names of files and folders that nothing is read from.
    pub passed_over: Vec<String>,
}

/// A picture of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassPicture {
    /// Its file's name.
    pub file: String,
    /// Width and height.
    pub sides: (u32, u32),
    /// What was noticed while it was read.
    pub seen: Seen,
    /// Its caption, if any.
    pub caption: Option<String>,
    /// Hash of its pixels.
    pub hash: blake3::Hash,
}

impl From<&Reference> for ClassPicture {
    fn from(read: &Reference) -> Self {
        Self {
            file: read.file.clone(),
            sides: read.picture.dimensions(),
            seen: read.seen.clone(),
            caption: read.caption.clone(),
            hash: blake3::hash(read.picture.as_raw()),
        }
    }
}

/// Reads the given pictures of every subject's class, one at a time; subjects share folders.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] if a folder is missing, or a picture or caption cannot be read; by key and path.
pub fn read(plan: &Plan, layers: &Layers) -> Result<Vec<Option<GivenClass>>> {
    let most = plan.arms.iter().map(|arm| class_pictures(&arm.recipe));
    let most = most.max().unwrap_or(0);
    let mut before: BTreeMap<PathBuf, GivenClass> = BTreeMap::new();
    let mut one = |place: usize| -> Result<Option<GivenClass>> {
        let folder = ClassFolder::of(&plan.experiment, &plan.subjects, place, layers)?;
        let Some(ClassFolder { path, given, key }) = folder else {
            return Ok(None);
        };
        let path = match path {
            Some(path) => path,
            None => paths::find(&given, &layers.folder)
                .map_err(|e| layers.error(&key, &e.to_string()))?,
        };
        if let Some(same) = before.get(&path) {
            return Ok(Some(same.clone()));
        }
        let listed = subject::ClassFolder::look(&path).or_bad_input(&key)?;
        let mut pictures = Vec::new();
        let told = listed.read(most, limit(plan), &mut |read| {
            pictures.push(ClassPicture::from(&read));
            Ok(())
        });
        let told = told.or_bad_input(&key)?;
        let found = GivenClass {
            key,
            count: listed.pictures.len(),
            pictures,
            notes: told.notes,
            passed_over: told.passed_over,
            path: path.clone(),
        };
        before.insert(path, found.clone());
        Ok(Some(found))
    };
    (0..plan.subjects.len()).map(&mut one).collect()
}

/// The largest picture that is read.
pub(super) fn limit(plan: &Plan) -> Limit {
    Limit {
        megapixels: plan.experiment.subjects.max_megapixels,
        key: "subjects.max_megapixels",
    }
}

/// Adds the given pictures of a class to the hash of a run's inputs.
pub fn hash(given: Option<&GivenClass>, inputs: &mut blake3::Hasher) {
    for picture in given.iter().flat_map(|given| &given.pictures) {
        let about = format!("class picture {:?}", (&picture.caption, picture.sides));
        inputs.update(about.as_bytes());
        inputs.update(picture.hash.as_bytes());
    }
}
