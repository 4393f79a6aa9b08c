//! The bottom layer of an experiment, from `[model] preset`, and the keys that contradict it.

use crate::layer::{Layer, PRESET};
use crate::presets;
use anyhow::Result;
use rpo_files::failure::BadInput;
use toml::{Table, Value};

/// A preset as a layer, and where it is named.
pub(super) struct PresetLayer {
    name: String,
    /// Whether it is one of [`presets::PRESETS`]; else `name` is the path of a model.
    built_in: bool,
    text: String,
    /// Index of the layer that names it: 0 is the experiment file, the others are given on the command line.
    by: usize,
}

/// A key of a preset whose value is another layer's.
#[derive(Debug, PartialEq)]
struct Change {
    key: String,
    preset: Value,
    value: Value,
    /// Index of the layer that sets it.
    by: usize,
}

impl PresetLayer {
    /// The preset that the last layer with the key names.
    pub(super) fn find(layers: &[Layer]) -> Option<Self> {
        let (by, name) = layers.iter().enumerate().rev().find_map(|(by, layer)| {
            let table: Table = toml::from_str(&layer.text).ok()?;
            let name = table.get("model")?.get("preset")?.as_str()?.to_owned();
            Some((by, name))
        })?;
        if name.is_empty() {
            return None;
        }
        let found = presets::find(&name);
        let text = match found {
            Some(preset) => preset.text.to_owned(),
            None => format!("[model]\npath = {}\n", Value::String(name.clone())),
        };
        Some(Self {
            built_in: found.is_some(),
            name,
            text,
            by,
        })
    }

    /// The layer below all others.
    pub(super) fn layer(&self) -> Layer {
        Layer {
            label: format!("{PRESET}{}", self.name),
            text: self.text.clone(),
        }
    }

    /// What `layers` change of it on purpose, one line each.
    ///
    /// # Errors
    /// [`BadInput`] with the keys that contradict it: keys of the file if the command line names the preset, another model, and
    /// other judges under the names of the preset's.
    pub(super) fn changes(&self, layers: &[Layer]) -> Result<Vec<String>> {
        let tables: Vec<Table> = layers
            .iter()
            .map(|l| toml::from_str(&l.text).unwrap_or_default())
            .collect();
        let own: Table = toml::from_str(&self.text).unwrap_or_default();
        let mut changes = Vec::new();
        collect(&own, "", &tables, &mut changes);
        let contradicts = |c: &Change| {
            let below = c.by < self.by.min(1);
            let other_model = c.key == "model.path" && (!self.built_in || is_embedded(&c.value));
            below || other_model
        };
        let set = |key: &str| tables.iter().any(|t| get(t, key).is_some());
        let misnamed = |c: &Change| match c.key.as_str() {
            "encoders.clip" => !set("encoders.label"),
            "encoders.vit" => !set("encoders.label") || !set("encoders.vit_name"),
            _ => false,
        };
        let show = |c: &Change| {
            let label = &layers[c.by].label;
            format!(
                "{} = {} ({label}); the preset: {}",
                c.key, c.value, c.preset
            )
        };
        if changes.iter().any(contradicts) {
            return Err(self.refused(layers, changes.iter().map(show), match self.by {
                0 => "leave the preset away, or the keys that are not meant; the others then come from the preset",
                _ => "remove these keys from the file and write the preset there, or give those that are meant with --set too",
            }));
        }
        let renamed: Vec<&Change> = changes.iter().filter(|c| misnamed(c)).collect();
        if !renamed.is_empty() {
            return Err(self.refused(layers, renamed.into_iter().map(show),
                "the preset's encoders.vit_name and encoders.label name its own judges: give both keys for other judges"));
        }
        Ok(changes.iter().map(show).collect())
    }

    fn refused(
        &self,
        layers: &[Layer],
        lines: impl Iterator<Item = String>,
        hint: &str,
    ) -> anyhow::Error {
        let lines: Vec<String> = lines.map(|line| format!("\n    {line}")).collect();
        BadInput::new(format!(
            "{}: `model.preset` = \"{}\" is contradicted by other keys:{}\n  hint: {hint}",
            layers[self.by].label,
            self.name,
            lines.concat()
        ))
    }
}

