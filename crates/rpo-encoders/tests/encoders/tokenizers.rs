//! Token ids against transformers: many scripts, emoji, control characters, special tokens, long texts.

use std::collections::HashMap;
use std::path::Path;

use crate::support::micro;
use rpo_encoders::tokenizer::{ClipTokenizer, WordPiece};
use serde_json::{Value, json};

fn texts(golden: &HashMap<String, Value>) -> Vec<String> {
    let texts = serde_json::from_value::<Vec<String>>(golden["texts"].clone()).unwrap();
    assert!(texts.len() >= 60);
    texts
}

fn rows(golden: &HashMap<String, Value>, name: &str) -> Vec<Vec<u32>> {
    serde_json::from_value::<Vec<String>>(golden[name].clone())
        .unwrap()
        .iter()
        .map(|row| row.split(' ').map(|id| id.parse().unwrap()).collect())
        .collect()
}

fn copy(from: &Path, names: &[&str], to: &Path) {
    for name in names {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// Sets keys in a JSON file of a copied folder.
fn set(path: &Path, keys: &[(&str, Value)]) {
    let mut value: serde_json::Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for (key, new) in keys {
        value.insert((*key).to_string(), new.clone());
    }
    std::fs::write(path, serde_json::to_string(&value).unwrap()).unwrap();
}

fn check_clip(name: &str, tokenizer: &ClipTokenizer) {
    let golden: HashMap<String, Value> = crate::support::json("tokens.json");
    for (text, want) in texts(&golden).iter().zip(rows(&golden, name)) {
        assert_eq!(tokenizer.encode(text).unwrap(), want, "{name}: {text:?}");
    }
}

fn check_bert(name: &str, tokenizer: &WordPiece) {
    let golden: HashMap<String, Value> = crate::support::json("tokens.json");
    let lengths: Vec<u32> =
        serde_json::from_value(golden[&format!("{name}_length")].clone()).unwrap();
    for ((text, want), length) in texts(&golden).iter().zip(rows(&golden, name)).zip(lengths) {
        let (ids, mask) = tokenizer.encode(text).unwrap();
        assert_eq!(ids, want, "{name}: {text:?}");
        assert_eq!(mask.len(), ids.len());
        assert_eq!(mask.iter().sum::<u32>(), length, "{name}: {text:?}");
        assert!(mask.is_sorted_by(|a, b| a >= b), "{name}: {text:?}");
    }
}

#[test]
fn clip_pipeline() {
    let tokenizer = ClipTokenizer::load(&micro("tokenizer")).unwrap();
    assert_eq!(tokenizer.max_length(), 24);
    assert_eq!(
        (tokenizer.bos(), tokenizer.eos(), tokenizer.pad()),
        (585, 586, 586)
    );
    check_clip("tokenizer", &tokenizer);
}

#[test]
fn clip_judge() {
    check_clip(
        "eval_clip",
        &ClipTokenizer::load(&micro("eval_clip")).unwrap(),
    );
}

/// The embedded tokenizer with other special tokens.
fn with_special(keys: &[(&str, Value)]) -> ClipTokenizer {
    let folder = tempfile::tempdir().unwrap();
    let configs = ["tokenizer_config.json", "special_tokens_map.json"];
    copy(
        &micro("tokenizer"),
        &["vocab.json", "merges.txt"],
        folder.path(),
    );
    copy(&micro("tokenizer"), &configs, folder.path());
    for name in configs {
        set(&folder.path().join(name), keys);
    }
    ClipTokenizer::load(folder.path()).unwrap()
}

/// OpenCLIP's tokenizers pad with "!", which is then also special inside texts.
#[test]
fn clip_with_another_pad_token() {
    let tokenizer = with_special(&[("pad_token", "!".into())]);
    assert_ne!(tokenizer.pad(), tokenizer.eos());
    check_clip("pad_exclamation", &tokenizer);
}

/// Special tokens as objects with flags, as the folders of Stable Diffusion 1 and 2 have them.
#[test]
fn clip_with_flagged_tokens() {
    let flagged = |content: &str| json!({"content": content, "lstrip": false, "normalized": true, "rstrip": false, "single_word": false});
    let eos = flagged("<|endoftext|>");
    for (name, pad) in [("sd1", "<|endoftext|>"), ("sd2", "!")] {
        let tokenizer = with_special(&[
            ("bos_token", flagged("<|startoftext|>")),
            ("eos_token", eos.clone()),
            ("unk_token", eos.clone()),
            ("pad_token", pad.into()),
        ]);
        check_clip(name, &tokenizer);
    }
}

/// A vocabulary and its merges suffice: the rest has CLIP's defaults.
#[test]
fn clip_without_configs() {
    let folder = tempfile::tempdir().unwrap();
    copy(
        &micro("tokenizer"),
        &["vocab.json", "merges.txt"],
        folder.path(),
    );
    let tokenizer = ClipTokenizer::load(folder.path()).unwrap();
    assert_eq!(tokenizer.max_length(), 77);
    check_clip("tokenizer", &tokenizer.with_max_length(24).unwrap());
}

#[test]
fn wordpiece_reward() {
    check_bert("reward", &WordPiece::load(&micro("reward")).unwrap());
}

#[test]
fn wordpiece_cased() {
    let folder = tempfile::tempdir().unwrap();
    copy(
        &micro("reward"),
        &["vocab.txt", "tokenizer_config.json"],
        folder.path(),
    );
    set(
        &folder.path().join("tokenizer_config.json"),
        &[
            ("do_lower_case", false.into()),
            ("strip_accents", true.into()),
            ("tokenize_chinese_chars", false.into()),
        ],
    );
    check_bert("cased", &WordPiece::load(folder.path()).unwrap());
}

#[test]
fn every_caption_word_is_one_token() {
    let tokenizer = ClipTokenizer::load(&micro("tokenizer")).unwrap();
    for word in ["dog", "backpack", "jungle", "sunglasses", "purple"] {
        assert_eq!(tokenizer.word_ids(word).unwrap().len(), 1, "{word}");
    }
}

#[test]
fn errors_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let error = ClipTokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("vocab.json"), "{error}");
    copy(
        &micro("tokenizer"),
        &["vocab.json", "merges.txt"],
        folder.path(),
    );
    std::fs::write(
        folder.path().join("tokenizer_config.json"),
        r#"{"model_max_length": "long"}"#,
    )
    .unwrap();
    let error = ClipTokenizer::load(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("tokenizer_config.json") && error.contains("model_max_length"),
        "{error}"
    );
    std::fs::write(
        folder.path().join("tokenizer_config.json"),
        r#"{"eos_token": "<end>"}"#,
    )
    .unwrap();
    assert!(
        ClipTokenizer::load(folder.path())
            .is_ok_and(|t| t.token(t.eos()).as_deref() == Some("<end>"))
    );
}

