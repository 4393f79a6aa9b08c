//! Broken folders: every error names the file and the key or tensor, and has a hint.

mod support;

use std::path::Path;

use rpo_encoders::dual::DualEncoder;
use rpo_encoders::folder;
use rpo_encoders::vit::VitEncoder;
use rpo_nn::Place;
use serde_json::{Value, json};
use support::{golden, micro, picture, tensors};

/// A copy of the embedded judge with a changed `config.json`.
fn judge(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy(&micro("eval_clip"), dir.path());
    let path = dir.path().join("config.json");
    let mut config = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&path, config.to_string()).unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn error(dir: &Path) -> String {
    DualEncoder::load(dir, &Place::default())
        .unwrap_err()
        .to_string()
}

#[test]
fn configs() {
    let missing = error(Path::new("no/such/folder"));
    assert!(missing.contains("no/such/folder"), "{missing}");
    let wrong = |change: fn(&mut Value), words: &[&str]| {
        let message = error(judge(change).path());
        for word in words {
            assert!(message.contains(word), "{word}: {message}");
        }
    };
    wrong(
        |c| c["model_type"] = json!("blip"),
        &["config.json", "model_type", "blip"],
    );
    wrong(
        |c| c["text_config"]["hidden_size"] = json!("wide"),
        &["config.json", "text_config.hidden_size"],
    );
    wrong(
        |c| c["text_config"]["hidden_act"] = json!("snake"),
        &["hidden_act", "snake"],
    );
    wrong(
        |c| c["vision_config"]["num_attention_heads"] = json!(3),
        &["num_attention_heads", "128"],
    );
    wrong(
        |c| c["vision_config"]["intermediate_size"] = json!(500),
        &[
            "model.safetensors",
            "vision_model.encoder.layers.0.mlp.fc1.weight",
            "500",
            "512",
        ],
    );
    wrong(
        |c| c["vision_config"]["patch_size"] = json!(100),
        &["patch_size"],
    );
    wrong(
        |c| c["text_config"]["num_hidden_layers"] = json!(4),
        &["text_model.encoder.layers.3."],
    );
    let message = VitEncoder::load(&micro("eval_clip"), &Place::default())
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("model_type") && message.contains("clip"),
        "{message}"
    );
}

#[test]
fn a_vocabulary_too_large() {
    let dir = judge(|c| c["text_config"]["vocab_size"] = json!(596));
    let path = dir.path().join("vocab.json");
    let mut vocab: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    vocab["snow</w>"] = json!(1000);
    std::fs::write(&path, vocab.to_string()).unwrap();
    let encoder = DualEncoder::load(dir.path(), &Place::default()).unwrap();
    let message = encoder
        .embed_texts(&["a dog in the snow".to_string()])
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("1000") && message.contains("596"),
        "{message}"
    );
}

#[test]
fn weights() {
    let dir = judge(|_| {});
    let weights = dir.path().join("model.safetensors");
    std::fs::rename(&weights, dir.path().join("pytorch_model.bin")).unwrap();
    let message = error(dir.path());
    assert!(
        message.contains(".bin") && message.contains("safe_serialization"),
        "{message}"
    );
    std::fs::remove_file(dir.path().join("pytorch_model.bin")).unwrap();
    let message = error(dir.path());
    assert!(
        message.contains("no weights") && message.contains("model.safetensors"),
        "{message}"
    );
}

/// The same weights in two shards with an index give the same embeddings.
#[test]
fn shards() {
    let dir = judge(|_| {});
    let all = candle_core::safetensors::load(
        dir.path().join("model.safetensors"),
        &candle_core::Device::Cpu,
    )
    .unwrap();
    std::fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let (text, other): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|(name, _)| name.starts_with("text_model."));
    let mut index = serde_json::Map::new();
    for (file, part) in [("a.safetensors", text), ("b.safetensors", other)] {
        for (name, _) in &part {
            index.insert(name.clone(), json!(file));
        }
        candle_core::safetensors::save(&part.into_iter().collect(), dir.path().join(file)).unwrap();
    }
    let index = json!({"metadata": {}, "weight_map": index}).to_string();
    std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
    assert_eq!(folder::weight_files(dir.path()).unwrap().files.len(), 2);
    let encoder = DualEncoder::load(dir.path(), &Place::default()).unwrap();
    let whole = DualEncoder::load(&micro("eval_clip"), &Place::default()).unwrap();
    let pictures = [picture("scene.png"), picture("wide.png")];
    assert_eq!(
        encoder.embed_images(&pictures).unwrap(),
        whole.embed_images(&pictures).unwrap()
    );
    std::fs::remove_file(dir.path().join("b.safetensors")).unwrap();
    let message = error(dir.path());
    assert!(message.contains("b.safetensors"), "{message}");
}

#[test]
fn pixels_of_another_size() {
    let config = folder::read_config(&golden("tiny_vit")).unwrap();
    let params = folder::open_params(&golden("tiny_vit"), false).unwrap();
    let model =
        rpo_encoders::vit::VitModel::new(&config, &params.root(), &Place::default()).unwrap();
    let small = tensors("tiny_vit.safetensors")["pixels"]
        .narrow(1, 0, 12)
        .unwrap();
    let message = model.forward(&small).unwrap_err().to_string();
    assert!(
        message.contains("12x36") && message.contains("24x36"),
        "{message}"
    );
}
