//! Rows of several runs against each other: paired where photos, prompts, noise and judges are the same, and only there.

use std::path::Path;
use std::process::{Command, Output};

fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rpo-train"));
    command.args(args).current_dir(folder);
    command.output().expect("the program starts")
}

fn succeeds(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {told}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Trains two subjects for two steps into the folder `name`.
fn train(folder: &Path, name: &str, sets: &[&str]) {
    let named = format!("name=\"{name}\"");
    let mut args = vec![
        "quickstart",
        "--with",
        "smoke",
        "--out",
        name,
        "--set",
        &named,
    ];
    for set in [
        "subjects.count=2",
        "training.steps=2",
        "validation.every=2",
        "rules.lambda=[0.5]",
        "rules.last=true",
    ]
    .iter()
    .chain(sets)
    {
        args.extend(["--set", set]);
    }
    succeeds(folder, &args);
}

#[test]
fn rows_of_runs_are_paired_where_that_is_fair() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    train(folder, "ours", &[]);
    train(folder, "sim", &["recipe.l_pref_weight=0.0"]);
    train(folder, "other", &["test.pictures_per_prompt=2"]);
    let said = succeeds(
        folder,
        &["report", "ours", "sim", "other", "--out", "all.html"],
    );
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("ours and sim on 2 subjects; ours and other on none"),
        "{said}"
    );
    assert!(
        said.lines()
            .all(|line| line.chars().count() <= 80 || line.starts_with("report")),
        "{said}"
    );
    let csv = std::fs::read_to_string(folder.join("all.csv")).expect("the table");
    let of = |name: &str| csv.lines().filter(|line| line.starts_with(name)).count();
    assert!(of("ours") > 0 && csv.contains("ours: step 0"), "{csv}");
    let said = succeeds(
        folder,
        &[
            "report",
            "ours",
            "sim",
            "--out",
            "two.html",
            "--baseline",
            "ours: last",
            "--json",
        ],
    );
    let table: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(table["baselines"], serde_json::json!(["ours: last"]));
    let rows = table["rows"].as_array().expect("rows");
    let row = rows
        .iter()
        .find(|row| row["name"] == "sim: last")
        .expect("a row");
    let compared = row["cells"][0]["comparisons"]
        .as_array()
        .expect("comparisons");
    let last = compared
        .iter()
        .find(|c| c["against"] == "ours: last")
        .expect("a comparison");
    assert_eq!(last["difference"]["n"], 2);
    // Step 0 is the same model in both runs, so its pictures and their scores are the same.
    let base = rows
        .iter()
        .find(|row| row["name"] == "sim: step 0")
        .expect("a row");
    let base = base["cells"][0]["comparisons"]
        .as_array()
        .expect("comparisons");
    let base = base
        .iter()
        .find(|c| c["against"] == "ours: step 0")
        .expect("a comparison");
    assert_eq!(
        (&base["difference"]["mean"], &base["p_permutation"]),
        (&0.0.into(), &1.0.into())
    );
    for name in [
        "two.html",
        "two.csv",
        "two.subjects.csv",
        "two.tex",
        "two.json",
    ] {
        assert!(folder.join(name).is_file(), "{name}");
    }
    // The same command replaces its own results; a file of somebody else stays.
    succeeds(folder, &["report", "ours", "sim", "--out", "two.html"]);
    std::fs::write(folder.join("mine.csv"), "a,b\n").expect("a file");
    let output = run(folder, &["report", "ours", "sim", "--out", "mine.html"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!folder.join("mine.html").exists());
    let output = run(
        folder,
        &[
            "report",
            "ours",
            "sim",
            "--out",
            "x.html",
            "--baseline",
            "ours: lst",
        ],
    );
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean \"ours: last\"?"));
    // Its own table is no place for the page.
    let output = run(folder, &["report", "ours", "sim", "--out", "two.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        std::fs::read_to_string(folder.join("two.json"))
            .expect("the table")
            .starts_with('{')
    );
    // Names as within a run; checkpoints of different runs are not the same by their names.
    let said = succeeds(
        folder,
        &[
            "report",
            "ours",
            "sim",
            "--out",
            "two.html",
            "--baseline",
            "ours:  LAST",
        ],
    );
    assert!(
        said.contains(" minus ours: last") && !said.contains("figures differ"),
        "{said}"
    );
    // A comparison without results leaves no earlier table beside it.
    succeeds(
        folder,
        &["prepare", "quickstart", "--with", "smoke", "--out", "begun"],
    );
    let said = succeeds(
        folder,
        &["report", "begun", "begun", "--out", "two.html", "--json"],
    );
    assert_eq!(said, "null\n");
    assert!(folder.join("two.html").is_file() && !folder.join("two.csv").exists());
}
