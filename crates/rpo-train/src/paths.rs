//! Resolves the names in an experiment file: local files and folders, the embedded model, then repositories of the Hugging Face
//! hub.

use crate::embedded;
use crate::hub::{self, Content, Environment, Repository};
use crate::thing::Thing;
use anyhow::Result;
use rpo_experiment::Source;
use rpo_experiment::paths::places;
use rpo_files::failure::BadInput;
use rpo_files::odd_spelling;
use std::path::{Path, PathBuf};

/// Finds a file or folder named in an experiment: in the current folder, the experiment file's folder and its parents, then in
/// the embedded model (`micro`, `micro/reward`).
///
/// # Errors
/// [`BadInput`] with the places searched.
pub fn find(name: &str, experiment_folder: &Path) -> Result<PathBuf> {
    let places = places(name, experiment_folder);
    let hint = odd_spelling(name).unwrap_or_else(|| {
        "give the path of an existing folder, or `micro` for the embedded model".into()
    });
    here(name, &places)?.ok_or_else(|| {
        BadInput::new(format!(
            "`{name}` was not found. Looked at:\n{}\n  hint: {hint}",
            list(&places)
        ))
    })
}

/// Weights that an experiment names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Their folder.
    pub folder: PathBuf,
    /// The repository it is a copy of, if any.
    pub source: Option<Source>,
}

/// Finds a folder of weights: as [`find`]; else, if `name` is `org/name` or `org/name@revision`, in the hub's cache, and on the
/// hub if this build can download and may do so. `pinned` is what an earlier start of the same run found: if it is of the same
/// repository, that commit is used, even if the branch has moved since.
///
/// # Errors
/// [`BadInput`] with the places searched and how to download a repository.
pub fn find_weights(
    name: &str,
    experiment_folder: &Path,
    content: Content,
    variant: Option<&str>,
    environment: &Environment,
    pinned: Option<&Source>,
) -> Result<Found> {
    let places = places(name, experiment_folder);
    if let Some(folder) = here(name, &places)? {
        let folder = checkpoint_is_no_folder(folder)?;
        return Ok(Found {
            folder,
            source: None,
        });
    }
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
    match hub::find(&wanted, content, variant, environment) {
        Ok((folder, source)) => Ok(Found {
            folder,
            source: Some(Source {
                revision: asked.revision,
                ..source
            }),
        }),
        Err(why) => Err(BadInput::new(format!(
            "`{name}` was not found. Looked at:\n{}\n  {why}",
            list(&places)
        ))),
    }
}

/// The folder that an argument names: a path, `micro` or a part of it, or a repository `org/name` in the hub's cache with `content`.
///
/// # Errors
/// [`BadInput`] with the places searched.
pub fn argument(argument: &Path, content: Content) -> Result<PathBuf> {
    if argument.exists() {
        return Ok(argument.to_owned());
    }
    let name = argument.to_str().unwrap_or_default();
    if let Some(found) = embedded::find(name) {
        return found;
    }
    let shown = argument.display();
    let Some(repository) = Repository::parse(name) else {
        let hint = odd_spelling(name).unwrap_or_else(|| {
            "give the path of a folder, or `micro` for the embedded model".into()
        });
        return Err(BadInput::new(format!(
            "{shown}: there is no such folder\n  hint: {hint}"
        )));
    };
    match hub::find(&repository, content, None, &Environment::of_process()) {
        Ok((folder, _)) => Ok(folder),
        Err(why) => Err(BadInput::new(format!(
            "{shown}: there is no such folder, nor in the hub's cache:\n  {why}"
        ))),
    }
}

/// Refuses a single-file checkpoint: all loaders read folders.
fn checkpoint_is_no_folder(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        return Ok(path);
    }
    let thing = Thing::at(&path).unwrap_or(Thing::File);
    Err(BadInput::new(thing.refused(&path, "a model is a folder")))
}

/// The first of the local places that has `name`, else the embedded model if it has it.
fn here(name: &str, places: &[PathBuf]) -> Result<Option<PathBuf>> {
    match places.iter().find(|p| p.exists() && !name.is_empty()) {
        Some(found) => Ok(Some(found.clone())),
        None => embedded::find(name).transpose(),
    }
}

/// The places searched, one per line.
fn list(places: &[PathBuf]) -> String {
    let local = places.iter().map(|p| p.display().to_string());
    let all = local.chain(["the embedded model".to_owned()]);
    let lines: Vec<String> = all.map(|place| format!("    {place}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_folders_come_before_the_embedded_model() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("a/b");
        let embedded = find("micro/reward", &below).unwrap();
        assert!(
            embedded
                .parent()
                .unwrap()
                .ends_with(embedded::folder_name())
        );
        assert!(embedded.join("config.json").is_file());
        // A parent of the experiment's folder too.
        let own = folder.path().join("micro/reward");
        std::fs::create_dir_all(&own).unwrap();
        std::fs::create_dir_all(&below).unwrap();
        assert_eq!(find("micro/reward", &below).unwrap(), own);
        assert!(
            find("micro/vae", &below)
                .unwrap()
                .parent()
                .unwrap()
                .ends_with(embedded::folder_name())
        );
    }

    #[test]
    fn the_list_of_places_ends_with_the_embedded_model() {
        let message = find("micro/nothing", Path::new("/x"))
            .unwrap_err()
            .to_string();
        let places =
            "    micro/nothing\n    /x/micro/nothing\n    /micro/nothing\n    the embedded model\n";
        assert!(message.contains(places), "{message}");
        assert!(!message.contains("assets"), "{message}");
    }
}
