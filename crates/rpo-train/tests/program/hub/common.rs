//! A cache of the hub in the layout of the Python package.

use rpo_train::hub::{Environment, Repository};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

pub(crate) const COMMIT: &str = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14";
pub(crate) const OTHER: &str = "5cede9e4df2c2fac2e6a2f1a0e6d9f0d5e5a0b11";

pub(crate) fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// Puts a copy of `from` into the cache as `name` at `commit`: every file a link into `blobs`.
pub(crate) fn publish(cache: &Path, name: &str, commit: &str, from: &Path) -> PathBuf {
    fn link(from: &Path, to: &Path, blobs: &Path, up: &str) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                link(&entry.path(), &target, blobs, &format!("../{up}"));
            } else {
                let bytes = std::fs::read(entry.path()).unwrap();
                let blob = blake3::hash(&bytes).to_hex().to_string();
                std::fs::write(blobs.join(&blob), bytes).unwrap();
                symlink(format!("{up}blobs/{blob}"), target).unwrap();
            }
        }
    }
    let folder = cache.join(format!("models--{}", name.replace('/', "--")));
    let blobs = folder.join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(folder.join("refs")).unwrap();
    link(
        from,
        &folder.join("snapshots").join(commit),
        &blobs,
        "../../",
    );
    std::fs::write(folder.join("refs/main"), commit).unwrap();
    folder
}

pub(crate) fn repository(text: &str) -> Repository {
    Repository::parse(text).unwrap_or_else(|| panic!("{text} is a repository"))
}

pub(crate) fn environment(cache: &Path) -> Environment {
    Environment::new(|name| match name {
        "HF_HUB_CACHE" => Some(cache.display().to_string()),
        "HF_HUB_OFFLINE" => Some("1".into()),
        _ => None,
    })
}
