//! Training that is stopped or killed ends with the bits of training that was not; a release leaves it untouched.

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
    let small = ["--window", "32", "--batch", "4", "--sheet-every", "0"];
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

/// The newest save; a program that ended has left no other.
fn save(state: &Path) -> PathBuf {
    let names = fs::read_dir(state).unwrap().map(|e| e.unwrap().path());
    let is_save = |p: &PathBuf| p.file_name().is_some_and(|n| *n > *"step-");
    names.filter(is_save).max().unwrap()
}

fn weights(state: &Path) -> Vec<Vec<u8>> {
    let files = ["weights", "averages", "optimizer"];
    let read = |name: &str| fs::read(save(state).join(format!("{name}.safetensors"))).unwrap();
    files.into_iter().map(read).collect()
}

fn record(state: &Path) -> Value {
    serde_json::from_slice(&fs::read(save(state).join("record.json")).unwrap()).unwrap()
}

/// Kills the program once it has made its first save.
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

#[test]
fn killed_and_stopped_training_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    // Twelve steps of 4 pass over a window of 32 once and begin it anew.
    done(&mut train(&whole, &["--until", "12"]));

    let mut endless = train(&parts, &["--save-every", "0"]);
    let child = endless.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    kill_after_a_save(child.unwrap(), &parts);
    let killed_at = record(&parts)["step"].as_u64().unwrap();
    assert!(
        killed_at < 11,
        "killed too late to tell anything: {killed_at}"
    );
    // What a kill in the middle of a save leaves.
    fs::create_dir_all(parts.join(".new-half")).unwrap();
    let next = (killed_at + 1).to_string();
    done(&mut train(&parts, &["--until", &next, "--threads", "1"]));
    done(&mut train(&parts, &["--until", "12"]));
    let left = fs::read_dir(&parts).unwrap().count();
    assert_eq!(left, 1, "half a save and older saves are removed");
    assert!(weights(&whole) == weights(&parts), "other bits");
    assert_eq!(record(&whole)["step"], 12);

    let other = train(&whole, &["--learning-rate", "1e-4"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert_eq!(other.status.code(), Some(2), "{said}");
    assert!(
        said.contains("learning_rate") && said.contains("0.001"),
        "{said}"
    );

    releases(
        &whole,
        &folder.path().join("release"),
        &folder.path().join("unet"),
    );
}

fn releases(state: &Path, own: &Path, to: &Path) {
    let before = weights(state);
    let more = |command: &mut Command| {
        command.arg("--decay-state").arg(own).arg("--to").arg(to);
        command.args(["--steps", "3"]);
    };
    let mut command = program("release", state, &[]);
    more(&mut command);
    done(&mut command);
    assert!(weights(state) == before, "the training was changed");
    let record = record(own);
    assert_eq!(record["step"], 15);
    assert_eq!(record["settings"]["decay"], serde_json::json!([12, 3]));
    let (_, written) = load_unet(to, None).unwrap();
    let (_, base) = load_unet(&micro().join("unet"), None).unwrap();
    assert_eq!(written.shapes(), base.shapes());
    // Resuming what is done changes nothing.
    let released = fs::read(to.join("diffusion_pytorch_model.safetensors")).unwrap();
    let mut again = program("release", state, &[]);
    more(&mut again);
    done(&mut again);
    assert!(fs::read(to.join("diffusion_pytorch_model.safetensors")).unwrap() == released);
}

#[test]
fn bad_input_is_named_and_ends_with_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["--batch", "5", "--window", "32"];
    let output = program("unet", folder.path(), &more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--batch 5") && said.contains("divide"),
        "{said}"
    );
}
