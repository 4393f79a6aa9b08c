//! Whole models written from a run: as a diffusers folder, as a single file, and the way back from one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use rpo_diffusion::Pipeline;
use rpo_nn::weights::{Archive, Params};
use tempfile::TempDir;

fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
        .canonicalize()
        .unwrap()
}

/// Where these tests have the embedded model unpacked.
fn cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("rpo-cache")
}

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .env("RPO_CACHE", cache())
        .args(args)
        .output()
        .unwrap()
}

fn succeeds(args: &[&str]) -> String {
    let output = program(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(args: &[&str], words: &[&str]) {
    let output = program(args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: no `{word}` in: {text}");
    }
}

/// A finished run of two steps with a trained U-Net (arm `whole`) and one with adapters (arm `lora`).
fn run() -> &'static Path {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let folder = RUN.get_or_init(|| {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = folder.path().join("experiment.toml");
        let text = r#"
            [subjects]
            count = 1
            [sampler]
            steps = 2
            [training]
            steps = 2
            batch = 1
            learning_rate = 1e-3
            [validation]
            every = 2
            prompts = 1
            pictures_per_prompt = 1
            [test]
            prompts = 1
            pictures_per_prompt = 1
            [[arm]]
            name = "whole"
            [[arm]]
            name = "lora"
            lora = { rank = 2 }
        "#;
        std::fs::write(&file, text).unwrap();
        let out = folder.path().join("run");
        let output = format!("output={}", folder.path().display());
        let [file, out] = [&file, &out].map(|p| p.to_str().unwrap());
        succeeds(&["run", file, "--out", out, "--set", &output]);
        folder
    });
    Box::leak(folder.path().join("run").into_boxed_path())
}

fn kept(arm: &str) -> PathBuf {
    run().join(format!(
        "trajectories/{arm}/lion/seed-0/unet/step-000002/diffusion_pytorch_model.safetensors"
    ))
}

fn values(params: &Params) -> BTreeMap<String, Vec<f32>> {
    let tensors = params.tensors_sorted().unwrap();
    tensors
        .into_iter()
        .map(|(n, t)| (n, t.flatten_all().unwrap().to_vec1().unwrap()))
        .collect()
}

fn archived(path: &Path) -> BTreeMap<String, Vec<f32>> {
    let archive = Archive::open(path).unwrap();
    let names = archive.names();
    names
        .map(|n| (n.to_owned(), archive.values(n).unwrap()))
        .collect()
}