/// transformers 5 writes the tables into `tokenizer.json` alone; older versions write merges as texts.
#[test]
fn tokenizers_as_transformers_5_saves_them() {
    let clip = micro("tokenizer");
    let vocab: Value =
        serde_json::from_str(&std::fs::read_to_string(clip.join("vocab.json")).unwrap()).unwrap();
    let merges = std::fs::read_to_string(clip.join("merges.txt")).unwrap();
    let texts: Vec<&str> = merges
        .lines()
        .filter(|l| !l.starts_with("#version"))
        .collect();
    let pairs: Vec<(&str, &str)> = texts.iter().map(|t| t.split_once(' ').unwrap()).collect();
    for merges in [json!(texts), json!(pairs)] {
        let dir = tempfile::tempdir().unwrap();
        copy(&clip, &["tokenizer_config.json"], dir.path());
        let saved = json!({"model": {"type": "BPE", "vocab": vocab, "merges": merges}}).to_string();
        std::fs::write(dir.path().join("tokenizer.json"), saved).unwrap();
        check_clip("tokenizer", &ClipTokenizer::load(dir.path()).unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    copy(
        &micro("reward"),
        &["tokenizer.json", "tokenizer_config.json"],
        dir.path(),
    );
    check_bert("reward", &WordPiece::load(dir.path()).unwrap());
}
