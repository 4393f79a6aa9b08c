//! Bad input gets one message with the cause and a hint, exit code 2, and no written file is lost.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn experiments() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments")
}

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .args(args)
        .output()
        .expect("the program starts")
}

fn refused(args: &[&str], words: &[&str]) {
    let output = program(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: no `{word}` in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

fn check(extra: &[&str], words: &[&str]) {
    let file = experiments().join("quickstart.toml");
    let mut args = vec!["check", file.to_str().expect("a plain path")];
    args.extend(extra);
    refused(&args, words);
}

fn experiment(folder: &Path, text: &str) -> String {
    let path = folder.join("experiment.toml");
    std::fs::write(&path, text).expect("it can be written");
    path.display().to_string()
}

#[test]
fn unknown_keys_name_file_line_and_the_nearest_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = experiment(
        folder.path(),
        "name = \"x\"\n\n[training]\nlearning_rat = 1e-3\n",
    );
    refused(
        &["check", &file],
        &[
            "experiment.toml:4",
            "learning_rat",
            "did you mean `learning_rate`?",
        ],
    );
    let file = experiment(
        folder.path(),
        "[recipe]\npreset = \"paper\"\nlamda_train = 0.3\n",
    );
    refused(
        &["check", &file],
        &["experiment.toml:3", "lamda_train", "`lambda_train`"],
    );
    let file = experiment(folder.path(), "[recipe]\npreset = \"papr\"\n");
    refused(&["check", &file], &["experiment.toml:2", "papr", "`paper`"]);
}

#[test]
fn values_out_of_range_name_the_key() {
    check(&["--set", "rules.lambda=[1.5]"], &["rules.lambda", "1.5"]);
    check(
        &["--set", "training.steps=0"],
        &["training.steps", "1 or more"],
    );
    check(
        &["--set", "training.steps=many"],
        &["--set training.steps=many"],
    );
    check(&["--set", "recipe.tau=0.0"], &["recipe.tau"]);
    check(&["--set", "sampler.eta=1.5"], &["sampler.eta", "1.5"]);
    for interval in ["[0.6, 0.6]", "[0.6, 0.2]", "[-0.1, 1]", "[0, 1.5]"] {
        let set = format!("sampler.guidance_interval={interval}");
        check(
            &["--set", &set],
            &["sampler.guidance_interval", "0 <= from < to <= 1"],
        );
    }
    for interval in ["[0]", "[0, 0.5, 1]"] {
        let set = format!("sampler.guidance_interval={interval}");
        check(&["--set", &set], &["sampler.guidance_interval"]);
    }
    check(
        &["--set", "sampler.eta=0.5"],
        &["sampler.eta", "only DDIM", "solver = \"ddim\""],
    );
    check(&["--set", "model.device=gpu"], &["model.device", "cpu"]);
    check(&["--set", "nonsense"], &["key=value"]);
}

#[test]
fn solvers_are_named_and_planned() {
    check(
        &["--set", "sampler.solver=dpmpp_2m_karas"],
        &["dpmpp_2m_karas", "did you mean `dpmpp_2m_karras`?"],
    );
    check(
        &[
            "--set",
            "sampler.solver=dpmpp_2m",
            "--set",
            "sampler.steps=1000",
        ],
        &["sampler.solver", "1000 solver steps", "fewer"],
    );
    // The embedded model's file says leading spacing with an offset.
    check(
        &[
            "--set",
            "sampler.solver=scheduler",
            "--set",
            "sampler.steps=1000",
        ],
        &["sampler.solver", "steps_offset"],
    );
}

#[test]
fn missing_files_say_where_they_were_looked_for() {
    refused(
        &["no-such-file.toml"],
        &["no-such-file.toml", "Built in: quickstart, "],
    );
    check(
        &["--set", "model.path=no-such-model"],
        &[
            "model.path",
            "no-such-model",
            "Looked at",
            "the embedded model\n",
        ],
    );
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().display().to_string();
    check(
        &[
            "--set",
            "subjects.source=folder",
            "--set",
            "subjects.class=dog",
            "--set",
            &format!("subjects.path={empty}"),
        ],
        &["no photo", &empty],
    );
}

#[test]
fn a_picture_that_is_none_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("00.jpg"), "not a picture").expect("it can be written");
    let path = folder.path().display().to_string();
    check(
        &[
            "--set",
            "subjects.source=folder",
            "--set",
            "subjects.class=dog",
            "--set",
            &format!("subjects.path={path}"),
        ],
        &["00.jpg"],
    );
}

