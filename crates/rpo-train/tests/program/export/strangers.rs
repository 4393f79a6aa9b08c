//! Untrusted models.

use super::common::{copy, files, refused, run, succeeds, workspace};
use std::path::Path;
use tempfile::TempDir;

/// Names and links that lead out of the model's folder.
#[cfg(unix)]
#[test]
fn nothing_outside_of_a_strangers_model_is_written_or_copied() {
    use std::os::unix::fs::symlink;
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    std::fs::create_dir(at("private")).unwrap();
    std::fs::write(at("private/letter.json"), "{\"dear\": \"you\"}").unwrap();
    let lora = run().join("trajectories/lora/lion/seed-0/lora/step-000002");
    let private = files(&at("private"));
    let both = |model: &Path, words: &[&str]| {
        let to = at("to");
        let (model, lora, to) = (text(model), text(&lora), text(&to));
        refused(&["export", &model, "--to", &to], words);
        let merge = ["lora", "merge", &lora, "--model", &model, "--to", &to];
        refused(&merge, words);
        assert!(files(&at("private")) == private);
        assert!(!at("to").exists());
    };
    for name in [
        text(&at("private")),
        "../private".into(),
        "unet/../../private".into(),
        "..".into(),
        ".".into(),
        String::new(),
        "custom".into(),
    ] {
        let model = TempDir::new_in(folder.path()).unwrap();
        copy(&workspace("assets/micro"), model.path());
        let index = model.path().join("model_index.json");
        let mut value: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
        value[&name] = serde_json::json!(["diffusers", "AutoencoderKL"]);
        std::fs::write(&index, value.to_string()).unwrap();
        both(model.path(), &["model_index.json", "no part"]);
    }
    let model = at("model");
    copy(&workspace("assets/micro"), &model);
    for (name, to) in [
        ("tokenizer/added_tokens.json", at("private/letter.json")),
        ("text_encoder/notes", at("private/letter.json")),
        ("vae/deep", at("model/../private/letter.json")),
    ] {
        symlink(to, model.join(name)).unwrap();
        both(&model, &[name, "letter.json", "not followed"]);
        std::fs::remove_file(model.join(name)).unwrap();
    }
    std::fs::rename(model.join("vae"), at("vae")).unwrap();
    symlink(at("vae"), model.join("vae")).unwrap();
    both(&model, &["vae/config.json", "not followed"]);
    // Links within the folder, and those of the hub's cache, are followed.
    std::fs::remove_file(model.join("vae")).unwrap();
    std::fs::rename(at("vae"), model.join("the vae")).unwrap();
    symlink("the vae", model.join("vae")).unwrap();
    let hub = at("models--org--name");
    std::fs::create_dir_all(hub.join("blobs")).unwrap();
    std::fs::create_dir_all(hub.join("snapshots")).unwrap();
    std::fs::rename(&model, hub.join("snapshots/abc")).unwrap();
    let model = hub.join("snapshots/abc");
    let config = model.join("scheduler/scheduler_config.json");
    std::fs::rename(&config, hub.join("blobs/123")).unwrap();
    symlink("../../../blobs/123", &config).unwrap();
    succeeds(&["export", &text(&model), "--to", &text(&at("to"))]);
    let written = files(&at("to"));
    let scheduler = &written[Path::new("scheduler/scheduler_config.json")];
    assert!(*scheduler == std::fs::read(hub.join("blobs/123")).unwrap());
}
