//! A run cell by cell: plan, cells in their own processes, and reports of unfinished runs.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const ARMS: &str = r#"
name = "cells"
[subjects]
count = 2
[[arm]]
name = "ours"
[[arm]]
name = "adapters"
lora = { rank = 2 }
training = { learning_rate = 1e-3 }
[rules]
last = true
"#;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpo-train"));
    command.args(args);
    command
}

fn program(args: &[&str]) -> Output {
    command(args).output().expect("the program starts")
}

fn good(args: &[&str]) -> String {
    let output = program(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn bad(code: i32, args: &[&str], words: &[&str]) {
    let output = program(args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    for word in words {
        assert!(error.contains(word), "{args:?}: no {word:?} in: {error}");
    }
}

fn results(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    crate::results::results(run, &[])
}

fn same(run: &Path, other: &BTreeMap<PathBuf, Vec<u8>>) {
    let run = results(run);
    let names = run.keys().chain(other.keys());
    let differ: Vec<_> = names.filter(|n| run.get(*n) != other.get(*n)).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

#[test]
fn cells_run_in_any_process_and_order() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("x.toml"), ARMS).unwrap();
    let file = at("x.toml");
    let run = |out: &str, more: &[&str]| -> Vec<String> {
        let output = format!("output={}", at(&format!("cache of {out}")));
        let mut args = vec!["run", &file, "--with", "smoke", "--set", &output, "--out"];
        let out = at(out);
        args.push(&out);
        args.extend(more);
        args.into_iter().map(str::to_owned).collect()
    };
    fn all(args: &[String]) -> Vec<&str> {
        args.iter().map(String::as_str).collect()
    }
    let plan: Value = serde_json::from_str(&good(&["plan", &file, "--with", "smoke"])).unwrap();
    assert_eq!(plan["cells"].as_array().unwrap().len(), 4);
    good(&all(&run("alone", &[])));
    let alone = results(folder.path().join("alone").as_path());

    // In two processes at a time.
    good(&all(&run("two", &["--jobs", "2"])));
    same(&folder.path().join("two"), &alone);

    // An unfinished run: one cell is lost, the others are reported.
    let (begun, id) = (at("two"), plan["cells"][2]["id"].as_str().unwrap());
    let lost = Path::new(&begun).join("trajectories").join(id);
    fs::remove_dir_all(&lost).unwrap();
    let told = good(&["report", &begun]);
    assert!(told.contains("3 of 4 cells are finished"), "{told}");
    assert!(told.contains("of the 1 subjects and seeds"), "{told}");
    // A finished cell returns at once, even if the model no longer exists.
    assert!(good(&["cell", &begun, "--index", "0"]).contains("is finished"));
    bad(2, &["cell", &begun, "--index", "4"], &["4 cells"]);
    bad(
        2,
        &["cell", &file, "--index", "0"],
        &["a run folder is asked for"],
    );
    // One process per cell.
    let mut first = command(&["cell", &begun, "--index", "2"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !lost.join(".rpo-lock").exists() {
        assert!(first.try_wait().unwrap().is_none(), "it ended too early");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let holder = format!("process {}", first.id());
    bad(
        2,
        &["cell", &begun, "--index", "2"],
        &[&holder, "works in this folder"],
    );
    assert!(first.wait().unwrap().success());
    good(&["report", &begun]);
    same(&folder.path().join("two"), &alone);

    // A damaged cell is reported at the end; the others continue.
    let record = lost.join("metrics.jsonl");
    fs::write(&record, "").unwrap();
    fs::remove_dir_all(
        Path::new(&begun)
            .join("trajectories")
            .join(plan["cells"][0]["id"].as_str().unwrap()),
    )
    .unwrap();
    let damaged = ["1 of 4 cells failed", id, "metrics.jsonl", "delete"];
    for jobs in ["2", "1"] {
        bad(1, &all(&run("two", &["--jobs", jobs])), &damaged);
    }
    assert_eq!(fs::read(&record).unwrap(), b"");
    let told = good(&["report", &begun]);
    assert!(
        told.contains("3 of 4 cells are finished") && told.contains("metrics.jsonl"),
        "{told}"
    );
    fs::remove_dir_all(&lost).unwrap();
    good(&all(&run("two", &["--jobs", "2"])));
    same(&folder.path().join("two"), &alone);
}
