//! The binary alone, in an empty folder without the sources, runs what the README lists.

use rpo_experiment::built_in::{EXPERIMENTS, SIZES};
use std::path::Path;
use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_rpo-train");

/// Variables that lead to a cache of the test machine.
const ELSEWHERE: [&str; 6] = [
    "XDG_CACHE_HOME",
    "LOCALAPPDATA",
    "USERPROFILE",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HUGGINGFACE_HUB_CACHE",
];

/// Runs the copy of the program in `folder/bin`, from the empty folder `folder/empty`.
fn run(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(folder.join("bin/rpo-train"));
    ELSEWHERE.iter().for_each(|name| {
        command.env_remove(name);
    });
    command
        .args(args)
        .current_dir(folder.join("empty"))
        .env("RPO_CACHE", folder.join("cache"))
        .env("HOME", folder.join("home"))
        .output()
        .expect("the program starts")
}

fn succeeds(folder: &Path, args: &[&str]) -> String {
    let output = run(folder, args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_program_needs_nothing_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    for name in ["bin", "empty", "home"] {
        std::fs::create_dir(root.join(name)).expect("a folder");
    }
    std::fs::copy(PROGRAM, root.join("bin/rpo-train")).expect("a copy of the program");

    let list = succeeds(root, &["experiments"]);
    for built_in in EXPERIMENTS.iter().chain(SIZES) {
        let line = format!("  {:<22} {}", built_in.short(), built_in.about());
        assert!(list.contains(&line), "no `{line}` in: {list}");
        let text = succeeds(root, &["experiments", built_in.short()]);
        assert_eq!(text, built_in.text);
    }

    let smoke = [
        "quickstart",
        "--with",
        "smoke",
        "--set",
        "subjects.count=1",
        "--out",
        "run",
    ];
    succeeds(root, &smoke);
    let empty = root.join("empty");
    assert!(empty.join("run/report.html").is_file());
    // The run's own records suffice to find its inputs again.
    let long = format!("{} {{}}", "a very long way".repeat(20));
    let generate = [
        "generate", "run", "--step", "0", "-n", "1", "--prompt", &long,
    ];
    let drawn = run(root, &generate);
    let told = String::from_utf8_lossy(&drawn.stderr);
    assert!(drawn.status.success(), "{told}");
    assert!(
        told.contains("of which the text encoder reads 24; the token `[v]` is beyond them"),
        "{told}"
    );
    let copies: Vec<_> = std::fs::read_dir(root.join("cache"))
        .expect("the cache")
        .flatten()
        .collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    assert!(copies[0].file_name() == rpo_train::embedded::folder_name().as_str());
    let doctor = succeeds(root, &["doctor"]);
    assert!(
        doctor.contains("embedded   micro, ")
            && doctor.contains(copies[0].path().to_str().unwrap()),
        "{doctor}"
    );

    for built_in in EXPERIMENTS {
        let output = run(root, &["check", built_in.name]);
        let text = String::from_utf8_lossy(&output.stderr);
        match built_in.name {
            // It needs photos that only its user has.
            "my_subject" => {
                assert_eq!(output.status.code(), Some(2), "{text}");
                for word in [
                    "my_subject.toml (built in):",
                    "subjects.path",
                    "photos",
                    "Looked at",
                ] {
                    assert!(text.contains(word), "no `{word}` in: {text}");
                }
            }
            name => assert!(output.status.success(), "{name}: {text}"),
        }
    }
    for size in SIZES {
        succeeds(root, &["check", "quickstart.toml", "--with", size.name]);
    }
    // Experiments on other models can be planned without weights, but not run.
    let output = run(root, &["experiments/sd15_rpo.toml"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("Looked at"), "{text}");
    let home = std::fs::read_dir(root.join("home")).expect("a folder");
    assert_eq!(
        home.count(),
        0,
        "nothing is written where RPO_CACHE says another place"
    );

    // The user's edited file takes precedence over the built-in one.
    let text = succeeds(root, &["experiments", "quickstart"]).replace("quickstart", "mine");
    std::fs::write(empty.join("quickstart.toml"), text).expect("a file");
    for name in ["quickstart", "quickstart.toml"] {
        let plan = succeeds(root, &["check", name]);
        assert!(plan.starts_with("mine: "), "{plan}");
    }
}

#[test]
fn the_program_does_not_know_where_the_models_source_is() {
    let program = std::fs::read(PROGRAM).expect("the program");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets");
    let holds = |needle: &str| {
        let first = needle.as_bytes()[0];
        let starts = program.iter().enumerate().filter(|(_, b)| **b == first);
        starts
            .map(|(at, _)| &program[at..])
            .any(|rest| rest.starts_with(needle.as_bytes()))
    };
    assert!(!holds(source), "{source} is in the program");
    // The search itself works.
    assert!(holds("rpo-train experiments describes them"));
}
