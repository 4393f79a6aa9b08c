//! One test for each way in which a small file can lie, with the words of the refusal.

use rpo_hostile::{Case, Verdict, judge, listen, targets};

/// The refusal has every word.
fn refused(target: &str, case: Case, words: &[&str]) {
    listen();
    let target = targets::ALL
        .iter()
        .find(|t| t.name == target)
        .expect("a target");
    let folder = tempfile::tempdir().unwrap();
    case.write(folder.path(), &Case::default()).unwrap();
    match judge(target, &case, folder.path()) {
        Verdict::Refused(message) => {
            for word in words {
                assert!(message.contains(word), "no `{word}` in: {message}");
            }
        }
        other => panic!("{other:?}"),
    }
}

macro_rules! ways {
    ($($name:ident: $target:literal, $case:expr, $words:expr;)*) => {
        $(#[test] fn $name() { refused($target, $case, &$words); })*
    };
}

/// A safetensors file with this header, which claims to be `length` long, and `data` bytes of tensors.
fn weights(header: &str, length: Option<u64>, data: usize) -> Case {
    let length = length.unwrap_or(header.len() as u64).to_le_bytes();
    let bytes = [&length, header.as_bytes(), &vec![0; data]].concat();
    Case::of("model.safetensors", bytes)
}

const ONE: &str = r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}"#;

ways! {
    a_header_longer_than_the_file: "safetensors", weights(ONE, Some(1 << 20), 8), ["model.safetensors", "1048576 bytes"];
    a_header_longer_than_memory: "safetensors", weights(ONE, Some(u64::MAX), 8), ["model.safetensors", "18446744073709551615"];
    a_header_shorter_than_it_is: "safetensors", weights(ONE, Some(3), 8), ["model.safetensors"];
    a_file_cut_within_a_tensor: "safetensors", weights(ONE, None, 4), ["ends within tensor a"];
    a_file_with_bytes_left_over: "safetensors", weights(ONE, None, 9), ["tensors take 8 bytes"];
    a_shape_that_does_not_take_its_bytes: "safetensors",
        weights(r#"{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}"#, None, 8), ["tensor a", "[3]"];
    a_shape_whose_size_overflows: "safetensors",
        weights(r#"{"a": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 0]}}"#, None, 0), ["tensor a"];
    a_tensor_that_ends_before_it_begins: "safetensors",
        weights(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}"#, None, 8), ["tensor a"];
    tensors_over_each_other: "safetensors",
        weights(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}"#, None, 12),
        ["a and b overlap"];
    a_gap_between_tensors: "safetensors",
        weights(r#"{"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}"#, None, 16), ["should begin at byte 0"];
    an_unknown_dtype: "safetensors",
        weights(r#"{"a": {"dtype": "F33", "shape": [2], "data_offsets": [0, 8]}}"#, None, 8), ["tensor a", "F33"];
    a_pickle_named_safetensors: "safetensors", Case::of("model.safetensors", *b"PK\x03\x04archive/data.pkl"), ["pickle", "Convert"];
    a_pointer_instead_of_weights: "safetensors",
        Case::of("model.safetensors", *b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"), ["git lfs pull"];
    a_page_instead_of_weights: "safetensors", Case::of("model.safetensors", *b"<!doctype html><html></html>"), ["web page"];
    an_empty_file_of_weights: "safetensors", Case::of("model.safetensors", *b""), ["model.safetensors", "0 bytes"];
    a_shard_outside_the_folder: "shards",
        Case::of("model.safetensors.index.json", *br#"{"weight_map": {"a": "../other/model.safetensors"}}"#), ["../other"];
    an_index_of_nothing: "shards", Case::of("model.safetensors.index.json", *br#"{"weight_map": {}}"#), ["weight_map"];
    brackets_without_end: "unet", Case::of("config.json", "[".repeat(100_000)), ["config.json", "recursion limit"];
    more_timesteps_than_memory: "schedule",
        Case::of("scheduler_config.json", *br#"{"_class_name": "DDIMScheduler", "num_train_timesteps": 1000000000000}"#), ["num_train_timesteps"];
    betas_that_are_none: "schedule",
        Case::of("scheduler_config.json", *br#"{"_class_name": "DDIMScheduler", "trained_betas": [0.1, 2.0]}"#), ["betas"];
    a_merge_of_unknown_parts: "clip-tokens",
        Case::of("vocab.json", *br#"{"a": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}"#).with("merges.txt", *b"x y\n"), ["x"];
    text_named_picture: "picture", Case::of("picture", *b"hello"), ["picture", "JPEG"];
    an_empty_picture: "picture", Case::of("picture", *b""), ["empty"];
    a_reference_out_of_the_cache: "hub", Case::of("models--org--name/refs/main", *b"../../.."), ["main"];
    tables_without_end: "experiment", Case::of("experiment.toml", format!("a = {}", "[".repeat(100_000))), ["experiment.toml"];
    a_steps_number_beyond_64_bits: "experiment",
        Case::of("experiment.toml", *b"[training]\nsteps = 99999999999999999999\n"), ["experiment.toml:2"];
    a_run_that_is_none: "report", Case::of("run.json", *b"{}"), ["run"];
    a_prompt_that_names_no_class: "prompt-list", Case::of("list.txt", "a {}\na dog"), ["list.txt:2: ", "a dog"];
    a_prompt_that_is_longer_than_any: "prompt-list", Case::of("list.txt", format!("a {{}} {}", "x".repeat(1 << 20))), ["list.txt:1: ", "16384"];
    a_prompt_given_twice: "prompt-list", Case::of("list.jsonl", "{\"prompt\": \"a {}\"}\n{\"prompt\": \"A {token} {class}\"}"), ["list.jsonl:2: ", "{class}"];
    a_prompt_with_escapes: "prompt-list", Case::of("list.txt", "a {} \u{1b}[31m red"), ["list.txt:1: ", "no text"];
}

/// A GIF of 1 x 1 whose only frame claims 65,535 x 65,535.
fn frame_beyond_the_picture() -> Vec<u8> {
    let head = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff";
    let frame = b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0\x3b";
    [&head[..], frame].concat()
}

ways! {
    a_frame_larger_than_its_picture: "picture", Case::of("picture", frame_beyond_the_picture()), ["picture", "too much"];
}
