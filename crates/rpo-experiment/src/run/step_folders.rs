//! Folders `step-000120`, one per checkpoint, of which some are kept. Only this program's own files are removed.

use anyhow::Result;
use rpo_files::AtPath;
use rpo_reward::Candidate;
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The checkpoints that have a folder in `parent`, in order. Links and other names are ignored.
pub(super) fn found(parent: &Path) -> Vec<Candidate> {
    let candidate = |entry: fs::DirEntry| {
        let file_name = entry.file_name();
        let candidate = Candidate::of_folder(file_name.to_str()?)?;
        entry.file_type().ok()?.is_dir().then_some(candidate)
    };
    let mut found: Vec<Candidate> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(candidate)
        .collect();
    found.sort_unstable();
    found
}

/// Removes the folders of checkpoints that are not in `keep`: their `files`, by path within them, then empty folders. A folder with
/// other files stays, with those files.
///
/// # Errors
/// I/O errors, by path.
pub(super) fn keep(parent: &Path, keep: &BTreeSet<Candidate>, files: &[&str]) -> Result<()> {
    for candidate in found(parent).into_iter().filter(|c| !keep.contains(c)) {
        let folder = parent.join(candidate.folder());
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
            "step-000030-ema",
            "step-000030-scale-0.4",
            "step-10",
            "step-000020-best",
        ] {
            make(place);
        }
        fs::write(parent.join("step-000020/notes.txt"), "mine").unwrap();
        fs::write(parent.join("readme"), "mine").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(parent.join("step-10"), parent.join("step-000040")).unwrap();
        let names = |found: Vec<Candidate>| found.iter().map(|c| c.to_string()).collect::<Vec<_>>();
        let all = ["10", "20", "30 (scale 0.4)", "30 (EMA)", "30"];
        assert_eq!(names(found(&parent)), all);
        let wanted: BTreeSet<Candidate> = ["30", "30-ema"].map(|c| c.parse().unwrap()).into();
        keep(&parent, &wanted, &files).unwrap();
        let left = |place: &str| files.map(|file| parent.join(place).join(file).exists());
        assert!(!parent.join("step-000010").exists());
        assert_eq!(left("step-000020"), [false, false]);
        assert!(parent.join("step-000020/notes.txt").exists());
        assert!(!parent.join("step-000030-scale-0.4").exists());
        for place in [
            "step-000030",
            "step-000030-ema",
            "step-10",
            "step-000020-best",
        ] {
            assert_eq!(left(place), [true, true], "{place}");
        }
        assert!(parent.join("readme").exists());
        keep(&folder.path().join("nowhere"), &BTreeSet::new(), &files).unwrap();
    }
}
