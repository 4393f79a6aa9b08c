//! A run that is killed at random moments and started again ends with the same bytes as one that was left alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kills in all, over as many runs as it takes.
const KILLS: usize = 20;

fn start(out: &Path) -> Child {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .arg(experiments.join("ablation_lambda.toml"))
        .arg("--with")
        .arg(experiments.join("sizes/smoke.toml"))
        .args(["--set", "subjects.count=1", "--set", "training.steps=6"])
        .arg("--set")
        .arg(format!("output=\"{}\"", out.display()))
        .arg("--out")
        .arg(out.join("run"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts")
}

/// Every file whose bytes must not depend on interruptions: all but clocks, the report that shows them, and the state that is gone.
fn results(out: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(folder: &Path, root: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, root, into);
            } else {
                let name = path
                    .strip_prefix(root)
                    .expect("below the root")
                    .to_path_buf();
                into.insert(name, std::fs::read(&path).expect("a file"));
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(&out.join("run"), &out.join("run"), &mut all);
    let clocks = ["times.json", "report.html", "report.json", "resolved.toml"];
    all.retain(|path, _| !clocks.iter().any(|c| path.ends_with(c)));
    // A kill may leave a temporary file behind; it is never read.
    all.retain(|path, _| {
        !path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with('.'))
    });
    all
}

#[test]
fn kills_at_random_moments_change_no_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let alone = folder.path().join("alone");
    let begin = Instant::now();
    assert!(start(&alone).wait().expect("it runs").success());
    let duration = begin.elapsed();
    let expected = results(&alone);
    let weights = expected
        .keys()
        .filter(|p| p.ends_with("diffusion_pytorch_model.safetensors"));
    assert!(weights.count() > 0 && expected.keys().any(|p| p.ends_with("metrics.jsonl")));

    let mut rng = rpo_data::random::stream(7, "kills", &[]);
    let (mut kills, mut run) = (0, 0);
    let mut out = folder.path().join("killed-0");
    while kills < KILLS {
        let mut child = start(&out);
        let until = Instant::now() + duration.mul_f64(rpo_data::random::unit(&mut rng));
        let finished = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                assert!(status.success(), "it failed after {kills} kills: {status}");
                break true;
            }
            if Instant::now() > until {
                break false;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        if finished {
            compare(&expected, &results(&out), kills);
            run += 1;
            out = folder.path().join(format!("killed-{run}"));
        } else {
            // SIGKILL: nothing is flushed, no handler runs.
            child.kill().expect("it can be killed");
            child.wait().expect("it is gone");
            kills += 1;
        }
    }
    assert!(start(&out).wait().expect("it runs").success());
    compare(&expected, &results(&out), kills);
}

fn compare(
    expected: &BTreeMap<PathBuf, Vec<u8>>,
    found: &BTreeMap<PathBuf, Vec<u8>>,
    kills: usize,
) {
    let names = |m: &BTreeMap<PathBuf, Vec<u8>>| m.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(expected), names(found), "after {kills} kills");
    for (path, bytes) in expected {
        assert!(
            found[path] == *bytes,
            "{} differs after {kills} kills",
            path.display()
        );
    }
}
