//! Workers of any engine: a prepared run, cells by what an engine tells, how they stand, failures, GPUs, a pool that is stopped.
#![cfg(unix)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const ENGINES: [&str; 3] = ["HQ_TASK_ID", "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"];

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpo-train"));
    command.args(args);
    for name in
        ENGINES
            .iter()
            .chain(&["SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"])
    {
        command.env_remove(name);
    }
    command
}

fn ended(code: i32, command: &mut Command, words: &[&str]) -> String {
    let output: Output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{command:?}: no {word:?} in: {text}");
    }
    text
}

/// The arguments of a small experiment of two cells.
fn experiment(folder: &Path, verb: &str, more: &[&str]) -> Command {
    let mut command = command(&[verb, "quickstart", "--with", "smoke", "--set"]);
    command.arg(format!("output={}", folder.join("output").display()));
    command.arg("--out").arg(folder.join("run")).args(more);
    command
}

fn status(run: &Path) -> Value {
    let output = command(&["status", &run.display().to_string(), "--json"])
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_prepared_run_is_worked_off_by_index() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    ended(
        0,
        &mut experiment(folder.path(), "prepare", &[]),
        &["2 cells", "--index N"],
    );
    assert_eq!(status(&run)["waiting"], 2);
    let path = run.display().to_string();
    let cell = |set: &[(&str, &str)], more: &[&str]| {
        let mut command = command(&["cell", &path]);
        command.args(more).envs(set.iter().copied());
        command
    };
    ended(
        2,
        &mut cell(&[], &[]),
        &["--index is missing", "HQ_TASK_ID"],
    );
    ended(
        2,
        &mut cell(&[("JOB_COMPLETION_INDEX", "x")], &[]),
        &["JOB_COMPLETION_INDEX"],
    );
    ended(
        2,
        &mut cell(&[("SLURM_ARRAY_TASK_ID", "1")], &["--offset", "1"]),
        &["2 cells"],
    );
    let slurm = [("SLURM_ARRAY_TASK_ID", "1"), ("SLURM_ARRAY_JOB_ID", "17")];
    ended(0, &mut cell(&slurm, &[]), &["car/seed-0: finished"]);
    ended(0, &mut cell(&slurm, &[]), &["car/seed-0: is finished"]);
    let told = status(&run);
    assert_eq!(
        (&told["finished"], &told["waiting"]),
        (&1.into(), &1.into())
    );
    let second = &told["cells"][1];
    assert_eq!(
        (&second["job"], &second["starts"]),
        (&"17_1".into(), &1.into())
    );
    assert!(told["hours_left"].as_f64() > Some(0.0), "{told}");
    // An index that is given precedes what an engine says.
    ended(
        0,
        &mut cell(&slurm, &["--index", "0"]),
        &["lion/seed-0: finished"],
    );
    let told = ended(
        0,
        &mut command(&["status", &path, "--watch"]),
        &["2 finished"],
    );
    assert!(!told.contains("left"), "{told}");
    // The run has no machine of its own: the page names that of its cells.
    ended(0, &mut command(&["report", &path]), &[]);
    let page = fs::read_to_string(run.join("report.json")).unwrap();
    assert!(page.contains("\"device\":\"cpu, ") || page.contains("\"device\": \"cpu, "));
    ended(
        2,
        &mut command(&["status", &folder.path().display().to_string()]),
        &["a run folder is asked for"],
    );
}

