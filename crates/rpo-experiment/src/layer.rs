//! The layers of an experiment: files, or built-in texts where no such file exists; and where in them a key is set.

use crate::built_in::{self, BuiltIn};
use anyhow::Result;
use rpo_files::failure::BadInput;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Before the name of a preset, in its layer's label.
pub(super) const PRESET: &str = "preset ";

/// One layer: a file, a built-in text, or one of the `--set` options.
pub(super) struct Layer {
    /// Its name in errors.
    pub(super) label: String,
    /// TOML.
    pub(super) text: String,
}

impl Layer {
    /// The experiment itself and its folder.
    pub(super) fn experiment(path: &Path) -> Result<(Self, PathBuf)> {
        let why = match local(path)? {
            Ok((file, layer)) => {
                let folder = file.parent().map(Path::to_path_buf);
                return Ok((layer, folder.unwrap_or_default()));
            }
            Err(why) => why,
        };
        if let Some(built_in) = built_in::experiment(path) {
            return Ok((built_in.into(), PathBuf::new()));
        }
        let shown = path.display();
        Err(BadInput::new(match built_in::size(path) {
            Some(size) => format!(
                "{shown}: sizes are laid over an experiment\n  hint: rpo-train EXPERIMENT --with {}",
                size.short()
            ),
            None => format!(
                "{shown}: {why}, and no experiment of this name is built in\n  hint: {}",
                built_in::suggest(path, built_in::EXPERIMENTS)
            ),
        }))
    }

    /// The layer that `--with` names; this may also be an experiment.
    pub(super) fn overlay(path: &Path) -> Result<Self> {
        let why = match local(path)? {
            Ok((_, layer)) => return Ok(layer),
            Err(why) => why,
        };
        let built_in = built_in::size(path).or_else(|| built_in::experiment(path));
        built_in.map(Self::from).ok_or_else(|| {
            BadInput::new(format!(
                "--with {}: {why}, and nothing of this name is built in\n  hint: {}",
                path.display(),
                built_in::suggest(path, built_in::SIZES)
            ))
        })
    }

    /// A hint if the line at `span` has backslashes in double quotes, where TOML takes them for escapes.
    pub(super) fn backslashes(&self, span: Option<Range<usize>>) -> String {
        let at = span.map_or(0, |s| s.start.min(self.text.len()));
        let start = self.text[..at].rfind('\n').map_or(0, |n| n + 1);
        let line = self.text[start..].lines().next().unwrap_or_default();
        let quoted = line
            .split_once('"')
            .and_then(|(_, rest)| rest.rsplit_once('"'));
        match quoted {
            Some((path, _)) if path.contains('\\') => format!(
                "\n  hint: `\\` in double quotes is an escape: write '{path}' in single quotes, or {} with forward slashes",
                path.replace("\\\\", "/").replace('\\', "/")
            ),
            _ => String::new(),
        }
    }

    /// An error at a position in its text.
    pub(super) fn error_at(&self, span: Option<Range<usize>>, message: &str) -> anyhow::Error {
        match span {
            Some(span) => {
                let line = 1 + self.text[..span.start.min(self.text.len())]
                    .matches('\n')
                    .count();
                BadInput::new(format!("{}:{line}: {message}", self.label))
            }
            None => BadInput::new(format!("{}: {message}", self.label)),
        }
    }
}

/// Experiments are texts of some kilobytes.
const MOST_BYTES: u64 = 4 << 20;

/// The text of a file, of [`MOST_BYTES`] at most: devices and pipes do not say how long they are.
fn text(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(file)?
        .take(MOST_BYTES + 1)
        .read_to_string(&mut text)?;
    if read as u64 > MOST_BYTES {
        let message = format!("more than {MOST_BYTES} bytes: this is no experiment");
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(text)
}

/// The local file of this name, or with `.toml` appended; the inner error says why there is none.
fn local(path: &Path) -> Result<std::result::Result<(PathBuf, Layer), std::io::Error>> {
    let mut ended = path.as_os_str().to_owned();
    ended.push(".toml");
    let mut why = None;
    for file in [path.to_path_buf(), PathBuf::from(ended)] {
        let label = file.display().to_string();
        match text(&file) {
            Ok(text) => return Ok(Ok((file, Layer { label, text }))),
            // A file that exists but cannot be read is an error.
            Err(e) if file.is_file() || e.kind() == ErrorKind::FileTooLarge => {
                return Err(BadInput::new(format!(
                    "{label}: {e}\n  hint: an experiment is a TOML file in UTF-8 that can be read"
                )));
            }
            Err(e) => why = why.or(Some(e)),
        }
    }
    Ok(Err(why.unwrap_or_else(|| ErrorKind::NotFound.into())))
}

impl From<&BuiltIn> for Layer {
    fn from(built_in: &BuiltIn) -> Self {
        Self {
            label: built_in.label(),
            text: built_in.text.to_owned(),
        }
    }
}

/// Where a folder that a run reads came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `org/name`, as found.
    pub repository: String,
    /// The requested branch, tag or commit.
    pub revision: String,
    /// The commit that it resolved to.
    pub commit: String,
}

