//! The experiments of the folder `experiments/`, inside the program, so that they can be run by name without their files.

use rpo_files::nearest;
use std::path::{Component, Path};

/// An experiment file inside the program.
#[derive(Debug, PartialEq, Eq)]
pub struct BuiltIn {
    /// Its path below `experiments/` without `.toml`: `quickstart`, `sizes/paper`.
    pub name: &'static str,
    /// Its content.
    pub text: &'static str,
}

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        &[$(BuiltIn {
            name: $name,
            text: include_str!(concat!("../../../experiments/", $name, ".toml")),
        }),*]
    };
}

/// The experiments that `rpo-train NAME` runs.
pub const EXPERIMENTS: &[BuiltIn] = built_in![
    "quickstart",
    "my_subject",
    "my_subject_sd15",
    "my_subject_sdxl",
    "ablation_lambda",
    "ablation_lambda_train",
    "ablation_components",
    "table1",
    "fewer_negatives",
    "sd15_rpo",
    "sd21_rpo",
    "sdxl_rpo_lora",
    "sd15_table1",
    "dreambench",
];

/// The sizes that `--with NAME` applies to an experiment.
pub const SIZES: &[BuiltIn] = built_in!["sizes/paper", "sizes/smoke"];

/// Prefix of the names of [`SIZES`].
const BELOW: &str = "sizes/";

impl BuiltIn {
    /// Its name in errors.
    pub fn label(&self) -> String {
        format!("{}.toml (built in)", self.name)
    }

    /// Its short name: `paper` for `sizes/paper`.
    pub fn short(&self) -> &'static str {
        self.name.strip_prefix(BELOW).unwrap_or(self.name)
    }

    /// One line about it: what it reproduces, else the first line of its text.
    pub fn about(&self) -> String {
        let table: toml::Table = toml::from_str(self.text).unwrap_or_default();
        let reproduces = table.get("reproduces").and_then(toml::Value::as_str);
        let first = self.text.lines().next().unwrap_or_default();
        reproduces.map_or_else(
            || first.trim_start_matches(['#', ' ']).to_owned(),
            str::to_owned,
        )
    }
}

/// The experiment that `path` names: `quickstart`, `quickstart.toml` or `experiments/quickstart.toml`.
pub fn experiment(path: &Path) -> Option<&'static BuiltIn> {
    let name = plain(path)?;
    EXPERIMENTS.iter().find(|b| b.name == name)
}

/// The size that `path` names: `paper`, `sizes/paper` or `experiments/sizes/paper.toml`.
pub fn size(path: &Path) -> Option<&'static BuiltIn> {
    let name = plain(path)?;
    SIZES.iter().find(|b| b.name == name || b.short() == name)
}

/// The end of an error about a file that neither exists nor is among `built_in`.
pub fn suggest(path: &Path, built_in: &[BuiltIn]) -> String {
    let names: Vec<&str> = built_in.iter().map(BuiltIn::short).collect();
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let meant = nearest(&stem, &names).map_or_else(
        || "give the path of a file or a name.".to_owned(),
        |name| format!("did you mean `{name}`?"),
    );
    format!(
        "{meant} Built in: {} (rpo-train experiments describes them)",
        names.join(", ")
    )
}

/// A relative path with slashes, without `experiments/` and `.toml`. `None` for a path that begins with a dot: it means a file.
fn plain(path: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = path
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    let joined = parts?.join("/");
    let name = joined.strip_prefix("experiments/").unwrap_or(&joined);
    Some(name.strip_suffix(".toml").unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
        let mut files = BTreeSet::new();
        for prefix in ["", BELOW] {
            for entry in std::fs::read_dir(root.join(prefix)).unwrap().flatten() {
                let name = entry.file_name().into_string().unwrap();
                if let Some(stem) = name.strip_suffix(".toml") {
                    files.insert(format!("{prefix}{stem}"));
                }
            }
        }
        let all = || EXPERIMENTS.iter().chain(SIZES);
        let listed: BTreeSet<String> = all().map(|b| b.name.to_owned()).collect();
        assert_eq!(listed, files);
        let short: BTreeSet<&str> = all().map(BuiltIn::short).collect();
        assert_eq!(short.len(), listed.len(), "a name is one thing");
    }

    #[test]
    fn those_of_tuning_can_be_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/tuning");
        let mut files = 0;
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (experiment, layers) = crate::read(&entry.path(), &[], &[]).unwrap();
            assert!(
                experiment.training_arms(&layers).unwrap().len() <= experiment.arms.len().max(1)
            );
            files += 1;
        }
        assert!(files > 2);
    }

    #[test]
    fn names_are_taken_with_and_without_folder_and_ending() {
        let of = |path: &str| experiment(Path::new(path)).map(|b| b.name);
        for path in [
            "quickstart",
            "quickstart.toml",
            "experiments/quickstart",
            "experiments/quickstart.toml",
        ] {
            assert_eq!(of(path), Some("quickstart"), "{path}");
        }
        for path in [
            "",
            "quick",
            "./quickstart",
            "/quickstart",
            "../quickstart",
            "a/quickstart",
            "paper",
            "sizes/paper",
            "run/resolved.toml",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
        let of = |path: &str| size(Path::new(path)).map(|b| b.name);
        for path in [
            "paper",
            "paper.toml",
            "sizes/paper",
            "experiments/sizes/paper.toml",
        ] {
            assert_eq!(of(path), Some("sizes/paper"), "{path}");
        }
        assert_eq!(of("quickstart"), None);
    }

    #[test]
    fn each_says_what_it_is() {
        for built_in in EXPERIMENTS.iter().chain(SIZES) {
            let about = built_in.about();
            assert!(about.len() > 10 && !about.starts_with('#'), "{about}");
        }
    }
}
