//! Tokenizers' folders, and texts read by them.

use super::made::{file, folder};
use crate::case::Case;
use crate::target::{Target, ensure_fault};
use anyhow::Result;
use rpo_encoders::tokenizer::{ClipTokenizer, WordPiece};
use std::path::Path;

const TEXTS: [&str; 5] = [
    "",
    "a photo of [V] dog",
    "Caf\u{e9}  DON'T \u{65e5}\u{672c} \u{1f600}\u{0}",
    "<|endoftext|> [CLS] <s>",
    "   \n\t ",
];

/// The longest rows that are made.
const MOST: usize = 512;

/// A vocabulary small enough to change often.
fn clip() -> Result<Case> {
    let vocab = r#"{"a": 0, "b": 1, "o": 2, "d": 3, "g": 4, "a</w>": 5, "b</w>": 6, "g</w>": 7, "do": 8, "dog</w>": 9,
        "<|startoftext|>": 10, "<|endoftext|>": 11}"#;
    let config = r#"{"bos_token": {"content": "<|startoftext|>", "lstrip": false, "rstrip": false, "single_word": false,
        "normalized": true, "__type": "AddedToken"}, "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>", "model_max_length": 16, "tokenizer_class": "CLIPTokenizer",
        "added_tokens_decoder": {"12": {"content": "<sks>", "special": false, "lstrip": true, "normalized": false}}}"#;
    Ok(Case::of("vocab.json", vocab)
        .with("merges.txt", "#version: 0.2\nd o\ndo g</w>\n")
        .with("tokenizer_config.json", config)
        .with(
            "special_tokens_map.json",
            r#"{"pad_token": "<|endoftext|>"}"#,
        )
        .with("added_tokens.json", r#"{"<sks>": 12}"#))
}

fn read_clip(folder: &Path) -> Result<()> {
    let tokenizer = ClipTokenizer::load(folder)?;
    // A file may ask for any length; models bound it by their positions.
    let shorter = tokenizer.max_length().min(MOST);
    let tokenizer = tokenizer.with_max_length(shorter)?;
    let ids = tokenizer
        .encode_batch(&TEXTS)
        .map_err(|e| e.context(folder.display().to_string()))?;
    hold(&ids, tokenizer.max_length(), |id| {
        tokenizer.token(id).is_some()
    })
}

fn hold(ids: &[Vec<u32>], length: usize, known: impl Fn(u32) -> bool) -> Result<()> {
    ensure_fault(ids.iter().all(|row| row.len() == length), || {
        "another length".into()
    })?;
    ensure_fault(ids.iter().flatten().all(|&id| known(id)), || {
        "an id without a token".into()
    })
}

pub(super) const CLIP: Target = Target::new(
    "clip-tokens",
    "CLIP's tokenizer: vocab.json, merges.txt, added tokens",
    || Ok(vec![clip()?, folder("assets/micro/tokenizer")?]),
    read_clip,
);

pub(super) const SAVED: Target = Target::new(
    "tokenizer-json",
    "tokenizer.json of transformers 5, for CLIP",
    || {
        let text = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [
            {"id": 5, "content": "<|startoftext|>", "special": true, "lstrip": false, "rstrip": false, "single_word": false, "normalized": false},
            {"id": 6, "content": "<|endoftext|>", "special": true, "lstrip": false, "rstrip": false, "single_word": false, "normalized": false},
            {"id": 7, "content": "<sks>", "special": false, "lstrip": false, "rstrip": false, "single_word": true, "normalized": true}],
            "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": {"type": "BPE", "dropout": null, "unk_token": "<|endoftext|>", "end_of_word_suffix": "</w>", "ignore_merges": false,
            "vocab": {"d": 0, "o": 1, "g</w>": 2, "do": 3, "dog</w>": 4, "<|startoftext|>": 5, "<|endoftext|>": 6},
            "merges": [["d", "o"], "do g</w>"]}}"#;
        let config = r#"{"model_max_length": 16, "pad_token": "<|endoftext|>"}"#;
        Ok(vec![
            Case::of("tokenizer.json", text).with("tokenizer_config.json", config),
        ])
    },
    read_clip,
);

pub(super) const WORDPIECE: Target = Target::new(
    "wordpiece",
    "BERT's tokenizer: vocab.txt, tokenizer.json",
    || {
        let vocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\ndog\n##s\nphoto\nof\n";
        let config = r#"{"do_lower_case": true, "strip_accents": null, "tokenize_chinese_chars": true, "model_max_length": 12,
            "cls_token": "[CLS]", "sep_token": {"content": "[SEP]", "lstrip": false}, "unk_token": "[UNK]"}"#;
        let small = Case::of("vocab.txt", vocab).with("tokenizer_config.json", config);
        let mut saved = folder("assets/micro/reward")?;
        saved
            .files
            .retain(|name, _| name == "tokenizer.json" || name == "tokenizer_config.json");
        let older = Case::of("vocab.txt", file("assets/micro/reward/vocab.txt")?);
        Ok(vec![small, saved, older])
    },
    |folder| {
        let tokenizer = WordPiece::load(folder)?;
        let shorter = tokenizer.max_length().min(MOST);
        let tokenizer = tokenizer.with_max_length(shorter)?;
        let batch = tokenizer
            .encode_batch(&TEXTS)
            .map_err(|e| e.context(folder.display().to_string()))?;
        ensure_fault(batch.mask.iter().flatten().all(|m| *m <= 1), || {
            "a mask that is none".into()
        })?;
        hold(&batch.ids, tokenizer.max_length(), |_| true)
    },
);
