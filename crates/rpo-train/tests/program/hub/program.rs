//! The program on a cache.

use super::common::{COMMIT, OTHER, publish, workspace};
use rpo_experiment as experiment;
use rpo_train::runner::setup::Setup;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

fn program(cache: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .args(args)
        .env("HF_HUB_CACHE", cache)
        .env("HF_HUB_OFFLINE", "1")
        .output()
        .unwrap()
}

fn succeeds(cache: &Path, args: &[&str]) {
    let output = program(cache, args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const SIZE: [&str; 14] = [
    "--set",
    "subjects.count=1",
    "--set",
    "training.steps=2",
    "--set",
    "validation.every=2",
    "--set",
    "rules.last=true",
    "--set",
    "validation.prompts=1",
    "--set",
    "test.prompts=1",
    "--set",
    "sampler.steps=2",
];

/// The experiment, run from the cache: the run folder records the commits, and a run is identified by its inputs, not their paths.
#[test]
fn a_run_from_the_cache_records_its_commits_and_goes_on_when_branches_move() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    let micro = workspace("assets/micro");
    publish(&cache, "org/tiny", COMMIT, &micro);
    for encoder in ["reward", "eval_clip", "eval_dino"] {
        publish(
            &cache,
            &format!("org/{encoder}"),
            OTHER,
            &micro.join(encoder),
        );
    }
    let (file, smoke) = (
        workspace("experiments/quickstart.toml"),
        workspace("experiments/sizes/smoke.toml"),
    );
    let (file, smoke) = (file.to_str().unwrap(), smoke.to_str().unwrap());
    let out = folder.path().join("run");
    let out = out.to_str().unwrap();
    let output = format!("output={}", folder.path().display());
    let mut args = vec!["run", file, "--with", smoke, "--out", out, "--set", &output];
    args.extend(SIZE);
    let names = [
        "model.path=org/tiny@main",
        "encoders.reward=org/reward",
        "encoders.clip=org/eval_clip",
        "encoders.vit=org/eval_dino",
    ];
    names.iter().for_each(|name| args.extend(["--set", name]));
    succeeds(&cache, &args);
    let info = || -> serde_json::Value {
        let text = std::fs::read_to_string(Path::new(out).join("run.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let sources = info()["sources"].clone();
    assert_eq!(sources["model.path"]["repository"], "org/tiny");
    assert_eq!(sources["model.path"]["revision"], "main");
    assert_eq!(sources["model.path"]["commit"], COMMIT);
    assert_eq!(sources["encoders.vit"]["commit"], OTHER);

    // The same inputs as from the folder itself: links are followed, the path does not count.
    let sets: Vec<String> = SIZE
        .iter()
        .filter(|s| **s != "--set")
        .map(|s| (*s).to_owned())
        .collect();
    let (experiment, layers) =
        experiment::read(Path::new(file), &[PathBuf::from(smoke)], &sets).unwrap();
    let setup = Setup::load(experiment, &layers).unwrap();
    assert!(setup.sources.is_empty());
    assert_eq!(info()["inputs"], setup.inputs_hash.as_str());

    // The branch moves to a model with another scheduler: a begun run resumes with the commit it began with.
    let changed = folder.path().join("changed");
    let copy = Command::new("cp")
        .args(["-r", micro.to_str().unwrap(), changed.to_str().unwrap()])
        .status();
    assert!(copy.unwrap().success());
    let scheduler = changed.join("scheduler/scheduler_config.json");
    let text = std::fs::read_to_string(&scheduler)
        .unwrap()
        .replace('{', "{ ");
    std::fs::write(&scheduler, text).unwrap();
    publish(&cache, "org/tiny", OTHER, &changed);
    succeeds(&cache, &args);
    assert_eq!(info()["sources"], sources);
    let pictures = folder.path().join("pictures");
    let pictures = pictures.to_str().unwrap();
    succeeds(
        &cache,
        &["generate", out, "--step", "0", "-n", "1", "--out", pictures],
    );
    assert_eq!(std::fs::read_dir(pictures).unwrap().count(), 1);
}

#[test]
fn what_is_not_in_the_cache_is_told_with_the_command_that_fetches_it() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    let file = workspace("experiments/quickstart.toml");
    let check = |set: &str, words: &[&str]| {
        let output = program(&cache, &["check", file.to_str().unwrap(), "--set", set]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        for word in words {
            assert!(text.contains(word), "no `{word}` in: {text}");
        }
    };
    let cached = cache.join("models--runwayml--stable-diffusion-v1-5");
    check(
        "model.path=runwayml/stable-diffusion-v1-5",
        &[
            "model.path",
            cached.to_str().unwrap(),
            "has moved to stable-diffusion-v1-5/stable-diffusion-v1-5",
            "hf download stable-diffusion-v1-5/stable-diffusion-v1-5",
            "the hub was not asked",
        ],
    );
    check(
        "encoders.reward=kakaobrain/align-base@v1",
        &[
            "encoders.reward",
            "hf download kakaobrain/align-base --revision v1",
        ],
    );
    publish(&cache, "org/tiny", COMMIT, &workspace("assets/micro"));
    check("model.path=org/tiny@v9", &["no revision `v9`", "main"]);
    std::fs::remove_file(cache.join(format!(
        "models--org--tiny/snapshots/{COMMIT}/vae/config.json"
    )))
    .unwrap();
    check(
        "model.path=org/tiny",
        &["incomplete", "vae/config.json", COMMIT],
    );
    // Some published encoders are pickles only.
    let pickled = folder.path().join("pickled");
    std::fs::create_dir(&pickled).unwrap();
    std::fs::write(pickled.join("config.json"), "{}").unwrap();
    std::fs::write(pickled.join("pytorch_model.bin"), b"PK").unwrap();
    publish(&cache, "org/pickled", COMMIT, &pickled);
    check(
        "encoders.clip=org/pickled",
        &["encoders.clip", "pytorch_model.bin", "safe_serialization"],
    );
    // A single-file checkpoint is no folder.
    let single = folder.path().join("v1-5.safetensors");
    std::fs::write(&single, b"x").unwrap();
    check(
        &format!("model.path={}", single.display()),
        &["rpo-train import"],
    );
    let single = folder.path().join("v1-5.ckpt");
    std::fs::write(&single, b"x").unwrap();
    check(&format!("model.path={}", single.display()), &["pickle"]);
}

#[test]
fn variants_are_asked_for_by_name() {
    let folder = TempDir::new().unwrap();
    let file = workspace("experiments/quickstart.toml");
    let output = program(
        folder.path(),
        &[
            "check",
            file.to_str().unwrap(),
            "--set",
            "model.variant=fp16",
        ],
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("model.variant") && text.contains("unet has no weights `fp16`"),
        "{text}"
    );
}
