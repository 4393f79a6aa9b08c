//! Tokenizer folders that are refused: other kinds, contradictions, tables that do not fit.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::forms::{Golden, folder, json_of, names, put, tables};
use crate::support::micro;
use rpo_encoders::tokenizer::{ClipTokenizer, WordPiece};
use serde_json::{Map, Value, json};

/// A change of a folder as transformers 5 saves it.
type Change = fn(&Path, &mut Value);

fn refused(clip: bool, change: Change) -> String {
    let golden: Golden = crate::support::json("token_forms.json");
    let form = &golden.forms[if clip { "clip_5" } else { "bert_5" }];
    let dir = folder(form, clip);
    let path = dir.path().join("tokenizer.json");
    let mut saved = json_of(&path);
    change(dir.path(), &mut saved);
    std::fs::write(&path, saved.to_string()).unwrap();
    let error = if clip {
        ClipTokenizer::load(dir.path()).map(drop).unwrap_err()
    } else {
        WordPiece::load(dir.path()).map(drop).unwrap_err()
    };
    error.to_string()
}

/// A key of the added token `text`.
fn token<'a>(saved: &'a mut Value, text: &str, key: &str) -> &'a mut Value {
    let mut tokens = saved["added_tokens"].as_array_mut().unwrap().iter_mut();
    &mut tokens.find(|token| token["content"] == text).unwrap()[key]
}

