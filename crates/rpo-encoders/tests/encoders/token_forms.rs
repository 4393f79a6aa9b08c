//! Tokenizer folders in every form that transformers reads, against its ids.

use std::path::Path;

use crate::support::forms::{Golden, folder, names, put};
use crate::support::micro;
use rpo_encoders::tokenizer::{ClipTokenizer, WordPiece};
use serde_json::json;

type IdsOf = Box<dyn Fn(&str) -> Vec<u32>>;

#[test]
fn every_form_gives_the_ids_of_transformers() {
    let golden: Golden = crate::support::json("token_forms.json");
    for (name, form) in &golden.forms {
        let clip = name.starts_with("clip");
        let dir = folder(form, clip);
        let (ids_of, tokens, pad): (IdsOf, _, _) = if clip {
            let read = ClipTokenizer::load(dir.path()).unwrap();
            let (tokens, pad) = (read.vocab_size(), read.pad());
            (
                Box::new(move |text| read.word_ids(text).unwrap()),
                tokens,
                pad,
            )
        } else {
            let read = WordPiece::load(dir.path()).unwrap();
            let (tokens, pad) = (
                read.vocab_size(),
                *read.encode("").unwrap().0.last().unwrap(),
            );
            (
                Box::new(move |text| read.word_ids(text).unwrap()),
                tokens,
                pad,
            )
        };
        assert_eq!((tokens, pad), (form.tokens, form.pad), "{name}");
        assert_eq!(golden.texts.len(), form.ids.len(), "{name}");
        for (text, want) in golden.texts.iter().zip(&form.ids) {
            let got: Vec<String> = ids_of(text).iter().map(u32::to_string).collect();
            assert_eq!(&got.join(" "), want, "{name}: {text:?}");
        }
    }
}

/// New words are read as transformers reads the same tokens from files.
#[test]
fn new_words_have_the_ids_of_added_tokens() {
    let golden: Golden = crate::support::json("token_forms.json");
    let form = &golden.forms["clip_added_tokens_json"];
    let own = ClipTokenizer::load(&micro("tokenizer")).unwrap();
    let more = own.with_words(&["<my-toy>", "<my-toy>_1", "sksX"]).unwrap();
    assert_eq!(more.vocab_size(), form.tokens);
    for (text, want) in golden.texts.iter().zip(&form.ids) {
        let got: Vec<String> = more
            .word_ids(text)
            .unwrap()
            .iter()
            .map(u32::to_string)
            .collect();
        assert_eq!(&got.join(" "), want, "{text:?}");
    }
    assert_eq!(
        more.with_all_vectors("a <my-toy> dog").unwrap(),
        "a <my-toy> <my-toy>_1 dog"
    );
    for (refused, why) in [
        (&own, "lion</w>"),
        (&more, "<my-toy>"),
        (&more, "SKSx"),
        (&own, ""),
    ]
    .map(|(tokenizer, word)| (tokenizer.with_words(&[word]), word))
    {
        let told = refused.unwrap_err().to_string();
        assert!(told.contains("another token"), "{why}: {told}");
    }
}

/// As `maybe_convert_prompt` of diffusers 0.42 does with this tokenizer.
#[test]
fn several_vectors_stand_for_one_token() {
    let golden: Golden = crate::support::json("token_forms.json");
    let dir = folder(&golden.forms["clip_5"], true);
    let tokenizer = ClipTokenizer::load(dir.path()).unwrap();
    let whole = |text| tokenizer.with_all_vectors(text).unwrap().into_owned();
    for (text, want) in [
        ("a dog", "a dog"),
        ("a <my-toy> dog", "a <my-toy> <my-toy>_1 dog"),
        ("a <MY-TOY> dog", "a <MY-TOY> dog"),
        (
            "x<my-toy>x<my-toy>",
            "x<my-toy> <my-toy>_1x<my-toy> <my-toy>_1",
        ),
        ("a <my-toy>_1 x", "a <my-toy>_1 x"),
        (
            "<my-toy> <my-toy>_1",
            "<my-toy> <my-toy>_1 <my-toy> <my-toy>_1_1",
        ),
    ] {
        assert_eq!(whole(text), want, "{text}");
    }
}

#[test]
fn both_layouts_in_one_folder_are_read_if_they_agree() {
    let golden: Golden = crate::support::json("token_forms.json");
    let dir = folder(&golden.forms["clip_5"], true);
    for name in ["vocab.json", "merges.txt"] {
        std::fs::copy(micro("tokenizer").join(name), dir.path().join(name)).unwrap();
    }
    put(
        dir.path(),
        "added_tokens.json",
        &json!({"<my-toy>": 587, "sksX": 589}),
    );
    assert_eq!(ClipTokenizer::load(dir.path()).unwrap().vocab_size(), 595);
}

#[test]
fn a_table_of_another_size_does_not_fit() {
    let golden: Golden = crate::support::json("token_forms.json");
    let dir = folder(&golden.forms["clip_5"], true);
    let tokenizer = ClipTokenizer::load(dir.path()).unwrap();
    let fit = |rows, positions| {
        let fit = tokenizer.check_fit(rows, positions, Path::new("text_encoder"));
        fit.map_err(|error| error.to_string())
    };
    // 595 tokens; tables are padded to multiples of 8 or 64.
    for rows in [595, 600, 640, 49408] {
        fit(rows, 77).unwrap();
    }
    names(
        &fit(594, 77).unwrap_err(),
        &[
            "594",
            "<special>",
            "text_encoder",
            "resize_token_embeddings",
        ],
    );
    names(&fit(597, 77).unwrap_err(), &["597", "595", "text_encoder"]);
    names(
        &fit(595, 20).unwrap_err(),
        &["model_max_length", "24", "20"],
    );
}
