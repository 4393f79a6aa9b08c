//! A run is looked at while it trains: by `report`, by `generate`, by TensorBoard. The trainer does not notice.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const TRAJECTORY: &str = "ours/lion/seed-0";

fn command(out: &Path, steps: usize) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpo-train"));
    command
        .args(["quickstart", "--with", "smoke", "--set", "subjects.count=1"])
        .args(["--set", "validation.every=2", "--set", "rules.patience=0"])
        .args(["--set", "rules.last=true"])
        .args(["--set", &format!("training.steps={steps}")])
        // Rewards rise and fall, so that checkpoints are superseded.
        .args(["--set", "training.learning_rate=1e-3"])
        .args(["--set", &format!("output=\"{}\"", out.display())])
        .arg("--out")
        .arg(out.join("run"));
    command
}

fn start(out: &Path, steps: usize) -> Child {
    let mut command = command(out, steps);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().expect("the program starts")
}

fn program(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .args(args)
        .output();
    output.expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeeds(args: &[&str]) -> Output {
    let output = program(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    output
}

fn saved(out: &Path) -> u64 {
    let latest = out.join("run/trajectories").join(TRAJECTORY);
    let latest = fs::read_to_string(latest.join("state/latest.json")).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&latest).unwrap_or_default();
    value["step"].as_u64().unwrap_or(0)
}

fn wait_for(out: &Path, step: u64, child: &mut Child) {
    let begin = Instant::now();
    while saved(out) < step {
        assert!(begin.elapsed() < Duration::from_secs(120), "it is slow");
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(name: &str, child: &Child) {
    let mut kill = Command::new("kill");
    kill.args([&format!("-{name}"), &child.id().to_string()]);
    assert!(kill.status().expect("a shell's tool").success());
}

#[test]
fn looking_on_disturbs_nobody() {
    const STEPS: usize = 24;
    let folder = tempfile::tempdir().unwrap();
    let (alone, watched) = (folder.path().join("alone"), folder.path().join("watched"));
    assert!(start(&alone, STEPS).wait().unwrap().success());

    let mut child = start(&watched, STEPS);
    wait_for(&watched, 2, &mut child);
    let run = watched.join("run");
    let run_text = run.to_str().unwrap();
    let data = || {
        let data = fs::read(run.join("report.json")).unwrap();
        serde_json::from_slice::<serde_json::Value>(&data).unwrap()
    };
    // It stands still, so that it is unfinished whatever the machine's speed.
    signal("STOP", &child);
    let told = succeeds(&["report", run_text]);
    assert!(text(&told.stdout).contains("still running; chosen so far"));
    let first = data()["trajectories"][0].clone();
    assert!(
        first["unfinished"]
            .as_str()
            .unwrap()
            .contains("of 24, still running")
    );
    assert!(first["validations"].as_array().unwrap().len() > 1);
    let events = run.join("tensorboard").join(TRAJECTORY);
    assert_eq!(fs::read_dir(&events).unwrap().count(), 1);
    signal("CONT", &child);
    for looked in 0.. {
        let drawn = folder.path().join(format!("drawn-{looked}"));
        let to = drawn.to_str().unwrap();
        succeeds(&["generate", run_text, "-n", "1", "--out", to]);
        assert_eq!(fs::read_dir(&drawn).unwrap().count(), 1);
        succeeds(&["report", run_text]);
        succeeds(&["status", run_text]);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
    }
    succeeds(&["report", run_text]);
    assert_eq!(
        data()["trajectories"][0]["unfinished"],
        serde_json::Value::Null
    );
    let (expected, found) = (
        crate::results::results(&alone.join("run"), &[]),
        crate::results::results(&run, &[]),
    );
    assert!(expected.keys().eq(found.keys()));
    for (path, bytes) in expected {
        assert!(found[&path] == bytes, "{} differs", path.display());
    }
}

#[test]
fn the_choice_so_far_of_an_interrupted_run_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("one");
    let mut child = start(&out, 400);
    wait_for(&out, 4, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let run = out.join("run");
    let run = run.to_str().unwrap();
    let to = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let drawn = succeeds(&["generate", run, "-n", "1", "--out", &to("drawn")]);
    let told = text(&drawn.stderr);
    assert!(
        told.contains("of 400 and not finished: ") && told.contains("has chosen step"),
        "{told}"
    );
    succeeds(&["export", run, "--to", &to("model")]);
    assert!(folder.path().join("model/unet/config.json").is_file());

    // Damaged, with nobody at work: told, and not taken for a checkpoint that was superseded.
    let kept = out.join("run/trajectories").join(TRAJECTORY).join("unet");
    let step = saved(&out);
    let weights = kept.join(format!(
        "step-{step:06}/diffusion_pytorch_model.safetensors"
    ));
    fs::write(weights, "damaged").unwrap();
    let step = step.to_string();
    let damaged = ["generate", run, "--step", &step, "--out", &to("damaged")];
    let damaged = program(&damaged);
    assert_eq!(damaged.status.code(), Some(1));
    let told = text(&damaged.stderr);
    assert!(told.contains("checksum has changed"), "{told}");
    let gone = program(&["generate", run, "--step", "1", "--out", &to("gone")]);
    assert_eq!(gone.status.code(), Some(2));
    assert!(
        text(&gone.stderr).contains("step 1 of"),
        "{}",
        text(&gone.stderr)
    );

    let begun = out.join("run/trajectories").join(TRAJECTORY);
    fs::remove_dir_all(begun).unwrap();
    let none = program(&["generate", run, "--out", &to("none")]);
    assert_eq!(none.status.code(), Some(2));
    assert!(
        text(&none.stderr).contains("no validation yet"),
        "{}",
        text(&none.stderr)
    );
}

#[test]
fn events_that_cannot_be_written_stop_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("one");
    fs::create_dir_all(out.join("run")).unwrap();
    let prepared = Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .arg("prepare")
        .args(command(&out, 4).get_args())
        .output()
        .unwrap();
    assert!(prepared.status.success(), "{}", text(&prepared.stderr));
    let events = out.join("run/tensorboard");
    let files = || {
        let within = fs::read_dir(events.join(TRAJECTORY)).unwrap();
        within.count()
    };
    fs::write(&events, "in the way").unwrap();
    let ended = command(&out, 4).output().unwrap();
    assert!(ended.status.success(), "{}", text(&ended.stderr));
    let told = text(&ended.stderr);
    assert_eq!(told.matches("TensorBoard events").count(), 1, "{told}");
    assert!(text(&ended.stdout).contains("TensorBoard events of ours/lion"));
    assert_eq!(fs::read_to_string(&events).unwrap(), "in the way");
    // Afterwards the report writes what is missing, once.
    fs::remove_file(&events).unwrap();
    let report = || succeeds(&["report", out.join("run").to_str().unwrap()]);
    for _ in 0..2 {
        report();
        assert_eq!(files(), 1);
    }
    // Cut before the last record, as by a full disk.
    let first = fs::read_dir(events.join(TRAJECTORY)).unwrap().next();
    let first = fs::File::options()
        .write(true)
        .open(first.unwrap().unwrap().path());
    let first = first.unwrap();
    first.set_len(first.metadata().unwrap().len() - 5).unwrap();
    first.set_modified(std::time::UNIX_EPOCH).unwrap();
    for _ in 0..2 {
        report();
        assert_eq!(files(), 2);
    }
}
