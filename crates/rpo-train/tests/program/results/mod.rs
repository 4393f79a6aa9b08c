//! The files of a run that must not depend on who ran it, where, when and how often it was interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Files and folders that hold times, processes or paths of a run.
const OTHER: [&str; 9] = [
    "tensorboard",
    "times.json",
    "costs.csv",
    "life.json",
    "log.txt",
    "report.html",
    "report.json",
    "resolved.toml",
    "plan.json",
];

/// Their bytes by path within the run, without those named `less`. Names with a dot first are locks, or what a kill left behind.
pub(crate) fn results(run: &Path, less: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    walk(run, run, less, &mut all);
    all
}

fn walk(folder: &Path, run: &Path, less: &[&str], into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if OTHER.iter().chain(less).any(|other| name == *other) || name.starts_with('.') {
            continue;
        } else if path.is_dir() {
            walk(&path, run, less, into);
        } else {
            let within = path.strip_prefix(run).expect("below the run").to_owned();
            into.insert(within, fs::read(&path).expect("a file"));
        }
    }
}
