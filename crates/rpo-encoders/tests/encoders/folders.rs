//! Broken folders: every error names the file and the key or tensor, and has a hint.

use std::path::Path;

use crate::support::{golden, micro, picture, tensors};
use candle_core::{DType, Device, Tensor};
use rpo_encoders::clip::ClipTextModel;
use rpo_encoders::dual::{DualEncoder, DualTowers};
use rpo_encoders::folder;
use rpo_encoders::tokenizer::TokenBatch;
use rpo_encoders::vit::VitEncoder;
use rpo_nn::Place;
use serde_json::{Value, json};

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
    let message = error(dir.path());
    for word in ["1000", "596", "snow</w>"] {
        assert!(message.contains(word), "{word}: {message}");
    }
}

/// The weights hold what config.json does not say: other numbers would come out.
#[test]
fn tensors_without_a_place() {
    let fewer = |part: &'static str| judge(move |c| c[part]["num_hidden_layers"] = json!(1));
    for part in ["text_config", "vision_config"] {
        let message = error(fewer(part).path());
        assert!(
            message.contains("encoder.layers.1.") && message.contains("num_hidden_layers"),
            "{message}"
        );
    }
    let with = |from: &str, name: &str| {
        let dir = tempfile::tempdir().unwrap();
        copy(&micro(from), dir.path());
        let path = dir.path().join("model.safetensors");
        let mut all = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        all.insert(
            name.into(),
            Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap(),
        );
        candle_core::safetensors::save(&all, &path).unwrap();
        let place = Place::default();
        match from {
            "eval_dino" => VitEncoder::load(dir.path(), &place).map(drop),
            "text_encoder" => ClipTextModel::load(dir.path(), None, &place).map(drop),
            _ => DualEncoder::load(dir.path(), &place).map(drop),
        }
        .map_err(|error| error.to_string())
    };
    for (from, known) in [
        ("eval_clip", "logit_scale"),
        ("eval_clip", "text_model.embeddings.position_ids"),
        ("reward", "temperature"),
        ("reward", "text_model.pooler.dense.bias"),
        ("eval_dino", "pooler.dense.bias"),
        ("eval_dino", "classifier.bias"),
        ("text_encoder", "vision_model.post_layernorm.bias"),
        ("text_encoder", "logit_scale"),
    ] {
        with(from, known).unwrap();
    }
    for from in ["eval_clip", "reward", "eval_dino", "text_encoder"] {
        let message = with(from, "stranger.weight").unwrap_err();
        assert!(message.contains("stranger.weight"), "{message}");
    }
}

/// Weights that overflow: the embedding that shows it is named.
#[test]
fn embeddings_that_are_not_finite() {
    let broken = |name: &str| {
        let dir = judge(|_| {});
        let path = dir.path().join("model.safetensors");
        let mut all = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        let large = Tensor::full(3e38_f32, all[name].shape(), &Device::Cpu).unwrap();
        all.insert(name.into(), large);
        candle_core::safetensors::save(&all, &path).unwrap();
        dir
    };
    let dir = broken("text_model.final_layer_norm.weight");
    let shown = dir.path().display().to_string();
    let encoder = DualEncoder::load(dir.path(), &Place::default());
    let embedded = encoder.and_then(|e| e.embed_texts(&["a dog".into()]));
    let message = embedded.unwrap_err().to_string();
    assert!(
        message.contains("a dog") && message.contains(&shown),
        "{message}"
    );
    let dir = broken("visual_projection.weight");
    let shown = dir.path().display().to_string();
    let encoder = DualEncoder::load(dir.path(), &Place::default());
    let embedded = encoder.and_then(|e| e.embed_images(&[picture("scene.png")]));
    let message = embedded.unwrap_err().to_string();
    assert!(
        message.contains("picture 1") && message.contains(&shown),
        "{message}"
    );
}