#[test]
fn other_kinds_of_tokenizers_are_refused() {
    let cases: [(Change, &[&str]); 12] = [
        (
            |_, t| t["model"]["type"] = json!("Unigram"),
            &["model.type", "Unigram"],
        ),
        (
            |_, t| t["model"]["type"] = json!("WordPiece"),
            &["model.type", "WordPiece"],
        ),
        (
            |_, t| t["model"]["vocab"] = json!([["a", -1.0]]),
            &["model.vocab", "Unigram"],
        ),
        (
            |_, t| t["normalizer"] = json!({"type": "NFC"}),
            &["normalizer", "NFC", "lower case"],
        ),
        (
            |_, t| t["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = json!(true),
            &["pre_tokenizer"],
        ),
        (
            |_, t| t["model"]["end_of_word_suffix"] = json!("_"),
            &["model.end_of_word_suffix", "</w>"],
        ),
        (
            |_, t| t["model"]["end_of_word_suffix"] = Value::Null,
            &["model.end_of_word_suffix"],
        ),
        (
            |_, t| t["model"]["unk_token"] = json!("!"),
            &["model.unk_token", "<|endoftext|>"],
        ),
        (
            |_, t| t["model"]["dropout"] = json!(0.1),
            &["model.dropout", "0.1"],
        ),
        (
            |_, t| t["model"]["ignore_merges"] = json!(true),
            &["model.ignore_merges"],
        ),
        (
            |_, t| t["post_processor"]["cls"] = json!(["a", 5]),
            &["post_processor", "<|startoftext|>"],
        ),
        (
            |_, t| t["padding"] = json!({"direction": "Left"}),
            &["padding.direction", "Left"],
        ),
    ];
    for (change, words) in cases {
        names(
            &refused(true, change),
            &[&["tokenizer.json"], words].concat(),
        );
    }
    let cases: [(Change, &[&str]); 4] = [
        (
            |_, t| t["normalizer"]["lowercase"] = json!(false),
            &["normalizer", "lowercase"],
        ),
        (
            |_, t| t["model"]["max_input_chars_per_word"] = json!(20),
            &["max_input_chars_per_word", "20", "100"],
        ),
        (
            |_, t| t["pre_tokenizer"] = json!({"type": "Whitespace"}),
            &["pre_tokenizer", "Whitespace"],
        ),
        (
            |_, t| {
                t["model"]["vocab"].as_object_mut().unwrap().remove("[UNK]");
            },
            &["[UNK]"],
        ),
    ];
    for (change, words) in cases {
        names(&refused(false, change), words);
    }
    let class: Change = |dir, _| {
        put(
            dir,
            "tokenizer_config.json",
            &json!({"tokenizer_class": "GPT2Tokenizer"}),
        )
    };
    names(
        &refused(true, class),
        &["tokenizer_config.json", "tokenizer_class", "GPT2Tokenizer"],
    );
    let side: Change = |dir, _| {
        put(
            dir,
            "tokenizer_config.json",
            &json!({"padding_side": "left"}),
        )
    };
    names(
        &refused(true, side),
        &["tokenizer_config.json", "padding_side", "left"],
    );
}

#[test]
fn files_that_contradict_each_other_are_refused() {
    let cases: [(Change, &[&str]); 9] = [
        // Another id, a gap, a text of two tokens.
        (
            |_, t| *token(t, "<my-toy>", "id") = json!(600),
            &["<my-toy>", "588", "587"],
        ),
        (
            |dir, _| put(dir, "added_tokens.json", &json!({"<my-toy>": 588})),
            &["added_tokens.json", "<my-toy>", "588", "587"],
        ),
        (
            |dir, _| put(dir, "added_tokens.json", &json!({"<other>": 587})),
            &["<other>", "<my-toy>", "587"],
        ),
        (
            |dir, _| put(dir, "added_tokens.json", &json!({"<other>": 700})),
            &["<other>", "700", "595"],
        ),
        (
            |_, t| *token(t, "sksX", "content") = json!("<MY-TOY>"),
            &["<MY-TOY>", "<my-toy>", "lower-cased"],
        ),
        (
            |dir, t| {
                let tokens = t["added_tokens"].as_array().unwrap().iter();
                let mut decoder: BTreeMap<String, Value> = tokens
                    .map(|token| (token["id"].to_string(), token.clone()))
                    .collect();
                decoder.get_mut("587").unwrap()["lstrip"] = json!(true);
                put(
                    dir,
                    "tokenizer_config.json",
                    &json!({"added_tokens_decoder": decoder}),
                );
            },
            &["flags", "<my-toy>", "tokenizer_config.json"],
        ),
        (
            |dir, _| {
                put(
                    dir,
                    "tokenizer_config.json",
                    &json!({"added_tokens_decoder": {}}),
                )
            },
            &["strip", "added_tokens_decoder", "tokenizer_config.json"],
        ),
        // Tables beside tokenizer.json.
        (
            |dir, t| {
                let mut vocab = t["model"]["vocab"].clone();
                vocab["dog</w>"] = json!(5000);
                put(dir, "vocab.json", &vocab);
            },
            &["vocab.json", "tokenizer.json", "dog</w>", "5000"],
        ),
        (
            |dir, t| {
                let merges = t["model"]["merges"].as_array().unwrap();
                let lines: Vec<&str> = merges.iter().rev().map(|m| m.as_str().unwrap()).collect();
                std::fs::write(dir.join("merges.txt"), lines.join("\n")).unwrap();
            },
            &["merges.txt", "tokenizer.json", "merge 1"],
        ),
    ];
    for (change, words) in cases {
        names(&refused(true, change), words);
    }
}

/// The folder of the embedded tokenizer with other tables.
fn tabled(vocab: &str, merges: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vocab.json"), vocab).unwrap();
    std::fs::write(dir.path().join("merges.txt"), merges).unwrap();
    match ClipTokenizer::load(dir.path()) {
        Ok(read) => format!("read, {} tokens", read.vocab_size()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn vocabulary_and_merges_must_fit() {
    let (vocab, merges) = tables(true);
    let text = vocab.to_string();
    let lines = |merges: &[String], end: &str| {
        merges
            .iter()
            .map(|m| format!("{m}{end}"))
            .collect::<String>()
    };
    let all = lines(&merges, "\n");
    assert_eq!(tabled(&text, &all), "read, 587 tokens");
    assert_eq!(
        tabled(
            &text,
            &format!("#version: 0.2\r\n{}\r\n", lines(&merges, "\r\n"))
        ),
        "read, 587 tokens"
    );
    for cut in [
        "",
        "#version: 0.2\n",
        &lines(&merges[..merges.len() - 1], "\n"),
        &lines(&merges[1..], "\n"),
    ] {
        names(&tabled(&text, cut), &["merges.txt", "cut short"]);
    }
    names(
        &tabled(&text, &format!("\u{feff}#version: 0.2\n{all}")),
        &["merges.txt", "byte-order mark"],
    );
    names(
        &tabled(&text, &format!("{all}no such pieces\n")),
        &["merges.txt", "no such pieces"],
    );
    names(
        &tabled(&text, &format!("{all}zz qq\n")),
        &["merges.txt", "zz", "vocabulary"],
    );
    // The longest token twice would be longer than any token.
    let longest = vocab
        .as_object()
        .unwrap()
        .keys()
        .max_by_key(|key| key.len())
        .unwrap()
        .clone();
    names(
        &tabled(&text, &format!("{all}{longest} {longest}\n")),
        &["merges.txt", &longest],
    );

    let changed = |change: &dyn Fn(&mut Map<String, Value>)| {
        let mut vocab = vocab.as_object().unwrap().clone();
        change(&mut vocab);
        tabled(&Value::Object(vocab).to_string(), &all)
    };
    names(
        &changed(&|v| {
            v.insert("b".into(), json!(0));
        }),
        &["vocab.json", "the id 0", "\"b\""],
    );
    names(
        &changed(&|v| {
            v.insert("b".into(), json!(4_294_967_297_u64));
        }),
        &["vocab.json", "4294967297"],
    );
    names(
        &changed(&|v| {
            v.insert("b".into(), json!(-1));
        }),
        &["vocab.json", "-1", "whole number"],
    );
    names(&tabled("{}", ""), &["vocab.json", "no token"]);
    names(
        &tabled("{\"a\": 1, \"a\": 2}", ""),
        &["vocab.json", "twice"],
    );
    names(&tabled("[1]", ""), &["vocab.json"]);
    names(
        &tabled("{\"a\": 1} {}", ""),
        &["vocab.json", "after its end"],
    );
    // With a gap in the ids the next free place is another token's.
    let gap = changed(&|v| {
        v.remove("<|endoftext|>");
        v.remove("b").unwrap();
        v.insert("b".into(), json!(586));
    });
    names(&gap, &["<|endoftext|>", "586", "gaps"]);
}

#[test]
fn lines_of_a_wordpiece_vocabulary() {
    let text = std::fs::read_to_string(micro("reward").join("vocab.txt")).unwrap();
    let read = |text: &str| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("vocab.txt"), text).unwrap();
        WordPiece::load(dir.path())
            .map(|read| read.encode("a dog").unwrap().0)
            .map_err(|e| e.to_string())
    };
    let want = read(&text).unwrap();
    assert_eq!(read(&text.replace('\n', "\r\n")).unwrap(), want);
    names(
        &read(&format!("\u{feff}{text}")).unwrap_err(),
        &["vocab.txt", "byte-order mark"],
    );
    names(
        &read(&format!("{text}dog\n")).unwrap_err(),
        &["vocab.txt", "dog", "line"],
    );
    names(&read("").unwrap_err(), &["vocab.txt", "no token"]);
}
