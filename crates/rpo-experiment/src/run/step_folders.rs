//! Folders `step-000120`, one per step, of which some are kept. Only this program's own files are removed.

use anyhow::Result;
use rpo_files::AtPath;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Name of a step's folder.
pub(super) fn name(step: usize) -> String {
    format!("step-{step:06}")
}

/// The steps that have a folder in `parent`, in order. Links and other names are ignored.
pub(super) fn steps(parent: &Path) -> Vec<usize> {
    let step = |entry: fs::DirEntry| {
        let file_name = entry.file_name();
        let step = file_name.to_str()?.strip_prefix("step-")?.parse().ok()?;
        let ours = entry.file_type().ok()?.is_dir() && *file_name == *name(step);
        ours.then_some(step)
    };
    let mut steps: Vec<usize> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(step)
        .collect();
    steps.sort_unstable();
    steps
}

/// Removes the folders of steps that are not in `keep`: their `files`, by path within them, then empty folders. A folder with
/// other files stays, with those files.
///
/// # Errors
/// I/O errors, by path.
pub(super) fn keep(parent: &Path, keep: &BTreeSet<usize>, files: &[&str]) -> Result<()> {
    for step in steps(parent).iter().filter(|step| !keep.contains(step)) {
        let folder = parent.join(name(*step));
        let mut within: BTreeSet<PathBuf> = BTreeSet::from([folder.clone()]);
        for file in files {
            let path = folder.join(file);
            within.extend(path.parent().map(Path::to_owned));
            absent(&path, fs::remove_file(&path))?;
        }
        // Deepest first.
        for folder in within.iter().rev() {
            absent(folder, fs::remove_dir(folder))?;
        }
    }
    Ok(())
}

/// Accepts that a path does not exist or that a folder is not empty.
fn absent(path: &Path, removed: std::io::Result<()>) -> Result<()> {
    match removed {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => Ok(()),
        removed => Ok(removed.removing(path)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("lora");
        let files = ["a.safetensors", "diffusers/b.safetensors"];
        let make = |place: &str| {
            for file in files {
                rpo_files::write(&parent.join(place).join(file), b"x").unwrap();
            }
        };
        for place in [
            "step-000010",
            "step-000020",
            "step-000030",
            "step-10",
            "step-000020-best",
        ] {
            make(place);
        }
        fs::write(parent.join("step-000020/notes.txt"), "mine").unwrap();
        fs::write(parent.join("readme"), "mine").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(parent.join("step-10"), parent.join("step-000040")).unwrap();
        assert_eq!(steps(&parent), [10, 20, 30]);
        keep(&parent, &BTreeSet::from([30]), &files).unwrap();
        let left = |place: &str| files.map(|file| parent.join(place).join(file).exists());
        assert!(!parent.join("step-000010").exists());
        assert_eq!(left("step-000020"), [false, false]);
        assert!(parent.join("step-000020/notes.txt").exists());
        for place in ["step-000030", "step-10", "step-000020-best"] {
            assert_eq!(left(place), [true, true], "{place}");
        }
        assert!(parent.join("readme").exists());
        keep(&folder.path().join("nowhere"), &BTreeSet::new(), &files).unwrap();
    }
}
