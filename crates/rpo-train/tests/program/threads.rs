//! A whole run on 1, 2 and 3 threads: negatives, labels, gradient steps, pictures, rewards and tests are the same bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Files and folders that hold times, the number of threads or a path.
const ELSEWISE: [&str; 9] = [
    "tensorboard",
    "run.json",
    "times.json",
    "costs.csv",
    "life.json",
    "report.html",
    "report.json",
    "resolved.toml",
    "plan.json",
];

fn run(threads: usize, sets: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let output = Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .env("RAYON_NUM_THREADS", threads.to_string())
        .arg(experiments.join("ablation_lambda.toml"))
        .arg("--with")
        .arg(experiments.join("sizes/smoke.toml"))
        .args(["--set", "subjects.count=1"])
        .args(sets.iter().flat_map(|set| ["--set", *set]))
        .arg("--set")
        .arg(format!("output=\"{}\"", folder.path().display()))
        .arg("--out")
        .arg(folder.path().join("run"))
        .output()
        .expect("the program starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut files = BTreeMap::new();
    walk(&folder.path().join("run"), Path::new(""), &mut files);
    files.retain(|path, _| {
        !ELSEWISE
            .iter()
            .any(|name| path.iter().any(|part| part == *name))
    });
    files
}

fn walk(root: &Path, below: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(root.join(below))
        .expect("a folder")
        .flatten()
    {
        let name = below.join(entry.file_name());
        if entry.path().is_dir() {
            walk(root, &name, into);
        } else {
            into.insert(name, std::fs::read(entry.path()).expect("a file"));
        }
    }
}

fn compare(sets: &[&str]) {
    let one = run(1, sets);
    let ends = |end: &str| one.keys().any(|path| path.ends_with(end));
    assert!(ends("metrics.jsonl") && ends("table.csv"));
    assert!(
        one.keys()
            .any(|p| p.extension().is_some_and(|e| e == "safetensors"))
    );
    for threads in [2, 3] {
        let more = run(threads, sets);
        assert!(
            one.keys().eq(more.keys()),
            "other files on {threads} threads"
        );
        for (path, bytes) in &one {
            assert!(
                more[path] == *bytes,
                "{} differs on {threads} threads",
                path.display()
            );
        }
    }
}

#[test]
fn no_byte_of_a_run_depends_on_the_number_of_threads() {
    compare(&["training.batch=2"]);
}

#[test]
fn nor_with_adapters_recomputed_blocks_and_guidance_on_a_part() {
    compare(&[
        "lora.rank=4",
        "training.recompute=true",
        "sampler.guidance_interval=[0.3, 1]",
    ]);
}
