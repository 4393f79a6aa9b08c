//! Where the names in an experiment file lead: local files and folders, then repositories of the Hugging Face hub.

use crate::failure::BadInput;
use crate::hub::{self, Environment, Kind, Repository, Source};
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
    local(name, experiment_folder).map_err(|list| {
        BadInput::new(format!(
            "`{name}` was not found. Looked at:\n{list}\n  mend: give the path of an existing folder, or `micro` for the embedded model"
        ))
    })
}

/// Weights that an experiment names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Their folder.
    pub folder: PathBuf,
    /// The repository it is a copy of, if it is one.
    pub source: Option<Source>,
}

/// Finds a folder of weights: as [`find`]; else, if `name` is `org/name` or `org/name@revision`, in the hub's cache, and on the
/// hub if this build can and may ask it. `pinned` is what an earlier start of the same run found: if it is of the same
/// repository, that commit is taken, whatever the branch has become since.
///
/// # Errors
/// [`BadInput`] that lists the places looked at and how to fetch a repository.
pub fn find_weights(
    name: &str,
    experiment_folder: &Path,
    kind: Kind,
    variant: Option<&str>,
    environment: &Environment,
    pinned: Option<&Source>,
) -> Result<Found> {
    let list = match local(name, experiment_folder) {
        Ok(folder) => {
            let folder = checkpoint_is_no_folder(folder)?;
            return Ok(Found {
                folder,
                source: None,
            });
        }
        Err(list) => list,
    };
    let Some(asked) = Repository::parse(name) else {
        return find(name, experiment_folder).map(|folder| Found {
            folder,
            source: None,
        });
    };
    let pinned = pinned.filter(|p| asked.is_or_was(&p.repository) && asked.revision == p.revision);
    let wanted = match pinned {
        Some(source) => Repository {
            name: source.repository.clone(),
            revision: source.commit.clone(),
        },
        None => asked.clone(),
    };
    match hub::find(&wanted, kind, variant, environment) {
        Ok((folder, source)) => Ok(Found {
            folder,
            source: Some(Source {
                revision: asked.revision,
                ..source
            }),
        }),
        Err(why) => Err(BadInput::new(format!(
            "`{name}` was not found. Looked at:\n{list}\n  {why}"
        ))),
    }
}

/// A single-file checkpoint is a file; everything here reads folders.
fn checkpoint_is_no_folder(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        return Ok(path);
    }
    let shown = path.display();
    Err(BadInput::new(
        match path.extension().and_then(|e| e.to_str()) {
            Some("safetensors") => format!(
                "{shown} is a file, a model is a folder\n  mend: if it is a single-file checkpoint, make a folder of it: \
             rpo-train import {shown} --config-from FOLDER --to NEW_FOLDER"
            ),
            Some("ckpt" | "pt" | "pth" | "bin") => format!(
                "{shown} is a pickle of PyTorch, which runs code when it is read and is not read here\n  mend: convert it to \
             safetensors, then make a folder of it with rpo-train import"
            ),
            _ => format!("{shown} is a file, a model is a folder\n  mend: give the folder's path"),
        },
    ))
}

/// The first of the local places that has `name`, else their list.
fn local(name: &str, experiment_folder: &Path) -> std::result::Result<PathBuf, String> {
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
    Err(list.join("\n"))
}
