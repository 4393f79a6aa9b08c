//! The hub's cache on disk: `models--ORG--NAME/{refs/<revision>, snapshots/<commit>/…}`, where files are links into `blobs/`.

use super::{Content, Gap, Repository, missing};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a reference that are read: a commit has 40.
const LONGEST: u64 = 256;

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
    /// A file of it is a link out of the repository's folder.
    Elsewhere {
        /// The link.
        file: PathBuf,
        /// Where it leads.
        target: PathBuf,
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
            Self::Elsewhere { file, target } => write!(
                f,
                "{}: is a link to {}, outside of the repository's folder, and is not followed",
                file.display(),
                target.display()
            ),
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
    let commit = commit_of(&reference).unwrap_or_else(|| repository.revision.clone());
    let snapshot = folder.join("snapshots").join(&commit);
    // A commit is one plain name: any other reference is damaged and ignored.
    if commit.is_empty() || commit.contains(['/', '\\', '.']) || !snapshot.is_dir() {
        return Err(Absence::Revision {
            others: revisions(&folder.join("refs"), ""),
            folder,
            revision: repository.revision.clone(),
        });
    }
    if let Some((file, target)) = way_out(&folder, &snapshot) {
        return Err(Absence::Elsewhere { file, target });
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

/// The commit in a reference; `None` if it is no short plain file.
fn commit_of(reference: &Path) -> Option<String> {
    if !reference.is_file() {
        return None;
    }
    let mut text = String::new();
    let file = File::open(reference).ok()?;
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

/// The first file of a snapshot, or of a folder in it, that is a link out of the repository's folder, and where it leads.
fn way_out(repository: &Path, snapshot: &Path) -> Option<(PathBuf, PathBuf)> {
    let root = repository.canonicalize().ok()?;
    let files = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.flatten().map(|entry| entry.path()).collect()
    };
    let top = files(snapshot);
    let below = top
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|dir| files(dir));
    let all: Vec<PathBuf> = [snapshot.to_path_buf()]
        .into_iter()
        .chain(below)
        .chain(top.iter().cloned())
        .collect();
    all.into_iter().find_map(|path| {
        // A link to nothing is reported as a missing file.
        let target = path.canonicalize().ok()?;
        (!target.starts_with(&root)).then_some((path, target))
    })
}

/// The names below `refs`, nested ones with slashes. Links are not followed.
fn revisions(refs: &Path, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(refs).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.extend(revisions(&entry.path(), &format!("{name}/")));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}