#[test]
fn a_failure_that_comes_three_times_is_not_tried_again_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    ended(0, &mut experiment(folder.path(), "prepare", &[]), &[]);
    let path = run.display().to_string();
    // In the place of a file.
    let obstacle = run.join("trajectories/ours/lion/seed-0/references/00.png");
    fs::create_dir_all(&obstacle).unwrap();
    let log = folder.path().join("log");
    let cell = |more: &[&str]| {
        let mut command = command(&["cell", &path, "--index", "0"]);
        command.args(more);
        command
    };
    for times in 1..=3 {
        let mut one = cell(&[]);
        one.stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap());
        assert_eq!(one.status().unwrap().code(), Some(2));
        let told = &status(&run)["cells"][0];
        assert_eq!(told["state"], "failed");
        assert_eq!(told["failure"]["times"], times);
        assert_eq!(told["given_up"], times == 3);
        assert_eq!(
            told["log"],
            log.canonicalize().unwrap().display().to_string()
        );
    }
    ended(2, &mut cell(&[]), &["failed 3 times", "00.png", "--again"]);
    ended(
        0,
        &mut command(&["status", &path]),
        &["1 failed", "3 times: ", "00.png", "log: "],
    );
    ended(2, &mut cell(&["--again"]), &["a folder is there"]);
    fs::remove_dir(&obstacle).unwrap();
    ended(0, &mut cell(&["--again"]), &["finished"]);
    let told = &status(&run)["cells"][0];
    assert_eq!(
        (&told["state"], &told["message"]),
        (&"finished".into(), &Value::Null)
    );
}

#[test]
fn damaged_records_count_as_failures_too() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    ended(0, &mut experiment(folder.path(), "prepare", &[]), &[]);
    let state = run.join("trajectories/ours/lion/seed-0/state");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("latest.json"), "{").unwrap();
    let path = run.display().to_string();
    for _ in 0..3 {
        ended(
            1,
            &mut command(&["cell", &path, "--index", "0"]),
            &["latest.json"],
        );
    }
    ended(
        2,
        &mut command(&["cell", &path, "--index", "0"]),
        &["failed 3 times"],
    );
    assert_eq!(status(&run)["cells"][0]["given_up"], true);
}

#[test]
fn starts_that_never_come_to_work_end() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    ended(0, &mut experiment(folder.path(), "prepare", &[]), &[]);
    let path = run.display().to_string();
    // With its standard input closed, a watched cell is interrupted before anything is computed.
    let interrupted = || {
        let mut command = command(&["cell", &path, "--index", "0", "--watched"]);
        command.stdin(Stdio::null());
        command
    };
    for _ in 0..2 {
        ended(75, &mut interrupted(), &["interrupted"]);
    }
    ended(1, &mut interrupted(), &["3 starts in a row", "time limit"]);
    ended(
        0,
        &mut command(&["cell", &path, "--index", "0"]),
        &["finished"],
    );
}

#[test]
fn gpus_are_given_out_in_turn() {
    let folder = tempfile::tempdir().unwrap();
    ended(
        2,
        &mut experiment(folder.path(), "run", &["--gpus", "0,,1"]),
        &["--gpus: number 1"],
    );
    // One cell at a time on each; on this device without effect, which is told.
    ended(
        0,
        &mut experiment(
            folder.path(),
            "run",
            &["--gpus", "GPU-a,GPU-b", "--set", "model.device=cpu"],
        ),
        &["compute on the CPU"],
    );
    let told = status(&folder.path().join("run"));
    let gpus: BTreeSet<&str> = (0..2)
        .map(|i| told["cells"][i]["gpus"].as_str().unwrap())
        .collect();
    assert_eq!(gpus, BTreeSet::from(["GPU-a", "GPU-b"]));
}

