//! Arrays on a real Slurm: a cluster of one machine with two fake GPUs, where its packages are installed and this user is root.
#![cfg(unix)]

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const CELLS: usize = 8;

/// A running cluster, ended on drop.
struct Cluster {
    folder: PathBuf,
}

impl Cluster {
    /// Starts one, if it can be.
    fn start(folder: &Path) -> Option<Self> {
        let cluster = Self {
            folder: folder.to_owned(),
        };
        let output = cluster.script("start");
        if !output.status.success() {
            // Not captured in a passing test: CI counts these lines.
            let said = String::from_utf8_lossy(&output.stderr);
            let _ = writeln!(std::io::stderr(), "skipped: no Slurm ({})", said.trim());
            return None;
        }
        Some(cluster)
    }

    fn script(&self, verb: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/cluster/slurm.sh");
        let output = Command::new(script).arg(verb).arg(&self.folder).output();
        output.expect("bash")
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments);
        command.env("SLURM_CONF", self.folder.join("slurm.conf"));
        command
    }

    /// The output of a command in this cluster.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the queue is as `is` says, or fails.
    fn wait_until(&self, what: &str, mut is: impl FnMut(&str) -> bool) {
        let until = Instant::now() + Duration::from_secs(240);
        loop {
            let queue = self.run("squeue", &["--array", "--noheader", "--format=%F_%K %T %r"]);
            if is(&queue) {
                return;
            }
            assert!(Instant::now() < until, "{what} did not come:\n{queue}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn ended(&self) {
        self.wait_until("the end", |queue| queue.trim().is_empty());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.script("stop");
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_rpo-train");

/// The arguments of an experiment of eight small cells.
fn experiment(out: &Path) -> Vec<String> {
    let set = |key: &str| ["--set".to_owned(), key.to_owned()];
    let mut all: Vec<String> = ["quickstart", "--with", "smoke"].map(str::to_owned).into();
    for key in [
        "subjects.count=4",
        "seeds=[0, 1]",
        "training.steps=8",
        "lora.rank=2",
        "training.learning_rate=1e-3",
        &format!("output={}", out.display()),
    ] {
        all.extend(set(key));
    }
    all.extend(["--out".to_owned(), out.join("run").display().to_string()]);
    all
}

fn submit(cluster: &Cluster, out: &Path) -> String {
    let own = experiment(out);
    let mut all = vec!["submit"];
    all.extend(own.iter().map(String::as_str));
    all.extend(["--jobs", "2", "--", "--gres=gpu:1", "--cpus-per-task=1"]);
    cluster.run(PROGRAM, &all)
}

fn results(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    // What began the run, and what only an array has.
    crate::results::results(run, &["run.json", "slurm"])
}

fn same(out: &Path, expected: &BTreeMap<PathBuf, Vec<u8>>) {
    let found = results(&out.join("run"));
    let names = found.keys().chain(expected.keys());
    let differ: Vec<_> = names
        .filter(|n| found.get(*n) != expected.get(*n))
        .collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// `status --json`
fn status(cluster: &Cluster, out: &Path) -> Value {
    let run = out.join("run").display().to_string();
    serde_json::from_str(&cluster.run(PROGRAM, &["status", &run, "--json"])).unwrap()
}

fn log(out: &Path, job: &str) -> String {
    fs::read_to_string(out.join("run/slurm").join(format!("{job}.log"))).unwrap_or_default()
}

#[test]
fn arrays_give_what_a_local_run_gives_also_disturbed() {
    let folder = tempfile::Builder::new()
        .prefix("rpo")
        .tempdir_in("/tmp")
        .unwrap();
    let Some(cluster) = Cluster::start(&folder.path().join("cluster")) else {
        return;
    };
    let at = |name: &str| folder.path().join(name);
    let alone = Command::new(PROGRAM)
        .arg("run")
        .args(experiment(&at("alone")))
        .output()
        .unwrap();
    assert!(
        alone.status.success(),
        "{}",
        String::from_utf8_lossy(&alone.stderr)
    );
    let expected = results(&at("alone/run"));
    for wanted in [
        "table.csv",
        "metrics.jsonl",
        "pytorch_lora_weights.safetensors",
        ".png",
    ] {
        assert!(
            expected
                .keys()
                .any(|p| p.to_string_lossy().ends_with(wanted)),
            "{wanted}"
        );
    }

    // Undisturbed: two at a time, each with a GPU of its own, and the report after them.
    let told = submit(&cluster, &at("calm"));
    assert!(told.contains("8 to send"), "{told}");
    assert!(submit(&cluster, &at("calm")).contains("nothing is sent"));
    let mut most = 0;
    cluster.wait_until("the end", |queue| {
        most = most.max(queue.lines().filter(|l| l.contains("RUNNING")).count());
        queue.trim().is_empty()
    });
    assert_eq!(most, 2);
    same(&at("calm"), &expected);
    let calm = status(&cluster, &at("calm"));
    assert_eq!(calm["finished"], CELLS);
    let gpus: BTreeSet<&str> = calm["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["gpus"].as_str().unwrap())
        .collect();
    assert_eq!(gpus, BTreeSet::from(["0", "1"]));
    assert!(at("calm/run/report.html").exists());
    let page = fs::read_to_string(at("calm/run/report.json")).unwrap();
    assert!(page.contains("1 threads"), "the machine of the cells");

    // Disturbed: one element is told to end and comes back by itself; then all are cancelled and submitted again.
    submit(&cluster, &at("rough"));
    let array = array(&cluster);
    let first = format!("{array}_0");
    let begun = |id: usize| status(&cluster, &at("rough"))["cells"][id]["doing"].is_string();
    cluster.wait_until("a first step", |_| begun(0));
    // It delivers the signal at once, and then asks on while the element is queued again.
    let mut signal = cluster
        .command("scancel", &["--signal=USR1", "--batch", &first])
        .spawn()
        .unwrap();
    cluster.wait_until("an interruption", |_| {
        log(&at("rough"), &first).contains("interrupted")
    });
    signal.kill().unwrap();
    signal.wait().unwrap();
    cluster.wait_until("a requeue", |queue| {
        queue.contains(&format!("{first} PENDING")) || queue.contains(&format!("{first} RUNNING"))
    });
    cluster.wait_until("others", |_| {
        status(&cluster, &at("rough"))["finished"].as_u64() >= Some(3)
    });
    cluster.run("scancel", &[&array]);
    // At once: those that are ending are waited for, and sent.
    let told = submit(&cluster, &at("rough"));
    assert!(
        told.contains(" 0 queued or running") && !told.contains(" 0 to send"),
        "{told}"
    );
    cluster.ended();
    same(&at("rough"), &expected);
    let end = status(&cluster, &at("rough"));
    assert!(end["cells"][0]["starts"].as_u64() >= Some(2), "{end}");
    // Appended, not cut.
    assert!(log(&at("rough"), &first).contains("interrupted"));
    let logs = fs::read_dir(at("rough/run/slurm")).unwrap().flatten();
    let logs: String = logs
        .map(|l| fs::read_to_string(l.path()).unwrap())
        .collect();
    assert_eq!(logs.matches(": finished").count(), CELLS);
}

/// The number of the only array.
fn array(cluster: &Cluster) -> String {
    let queue = cluster.run("squeue", &["--array", "--noheader", "--format=%F %K"]);
    let element = queue.lines().find(|l| !l.contains("N/A")).unwrap();
    element.split(' ').next().unwrap().to_owned()
}
