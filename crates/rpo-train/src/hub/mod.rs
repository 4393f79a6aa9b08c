//! Repositories `org/name` of the Hugging Face hub: found in its cache by plain file reads; downloaded only with the cargo feature `hub`.

mod cache;
#[cfg(feature = "hub")]
mod download;
mod environment;
mod needs;
mod repository;

pub use cache::{Absence, Snapshot, look_up};
pub use environment::Environment;
pub(crate) use environment::expand;
pub use needs::{Content, Gap, missing, wanted};
pub use repository::Repository;

use rpo_experiment::Source;
#[cfg(feature = "hub")]
use rpo_files::tell;
use std::path::PathBuf;

/// Finds a repository: in the cache under its name or, if it has moved, its other name; then on the hub, if this build can
/// download and may do so.
///
/// # Errors
/// A message with all places searched and the command that downloads what is missing.
pub fn find(
    repository: &Repository,
    content: Content,
    variant: Option<&str>,
    environment: &Environment,
) -> Result<(PathBuf, Source), String> {
    let mut tried = Vec::new();
    for named in repository.names() {
        match look_up(&environment.cache, &named, content, variant) {
            Ok(Snapshot { folder, commit }) => {
                let source = Source {
                    repository: named.name,
                    revision: named.revision,
                    commit,
                };
                return Ok((folder, source));
            }
            Err(absence) => tried.push(format!("    {absence}")),
        }
    }
    let current = Repository {
        name: repository.current_name().to_owned(),
        revision: repository.revision.clone(),
    };
    match ask_hub(&current, content, variant, environment) {
        Ok(found) => return Ok(found),
        Err(why) => tried.push(format!("    {why}")),
    }
    let moved = if current.name == repository.name {
        String::new()
    } else {
        format!("\n  {} has moved to {}", repository.name, current.name)
    };
    Err(format!(
        "repository `{}` at revision `{}`:\n{}{moved}\n  hint: {}",
        repository.name,
        repository.revision,
        tried.join("\n"),
        current.fetch_command()
    ))
}

/// Downloads what is missing.
#[cfg(feature = "hub")]
fn ask_hub(
    repository: &Repository,
    content: Content,
    variant: Option<&str>,
    environment: &Environment,
) -> Result<(PathBuf, Source), String> {
    if environment.offline {
        return Err("the hub was not asked, because HF_HUB_OFFLINE is set".into());
    }
    tell!("fetching {repository} into {}", environment.cache.display());
    let commit = download::fetch(repository, content, variant, environment)?;
    let pinned = Repository {
        name: repository.name.clone(),
        revision: commit,
    };
    let snapshot =
        look_up(&environment.cache, &pinned, content, variant).map_err(|e| e.to_string())?;
    let source = Source {
        repository: repository.name.clone(),
        revision: repository.revision.clone(),
        commit: snapshot.commit,
    };
    Ok((snapshot.folder, source))
}

/// This build has no TLS stack.
#[cfg(not(feature = "hub"))]
fn ask_hub(
    _: &Repository,
    _: Content,
    _: Option<&str>,
    _: &Environment,
) -> Result<(PathBuf, Source), String> {
    Err("the hub was not asked: this program was built without the cargo feature `hub`".into())
}
