//! The form that a `tokenizer.json` must have: CLIP's or BERT's way to split texts.
//!
//! transformers builds these tokenizers by their class and reads only tables and added tokens of the file. A file that says
//! otherwise was written by another tokenizer, whose ids would be others.

use candle_core::{Result, bail};
use serde_json::{Map, Value, json};

use super::saved::Saved;

/// A part of the file, the values it may have, and what they mean.
struct Part {
    key: &'static str,
    values: Vec<Value>,
    meaning: &'static str,
}

/// The two tokens around a text, with their ids.
pub(super) type Ends<'a> = [(&'a str, u32); 2];

/// Checks the form of a CLIP tokenizer; `words` are the expressions that may split words.
///
/// # Errors
/// With the file, the key, the value and what is read.
pub(super) fn clip(saved: &Saved, words: &[&str], unk: &str, ends: Ends<'_>) -> Result<()> {
    let split = |words: &&str| {
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": words}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false},
        ]})
    };
    let parts = [
        Part {
            key: "normalizer",
            values: vec![json!({"type": "Sequence", "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": "\\s+"}, "content": " "},
                {"type": "Lowercase"},
            ]})],
            meaning: "NFC, white space folded, lower case",
        },
        Part {
            key: "pre_tokenizer",
            values: words.iter().map(split).collect(),
            meaning: "CLIP's split into words, then bytes",
        },
    ];
    let model = [
        ("type", json!("BPE"), json!("BPE")),
        ("unk_token", json!(unk), json!(unk)),
        ("continuing_subword_prefix", json!(""), json!("")),
        ("end_of_word_suffix", json!("</w>"), Value::Null),
        ("dropout", json!(0.0), json!(0.0)),
        ("fuse_unk", json!(false), json!(false)),
        ("byte_fallback", json!(false), json!(false)),
        ("ignore_merges", json!(false), json!(false)),
    ];
    check(saved, &parts, &model, ends)
}

/// Checks the form of a BERT tokenizer with these settings of its normaliser.
///
/// # Errors
/// As [`clip`].
pub(super) fn bert(saved: &Saved, normalizer: &Value, unk: &str, ends: Ends<'_>) -> Result<()> {
    let parts = [
        Part {
            key: "normalizer",
            values: vec![normalizer.clone()],
            meaning: "BertNormalizer with the settings of tokenizer_config.json, or lower case without them",
        },
        Part {
            key: "pre_tokenizer",
            values: vec![json!({"type": "BertPreTokenizer"})],
            meaning: "BertPreTokenizer",
        },
    ];
    let model = [
        ("type", json!("WordPiece"), json!("WordPiece")),
        ("unk_token", json!(unk), json!(unk)),
        ("continuing_subword_prefix", json!("##"), json!("##")),
        ("max_input_chars_per_word", json!(100), json!(100)),
    ];
    check(saved, &parts, &model, ends)
}

/// `model`: keys, the value that is read, and what a missing key or null stands for.
fn check(
    saved: &Saved,
    parts: &[Part],
    model: &[(&str, Value, Value)],
    ends: Ends<'_>,
) -> Result<()> {
    for part in parts {
        let found = saved.parts.get(part.key).map(plain).unwrap_or_default();
        if !found.is_null() && !part.values.contains(&found) {
            refuse(saved, part.key, &found, part.meaning)?;
        }
    }
    let empty = Map::new();
    let of_model = saved.parts.get("model").and_then(Value::as_object);
    let of_model = of_model.unwrap_or(&empty);
    // A file of tables alone, without settings, has those of its class.
    let bare = of_model.is_empty() || (of_model.len() == 1 && of_model.contains_key("type"));
    for (key, wanted, missing) in model {
        let found = of_model.get(*key).filter(|value| !value.is_null());
        let found = found.unwrap_or(if bare { wanted } else { missing });
        if found != wanted {
            refuse(saved, &format!("model.{key}"), found, &wanted.to_string())?;
        }
    }
    match saved.parts.get("post_processor") {
        None | Some(Value::Null) => Ok(()),
        Some(found) if surrounds(found, ends) => Ok(()),
        Some(found) => {
            let [(first, first_id), (last, last_id)] = ends;
            let meaning = format!("{first} (id {first_id}), the text, {last} (id {last_id})");
            refuse(saved, "post_processor", found, &meaning)
        }
    }
}

fn refuse(saved: &Saved, key: &str, found: &Value, meaning: &str) -> Result<()> {
    let mut shown: String = found.to_string();
    if let Some((cut, _)) = shown.char_indices().nth(200) {
        shown.truncate(cut);
        shown.push('…');
    }
    bail!(
        "{}, key `{key}`: {shown} is not read here, only {meaning}\n  hint: this file is of another kind of tokenizer, whose ids would differ; copy the one that belongs to the text encoder",
        saved.path.display()
    )
}

/// Whether a post-processor puts `ends` around a text.
fn surrounds(found: &Value, ends: Ends<'_>) -> bool {
    let [first, last] = ends;
    let pair = |(token, id): (&str, u32)| json!([token, id]);
    match found.get("type").and_then(Value::as_str) {
        Some("RobertaProcessing" | "BertProcessing") => {
            found.get("cls") == Some(&pair(first)) && found.get("sep") == Some(&pair(last))
        }
        Some("TemplateProcessing") => {
            let special = |token| json!({"SpecialToken": {"id": token, "type_id": 0}});
            let text = json!({"Sequence": {"id": "A", "type_id": 0}});
            let ids = |token| {
                let tokens = found.get("special_tokens");
                tokens.and_then(|tokens| tokens.get(token)?.get("ids"))
            };
            found.get("single") == Some(&json!([special(first.0), text, special(last.0)]))
                && ids(first.0) == Some(&json!([first.1]))
                && ids(last.0) == Some(&json!([last.1]))
        }
        _ => false,
    }
}

/// The value without keys that change offsets only, or have their default.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(key, value)| {
                key.as_str() != "trim_offsets"
                    && !(key.as_str() == "use_regex" && **value == Value::Bool(true))
            });
            Value::Object(
                kept.map(|(key, value)| (key.clone(), plain(value)))
                    .collect(),
            )
        }
        Value::Array(values) => Value::Array(values.iter().map(plain).collect()),
        other => other.clone(),
    }
}
