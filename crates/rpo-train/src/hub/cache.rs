//! The hub's cache on disk: `models--ORG--NAME/{refs/<revision>, snapshots/<commit>/…}`, where files are links into `blobs/`.

use super::{Content, Gap, Repository, missing};
use std::fmt;
use std::path::{Path, PathBuf};

/// A complete copy of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its folder.
    pub folder: PathBuf,
    /// Its commit.
    pub commit: String,
}

/// Why the cache has no complete copy of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The repository is not in the cache.
    Repository {
        /// The folder that would hold it.
        folder: PathBuf,
    },
    /// Only other revisions of it exist.
    Revision {
        /// Its folder.
        folder: PathBuf,
        /// The requested revision.
        revision: String,
        /// The branches and tags in the cache.
        others: Vec<String>,
    },
    /// The copy is incomplete, or has no readable weights.
    Incomplete {
        /// The snapshot's folder.
        folder: PathBuf,
        /// The first thing that is missing.
        gap: Gap,
    },
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repository { folder } => write!(f, "{}: not there", folder.display()),
            Self::Revision {
                folder,
                revision,
                others,
            } => {
                write!(f, "{}: no revision `{revision}`", folder.display())?;
                if others.is_empty() {
                    Ok(())
                } else {
                    write!(f, ", only {}", others.join(", "))
                }
            }
            Self::Incomplete {
                folder,
                gap: Gap::File(file),
            } => write!(f, "{}: incomplete, {file} is missing", folder.display()),
            Self::Incomplete {
                gap: Gap::Weights(message),
                ..
            } => f.write_str(message),
        }
    }
}

/// The copy of a repository in `cache` at its revision, a branch, a tag or a whole commit, if it has every file that `content` needs.
///
/// # Errors
/// What is missing.
pub fn look_up(
    cache: &Path,
    repository: &Repository,
    content: Content,
    variant: Option<&str>,
) -> Result<Snapshot, Absence> {
    let folder = cache.join(format!("models--{}", repository.name.replace('/', "--")));
    if !folder.is_dir() {
        return Err(Absence::Repository { folder });
    }
    let reference = folder.join("refs").join(&repository.revision);
    let commit = match std::fs::read_to_string(reference) {
        Ok(commit) => commit.trim().to_owned(),
        Err(_) => repository.revision.clone(),
    };
    let snapshot = folder.join("snapshots").join(&commit);
    // A commit is one plain name: any other reference is damaged and ignored.
    if commit.is_empty() || commit.contains(['/', '\\', '.']) || !snapshot.is_dir() {
        return Err(Absence::Revision {
            others: revisions(&folder.join("refs"), ""),
            folder,
            revision: repository.revision.clone(),
        });
    }
    match missing(&snapshot, content, variant) {
        Some(gap) => Err(Absence::Incomplete {
            folder: snapshot,
            gap,
        }),
        None => Ok(Snapshot {
            folder: snapshot,
            commit,
        }),
    }
}

/// The names below `refs`, nested ones with slashes.
fn revisions(refs: &Path, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(refs).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            names.extend(revisions(&entry.path(), &format!("{name}/")));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}