/// A copy of the embedded model that a test may damage.
fn copy_of_micro(into: &Path) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("a folder");
        for entry in std::fs::read_dir(from).expect("a folder").flatten() {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                copy(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), &target).expect("a copy");
            }
        }
    }
    let to = into.join("micro");
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro"),
        &to,
    );
    to
}

#[test]
fn damaged_models_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = copy_of_micro(folder.path());
    let set = format!("model.path={}", model.display());
    let unet = model.join("unet/diffusion_pytorch_model.safetensors");
    let whole = std::fs::read(&unet).expect("weights");

    std::fs::write(&unet, &whole[..whole.len() / 2]).expect("a truncated file");
    check(&["--set", &set], &["diffusion_pytorch_model.safetensors"]);
    std::fs::write(&unet, b"PK\x03\x04 this is a pickle").expect("a mislabelled file");
    check(&["--set", &set], &["diffusion_pytorch_model.safetensors"]);
    std::fs::remove_file(&unet).expect("it was there");
    check(&["--set", &set], &["unet"]);
    std::fs::write(&unet, &whole).expect("whole again");

    std::fs::remove_dir_all(model.join("vae")).expect("it was there");
    check(&["--set", &set], &["vae"]);
}

#[test]
fn a_loss_that_explodes_ends_with_code_1_and_keeps_the_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = experiments().join("quickstart.toml");
    let smoke = experiments().join("sizes/smoke.toml");
    let output = format!("output={}", folder.path().display());
    let run = folder.path().join("run");
    let result = program(&[
        file.to_str().expect("a plain path"),
        "--with",
        smoke.to_str().expect("a plain path"),
        "--set",
        &output,
        "--set",
        "training.learning_rate=1.0",
        "--set",
        "training.weight_decay=10.0",
        "--set",
        "training.steps=400",
        "--set",
        "validation.every=400",
        "--set",
        "subjects.count=1",
        "--out",
        run.to_str().expect("a plain path"),
    ]);
    let text = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(1), "{text}");
    assert!(
        text.contains("training.learning_rate") && text.contains("step "),
        "{text}"
    );
    let metrics = run.join("trajectories/ours/lion/seed-0/metrics.jsonl");
    let text =
        std::fs::read_to_string(&metrics).unwrap_or_else(|e| panic!("{}: {e}", metrics.display()));
    assert!(
        text.contains("validation"),
        "the validation of step 0 is kept"
    );
}

#[test]
fn a_file_in_the_way_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "here").expect("it can be written");
    let error =
        rpo_train::files::write(&file.join("below/metrics"), b"x").expect_err("no folder there");
    let text = format!("{error:#}");
    assert!(
        text.contains("below/metrics")
            && text.contains("a folder is wanted")
            && text.contains("cannot be written"),
        "{text}"
    );
    assert_eq!(std::fs::read_to_string(&file).expect("still there"), "here");
}

#[test]
fn records_of_a_newer_version_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("it can be written");
    };
    // Nothing of it but these two is known to this version.
    write("run.json", r#"{"records": 9, "version": "7.1.0"}"#);
    write("plan.json", "{}");
    write("resolved.toml", "");
    let run = folder.path().display().to_string();
    for args in [
        &["report", run.as_str()][..],
        &["cell", &run, "--index", "0"],
    ] {
        refused(args, &["run.json", "version 9", "use rpo-train 7.1.0"]);
    }
    let file = experiments().join("quickstart.toml").display().to_string();
    refused(&["run", &file, "--out", &run], &["version 9"]);
}