/// The layers of an experiment, kept to report where a value was set.
pub struct Layers {
    pub(super) layers: Vec<Layer>,
    /// Folder of the experiment file: relative paths are also searched from here. Empty for a built-in one.
    pub folder: PathBuf,
    /// By key, the commits that an earlier start of the same run read: they are used again.
    pub sources: BTreeMap<String, Source>,
    /// What the experiment changes of its preset, one line for each key.
    pub changes: Vec<String>,
}

impl Layers {
    /// An error about `key` (dotted), at its position in the last layer that sets it.
    pub fn error(&self, key: &str, message: &str) -> anyhow::Error {
        for layer in self.layers.iter().rev() {
            if let Some(span) = locate(&layer.text, key) {
                return layer.error_at(Some(span), &format!("`{key}`: {message}"));
            }
        }
        // The preset is below the file.
        let mut files = self.layers.iter().map(|l| l.label.as_str());
        let file = files.find(|l| !l.starts_with(PRESET));
        let file = file.unwrap_or("experiment");
        BadInput::new(format!("{file}: `{key}` (default): {message}"))
    }
}

/// Position of a dotted key in a TOML text. An index such as `arm.1.name` counts array entries.
pub(super) fn locate(text: &str, key: &str) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    let mut parts = key.split('.').peekable();
    let (found, mut value) = table.get_ref().get_key_value(parts.next()?)?;
    let mut span = found.span();
    for part in parts {
        match value.get_ref() {
            DeValue::Table(t) => {
                let (k, v) = t.get_key_value(part)?;
                (span, value) = (k.span(), v);
            }
            DeValue::Array(a) => {
                value = a.get(part.parse::<usize>().ok()?)?;
                span = value.span();
            }
            _ => return None,
        }
    }
    Some(span)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    #[test]
    fn files_come_before_what_is_built_in() {
        let folder = tempfile::tempdir().unwrap();
        let built_in = |name: &str| read(Path::new(name), &[], &[]).map(|(e, l)| (e.name, l));
        let (name, layers) = built_in("quickstart").unwrap();
        assert_eq!(
            (name.as_str(), layers.folder),
            ("quickstart", PathBuf::new())
        );
        let line = "quickstart.toml (built in):15: `training.steps`: odd";
        let (_, layers) = built_in("experiments/quickstart.toml").unwrap();
        assert_eq!(layers.error("training.steps", "odd").to_string(), line);
        // With or without the extension.
        let file = folder.path().join("quickstart.toml");
        std::fs::write(&file, "name = \"mine\"\n").unwrap();
        for path in [file.clone(), file.with_extension("")] {
            let (experiment, layers) = read(&path, &[], &[]).unwrap();
            assert_eq!(
                (experiment.name.as_str(), layers.folder.as_path()),
                ("mine", folder.path())
            );
        }
        std::fs::write(&file, b"\xff").unwrap();
        let message = built_in(file.to_str().unwrap()).err().unwrap().to_string();
        assert!(message.contains("UTF-8"), "{message}");
    }

    #[test]
    fn sizes_are_laid_over_by_name() {
        let with = |name: &str| read(Path::new("quickstart"), &[name.into()], &[]);
        for name in ["smoke", "experiments/sizes/smoke.toml"] {
            let (experiment, layers) = with(name).unwrap();
            assert_eq!(
                (experiment.training.steps, experiment.rules.patience),
                (4, Some(3))
            );
            let message = layers.error("training.steps", "odd").to_string();
            assert!(
                message.starts_with("sizes/smoke.toml (built in):"),
                "{message}"
            );
        }
        let message = with("papre").err().unwrap().to_string();
        assert!(
            message.contains("--with papre") && message.contains("did you mean `paper`?"),
            "{message}"
        );
        let alone = read(Path::new("paper"), &[], &[])
            .err()
            .unwrap()
            .to_string();
        assert!(alone.contains("--with paper"), "{alone}");
    }

    #[test]
    fn unknown_names_get_the_nearest_and_the_list() {
        let message = |name: &str| read(Path::new(name), &[], &[]).err().unwrap().to_string();
        let quick = message("quikstart");
        for word in [
            "quikstart: ",
            "did you mean `quickstart`?",
            "dreambench",
            "rpo-train experiments",
        ] {
            assert!(quick.contains(word), "no `{word}` in: {quick}");
        }
        let far = message("zzz.toml");
        assert!(
            far.contains("quickstart") && !far.contains("did you mean"),
            "{far}"
        );
    }

    #[test]
    fn keys_are_located_in_tables_and_arrays() {
        let text = "name = 'a'\n[training]\nsteps = 3\n[[arm]]\nname = 'x'\n[[arm]]\nname = 'y'\n";
        let line = |key| {
            1 + text[..locate(text, key).unwrap().start]
                .matches('\n')
                .count()
        };
        assert_eq!(
            (line("name"), line("training.steps"), line("arm.1.name")),
            (1, 3, 7)
        );
        assert_eq!(locate(text, "training.batch"), None);
    }
}
