//! `rpo-train stickerbench`: the folder that it writes is planned, and nothing is overwritten.

use std::path::Path;
use std::process::{Command, Output};

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .args(args)
        .output()
        .expect("the program starts")
}

fn written(to: &Path, more: &[&str]) -> Output {
    let to = to.to_str().expect("a plain path");
    let mut args = vec!["stickerbench", "--subjects", "3", "--to", to];
    args.extend(more);
    program(&args)
}

#[test]
fn the_written_folder_is_planned_with_its_own_prompts() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let output = written(&at("a/stickers"), &["--seed", "7", "--references", "2"]);
    assert!(output.status.success(), "{output:?}");
    let text = "[subjects]\nsource = \"dreambench\"\npath = \"a/stickers/dataset\"\ncount = 0\n
[prompts]\ntrain = \"stickerbench\"\nvalidation = \"stickerbench\"\ntest = \"mine.txt\"\n";
    std::fs::write(at("x.toml"), text).expect("a file");
    std::fs::write(at("mine.txt"), "[view]\na {} from above\n").expect("a file");
    let output = program(&["plan", at("x.toml").to_str().expect("a plain path")]);
    assert!(output.status.success(), "{output:?}");
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let subjects = plan["subjects"].as_array().expect("subjects");
    assert_eq!(subjects.len(), 3);
    for subject in subjects {
        assert_eq!(subject["name"], subject["class"]);
        assert_eq!(subject["photos"], 2);
        assert_eq!(subject["prompts"]["test"][0], "a {} from above");
        assert_eq!(subject["prompts"]["kinds"]["test"][0], "view");
        assert_eq!(
            subject["prompts"]["train"].as_array().map(Vec::len),
            Some(8)
        );
    }
}

#[test]
fn nothing_is_overwritten_and_limits_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let to = folder.path().join("stickers");
    std::fs::create_dir(&to).expect("a folder");
    assert!(
        written(&to, &[]).status.success(),
        "an empty folder is free"
    );
    let before = std::fs::read(to.join("README.md")).expect("a README");
    let refused = |output: Output, word: &str| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(word), "no `{word}` in: {said}");
    };
    refused(written(&to, &["--seed", "1"]), "nothing is overwritten");
    assert_eq!(
        std::fs::read(to.join("README.md")).expect("a README"),
        before
    );
    let new = folder.path().join("new");
    refused(
        written(&new, &["--references", "1000000"]),
        "at most 1000000",
    );
    refused(written(&new, &["--references", "0"]), "1 or more");
    assert!(!new.exists());
}
