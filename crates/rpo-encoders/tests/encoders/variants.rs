//! Which of a folder's weights are used: variants, shards, and the error without weights.

use std::path::Path;

use candle_core::{Device, Tensor};
use rpo_encoders::folder;
use serde_json::json;
use tempfile::TempDir;

/// A file with the single tensor `value`.
fn put(dir: &Path, name: &str, value: f32) {
    let tensor = Tensor::new(&[value], &Device::Cpu).unwrap();
    candle_core::safetensors::save(&[("x", tensor)].into(), dir.join(name)).unwrap();
}

/// An index with `x` in `shard`.
fn index(dir: &Path, name: &str, shard: &str) {
    let text = json!({"metadata": {}, "weight_map": {"x": shard}}).to_string();
    std::fs::write(dir.join(name), text).unwrap();
}

fn taken(dir: &Path, variant: Option<&str>) -> f32 {
    folder::open_archive(dir, variant)
        .unwrap()
        .values("x")
        .unwrap()[0]
}

fn error(dir: &Path) -> String {
    let message = folder::weight_files(dir).unwrap_err().to_string();
    assert!(message.contains(dir.to_str().unwrap()), "{message}");
    message
}

#[test]
fn plain_files_come_first_unless_a_variant_is_asked_for() {
    for stem in ["model", "diffusion_pytorch_model"] {
        let dir = TempDir::new().unwrap();
        let dir = dir.path();
        put(dir, &format!("{stem}.non_ema.safetensors"), 3.0);
        let message = error(dir);
        assert!(
            message.contains("non_ema") && message.contains(&format!("{stem}.safetensors")),
            "{message}"
        );
        put(dir, &format!("{stem}.fp16.safetensors"), 2.0);
        assert_eq!(taken(dir, None), 2.0, "fp16 stands in for the plain file");
        put(dir, &format!("{stem}.safetensors"), 1.0);
        assert_eq!(taken(dir, None), 1.0);
        assert_eq!(taken(dir, Some("")), 1.0);
        assert_eq!(taken(dir, Some("fp16")), 2.0);
        assert_eq!(taken(dir, Some("non_ema")), 3.0);
        assert_eq!(
            taken(dir, Some("bf16")),
            1.0,
            "a part without the variant gives its plain file"
        );
    }
}

#[test]
fn shards_have_variants_too() {
    for listed in [
        "model.fp16.safetensors.index.json",
        "model.safetensors.index.fp16.json",
    ] {
        let dir = TempDir::new().unwrap();
        let dir = dir.path();
        put(dir, "model.fp16-00001-of-00001.safetensors", 2.0);
        index(dir, listed, "model.fp16-00001-of-00001.safetensors");
        assert_eq!(taken(dir, None), 2.0);
        put(dir, "model-00001-of-00001.safetensors", 1.0);
        index(
            dir,
            "model.safetensors.index.json",
            "model-00001-of-00001.safetensors",
        );
        assert_eq!(taken(dir, None), 1.0);
        assert_eq!(taken(dir, Some("fp16")), 2.0);
        let sources = folder::source_files(dir).unwrap();
        assert!(
            sources.contains(&dir.join("model.safetensors.index.json")),
            "{sources:?}"
        );
        assert!(
            sources.contains(&dir.join("model-00001-of-00001.safetensors")),
            "{sources:?}"
        );
    }
}

#[test]
fn folders_without_weights_say_what_they_have() {
    let dir = TempDir::new().unwrap();
    assert!(error(dir.path()).contains("no weights"));
    for pickle in [
        "pytorch_model.bin",
        "v1-5-pruned.ckpt",
        "diffusion_pytorch_model.fp16.bin",
    ] {
        let path = dir.path().join(pickle);
        std::fs::write(&path, b"PK\x03\x04").unwrap();
        let message = error(dir.path());
        assert!(
            message.contains(pickle) && message.contains("safe_serialization"),
            "{message}"
        );
        std::fs::remove_file(path).unwrap();
    }
    let nowhere = dir.path().join("nowhere");
    assert!(error(&nowhere).contains("no folder"));
}

#[cfg(unix)]
#[test]
fn links_to_files_that_were_never_downloaded_are_named() {
    let dir = TempDir::new().unwrap();
    let link = dir.path().join("model.safetensors");
    std::os::unix::fs::symlink("../../blobs/abc", &link).unwrap();
    let message = error(dir.path());
    assert!(
        message.contains("model.safetensors") && message.contains("download"),
        "{message}"
    );
    // A link to an existing file is a file like any other.
    put(dir.path(), "blob", 5.0);
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("blob", &link).unwrap();
    assert_eq!(taken(dir.path(), None), 5.0);
}

#[test]
fn a_download_needs_one_set_of_weights() {
    let names: Vec<String> = [
        "config.json",
        "diffusion_pytorch_model.bin",
        "diffusion_pytorch_model.fp16.safetensors",
        "diffusion_pytorch_model.non_ema.safetensors",
        "diffusion_pytorch_model-00001-of-00002.safetensors",
        "diffusion_pytorch_model-00002-of-00002.safetensors",
        "diffusion_pytorch_model.safetensors.index.json",
    ]
    .map(String::from)
    .into();
    let shards = [&names[6], &names[4], &names[5]].map(Clone::clone);
    assert_eq!(folder::weight_names(&names, None), shards);
    assert_eq!(
        folder::weight_names(&names, Some("fp16")),
        [names[2].clone()]
    );
    assert_eq!(
        folder::weight_names(&names, Some("non_ema")),
        [names[3].clone()]
    );
    assert_eq!(folder::weight_names(&names[..3], None), [names[2].clone()]);
    assert!(folder::weight_names(&names[..2], None).is_empty());
}
