//! A training that is stopped or killed and resumed ends with the same bits as an uninterrupted one; a release leaves it untouched.

use rpo_diffusion::load_unet;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn micro() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro")
}

fn program(verb: &str, state: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpo-pretrain"));
    command
        .args([verb, "--model"])
        .arg(micro())
        .arg("--state")
        .arg(state)
        .args(more);
    command
}

fn train(state: &Path, more: &[&str]) -> Command {
    // A window is eight steps.
    let small = ["--window", "16", "--batch", "4", "--sheet-every", "0"];
    let mut command = program("unet", state, &small);
    command.args(more);
    command
}

fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    output
}

/// The newest save; a finished program leaves no other.
fn save(state: &Path) -> PathBuf {
    let names = fs::read_dir(state).unwrap().map(|e| e.unwrap().path());
    let is_save = |p: &PathBuf| p.file_name().is_some_and(|n| *n > *"step-");
    names.filter(is_save).max().unwrap()
}

const FILE: &str = "diffusion_pytorch_model.safetensors";

fn weights(state: &Path) -> Vec<Vec<u8>> {
    let save = save(state);
    let files = [
        save.join("weights").join(FILE),
        save.join("averages").join(FILE),
        save.join("optimizer.safetensors"),
    ];
    files.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn record(state: &Path) -> Value {
    serde_json::from_slice(&fs::read(save(state).join("record.json")).unwrap()).unwrap()
}

/// Kills the program after its first save.
fn kill_after_a_save(mut child: Child, state: &Path) {
    let begin = Instant::now();
    let saved = || {
        let mut entries = fs::read_dir(state).into_iter().flatten().flatten();
        entries.any(|e| *e.file_name() > *"step-000000000")
    };
    while !saved() {
        assert!(begin.elapsed() < Duration::from_secs(300), "no save");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn refused(command: &mut Command, words: &[&str]) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn killed_and_stopped_training_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    // Into the second window.
    done(&mut train(&whole, &["--until", "12"]));

    let mut endless = train(&parts, &["--save-every", "0"]);
    let child = endless.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    kill_after_a_save(child.unwrap(), &parts);
    let killed_at = record(&parts)["step"].as_u64().unwrap();
    assert!(
        killed_at < 9,
        "killed too late to tell anything: {killed_at}"
    );
    // Left by a kill in the middle of a save.
    fs::create_dir_all(parts.join(".rpo-unfinished-abcdef")).unwrap();
    done(&mut train(&parts, &["--until", "9", "--threads", "1"]));
    done(&mut train(&parts, &["--until", "12"]));
    let mut left: Vec<_> = fs::read_dir(&parts)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, [".rpo-lock", "step-000000012"]);
    assert!(weights(&whole) == weights(&parts), "other bits");
    assert_eq!(record(&whole)["step"], 12);

    // A last step in the past is no error and does no step.
    done(&mut train(&whole, &["--until", "3"]));
    assert!(weights(&whole) == weights(&parts), "other bits");
    refused(
        &mut train(&whole, &["--learning-rate", "1e-4"]),
        &["learning_rate", "0.001", "--state"],
    );
    let vae = micro().join("vae");
    let words = ["--from", vae.to_str().unwrap()];
    refused(train(&whole, &[]).arg("--from").arg(&vae), &words);

    releases(&whole, folder.path());
}

fn releases(state: &Path, folder: &Path) {
    let (own, to) = (folder.join("release"), folder.join("unet"));
    let release = |steps: &str| {
        let mut command = program("release", state, &["--steps", steps]);
        command.arg("--decay-state").arg(&own).arg("--to").arg(&to);
        command
    };
    let before = weights(state);
    done(&mut release("3"));
    assert!(weights(state) == before, "the training was changed");
    assert_eq!(record(&own)["step"], 15);
    assert_eq!(
        record(&own)["settings"]["decay"],
        serde_json::json!([12, 3])
    );

    // The written weights are the averages, rounded.
    let (_, written) = load_unet(&to, None).unwrap();
    let (_, averages) = load_unet(&save(&own).join("averages"), None).unwrap();
    let pairs = written.tensors_sorted().unwrap();
    for ((name, a), (_, b)) in pairs.iter().zip(averages.tensors_sorted().unwrap()) {
        let flat = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (a, b) in flat(a).into_iter().zip(flat(&b)) {
            assert!(
                (a - b).abs() <= 5e-4 * b.abs() + 1e-7,
                "{name}: {a} and {b}"
            );
        }
    }

    // The same command again does nothing; another length or a longer training is another release.
    let released = fs::read(to.join(FILE)).unwrap();
    done(&mut release("3"));
    assert!(fs::read(to.join(FILE)).unwrap() == released);
    refused(&mut release("4"), &["step 12 in 3 steps", "--decay-state"]);
    done(&mut train(state, &["--until", "15"]));
    refused(&mut release("3"), &["step 12 in 3 steps", "step 15 in 3"]);
    // At the constant rate the same steps give other weights.
    assert!(
        weights(state)[0] != weights(&own)[0],
        "the rate did not decay"
    );
}

#[test]
fn one_program_works_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = train(folder.path(), &["--save-every", "0", "--min-snr", "5"]);
    let first = first.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let begin = Instant::now();
    while !folder.path().join(".rpo-lock").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "no lock");
        std::thread::sleep(Duration::from_millis(20));
    }
    refused(&mut train(folder.path(), &[]), &["works in this folder"]);
    // The first one is unharmed.
    kill_after_a_save(first.unwrap(), folder.path());
    assert_eq!(record(folder.path())["settings"]["min_snr"], 5.);
}

#[test]
fn bad_input_is_named_and_ends_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    refused(
        &mut program("unet", &state, &["--window", "0"]),
        &["--window 0", "hint"],
    );
    let nowhere = folder.path().join("nowhere");
    let mut vae = Command::new(env!("CARGO_BIN_EXE_rpo-pretrain"));
    refused(
        vae.args(["vae", "--model"]).arg(&nowhere),
        &["--model", "nowhere"],
    );
    let mut release = program("release", &nowhere, &["--decay-state"]);
    release.arg(&state).arg("--to").arg(&nowhere);
    refused(&mut release, &["nowhere", "rpo-pretrain unet"]);
    assert!(!nowhere.exists());
}