#[test]
fn scripts_are_shown_without_writing_anything() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    fs::write(
        &file,
        "name = \"my dog\"\nseeds = [0, 1]\n[subjects]\ncount = 2\n",
    )
    .unwrap();
    fs::write(
        folder.path().join("slurm.toml"),
        "[slurm]\njobs = 3\npartition = \"gpu\"\ngres = \"gpu:1\"\nsetup = [\"module load cuda\"]\n",
    )
    .unwrap();
    let submit = |more: &[&str]| {
        let mut command = command(&["submit", &file.display().to_string()]);
        // No Slurm's commands.
        command
            .env("PATH", folder.path())
            .current_dir(folder.path())
            .args(more);
        command
    };
    let shown = ended(
        0,
        &mut submit(&["--dry-run", "--", "--time=4:00:00"]),
        &[
            "#SBATCH --partition=gpu\n",
            "#SBATCH --time=4:00:00\n",
            "#SBATCH --open-mode=append\n",
            "module load cuda\n",
            " --array=0-3%3 ",
            "--dependency=afterany:JOB0",
            "MaxArraySize is not known",
        ],
    );
    let report = shown.split("report.sh").nth(1).unwrap();
    assert!(
        report.contains("--partition=gpu") && !report.contains("--gres"),
        "{report}"
    );
    let names = |folder: &Path| -> BTreeSet<PathBuf> {
        fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|e| e.file_name().into())
            .collect()
    };
    assert_eq!(
        names(folder.path()),
        ["slurm.toml", "x.toml"].map(PathBuf::from).into()
    );
    ended(
        2,
        &mut submit(&["--dry-run", "--", "--array=0-9"]),
        &["--array", "--jobs K"],
    );
    ended(
        2,
        &mut submit(&[]),
        &["squeue: there is no such command", "--dry-run"],
    );
}

/// The signal of Ctrl-C, or one that is not ignored here.
fn ctrl_c() -> &'static str {
    // Programs that a script starts in the background ignore Ctrl-C.
    let status_of_tests = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status_of_tests
        .lines()
        .find_map(|l| l.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    match ignored.unwrap_or(0) & 2 {
        0 => "INT",
        _ => "TERM",
    }
}

#[test]
fn a_pool_stops_with_all_its_cells() {
    let folder = tempfile::tempdir().unwrap();
    let pool = || {
        let mut command = experiment(folder.path(), "run", &["--jobs", "2"]);
        command.args(["--set", "training.steps=400", "--set", "rules.last=true"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    // As a terminal does: the signal goes to the pool and to its cells.
    let mut child = pool().process_group(0).spawn().unwrap();
    let run = folder.path().join("run");
    let until = Instant::now() + Duration::from_secs(120);
    let begun = |id: &str| {
        run.join(format!("trajectories/ours/{id}/seed-0/metrics.jsonl"))
            .exists()
    };
    while !begun("lion") || !begun("car") {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
    let signal = ctrl_c();
    let group = format!("-{}", child.id());
    assert!(
        Command::new("kill")
            .args(["-s", signal, "--", &group])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(75));
    // None is left.
    assert!(
        !Command::new("kill")
            .args(["-s", "0", "--", &group])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let told = status(&run);
    assert_eq!((&told["running"], &told["waiting"]), (&0.into(), &2.into()));
    for cell in told["cells"].as_array().unwrap() {
        assert_eq!(cell["ended"], "interrupted", "{cell}");
    }
}

/// Ctrl-C reaches a pool and its cells, and the pool may ask a cell before its own signal comes.
#[test]
fn a_cell_that_was_asked_to_end_is_not_ended_by_the_first_signal() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let long = ["--set", "training.steps=400", "--set", "rules.last=true"];
    ended(0, &mut experiment(folder.path(), "prepare", &long), &[]);
    let path = run.display().to_string();
    let mut cell = command(&["cell", &path, "--index", "0", "--watched"]);
    cell.stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = cell.spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(120);
    while !run
        .join("trajectories/ours/lion/seed-0/metrics.jsonl")
        .exists()
    {
        assert!(child.try_wait().unwrap().is_none() && Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(child.stdin.take());
    std::thread::sleep(Duration::from_millis(10));
    // It may have ended already.
    let process = child.id().to_string();
    let _ = Command::new("kill")
        .args(["-s", ctrl_c(), &process])
        .stderr(Stdio::null())
        .status();
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let told = status(&run);
    assert_eq!(told["cells"][0]["ended"], "interrupted", "{told}");
}
