//! Damaged, shared, foreign or special files end with a message, and every existing byte stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const TRAJECTORY: &str = "trajectories/ours/lion/seed-0";

fn assets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro")
}

fn program(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .args(args)
        .output();
    output.expect("the program starts")
}

fn refused(code: i32, args: &[&str], words: &[&str]) {
    let output = program(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: no `{word}` in: {text}");
    }
}

/// A small run of one trajectory in `out`.
fn start(out: &Path) -> Child {
    let output = format!("output=\"{}\"", out.parent().unwrap().display());
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .args(["quickstart", "--with", "smoke", "--set", "subjects.count=1"])
        .args(["--set", "training.steps=8", "--set", "validation.every=2"])
        .args(["--set", "rules.patience=0", "--set", "rules.last=true"])
        .args(["--set", &output, "--out"])
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

fn run(out: &Path) -> (Option<i32>, String) {
    let output = start(out).wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

fn succeeds(out: &Path) {
    let (code, text) = run(out);
    assert_eq!(code, Some(0), "{text}");
}

/// All files below `folder` with their bytes; links with their targets.
fn all(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            found.extend(all(&path));
        } else if kind.is_symlink() {
            let to = fs::read_link(&path).unwrap();
            found.insert(path, to.into_os_string().into_encoded_bytes());
        } else if entry.file_name() != ".rpo-lock" && entry.file_name() != "life.json" {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn copy(from: &Path, to: &Path) {
    for (path, bytes) in all(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
    }
}

/// Kills a run after a validation and returns when it is gone.
fn interrupted(out: &Path) {
    let mut child = start(out);
    let (latest, begin) = (
        out.join(TRAJECTORY).join("state/latest.json"),
        Instant::now(),
    );
    let step = || {
        let text = fs::read_to_string(&latest).unwrap_or_default();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        value["step"].as_u64().unwrap_or(0)
    };
    while step() < 2 {
        assert!(begin.elapsed() < Duration::from_secs(120), "it is slow");
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Flips a bit in the weights of a state or checkpoint.
fn flip_weights(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

type Damage = (&'static str, fn(&Path), &'static [&'static str]);

/// Damages of a record, and the messages about them.
const DAMAGES: [Damage; 5] = [
    ("cut", |t| set_len(t, 300), &["300 of", "delete"]),
    ("empty", |t| set_len(t, 0), &["0 of", "delete"]),
    (
        "gone",
        |t| fs::remove_file(t.join("metrics.jsonl")).unwrap(),
        &["0 of", "delete"],
    ),
    ("flipped", |t| flip(t, 0x01), &["another hash", "delete"]),
    ("binary", |t| flip(t, 0x80), &["another hash", "delete"]),
];

fn set_len(trajectory: &Path, bytes: u64) {
    let file = fs::File::options()
        .write(true)
        .open(trajectory.join("metrics.jsonl"));
    file.unwrap().set_len(bytes).unwrap();
}

fn flip(trajectory: &Path, bit: u8) {
    let path = trajectory.join("metrics.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= bit;
    fs::write(&path, bytes).unwrap();
}

fn stays_as_it_is(out: &Path, what: &str, words: &[&str]) {
    let trajectories = out.join("trajectories");
    let before = all(&trajectories);
    let (code, text) = run(out);
    assert_eq!(code, Some(1), "{what}: {text}");
    for word in words {
        assert!(text.contains(word), "{what}: no `{word}` in: {text}");
    }
    assert!(all(&trajectories) == before, "{what}: files changed");
}

#[test]
fn a_damaged_record_stops_the_run_and_nothing_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let half = folder.path().join("half");
    interrupted(&half);
    let whole = folder.path().join("whole");
    copy(&half, &whole);
    // What a kill leaves, and files of the user.
    let trajectory = whole.join(TRAJECTORY);
    let swept = [
        trajectory.join("state/step-000001/weights.safetensors"),
        trajectory.join("state/.rpo-unfinished-abcdef"),
    ];
    let mut theirs = [
        "notes.part",
        "state/mine/notes",
        "unet/best/model.bin",
        "video.mp4.part",
    ]
    .map(|name| trajectory.join(name))
    .to_vec();
    for path in swept.iter().chain(&theirs) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    #[cfg(unix)]
    {
        theirs.push(trajectory.join("itself"));
        std::os::unix::fs::symlink(&trajectory, trajectory.join("itself")).unwrap();
    }
    succeeds(&whole);
    assert!(swept.iter().all(|path| !path.exists()));
    assert!(
        theirs.iter().all(|path| path.exists()),
        "something of the user is gone"
    );
    #[cfg(unix)]
    fs::remove_file(trajectory.join("itself")).unwrap();

    for (run, name) in [(&half, "half"), (&whole, "whole")] {
        for (damage, apply, words) in DAMAGES {
            let copied = folder.path().join(format!("{name}-{damage}"));
            copy(run, &copied);
            apply(&copied.join(TRAJECTORY));
            stays_as_it_is(&copied, &format!("{name} {damage}"), words);
        }
    }
    // The state is missing, the record exists.
    let copied = folder.path().join("state");
    copy(&half, &copied);
    fs::remove_file(copied.join(TRAJECTORY).join("state/latest.json")).unwrap();
    stays_as_it_is(&copied, "no state", &["latest.json", "delete"]);
    let copied = folder.path().join("weights");
    copy(&half, &copied);
    let state = copied.join(TRAJECTORY).join("state");
    let latest = fs::read(state.join("latest.json")).unwrap();
    let latest: serde_json::Value = serde_json::from_slice(&latest).unwrap();
    let step = state.join(format!("step-{:06}", latest["step"].as_u64().unwrap()));
    flip_weights(&step.join("weights.safetensors"));
    let before = (
        all(&step),
        fs::read(copied.join(TRAJECTORY).join("metrics.jsonl")).unwrap(),
    );
    let (code, text) = run(&copied);
    assert_eq!(code, Some(1), "{text}");
    for word in ["weights.safetensors", "checksum", "delete"] {
        assert!(text.contains(word), "no `{word}` in: {text}");
    }
    let after = (
        all(&step),
        fs::read(copied.join(TRAJECTORY).join("metrics.jsonl")).unwrap(),
    );
    assert!(before == after);
    let copied = folder.path().join("result");
    copy(&whole, &copied);
    let results = copied.join(TRAJECTORY).join("test");
    let base = results.join("step-000000.json");
    let text = fs::read_to_string(&base).unwrap();
    let words = ["step-000000.json", "checksum", "delete"];
    // A digit, and what makes it no JSON.
    for changed in [text.replacen("0.", "1.", 1), text.replacen('{', "[", 1)] {
        fs::write(&base, changed).unwrap();
        stays_as_it_is(&copied, "a test result", &words);
    }
    // As the hint says.
    fs::remove_file(&base).unwrap();
    succeeds(&copied);
    assert_eq!(fs::read_to_string(&base).unwrap(), text);
    let copied = folder.path().join("checkpoint");
    copy(&whole, &copied);
    let kept = copied.join(TRAJECTORY).join("unet");
    let step = fs::read_dir(&kept).unwrap().flatten().map(|e| e.path());
    for step in step.filter(|p| p.join("blake3.txt").exists()) {
        flip_weights(&step.join("diffusion_pytorch_model.safetensors"));
    }
    fs::remove_dir_all(copied.join(TRAJECTORY).join("test")).unwrap();
    // The last step is always tested.
    let (code, text) = run(&copied);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("diffusion_pytorch_model.safetensors") && text.contains("checksum"),
        "{text}"
    );
    let copied = folder.path().join("state");
    // As the hint says.
    fs::remove_dir_all(copied.join(TRAJECTORY)).unwrap();
    succeeds(&copied);
    let record = |out: &Path| fs::read(out.join(TRAJECTORY).join("metrics.jsonl")).unwrap();
    assert!(record(&copied) == record(&whole));
}

#[test]
fn two_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut first = start(&out);
    let begin = Instant::now();
    while !out.join("run.json").exists() {
        assert!(begin.elapsed() < Duration::from_secs(120), "it is slow");
        std::thread::sleep(Duration::from_millis(2));
    }
    let (code, text) = run(&out);
    assert!(first.try_wait().unwrap().is_none(), "it ended too early");
    assert_eq!(code, Some(2), "{text}");
    let holder = format!("process {}", first.id());
    assert!(
        text.contains(&holder) && text.contains("works in this folder"),
        "{text}"
    );
    assert!(first.wait().unwrap().success());
    succeeds(&out);
}

#[test]
fn a_folder_that_is_no_run_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["run.json", "table.csv", "holiday.jpg"] {
        let out = folder.path().join(name);
        fs::create_dir(&out).unwrap();
        fs::write(out.join(name), "mine").unwrap();
        let before = all(&out);
        let (code, text) = run(&out);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(name) && text.contains("--out"), "{text}");
        assert!(all(&out) == before);
        assert!(!out.join(".rpo-lock").exists());
    }
}

#[test]
fn results_take_no_place_of_inputs_devices_or_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(at("photos")).unwrap();
    for i in 0..2u8 {
        let picture = image::RgbImage::from_pixel(64, 64, image::Rgb([90 * i, 80, 200]));
        picture.save(at(&format!("photos/{i}.png"))).unwrap();
        fs::write(at(&format!("photos/{i}.txt")), "a dog").unwrap();
    }
    fs::write(
        at("prompts.json"),
        r#"{"0.png": "a \"kernels_version\"", "1.png": "a dog"}"#,
    )
    .unwrap();
    fs::write(at("notes"), "mine").unwrap();
    let (photos, prompts) = (at("photos"), at("prompts.json"));
    let eval = [
        "eval",
        "--references",
        &photos,
        "--pictures",
        &photos,
        "--prompts",
        &prompts,
    ];
    let vae = assets().join("vae").display().to_string();
    let forward = [
        "forward",
        "--model",
        &vae,
        "--part",
        "vae-decode",
        "--inputs",
    ];
    let latents = candle_core::Tensor::zeros(
        (1, 4, 8, 8),
        candle_core::DType::F32,
        &candle_core::Device::Cpu,
    );
    let inputs = at("inputs.safetensors");
    candle_core::safetensors::save(&[("latents", latents.unwrap())].into(), &inputs).unwrap();
    let mut places = vec![
        (at("photos/0.png"), "no earlier result"),
        (at("photos/0.txt"), "no earlier result"),
        (at("notes"), "no earlier result"),
        (at("photos"), "a folder is there"),
    ];
    #[cfg(unix)]
    {
        places.push(("/dev/null".into(), "a device"));
        std::os::unix::fs::symlink(at("notes"), at("link")).unwrap();
        places.push((at("link"), "a link is there"));
    }
    let before = all(folder.path());
    for (place, words) in &places {
        refused(2, &[&eval[..], &["--out", place]].concat(), &[words]);
        refused(
            2,
            &[&forward[..], &[&inputs, "--output", place]].concat(),
            &[words],
        );
        // The runs need not exist: the output path is checked first.
        refused(2, &["report", "a", "b", "--out", place], &[words]);
    }
    refused(2, &[&eval[..], &["--out", &prompts]].concat(), &["is read"]);
    refused(
        2,
        &[&forward[..], &[&inputs, "--output", &inputs]].concat(),
        &["is read"],
    );
    assert!(all(folder.path()) == before);
    // An earlier result is replaced.
    let (scores, decoded) = (at("eval.json"), at("decoded.safetensors"));
    for _ in 0..2 {
        let output = program(&[&eval[..], &["--out", &scores]].concat());
        assert!(output.status.success(), "{output:?}");
        let output = program(&[&forward[..], &[&inputs, "--output", &decoded]].concat());
        assert!(output.status.success(), "{output:?}");
    }
}