/// Numbers that no encoder has: named, before anything is built on them.
#[test]
fn numbers_out_of_bounds() {
    let of = |part: &str, key: &str, value: &Value| {
        let (part, key, value) = (part.to_owned(), key.to_owned(), value.clone());
        error(judge(move |c| c[part][key] = value).path())
    };
    let huge = json!(u64::MAX);
    for (part, key, value) in [
        ("text_config", "hidden_size", json!(0)),
        ("text_config", "hidden_size", huge.clone()),
        ("text_config", "vocab_size", json!(1e9 as u64)),
        ("text_config", "max_position_embeddings", huge.clone()),
        ("text_config", "num_hidden_layers", huge.clone()),
        ("text_config", "num_attention_heads", json!(0)),
        ("text_config", "layer_norm_eps", json!(-1.0)),
        ("text_config", "intermediate_size", json!(1.5)),
        ("text_config", "use_attention_mask", json!(true)),
        ("vision_config", "image_size", huge.clone()),
        ("vision_config", "image_size", json!([1, 2, 3])),
        ("vision_config", "patch_size", json!(0)),
        ("vision_config", "num_channels", huge),
    ] {
        let message = of(part, key, &value);
        for word in ["config.json", part, key] {
            assert!(message.contains(word), "{part}.{key} = {value}: {message}");
        }
    }
    assert!(of("text_config", "hidden_size", &json!("wide")).contains("expected a whole number"));

    let align = |key: &str, value: Value| {
        let dir = tempfile::tempdir().unwrap();
        copy(&micro("reward"), dir.path());
        let path = dir.path().join("config.json");
        let mut config: Value =
            serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        config["vision_config"][key] = value;
        std::fs::write(&path, config.to_string()).unwrap();
        error(dir.path())
    };
    for (key, value) in [
        ("depth_coefficient", json!(1e18)),
        ("width_coefficient", json!(1e300)),
        ("width_coefficient", json!(-1)),
        ("depth_divisor", json!(0)),
        ("num_block_repeats", json!([1_000_000_000_000_u64])),
        ("expand_ratios", json!([u64::MAX])),
        ("kernel_sizes", json!([u64::MAX])),
        ("squeeze_expansion_ratio", json!(1e300)),
        ("batch_norm_eps", json!(-1)),
    ] {
        let message = align(key, value.clone());
        assert!(
            message.contains("config.json") && message.contains(key),
            "{key} = {value}: {message}"
        );
    }
}

/// An attention mask that would be ignored, or hides everything.
#[test]
fn masks() {
    let clip = DualTowers::load(&micro("eval_clip"), &Place::default()).unwrap();
    let eos = 586;
    let ids = vec![vec![585, 100, eos, eos]];
    let of = |towers: &DualTowers, mask: Vec<Vec<u32>>| {
        let features = towers.text_features(&TokenBatch {
            ids: ids.clone(),
            mask,
        });
        features
            .and_then(|f| f.flatten_all()?.to_vec1::<f32>())
            .map_err(|error| error.to_string())
    };
    let whole = of(&clip, vec![vec![1; 4]]).unwrap();
    for mask in [vec![0, 1, 1, 1], vec![0; 4], vec![1; 3]] {
        assert!(
            of(&clip, vec![mask])
                .unwrap_err()
                .contains("attention mask")
        );
    }
    let align = DualTowers::load(&micro("reward"), &Place::default()).unwrap();
    let ids = vec![vec![2, 14, 3, 0]];
    let of = |mask: Vec<Vec<u32>>| {
        let features = align.text_features(&TokenBatch {
            ids: ids.clone(),
            mask,
        });
        features.map(drop).map_err(|error| error.to_string())
    };
    of(vec![vec![1, 1, 1, 0]]).unwrap();
    for mask in [
        vec![vec![1, 1], vec![1, 0]],
        vec![vec![0; 4]],
        vec![vec![1, 1, 2, 0]],
        vec![],
    ] {
        assert!(of(mask).unwrap_err().contains("attention mask"));
    }
    assert!(whole.iter().all(|x| x.is_finite()));
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
