//! The program, and a small run to export from.

use rpo_nn::weights::{Archive, Params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use tempfile::TempDir;

pub(crate) fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
        .canonicalize()
        .unwrap()
}

/// Where these tests unpack the embedded model.
pub(crate) fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("rpo-cache")
}

pub(crate) fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .env("RPO_CACHE", cache())
        .args(args)
        .output()
        .unwrap()
}

pub(crate) fn succeeds(args: &[&str]) -> String {
    let output = program(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn refused(args: &[&str], words: &[&str]) {
    let output = program(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: no `{word}` in: {text}");
    }
}

/// A finished run of two steps with a trained U-Net (arm `whole`) and one with adapters (arm `lora`).
pub(crate) fn run() -> &'static Path {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let folder = RUN.get_or_init(|| {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = folder.path().join("experiment.toml");
        let text = r#"
            [subjects]
            count = 1
            [sampler]
            steps = 2
            [training]
            steps = 2
            batch = 1
            learning_rate = 1e-3
            [validation]
            every = 2
            prompts = 1
            pictures_per_prompt = 1
            [test]
            prompts = 1
            pictures_per_prompt = 1
            [[arm]]
            name = "whole"
            [[arm]]
            name = "lora"
            lora = { rank = 2 }
        "#;
        std::fs::write(&file, text).unwrap();
        let out = folder.path().join("run");
        let output = format!("output={}", folder.path().display());
        let [file, out] = [&file, &out].map(|p| p.to_str().unwrap());
        succeeds(&["run", file, "--out", out, "--set", &output]);
        folder
    });
    Box::leak(folder.path().join("run").into_boxed_path())
}

pub(crate) fn kept(arm: &str) -> PathBuf {
    run().join(format!(
        "trajectories/{arm}/lion/seed-0/unet/step-000002/diffusion_pytorch_model.safetensors"
    ))
}

pub(crate) fn values(params: &Params) -> BTreeMap<String, Vec<f32>> {
    let tensors = params.tensors_sorted().unwrap();
    tensors
        .into_iter()
        .map(|(n, t)| (n, t.flatten_all().unwrap().to_vec1().unwrap()))
        .collect()
}

pub(crate) fn archived(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let archive = Archive::open(path).unwrap();
    let names = archive.names();
    names
        .map(|n| (n.to_owned(), archive.values(n).unwrap()))
        .collect()
}

/// Names and contents of all files below a folder.
pub(crate) fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = PathBuf::from(entry.file_name());
        if entry.path().is_dir() {
            let inner = files(&entry.path()).into_iter();
            all.extend(inner.map(|(path, bytes)| (name.join(path), bytes)));
        } else {
            all.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

pub(crate) fn export(to: &Path, more: &[&str]) -> String {
    let mut args = vec![
        "export",
        run().to_str().unwrap(),
        "--to",
        to.to_str().unwrap(),
    ];
    args.extend(more);
    succeeds(&args)
}

pub(crate) const WHOLE: [&str; 4] = ["--trajectory", "whole/lion/seed-0", "--step", "2"];

pub(crate) fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        let path = to.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
