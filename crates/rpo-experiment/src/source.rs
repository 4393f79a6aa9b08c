//! Reads experiment files: several TOML layers, the later over the earlier, with errors that name file, line, key and hint.

use crate::fields::Experiment;
use crate::layer::{Layer, nearest};
use crate::presets;
use anyhow::Result;
use rpo_files::failure::BadInput;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// Where a folder that a run reads came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// `org/name`, as it was found.
    pub repository: String,
    /// The branch, tag or commit that was asked for.
    pub revision: String,
    /// The commit that it was.
    pub commit: String,
}

/// The layers of an experiment, kept to say where a value came from.
pub struct Layers {
    layers: Vec<Layer>,
    /// Folder of the experiment file: relative paths are also looked for from here. Empty for one that is built in.
    pub folder: PathBuf,
    /// By key, the commits that an earlier start of the same run read: they are taken again.
    pub sources: BTreeMap<String, Source>,
}

/// Reads `file`, then each file of `overlays`, then each `key=value` of `sets`; later ones win. What is no file may be the name
/// of a built-in one.
///
/// # Errors
/// [`BadInput`] naming file, line and key.
pub fn read(file: &Path, overlays: &[PathBuf], sets: &[String]) -> Result<(Experiment, Layers)> {
    let (first, folder) = Layer::experiment(file)?;
    let mut layers = vec![first];
    for path in overlays {
        layers.push(Layer::overlay(path)?);
    }
    for set in sets {
        layers.push(Layer {
            label: format!("--set {set}"),
            text: set_to_toml(set)?,
        });
    }
    if let Some(preset) = preset(&layers) {
        layers.insert(0, preset);
    }
    let layers = Layers {
        layers,
        folder,
        sources: BTreeMap::new(),
    };
    let mut merged = toml::Table::new();
    for layer in &layers.layers {
        // Each layer alone must be a valid file: this finds unknown keys and wrong types with their line.
        if let Err(e) = toml::from_str::<Experiment>(&layer.text) {
            return Err(layer.error_at(e.span(), &describe(e.message())));
        }
        let table: toml::Table =
            toml::from_str(&layer.text).map_err(|e| layer.error_at(e.span(), e.message()))?;
        merge(&mut merged, table);
    }
    let experiment: Experiment = merged
        .try_into()
        .map_err(|e: toml::de::Error| BadInput::new(describe(e.message())))?;
    crate::check::check(&experiment, &layers)?;
    Ok((experiment, layers))
}

impl Layers {
    /// An error about `key` (dotted), at the place of the last layer that sets it.
    pub fn error(&self, key: &str, message: &str) -> anyhow::Error {
        for layer in self.layers.iter().rev() {
            if let Some(span) = locate(&layer.text, key) {
                return layer.error_at(Some(span), &format!("`{key}`: {message}"));
            }
        }
        let file = self
            .layers
            .first()
            .map_or("experiment", |l| l.label.as_str());
        BadInput::new(format!("{file}: `{key}` (default): {message}"))
    }
}

/// The layer below all others that `[model] preset` asks for. What is no preset's name is the path of a model.
fn preset(layers: &[Layer]) -> Option<Layer> {
    let named = layers.iter().rev().find_map(|layer| {
        let table: toml::Table = toml::from_str(&layer.text).ok()?;
        Some(table.get("model")?.get("preset")?.as_str()?.to_owned())
    })?;
    let text = match presets::find(&named) {
        Some(preset) => preset.text.to_owned(),
        None if named.is_empty() => return None,
        None => format!("[model]\npath = {}\n", toml::Value::String(named.clone())),
    };
    Some(Layer {
        label: format!("preset {named}"),
        text,
    })
}

/// Tables are merged key by key; everything else, arrays of arms included, is replaced.
fn merge(into: &mut toml::Table, from: toml::Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// `training.steps=40` as a TOML text. A value that is no TOML is taken as a string.
fn set_to_toml(set: &str) -> Result<String> {
    let Some((key, value)) = set.split_once('=') else {
        return Err(BadInput::new(format!(
            "--set {set}: no `=`\n  hint: write --set key=value, for example --set training.steps=40"
        )));
    };
    let (key, value) = (key.trim(), value.trim());
    let plain = format!("{key} = {value}");
    if toml::from_str::<toml::Table>(&plain).is_ok() {
        return Ok(plain);
    }
    let quoted = format!("{key} = {}", toml::Value::String(value.to_owned()));
    toml::from_str::<toml::Table>(&quoted)
        .map_err(|e| BadInput::new(format!("--set {set}: {}", e.message())))?;
    Ok(quoted)
}

/// Place of a dotted key in a TOML text. An index such as `arm.1.name` counts array entries.
fn locate(text: &str, key: &str) -> Option<Range<usize>> {
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

/// Adds the nearest known key to serde's message about an unknown one.
pub(super) fn describe(message: &str) -> String {
    let message = message.trim();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (true, Some((unknown, known))) = (message.starts_with("unknown "), quoted.split_first())
    else {
        return message.to_owned();
    };
    let kind = if message.starts_with("unknown variant") {
        "value"
    } else {
        "key"
    };
    let hint = match nearest(unknown, known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here: {}", known.join(", ")),
    };
    format!("unknown {kind} `{unknown}`\n  hint: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_name_the_nearest() {
        let text = describe("unknown field `lamda`, expected one of `lambda`, `mean`, `patience`");
        assert_eq!(text, "unknown key `lamda`\n  hint: did you mean `lambda`?");
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

    #[test]
    fn keys_of_the_file_win_over_the_preset() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        let text = "[model]\npreset = \"sd15\"\n[training]\nlearning_rate = 1e-6\n";
        std::fs::write(&file, text).unwrap();
        let (e, layers) = read(&file, &[], &[]).unwrap();
        assert_eq!((e.model.size, e.training.learning_rate), (512, 1e-6));
        assert_eq!(e.subjects.token, "[V]");
        assert!(
            layers
                .error("model.size", "odd")
                .to_string()
                .starts_with("preset sd15:")
        );
        // What was resolved resolves to itself.
        let resolved = folder.path().join("resolved.toml");
        std::fs::write(&resolved, toml::to_string(&e).unwrap()).unwrap();
        assert_eq!(read(&resolved, &[], &[]).unwrap().0, e);
        let (path, _) = read(&file, &[], &["model.preset=org/some-model".into()]).unwrap();
        assert_eq!(path.model.path, "org/some-model");
        assert_eq!(path.model.size, 0);
    }

    #[test]
    fn set_takes_toml_and_bare_words() {
        assert_eq!(
            set_to_toml("training.steps=40").unwrap(),
            "training.steps = 40"
        );
        assert_eq!(
            set_to_toml("model.path=a/b c").unwrap(),
            "model.path = \"a/b c\""
        );
        assert!(set_to_toml("training.steps").is_err());
    }
}