/// Names and contents of all files below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = PathBuf::from(entry.file_name());
        if entry.path().is_dir() {
            let inner = files(&entry.path()).into_iter();
            all.extend(inner.map(|(path, bytes)| (name.join(path), bytes)));
        } else {
            all.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

fn export(to: &Path, more: &[&str]) -> String {
    let mut args = vec![
        "export",
        run().to_str().unwrap(),
        "--to",
        to.to_str().unwrap(),
    ];
    args.extend(more);
    succeeds(&args)
}

const WHOLE: [&str; 4] = ["--trajectory", "whole/lion/seed-0", "--step", "2"];

#[test]
fn a_folder_has_the_trained_unet_and_the_rest_of_the_base_model() {
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("a/model");
    let said = export(&to, &WHOLE);
    assert!(said.contains(to.to_str().unwrap()));
    let mut written = files(&to);
    let base = files(&workspace("assets/micro"));
    let unet = PathBuf::from("unet/diffusion_pytorch_model.safetensors");
    assert!(written.remove(&unet).unwrap() != base[&unet]);
    let index: serde_json::Value =
        serde_json::from_slice(&written.remove(Path::new("model_index.json")).unwrap()).unwrap();
    let before: serde_json::Value =
        serde_json::from_slice(&base[Path::new("model_index.json")]).unwrap();
    assert_eq!(index, before);
    for (name, bytes) in &written {
        assert!(base[name] == *bytes, "{}", name.display());
    }
    // Configurations, tokenizer, weights of VAE and text encoder; not the reward's encoder beside them.
    let expected = base.keys().filter(|n| n.components().count() == 2);
    let parts = ["unet", "vae", "text_encoder", "tokenizer", "scheduler"];
    let expected = expected.filter(|n| parts.iter().any(|p| n.starts_with(p)));
    assert_eq!(written.len() + 1, expected.count());
    let pipeline = Pipeline::load(&to).unwrap();
    assert!(values(&pipeline.unet_params) == archived(&kept("whole")));
    let header = Archive::open(&to.join(&unet)).unwrap();
    assert_eq!(header.metadata()["format"], "pt");
    assert_eq!(header.metadata()["rpo.trajectory"], "whole/lion/seed-0");
    assert_eq!(header.metadata()["rpo.step"], "2");
    assert_eq!(
        std::fs::read_dir(folder.path().join("a")).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn nothing_is_overwritten_and_wrong_requests_are_refused() {
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("model");
    let run = run().to_str().unwrap();
    let name = |path: &Path| path.to_str().unwrap().to_owned();
    std::fs::create_dir(&to).unwrap();
    export(&to, &WHOLE);
    let before = files(&to);
    refused(
        &["export", run, "--to", &name(&to)],
        &[&name(&to), "nothing is overwritten"],
    );
    assert!(files(&to) == before);
    let file = folder.path().join("model.safetensors");
    std::fs::write(&file, "mine").unwrap();
    refused(
        &["export", run, "--to", &name(&file)],
        &[&name(&file), "nothing is overwritten"],
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let other = name(&folder.path().join("other"));
    refused(
        &["export", run, "--to", &other, "--format", "single-file"],
        &["--to", ".safetensors"],
    );
    let single = name(&folder.path().join("other.safetensors"));
    refused(
        &["export", run, "--to", &single, "--format", "diffusers"],
        &["--to"],
    );
    refused(&["export", run, "--to", &single, "--link"], &["--link"]);
    refused(
        &["export", run, "--to", &other, "--step", "1"],
        &["step 1", "not kept"],
    );
    refused(
        &["export", run, "--to", &other, "--trajectory", "x"],
        &["no trajectory `x`", "whole/lion/seed-0"],
    );
    refused(&["export", &other, "--to", &other], &["resolved.toml"]);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        2,
        "a refusal leaves nothing behind"
    );
}

#[test]
fn adapters_are_merged_and_step_0_is_the_base() {
    let folder = TempDir::new().unwrap();
    let base = workspace("assets/micro/unet/diffusion_pytorch_model.safetensors");
    let zero = folder.path().join("zero");
    export(&zero, &["--step", "0"]);
    let unet = "unet/diffusion_pytorch_model.safetensors";
    assert!(archived(&zero.join(unet)) == archived(&base));
    let merged = folder.path().join("merged");
    export(
        &merged,
        &["--trajectory", "lora/lion/seed-0", "--step", "2"],
    );
    let (merged, base) = (archived(&merged.join(unet)), archived(&base));
    let changed: Vec<&String> = base.keys().filter(|n| base[*n] != merged[*n]).collect();
    assert!(!changed.is_empty());
    for name in changed {
        assert!(
            ["to_q", "to_k", "to_v", "to_out.0"]
                .iter()
                .any(|t| name.ends_with(&format!("{t}.weight"))),
            "{name}"
        );
    }
}

#[cfg(unix)]
#[test]
fn weights_may_be_linked() {
    use std::os::unix::fs::MetadataExt;
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("model");
    let mut args = WHOLE.to_vec();
    args.push("--link");
    export(&to, &args);
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let base = cache().join(rpo_train::embedded::folder_name());
    for part in [
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ] {
        assert_eq!(inode(&to.join(part)), inode(&base.join(part)), "{part}");
    }
    let config = "vae/config.json";
    assert_ne!(inode(&to.join(config)), inode(&base.join(config)));
    Pipeline::load(&to).unwrap();
}

#[test]
fn a_single_file_becomes_the_same_folder_again() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("my dog.safetensors");
    export(&file, &WHOLE);
    let archive = Archive::open(&file).unwrap();
    assert_eq!(archive.metadata()["modelspec.title"], "my dog");
    assert_eq!(
        archive.metadata()["modelspec.architecture"],
        "stable-diffusion-v1"
    );
    assert!(
        archive
            .shape("model.diffusion_model.input_blocks.0.0.weight")
            .is_some()
    );
    assert!(
        archive
            .shape("cond_stage_model.transformer.text_model.final_layer_norm.weight")
            .is_some()
    );
    let back = folder.path().join("back");
    let micro = workspace("assets/micro");
    let [file_name, back_name, micro_name] = [&file, &back, &micro].map(|p| p.to_str().unwrap());
    let import = [
        "import",
        file_name,
        "--config-from",
        micro_name,
        "--to",
        back_name,
    ];
    let said = succeeds(&import);
    assert!(said.contains("Stable Diffusion 1.x"), "{said}");
    let pipeline = Pipeline::load(&back).unwrap();
    assert!(values(&pipeline.unet_params) == archived(&kept("whole")));
    for part in [
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ] {
        let bare = |all: BTreeMap<String, Vec<f32>>| -> BTreeMap<String, Vec<f32>> {
            let strip = |n: String| n.strip_prefix("text_model.").map(String::from).unwrap_or(n);
            all.into_iter().map(|(n, v)| (strip(n), v)).collect()
        };
        assert!(
            bare(archived(&back.join(part))) == bare(archived(&micro.join(part))),
            "{part}"
        );
    }
    refused(&import, &["nothing is overwritten"]);

    // Half the size on request; the same type again when it comes back.
    let half = folder.path().join("half.safetensors");
    let mut args = WHOLE.to_vec();
    args.extend(["--dtype", "bf16"]);
    export(&half, &args);
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&half) < size(&file) * 6 / 10);
    let back = folder.path().join("half");
    succeeds(&[
        "import",
        half.to_str().unwrap(),
        "--config-from",
        micro_name,
        "--to",
        back.to_str().unwrap(),
    ]);
    let unet = Archive::open(&back.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    assert_eq!(unet.precision(), rpo_nn::weights::Precision::Bf16);
}

#[test]
fn files_that_are_no_such_checkpoint_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let micro = workspace("assets/micro");
    let micro_name = micro.to_str().unwrap();
    let to = folder.path().join("to");
    let to = to.to_str().unwrap();
    let import = |file: &Path, words: &[&str]| {
        refused(
            &[
                "import",
                file.to_str().unwrap(),
                "--config-from",
                micro_name,
                "--to",
                to,
            ],
            words,
        );
    };
    let unet = micro.join("unet/diffusion_pytorch_model.safetensors");
    import(
        &unet,
        &[
            "diffusion_pytorch_model.safetensors",
            "no single-file checkpoint",
        ],
    );
    let pickle = folder.path().join("v1-5.ckpt");
    std::fs::write(&pickle, b"PK\x03\x04 pickled").unwrap();
    import(&pickle, &["v1-5.ckpt", "pickle"]);
    import(
        &folder.path().join("nowhere.safetensors"),
        &["nowhere.safetensors"],
    );
    // A file of another size than the configurations.
    let file = folder.path().join("file.safetensors");
    export(&file, &WHOLE);
    let other = folder.path().join("other");
    copy(&micro, &other);
    let config = other.join("unet/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let index = text.find("\"cross_attention_dim\"").unwrap();
    let end = index + text[index..].find(',').unwrap();
    std::fs::write(
        &config,
        format!(
            "{}\"cross_attention_dim\": 4096{}",
            &text[..index],
            &text[end..]
        ),
    )
    .unwrap();
    refused(
        &[
            "import",
            file.to_str().unwrap(),
            "--config-from",
            other.to_str().unwrap(),
            "--to",
            to,
        ],
        &["file.safetensors", "do not fit together", "4096"],
    );
    refused(
        &[
            "import",
            file.to_str().unwrap(),
            "--config-from",
            folder.path().to_str().unwrap(),
            "--to",
            to,
        ],
        &["--config-from", "unet/config.json"],
    );
    assert!(!Path::new(to).exists());
}

#[test]
fn a_model_folder_needs_no_run() {
    let folder = TempDir::new().unwrap();
    let micro = workspace("assets/micro");
    let file = folder.path().join("base.safetensors");
    let export = [
        "export",
        micro.to_str().unwrap(),
        "--to",
        file.to_str().unwrap(),
    ];
    refused(
        &[&export[..], &["--step", "0"]].concat(),
        &["a model, not a run"],
    );
    succeeds(&export);
    let unet = archived(&micro.join("unet/diffusion_pytorch_model.safetensors"));
    let written = Archive::open(&file).unwrap();
    let input = written.values("model.diffusion_model.input_blocks.0.0.weight");
    assert_eq!(input.unwrap(), unet["conv_in.weight"]);
}

/// A model from a stranger: names that lead out of its folder, and links that do.
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
    // Links within the folder, and those of the hub's cache, are.
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

fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        let path = to.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
