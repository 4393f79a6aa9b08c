//! `rpo-train eval` with the embedded encoders.

use rpo_data::picture::save_png;
use rpo_data::stickerbench;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn program(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .arg("eval")
        .args(args)
        .current_dir(folder)
        .output()
        .expect("the program starts")
}

fn refused(folder: &Path, args: &[&str], words: &[&str]) {
    let output = program(folder, args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: no `{word}` in: {text}");
    }
}

fn scored(folder: &Path, args: &[&str]) -> Value {
    let output = program(folder, args);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}");
    let bytes = std::fs::read(folder.join("eval.json")).expect("it was written");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// Photos of a subject in `photos`; pictures `0_a`, `0_b`, `1_a` in `drawn`, the first of which is a photo.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let subjects = stickerbench::subjects(0, 2, 64);
    for dir in ["photos", "drawn"] {
        std::fs::create_dir(folder.path().join(dir)).expect("a folder");
    }
    let save = |name: &str, subject: usize, reference: usize| {
        let picture = &subjects[subject].references[reference].picture;
        save_png(folder.path().join(name), picture).expect("a picture");
    };
    save("photos/0.png", 0, 0);
    save("photos/1.png", 0, 1);
    save("drawn/0_a.png", 0, 0);
    save("drawn/0_b.png", 1, 0);
    save("drawn/1_a.png", 1, 1);
    folder
}

const FOLDERS: [&str; 4] = ["--references", "photos", "--pictures", "drawn"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    FOLDERS.iter().chain(more).copied().collect()
}

#[test]
fn every_metric_names_its_encoder_and_its_token_rule() {
    let folder = files();
    let prompts = [
        "--prompts",
        "a {} in the snow",
        "a red {}",
        "--class",
        "dog",
    ];
    let result = scored(folder.path(), &with(&prompts));
    let counts = &result["counts"];
    assert_eq!(
        (&counts["pictures"], &counts["prompts"]),
        (&3.into(), &2.into())
    );
    let table = result["table"].as_array().expect("a table");
    let row = |metric: &str, token: Option<bool>| {
        let found = table.iter().find(|r| {
            r["metric"] == metric && r.get("token_in_text").and_then(Value::as_bool) == token
        });
        found
            .unwrap_or_else(|| panic!("{metric} {token:?}"))
            .clone()
    };
    assert_eq!(row("CLIP-I", None)["encoder"], "micro/eval_clip");
    assert_eq!(row("ViT-I", None)["encoder"], "micro/eval_dino");
    let [kept, gone] =
        [true, false].map(|t| row("CLIP-T", Some(t))["mean"].as_f64().expect("a number"));
    assert!((kept - gone).abs() > 1e-6, "the token changes the text");
    row("0.5-Harmonic", Some(false));
    for encoder in result["encoders"].as_array().expect("encoders") {
        assert_eq!(encoder["hash"].as_str().map(str::len), Some(16));
    }
    let pictures = result["subjects"][0]["pictures"]
        .as_array()
        .expect("pictures");
    assert_eq!(pictures[1]["prompt"], "a [V] dog in the snow");
    assert_eq!(pictures[2]["prompt_without_token"], "a red dog");
    // The table is the mean of the listed scores, and a photo is more similar to the photos than another subject.
    let of = |i: usize| pictures[i]["scores"][0].as_f64().expect("a number");
    let mean = (of(0) + of(1) + of(2)) / 3.0;
    assert!((mean - row("CLIP-I", None)["mean"].as_f64().expect("a number")).abs() < 1e-12);
    assert!(of(0) > of(1) && of(0) > of(2), "{pictures:?}");
}

