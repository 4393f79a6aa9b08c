//! Resolves the names in an experiment file to local paths.

use std::path::{Path, PathBuf};

/// The local places that may have `name`: the current folder, the experiment file's folder and its parents.
pub fn places(name: &str, experiment_folder: &Path) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from(name)];
    if Path::new(name).is_relative() {
        let folder = std::path::absolute(experiment_folder).unwrap_or_default();
        places.extend(folder.ancestors().take(4).map(|a| a.join(name)));
    }
    places.dedup();
    places
}

/// The first of [`places`] that exists.
pub fn local(name: &str, experiment_folder: &Path) -> Option<PathBuf> {
    let mut places = places(name, experiment_folder).into_iter();
    places.find(|p| p.exists() && !name.is_empty())
}
