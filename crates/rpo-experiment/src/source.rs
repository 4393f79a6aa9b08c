//! Reads experiment files: several TOML layers, later ones over earlier ones, with errors that name file, line, key and hint.

use crate::fields::Experiment;
use crate::layer::{Layer, Layers, locate};
use crate::names;
use crate::preset_layer::PresetLayer;
use anyhow::Result;
use rpo_files::failure::BadInput;
use rpo_files::nearest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Reads `file`, then each file of `overlays`, then each `key=value` of `sets`; later ones take precedence. Instead of a file, a
/// name may be that of a built-in one.
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
    let preset = PresetLayer::find(&layers);
    let mut merged = toml::Table::new();
    for layer in preset
        .as_ref()
        .map(PresetLayer::layer)
        .iter()
        .chain(&layers)
    {
        only_tables(layer)?;
        // Each layer must be valid by itself: this finds unknown keys and wrong types with their line.
        if let Err(e) = toml::from_str::<Experiment>(&layer.text) {
            let message = describe(e.message()) + layer.backslashes(e.span()).as_str();
            return Err(layer.error_at(e.span(), &message));
        }
        let table: toml::Table =
            toml::from_str(&layer.text).map_err(|e| layer.error_at(e.span(), e.message()))?;
        merge(&mut merged, table);
    }
    let changes = preset.as_ref().map(|p| p.changes(&layers)).transpose()?;
    layers.splice(..0, preset.as_ref().map(PresetLayer::layer));
    let layers = Layers {
        layers,
        folder,
        sources: BTreeMap::new(),
        changes: changes.unwrap_or_default(),
    };
    // What a text may hold and a value may not, as more numbers than a list has.
    let mut experiment: Experiment = serde_path_to_error::deserialize(toml::Value::Table(merged))
        .map_err(|e| {
        let key = e.path().to_string().replace('[', ".").replace(']', "");
        layers.error(&key, &describe(e.inner().message()))
    })?;
    names::complete(&mut experiment.encoders, &layers)?;
    crate::check::check(&experiment, &layers)?;
    Ok((experiment, layers))
}

/// Refuses lists in place of tables, which serde would read by position.
fn only_tables(layer: &Layer) -> Result<()> {
    let Ok(table) = toml::from_str::<toml::Table>(&layer.text) else {
        return Ok(());
    };
    const SEVERAL: [&str; 2] = ["arm", "subject"];
    let inner = SEVERAL.into_iter().flat_map(|key| {
        let all = table.get(key).and_then(toml::Value::as_array);
        all.into_iter().flatten().map(move |one| (key, one))
    });
    let tables = table
        .iter()
        .map(|(key, value)| (key.as_str(), value))
        .filter(|(key, _)| *key != "seeds" && !SEVERAL.contains(key));
    for (key, value) in tables.chain(inner) {
        if value.is_array() {
            let message = format!(
                "`{key}` is a table of keys, not a list\n  hint: [{key}] and below it one key on each line"
            );
            let span = locate(&layer.text, key);
            return Err(layer.error_at(span, &message));
        }
    }
    Ok(())
}

/// Tables are merged key by key; everything else, arrays of arms and subjects included, is replaced.
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

/// `training.steps=40` as a TOML text. A value that is not TOML is taken as a string.
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
        // A resolved file resolves to itself.
        let resolved = folder.path().join("resolved.toml");
        std::fs::write(&resolved, toml::to_string(&e).unwrap()).unwrap();
        assert_eq!(read(&resolved, &[], &[]).unwrap().0, e);
        let (path, _) = read(&file, &[], &["model.preset=org/some-model".into()]).unwrap();
        assert_eq!(path.model.path, "org/some-model");
        assert_eq!(path.model.size, 0);
    }

    #[test]
    fn lists_are_no_tables_and_errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        let said = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let read = read(&file, &[], &[]);
            read.and_then(|(e, layers)| crate::plan::Plan::of(e, &layers))
                .err()
                .unwrap()
                .to_string()
        };
        for text in [
            "model = [\"sd15\"]",
            "rules = [[0.5]]",
            "recipe = []",
            "arm = [[\"a\"]]",
            "subject = [[\"photos\"]]",
            "[[prompts]]\ntest = \"a.txt\"",
            "[model]\npreset = \"sd15\"\n[[training]]\nsteps = 1",
        ] {
            let said = said(text);
            assert!(
                said.contains("x.toml") && said.contains("is a table of keys"),
                "{said}"
            );
        }
        let said = said("[model]\npreset = \"sd15\"\n[subjects]\nsource = \"folder\"\n");
        assert!(said.contains("x.toml: `subjects.path` (default)"), "{said}");
    }

    #[test]
    fn backslashes_get_their_hint() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        for (path, hint) in [
            (
                r"C:\Users\me\photos",
                r"write 'C:\Users\me\photos' in single quotes, or C:/Users/me/photos",
            ),
            (r"D:\data\photos", "D:/data/photos"),
            (r"\\server\share", "in single quotes"),
        ] {
            let text = format!("name = \"x\"\n[subjects]\npath = \"{path}\"\n");
            std::fs::write(&file, text).unwrap();
            let said = read(&file, &[], &[]).err().unwrap().to_string();
            assert!(said.contains("x.toml:3: ") && said.contains(hint), "{said}");
        }
        // Read as written in single quotes, so they can be told what they are.
        std::fs::write(&file, "[subjects]\npath = 'C:\\Users\\me'\n").unwrap();
        let said = read(&file, &[], &[]).err().unwrap().to_string();
        assert!(
            said.contains("`subjects.path`") && said.contains("Windows"),
            "{said}"
        );
        let said = read(&file, &[], &["subjects.path=~/photos".into()])
            .err()
            .unwrap();
        assert!(
            said.to_string().contains("only a shell expands ~"),
            "{said}"
        );
        std::fs::write(&file, " ".repeat(5 << 20)).unwrap();
        let said = read(&file, &[], &[]).err().unwrap().to_string();
        assert!(said.contains("no experiment"), "{said}");
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