#[test]
fn a_token_is_a_word_and_cut_prompts_are_told() {
    let folder = files();
    let of = |prompt: &str, token: &str| {
        let result = scored(
            folder.path(),
            &with(&["--prompts", prompt, "--token", token]),
        );
        let picture = &result["subjects"][0]["pictures"][0];
        ["prompt", "prompt_without_token"].map(|key| picture[key].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(of("a dog", ""), ["a dog", "a dog"]);
    assert_eq!(
        of("he asks an SKS dog", "sks"),
        ["he asks an SKS dog", "he asks an dog"]
    );
    let long = format!("{} [V] dog", "a very long way ".repeat(20));
    let output = program(folder.path(), &with(&["--prompts", &long]));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    for encoder in ["eval_clip", "reward"] {
        let said = format!("of which {encoder} reads 32; the token `[V]` is beyond them");
        assert!(told.contains(&said), "{said}: {told}");
    }
}

#[test]
fn a_damaged_encoder_is_bad_input() {
    let folder = files();
    let micro =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro/eval_clip");
    let copy = folder.path().join("clip");
    std::fs::create_dir(&copy).expect("a folder");
    for entry in std::fs::read_dir(micro).expect("the encoder").flatten() {
        std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("a copy");
    }
    let args = with(&["--prompts", "a dog", "--clip", "clip"]);
    assert!(program(folder.path(), &args).status.success());
    for (name, content) in [
        (
            "preprocessor_config.json",
            r#"{"image_processor_type": "CLIPImageProcessor", "image_mean": [1]}"#,
        ),
        ("merges.txt", ""),
        ("vocab.json", "{}"),
        ("config.json", "[]"),
    ] {
        let path = copy.join(name);
        let before = std::fs::read(&path).expect("a file");
        std::fs::write(&path, content).expect("a file");
        refused(folder.path(), &args, &["--clip", name]);
        std::fs::write(&path, before).expect("a file");
    }
    assert!(program(folder.path(), &args).status.success());
}

#[test]
fn tables_and_captions_say_the_same_as_numbers() {
    let folder = files();
    let by_number = scored(
        folder.path(),
        &with(&["--prompts", "a [V] dog", "a [V] cat"]),
    );
    let csv = "picture,prompt\n0_a.png,a [V] dog\n0_b.png,a [V] dog\n1_a.png,a [V] cat\n";
    std::fs::write(folder.path().join("prompts.csv"), csv).expect("a file");
    let by_table = scored(folder.path(), &with(&["--prompts", "prompts.csv"]));
    for (name, text) in [
        ("0_a", "a [V] dog"),
        ("0_b", "a [V] dog"),
        ("1_a", "a [V] cat"),
    ] {
        std::fs::write(folder.path().join(format!("drawn/{name}.txt")), text).expect("a file");
    }
    let by_caption = scored(folder.path(), &FOLDERS);
    assert_eq!(by_number["subjects"], by_table["subjects"]);
    assert_eq!(by_number["subjects"], by_caption["subjects"]);
    // Several CLIP folders, each with its own row.
    let two = ["--clip", "micro/eval_clip", "micro/eval_clip"];
    let several = scored(folder.path(), &with(&two));
    assert_eq!(several["table"].as_array().map(Vec::len), Some(6));
}

#[test]
fn what_is_wrong_is_named() {
    let folder = files();
    let prompts = ["--prompts", "a [V] dog", "a [V] cat"];
    let place = folder.path();
    refused(place, &FOLDERS, &["0_a.png", "has no prompt", "0_a.txt"]);
    refused(place, &with(&["--prompts", "a {}"]), &["--class"]);
    refused(
        place,
        &with(&["--prompts", "no.csv"]),
        &["no.csv", "no such file"],
    );
    std::fs::write(place.join("drawn/0_a.txt"), b"the dog\x92s bowl").expect("a file");
    refused(place, &FOLDERS, &["0_a.txt", "Windows-1252", "iconv"]);
    std::fs::remove_file(place.join("drawn/0_a.txt")).expect("removed");
    let many = ["--prompts", "a", "b", "c", "d", "e"];
    refused(
        place,
        &with(&many),
        &["2 of 5 prompts", "2 \"c\"", "--names"],
    );
    let names = ["--prompts", "a", "b", "--names", "{subject}"];
    refused(
        place,
        &with(&names),
        &["--names {subject}", "{prompt} must stand"],
    );
    let small = ["--prompts", "a", "--max-megapixels", "0.001"];
    refused(place, &with(&small), &["64 x 64", "raise --max-megapixels"]);
    let clip = ["--prompts", "a dog", "--clip", "micro/reward"];
    refused(place, &with(&clip), &["micro/reward", "AlignModel"]);
    let vit = ["--prompts", "a dog", "--vit", "micro/eval_clip"];
    refused(place, &with(&vit), &["--vit", "model_type"]);
    std::fs::write(place.join("some.csv"), "picture,prompt\n0_a.png,a dog\n").expect("a file");
    refused(
        place,
        &with(&["--prompts", "some.csv"]),
        &["0_b.png", "some.csv"],
    );
    std::fs::write(place.join("drawn/7_c.png"), b"no picture").expect("a file");
    refused(place, &with(&prompts), &["7_c.png", "its number is 7"]);
    std::fs::rename(place.join("drawn/7_c.png"), place.join("drawn/1_c.png")).expect("renamed");
    refused(place, &with(&prompts), &["1_c.png", "not a picture"]);
}
