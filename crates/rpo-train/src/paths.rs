//! Where relative paths of an experiment file are looked for.

use crate::failure::BadInput;
use anyhow::Result;
use std::path::{Path, PathBuf};

/// The folder of the embedded model's parent, in the source tree this binary was built from.
const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets");

/// Finds a file or folder named in an experiment: from the current folder, the experiment file's folder and its parents,
/// then among the embedded assets (`micro`, `micro/reward`).
///
/// # Errors
/// [`BadInput`] that lists the places looked at.
pub fn find(name: &str, experiment_folder: &Path) -> Result<PathBuf> {
    let mut places = vec![PathBuf::from(name)];
    if Path::new(name).is_relative() {
        let folder = std::path::absolute(experiment_folder).unwrap_or_default();
        places.extend(folder.ancestors().take(4).map(|a| a.join(name)));
        places.extend(
            folder
                .ancestors()
                .take(4)
                .map(|a| a.join("assets").join(name)),
        );
        places.push(Path::new(ASSETS).join(name));
    }
    places.dedup();
    if let Some(found) = places.iter().find(|p| p.exists() && !name.is_empty()) {
        return Ok(found.clone());
    }
    let list: Vec<String> = places
        .iter()
        .map(|p| format!("    {}", p.display()))
        .collect();
    Err(BadInput::new(format!(
        "`{name}` was not found. Looked at:\n{}\n  mend: give the path of an existing folder, or `micro` for the embedded model",
        list.join("\n")
    )))
}
