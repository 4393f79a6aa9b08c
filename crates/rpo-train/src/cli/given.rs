//! A path that a verb cannot use: what it is, and which verb fits.

use anyhow::Result;
use rpo_experiment::built_in;
use rpo_files::AtPath;
use rpo_files::failure::BadInput;
use std::fs;
use std::path::Path;

/// Files of which every run folder has at least one; runs of 0.1.0 that were only rendered have the last.
const OF_RUNS: [&str; 4] = ["run.json", "resolved.toml", "plan.json", "report.json"];

const PICTURES: [&str; 11] = [
    "jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "heic", "heif", "avif",
];

/// Refuses a path that cannot be an experiment.
///
/// # Errors
/// [`BadInput`] that says what it is.
pub(super) fn want_experiment(path: &Path) -> Result<()> {
    let toml = path.with_added_extension("toml");
    if !path.exists() || path.is_dir() && toml.is_file() || built_in::experiment(path).is_some() {
        return Ok(());
    }
    match described(path).filter(|kind| kind.name != "an experiment") {
        Some(kind) => Err(kind.refused(path, "an experiment file is wanted")),
        None => Ok(()),
    }
}

/// Refuses a path that is no run folder.
///
/// # Errors
/// [`BadInput`] that says what it is, or where the existing part of the path ends.
pub(super) fn want_run(path: &Path) -> Result<()> {
    let about = fs::metadata(path).reading(path);
    about.map_err(|e| BadInput::new(format!("no run is there: {e}")))?;
    match described(path) {
        Some(kind) if kind.name == "a run" => Ok(()),
        Some(kind) => Err(kind.refused(
            path,
            "a run is wanted, the folder that `rpo-train FILE` made",
        )),
        None => Err(BadInput::new(format!(
            "{}: this is no run\n  hint: give the folder that `rpo-train FILE` made",
            path.display()
        ))),
    }
}

struct Kind {
    name: &'static str,
    hint: String,
}

impl Kind {
    fn refused(&self, path: &Path, wanted: &str) -> anyhow::Error {
        let Self { name, hint } = self;
        BadInput::new(format!(
            "{}: this is {name}, and {wanted}\n  hint: {hint}",
            path.display()
        ))
    }
}

/// What is at `path`, by its name and the files in it, and what to do with it.
fn described(path: &Path) -> Option<Kind> {
    let p = path.display();
    let kind = |name, hint: String| Some(Kind { name, hint });
    const OWN: &str = "--set subjects.class=CLASS";
    if path.is_dir() {
        if OF_RUNS.iter().any(|file| path.join(file).is_file()) {
            return kind(
                "a run",
                format!(
                    "`rpo-train FILE --out {p}` with the same FILE resumes it, `rpo-train report {p}` shows it, `rpo-train generate {p}` draws with it"
                ),
            );
        }
        if path.join("model_index.json").is_file() {
            return kind(
                "a model",
                format!(
                    "`rpo-train quickstart --set model.path={p}` trains it, `rpo-train export {p} --to NAME.safetensors` converts it"
                ),
            );
        }
        let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
        return match entries.any(|entry| ends_in(&entry.path(), &PICTURES)) {
            true => kind(
                "a folder of pictures",
                format!("`rpo-train my_subject --set subjects.path={p} {OWN}` trains on them"),
            ),
            false => kind(
                "a folder",
                "name a file, or a folder that holds a run".into(),
            ),
        };
    }
    if ends_in(path, &["toml"]) {
        return kind("an experiment", format!("`rpo-train {p}` runs it"));
    }
    if ends_in(path, &["safetensors"]) {
        return kind(
            "a file of weights",
            format!(
                "`rpo-train lora info {p}` describes a LoRA, `rpo-train import {p}` makes a model folder of a single-file checkpoint"
            ),
        );
    }
    if ends_in(path, &["ckpt", "pt", "pth", "bin"]) {
        return kind(
            "a pickle of PyTorch",
            "convert it to safetensors first: a pickle runs code when it is read".into(),
        );
    }
    if ends_in(path, &PICTURES) {
        return kind(
            "a picture",
            format!(
                "put the pictures of the subject into a folder: `rpo-train my_subject --set subjects.path=FOLDER {OWN}`"
            ),
        );
    }
    None
}

fn ends_in(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    endings.iter().any(|e| ending == *e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_named_and_the_fitting_verb_too() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [
            "run/run.json",
            "model/model_index.json",
            "dog/1.JPG",
            "x/notes",
        ] {
            rpo_files::write(&at(name), b"{}").unwrap();
        }
        for name in ["a.toml", "a.safetensors", "a.ckpt", "a.png", "a.txt"] {
            fs::write(at(name), "").unwrap();
        }
        let said = |result: Result<()>| result.err().map_or_else(String::new, |e| e.to_string());
        let cases = [
            ("run", "this is a run", ""),
            ("model", "a model", "a model"),
            ("dog", "my_subject", "my_subject"),
            ("x", "a folder", "a folder"),
            ("a.toml", "", "rpo-train "),
            ("a.safetensors", "lora info", "lora info"),
            ("a.ckpt", "pickle", "pickle"),
            ("a.png", "subjects.path", "subjects.path"),
            // Read, and refused as TOML where it is none.
            ("a.txt", "", "no run"),
            ("nothing", "", "has no nothing"),
        ];
        for (name, experiment, run) in cases {
            for (said, words) in [
                (said(want_experiment(&at(name))), experiment),
                (said(want_run(&at(name))), run),
            ] {
                assert!(said.contains(words), "{name}: no `{words}` in: {said}");
                assert_eq!(said.is_empty(), words.is_empty(), "{name}: {said}");
            }
        }
        // Beside a folder of the same name.
        fs::write(at("x.toml"), "").unwrap();
        assert_eq!(said(want_experiment(&at("x"))), "");
    }
}
