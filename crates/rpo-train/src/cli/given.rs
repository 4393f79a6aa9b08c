//! Refuses a path that a verb cannot use, and says which verb fits.

use crate::thing::Thing;
use anyhow::Result;
use rpo_experiment::built_in;
use rpo_files::AtPath;
use rpo_files::failure::BadInput;
use std::fs;
use std::path::Path;

/// Files that a run folder may have alone: a run of 0.1.0 was only rendered.
const OF_RUNS: [&str; 2] = ["plan.json", "report.json"];

const PICTURES: [&str; 11] = [
    "jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "heic", "heif", "avif",
];

/// Refuses a path that cannot be an experiment.
///
/// # Errors
/// [`BadInput`] that says what it is.
pub(super) fn want_experiment(path: &Path) -> Result<()> {
    let file = path.with_added_extension("toml");
    if file.is_file() && path.is_dir() || built_in::experiment(path).is_some() {
        return Ok(());
    }
    const WANTED: &str = "an experiment is asked for";
    refuse_pictures(path, WANTED)?;
    match Thing::at(path) {
        // A pipe may hold one, as a shell's `<(…)` does.
        None | Some(Thing::Experiment | Thing::File | Thing::Device) => Ok(()),
        Some(other) => Err(BadInput::new(other.refused(path, WANTED))),
    }
}

/// Refuses a path that is no run folder.
///
/// # Errors
/// [`BadInput`] that says what it is, or where the existing part of the path ends.
pub(super) fn want_run(path: &Path) -> Result<()> {
    let about = fs::metadata(path).reading(path);
    about.map_err(|e| BadInput::new(format!("no run is there: {e}")))?;
    if OF_RUNS.iter().any(|file| path.join(file).is_file()) {
        return Ok(());
    }
    const WANTED: &str = "a run folder is asked for";
    refuse_pictures(path, WANTED)?;
    match Thing::at(path) {
        None | Some(Thing::Run) => Ok(()),
        Some(other) => Err(BadInput::new(other.refused(path, WANTED))),
    }
}

fn refuse_pictures(path: &Path, wanted: &str) -> Result<()> {
    let of = |path: &Path| {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        PICTURES.iter().any(|e| ending == *e)
    };
    let (what, folder) = match Thing::at(path) {
        Some(Thing::File) if of(path) => ("is a picture", "FOLDER".to_owned()),
        Some(Thing::Folder) => {
            let mut entries = fs::read_dir(path).into_iter().flatten().flatten();
            if !entries.any(|entry| of(&entry.path())) {
                return Ok(());
            }
            ("holds pictures", path.display().to_string())
        }
        _ => return Ok(()),
    };
    Err(BadInput::new(format!(
        "{} {what}, {wanted}\n  hint: pictures of a subject, in a folder, are trained on by rpo-train my_subject --set subjects.path={folder} --set subjects.class=CLASS",
        path.display()
    )))
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
        for name in ["a.toml", "a.ckpt", "a.png", "a.txt"] {
            fs::write(at(name), "").unwrap();
        }
        let said = |result: Result<()>| result.err().map_or_else(String::new, |e| e.to_string());
        let cases = [
            ("run", "a run folder", ""),
            ("model", "a model folder", "a model folder"),
            ("dog", "my_subject", "my_subject"),
            ("x", "a folder", "a folder"),
            ("a.toml", "", "rpo-train run"),
            ("a.ckpt", "pickle", "pickle"),
            ("a.png", "subjects.path=FOLDER", "subjects.path=FOLDER"),
            // Read, and refused as TOML if it is none.
            ("a.txt", "", "a file"),
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
