//! Two identities of a run: what it means, and what may change its last bits.

use crate::fields::{Experiment, SubjectSource, Training};
use crate::report::Report;
use rpo_data::picture::Limit;
use rpo_data::subject::is_live;

impl Experiment {
    /// The same experiment without the keys that change at most its last bits: paths of its files, how it is computed, on which
    /// device, in which batches. Two runs are the same if their meanings are equal.
    #[must_use]
    pub fn meaning(&self) -> Self {
        let mut same = self.clone();
        same.output = String::new();
        same.report = Report::default();
        same.model.memory_gb = 0.0;
        same.subjects.max_megapixels = Limit::MEGAPIXELS;
        // Only a folder's prompts follow it; without the key, its class.
        let of_class =
            same.subjects.source == SubjectSource::Folder && is_live(&same.subjects.class);
        same.subjects.live.get_or_insert(of_class);
        same.prompts = same.prompts.meaning(same.subjects.source.benchmark());
        same.candidates.normalise();
        same.train.normalise(same.lora.is_some());
        same.subjects.captions &= same.subjects.source == SubjectSource::Stickerbench;
        if !same.subjects.names.is_empty() {
            // Not used then.
            same.subjects.count = 0;
        }
        // The pictures are among the hashed inputs.
        same.subjects.class_folder = String::new();
        for own in &mut same.own_subjects {
            own.path = String::new();
            own.class_folder = String::new();
        }
        same.model.device = "auto".into();
        if same.model.dtype == "auto" {
            same.model.dtype = "f32".into();
        }
        same.sampler.batch = 1;
        same.training = same.training.meaning();
        for arm in &mut same.arms {
            arm.note = String::new();
            for key in ["gradient_accumulation", "recompute", "save_minutes"] {
                arm.training.remove(key);
            }
        }
        same
    }
}

impl Training {
    /// The same training without the keys that change at most its last bits: how it is computed and how often it is saved.
    #[must_use]
    pub fn meaning(&self) -> Self {
        Self {
            gradient_accumulation: 1,
            recompute: None,
            save_minutes: 0.0,
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Experiment;
    use toml::Value;

    /// Keys that are not part of a run's meaning.
    const OTHER: [&str; 11] = [
        "output",
        "model.device",
        "model.memory_gb",
        "report.baseline",
        "report.margin",
        "sampler.batch",
        "subjects.class_folder",
        "subjects.max_megapixels",
        "training.gradient_accumulation",
        "training.recompute",
        "training.save_minutes",
    ];

    /// Other values of a key's type.
    fn others(value: &Value) -> Vec<Value> {
        match value {
            Value::Boolean(b) => vec![Value::Boolean(!b)],
            Value::Integer(n) => vec![Value::Integer(n + 1)],
            Value::Float(x) => vec![Value::Float(x + 0.5)],
            Value::String(s) => ["keep", "ddim", "folder", "cuda"]
                .into_iter()
                .chain([format!("{s}x").as_str()])
                .map(|s| Value::String(s.to_owned()))
                .collect(),
            Value::Array(all) => vec![Value::Array(all[1..].to_vec())],
            _ => Vec::new(),
        }
    }

    fn leaves(table: &toml::Table, path: &str, into: &mut Vec<(String, Value)>) {
        for (key, value) in table {
            let path = format!("{path}{key}");
            match value {
                Value::Table(inner) => leaves(inner, &format!("{path}."), into),
                value => into.push((path, value.clone())),
            }
        }
    }

    fn set(table: &mut toml::Table, path: &str, value: Value) {
        match path.split_once('.') {
            None => drop(table.insert(path.to_owned(), value)),
            Some((first, rest)) => {
                let inner = table.get_mut(first).and_then(Value::as_table_mut);
                set(inner.expect("a table"), rest, value);
            }
        }
    }

    #[test]
    fn living_subjects_follow_from_the_class() {
        let of = |keys: &str| -> Experiment {
            let text = format!("subjects = {{ source = \"folder\", path = \"a\", {keys} }}");
            toml::from_str(&text).unwrap()
        };
        for (keys, same) in [
            ("class = \"dog\"", "class = \"dog\", live = true"),
            ("class = \"vase\"", "class = \"vase\", live = false"),
            (
                "class = \"dog\", live = false",
                "class = \"dog\", live = false, max_megapixels = 9.0",
            ),
        ] {
            assert_eq!(of(keys).meaning(), of(same).meaning(), "{keys}");
        }
        assert_ne!(
            of("class = \"dog\"").meaning(),
            of("class = \"dog\", live = false").meaning()
        );
        // As version 0.2.0 wrote it, when the name of a run's folder was made of it.
        let written = toml::to_string(&Experiment::default().meaning()).unwrap();
        assert!(
            written.contains("token = \"[v]\"\nlive = false\n\n"),
            "{written}"
        );
    }

    #[test]
    fn notes_change_no_run() {
        let of = |note: &str| -> Experiment {
            toml::from_str(&format!("arm = [{{ name = \"a\"{note} }}]")).unwrap()
        };
        assert_eq!(of("").meaning(), of(", note = \"slow\"").meaning());
        assert_ne!(of(""), of(", note = \"slow\""));
    }

    #[test]
    fn every_key_is_of_one_identity_or_the_other() {
        let text = r#"
            arm = [{ name = "a" }]
            lora = { rank = 2, alpha = 2.0, init = "gaussian" }
            train = { parts = ["unet"] }
            image_adapter = { encoder = "a" }
            sampler = { guidance_interval = [0.0, 0.5] }
            training = { recompute = true, lr_scheduler = "cosine", lr_warmup_steps = 5, lr_power = 2.0 }
            rules = { patience = 2 }
            recipe = { preset = "ours", beta = 2.0 }
            model = { preset = "sd15", variant = "fp16" }
            subjects = { max_megapixels = 50.0, captions = true, class_folder = "dogs" }
            report = { margin = 0.01 }
            prompts = { train = "dreambench", validation = "dreambench", test = "stickerbench-validation" }
        "#;
        let experiment: Experiment = toml::from_str(text).unwrap();
        let table = toml::Table::try_from(&experiment).unwrap();
        let (mut all, mut changed) = (Vec::new(), 0);
        leaves(&table, "", &mut all);
        for (path, value) in &all {
            for other in others(value).iter().filter(|other| *other != value) {
                let mut table = table.clone();
                set(&mut table, path, other.clone());
                // Not a valid value of this key.
                let Ok(other) = table.try_into::<Experiment>() else {
                    continue;
                };
                let same = other.meaning() == experiment.meaning();
                assert_eq!(same, OTHER.contains(&path.as_str()), "{path}");
                changed += 1;
            }
        }
        assert!(
            all.len() > 45 && changed > all.len(),
            "{} {changed}",
            all.len()
        );
    }
}