/// The keys below `path` to which the last layer that has them gives another value.
fn collect(own: &Table, path: &str, tables: &[Table], into: &mut Vec<Change>) {
    for (key, preset) in own {
        let key = format!("{path}{key}");
        if let Value::Table(inner) = preset {
            collect(inner, &format!("{key}."), tables, into);
            continue;
        }
        let last = tables.iter().enumerate().rev();
        let Some((by, value)) = last
            .filter_map(|(by, t)| Some((by, get(t, &key)?)))
            .next()
            .filter(|(_, value)| !same(value, preset))
        else {
            continue;
        };
        into.push(Change {
            key,
            preset: preset.clone(),
            value: value.clone(),
            by,
        });
    }
}

/// The value of a dotted key.
fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => get(table.get(first)?.as_table()?, rest),
    }
}

/// Whether two values are equal; 32 and 32.0 are.
fn same(a: &Value, b: &Value) -> bool {
    let number = |v: &Value| v.as_float().or_else(|| v.as_integer().map(|n| n as f64));
    a == b || number(a).is_some_and(|a| Some(a) == number(b))
}

/// Whether a path is in the embedded model.
fn is_embedded(path: &Value) -> bool {
    let path = path.as_str().unwrap_or_default();
    path == "micro" || path.starts_with("micro/")
}

#[cfg(test)]
mod tests {
    use crate::read;
    use std::path::Path;

    fn message(experiment: &str, sets: &[&str]) -> String {
        let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
        match read(Path::new(experiment), &[], &sets) {
            Ok((_, layers)) => format!("read; {}", layers.changes.join("; ")),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn a_preset_of_the_command_line_does_not_lose_to_the_file() {
        for preset in ["sd15", "sd21", "sdxl-lora", "org/model", "/models/x"] {
            let said = message("my_subject", &[&format!("model.preset={preset}")]);
            assert!(said.contains("contradicted"), "{said}");
            assert!(
                said.contains("model.path = \"micro\" (my_subject.toml"),
                "{said}"
            );
        }
        let said = message("my_subject", &["model.preset=sd15"]);
        for key in [
            "subjects.token = \"[v]\"",
            "training.learning_rate = 0.001",
            "training.batch = 4",
            "model.size = 0",
        ] {
            assert!(said.contains(key), "no {key} in {said}");
        }
        // Keys of the other model's encoders, and of a file laid over.
        let said = message("ablation_lambda", &["model.preset=sd15"]);
        assert!(
            said.contains("encoders.vit = \"micro/eval_dino\""),
            "{said}"
        );
    }

    #[test]
    fn what_the_command_line_says_itself_is_meant() {
        let sets = [
            "model.preset=sd15",
            "model.path=sd15",
            "model.size=512",
            "subjects.token=[v]",
            "training.learning_rate=1e-6",
            "training.batch=1",
        ];
        let said = message("my_subject", &sets);
        assert!(said.starts_with("read"), "{said}");
        assert!(said.contains("training.learning_rate = 0.000001"), "{said}");
        // Equal to the preset's value: no change.
        assert!(!said.contains("model.size"), "{said}");
    }

    #[test]
    fn within_one_file_model_and_names_must_be_the_presets() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        let of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            message(file.to_str().unwrap(), &[])
        };
        let said =
            of("[model]\npreset = \"sd15\"\npath = \"micro\"\n[training]\nlearning_rate = 1e-4\n");
        assert!(
            said.contains("model.path") && said.contains("training.learning_rate"),
            "{said}"
        );
        let said = of("[model]\npreset = \"org/model\"\npath = \"other\"\n");
        assert!(said.contains("contradicted"), "{said}");
        let said = of(
            "[model]\npreset = \"sd15\"\n[encoders]\nvit = \"micro/eval_dino\"\nlabel = \"micro\"\n",
        );
        assert!(said.contains("encoders.vit_name"), "{said}");
        let said =
            of("[model]\npreset = \"sd15\"\n[encoders]\nclip = \"openai/clip-vit-base-patch16\"\n");
        assert!(said.contains("encoders.label"), "{said}");
        // A copy of the same model elsewhere, and other settings.
        let said = of(
            "[model]\npreset = \"sdxl-lora\"\npath = \"/models/sdxl\"\n[lora]\nalpha = 32\nrank = 8\n",
        );
        assert_eq!(
            said,
            format!(
                "read; lora.rank = 8 ({0}); the preset: 32; model.path = \"/models/sdxl\" ({0}); the preset: \"stabilityai/stable-diffusion-xl-base-1.0\"",
                file.display()
            )
        );
    }

    #[test]
    fn committed_experiments_do_not_contradict_their_presets() {
        for built_in in crate::built_in::EXPERIMENTS {
            let said = message(built_in.name, &[]);
            assert!(said.starts_with("read"), "{said}");
        }
    }
}
