//! Folders of tokenizers in the forms of `token_forms.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::micro;

#[derive(Deserialize)]
pub(crate) struct Golden {
    pub(crate) texts: Vec<String>,
    pub(crate) forms: BTreeMap<String, Form>,
}

#[derive(Deserialize)]
pub(crate) struct Form {
    pub(crate) files: BTreeMap<String, Value>,
    pub(crate) tokens: usize,
    pub(crate) pad: u32,
    pub(crate) ids: Vec<String>,
}

pub(crate) fn json_of(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The vocabulary and the merges of the embedded tokenizers.
pub(crate) fn tables(clip: bool) -> (Value, Vec<String>) {
    if !clip {
        let saved = json_of(&micro("reward").join("tokenizer.json"));
        return (saved["model"]["vocab"].clone(), vec![]);
    }
    let merges = std::fs::read_to_string(micro("tokenizer").join("merges.txt")).unwrap();
    let merges = merges.lines().filter(|line| !line.starts_with("#version"));
    let vocab = json_of(&micro("tokenizer").join("vocab.json"));
    (vocab, merges.map(str::to_owned).collect())
}

/// Writes a form's folder, tables included.
pub(crate) fn folder(form: &Form, clip: bool) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let source = micro(if clip { "tokenizer" } else { "reward" });
    let (vocab, merges) = tables(clip);
    for (name, content) in &form.files {
        let path = dir.path().join(name);
        if content.is_null() {
            std::fs::copy(source.join(name), path).unwrap();
            continue;
        }
        let mut content = content.clone();
        if name == "tokenizer.json" {
            content["model"]["vocab"] = vocab.clone();
            if clip {
                content["model"]["merges"] = json!(merges);
            }
        }
        std::fs::write(path, content.to_string()).unwrap();
    }
    dir
}

/// Asserts that a message names all `words`.
#[track_caller]
pub(crate) fn names(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

/// Writes a JSON file.
pub(crate) fn put(dir: &Path, name: &str, content: &Value) {
    std::fs::write(dir.join(name), content.to_string()).unwrap();
}
