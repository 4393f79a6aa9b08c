//! What else than the whole U-Net or adapters is trained: a run of it, its file, and the same predictions read back.

use crate::checkpoints::{numbers, of_arm, tensors};
use crate::home::{Home, SMALL, png_texts, pngs};
use rpo_diffusion::custom_diffusion::{FILE, is_key_or_value};
use rpo_diffusion::{Pipeline, textual_inversion};
use rpo_nn::weights::Archive;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn keys_and_values_of_the_text_are_trained_alone() {
    let home = Home::new();
    let text = "name = \"kv\"\n[subjects]\ncount = 1\n[train]\nparts = [\"cross_attention\"]\n[rules]\nlambda = [0.5]\nlast = true\n[training]\nlearning_rate = 1e-2\n";
    fs::write(home.path("kv.toml"), text).unwrap();
    let told = home.succeeds(&["check", "kv.toml"]);
    assert!(told.contains("keys and values of the text"), "{told}");
    home.succeeds(&[&["kv.toml", "--out", "run"][..], &SMALL].concat());
    let table = home.succeeds(&["report", "run"]);
    assert!(
        table.contains("keys and values of the text alone"),
        "{table}"
    );

    // The file has diffusers' names, and only what was trained.
    let file = of_arm(&home, "ours")
        .join("custom_diffusion/step-000002")
        .join(FILE);
    let names: Vec<String> = Archive::open(&file)
        .unwrap()
        .names()
        .map(str::to_owned)
        .collect();
    assert_eq!(names.len(), 14, "{names:?}");
    assert!(names.contains(&"mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_k_custom_diffusion.weight".to_owned()));

    // Exported, they are in an ordinary U-Net, whose other tensors are the base's.
    home.succeeds(&["export", "run", "--step", "2", "--to", "whole"]);
    let base = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets/micro/unet/diffusion_pytorch_model.safetensors");
    let base = tensors(&base).tensors_sorted().unwrap();
    let whole = tensors(&home.path("whole/unet/diffusion_pytorch_model.safetensors"));
    let whole = whole.tensors_sorted().unwrap();
    for ((name, a), (_, b)) in whole.iter().zip(&base) {
        assert_eq!(numbers(a) != numbers(b), is_key_or_value(name), "{name}");
    }
    // They draw another picture than the base.
    let draw = |out: &str, from: &[&str]| {
        home.succeeds(&[&["generate"], from, &["-n", "1", "--out", out]].concat());
        let picture = home.path(out).join(&pngs(&home.path(out))[0]);
        assert!(!png_texts(&picture)[0].1.contains("Lora scale"));
        image::open(picture).unwrap().to_rgb8()
    };
    let trained = draw("trained", &["run", "--step", "2"]);
    assert_ne!(trained, draw("base", &["run", "--step", "0"]));
    let scale = home.refuses(&["generate", "run", "--step", "2", "--lora-scale", "0.5"]);
    assert!(
        scale.contains("trained keys and values of the text"),
        "{scale}"
    );
}

/// A word alone, beside keys and values, and before adapters: each is trained where its phase says, saved, read back and exported.
#[test]
fn a_new_word_is_learned_alone_and_with_other_parts() {
    let home = Home::new();
    let text = r#"name = "words"
[subjects]
count = 1
[rules]
lambda = [0.5]
last = true
[training]
learning_rate = 1e-2
[[arm]]
name = "word"
train = { parts = ["token"] }
token = { vectors = 2 }
[[arm]]
name = "custom"
train = { parts = ["token", "cross_attention"], rates = { token = 10.0 } }
token = { init = "a red ball", keep_norm = true }
[[arm]]
name = "pivotal"
train = { parts = ["lora", "token"], phases = { token = [0.0, 0.5], lora = [0.5, 1.0] } }
lora = { rank = 2 }
"#;
    fs::write(home.path("words.toml"), text).unwrap();
    let told = home.succeeds(&["check", "words.toml"]);
    for line in [
        "a new word alone: 256 parameters",
        "keys and values of the text and a new word: 0.16 M parameters",
    ] {
        assert!(told.contains(line), "{told}");
    }
    home.succeeds(&[&["words.toml", "--out", "run"][..], &SMALL].concat());
    let table = home.succeeds(&["report", "run"]);
    assert!(table.contains("a new word alone"), "{table}");

    let micro = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro");
    let pipeline = Pipeline::load(&micro).unwrap();
    let embeds = |place: PathBuf| {
        let words = textual_inversion::read(&place.join(textual_inversion::FILE)).unwrap();
        assert_eq!((words.len(), words[0].token.as_str()), (1, "[v]"));
        words.into_iter().next().unwrap()
    };
    // Both vectors began at the class and went apart from it, by Adam's two steps of 1e-2 at most.
    let class = {
        let resolved = fs::read_to_string(home.path("run/plan.json")).unwrap();
        let plan: serde_json::Value = serde_json::from_str(&resolved).unwrap();
        let subjects = plan["subjects"].as_array().unwrap();
        let name = subject(&home);
        let own = subjects.iter().find(|s| s["name"] == name.as_str());
        own.unwrap()["class"].as_str().unwrap().to_owned()
    };
    let start = numbers(&pipeline.texts().mean_rows(&class).unwrap()[0]);
    let word = embeds(of_arm(&home, "word").join("textual_inversion/step-000002"));
    assert_eq!(word.rows[0].dims(), [2, 128]);
    let learned = numbers(&word.rows[0]);
    let moved = learned.iter().zip(start.iter().cycle());
    let moved: Vec<f32> = moved.map(|(a, b)| (a - b).abs()).collect();
    let far = moved.iter().filter(|m| **m > 1e-4).count();
    let most = moved.iter().copied().fold(0.0, f32::max);
    assert!(most < 0.021 && far > 240, "{most} {far}");

    // Kept norm: that of the mean of its text's tokens.
    let place = of_arm(&home, "custom").join("custom_diffusion/step-000002");
    assert!(place.join(FILE).is_file());
    let norm = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>().sqrt();
    let red = numbers(&pipeline.texts().mean_rows("a red ball").unwrap()[0]);
    let custom = numbers(&embeds(place).rows[0]);
    assert!((norm(&custom) / norm(&red) - 1.0).abs() < 1e-5);
    let along: f32 = custom.iter().zip(&red).map(|(a, b)| a * b).sum();
    // Steps of .1, ten times the rate, are longer than the vector.
    assert!(along / norm(&custom) / norm(&red) < 0.7);

    // Two steps: one of the word, one of the adapters, whose A waits for a moved B.
    let pivotal = of_arm(&home, "pivotal");
    let place = pivotal.join("lora/step-000002");
    let adapters = tensors(&place.join("diffusers/pytorch_lora_weights.safetensors"));
    let b = adapters.tensors_sorted().unwrap();
    let b = b.iter().filter(|(name, _)| name.contains("lora_B"));
    let highest = b
        .flat_map(|(_, t)| numbers(t))
        .fold(0.0, |m: f32, v| m.max(v.abs()));
    assert!(
        (0.009..0.0101).contains(&highest),
        "one step of 1e-2: {highest}"
    );
    let pivotal_word = numbers(&embeds(place).rows[0]);
    let moved = pivotal_word.iter().zip(&start).map(|(a, b)| (a - b).abs());
    assert!(moved.fold(0.0, f32::max) < 0.0101, "and one of the word");

    // Exported: the base's U-Net beside the embedding; a prompt with the word draws another picture with it.
    let of_word = format!("word/{}/seed-0", subject(&home));
    let export = [
        "export",
        "run",
        "--trajectory",
        &of_word,
        "--step",
        "2",
        "--to",
        "whole",
    ];
    let told = home.succeeds(&export);
    assert!(told.contains("learned_embeds.safetensors"), "{told}");
    let draw = |out: &str, more: &[&str]| {
        let trajectory = ["generate", "run", "--trajectory", &of_word];
        home.succeeds(&[&trajectory[..], more, &["-n", "1", "--out", out]].concat());
        image::open(home.path(out).join(&pngs(&home.path(out))[0]))
            .unwrap()
            .to_rgb8()
    };
    let trained = draw("trained", &["--step", "2"]);
    assert_ne!(trained, draw("base", &["--step", "0"]));
    let embedding = [
        "--step",
        "0",
        "--embedding",
        "whole/learned_embeds.safetensors",
    ];
    assert_eq!(trained, draw("read", &embedding));
    let twice = [
        &["generate", "run", "--trajectory", &of_word, "--step", "2"][..],
        &embedding[2..],
    ];
    let twice = home.refuses(&twice.concat());
    assert!(twice.contains("new words already"), "{twice}");
}

#[test]
fn captions_may_lack_the_new_word_but_not_all() {
    let home = Home::new();
    let text = r#"name = "bare"
[subjects]
source = "folder"
path = "my photos"
class = "dog"
[recipe]
preset = "textual_inversion"
[rules]
lambda = []
last = true
"#;
    fs::write(home.path("bare.toml"), text).unwrap();
    let captions = |holder: Option<usize>| {
        for i in 0..3 {
            let word = if holder == Some(i) { "[v] " } else { "" };
            let file = home.path(&format!("my photos/IMG_{i}.txt"));
            fs::write(file, format!("a photo of a {word}dog")).unwrap();
        }
    };
    // One photo a step: whichever is the first, one of these runs begins with a caption without the word.
    for holder in [0, 1] {
        captions(Some(holder));
        let out = format!("run-{holder}");
        home.succeeds(&[&["bare.toml", "--out", &out][..], &SMALL].concat());
    }
    captions(None);
    let told = home.refuses(&[&["bare.toml", "--out", "none"][..], &SMALL].concat());
    for words in [
        "subjects.token",
        "`[v]`, the new word",
        "is in no caption",
        "a photo of a [v] dog",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}

/// The name of the first arm's subject's folder.
fn subject(home: &Home) -> String {
    let place = of_arm(home, "word");
    let folder = place.parent().and_then(Path::file_name).unwrap();
    folder.to_string_lossy().into_owned()
}

/// Every loss goes through a whole run, and its term through the records.
#[test]
fn every_loss_is_trained_and_recorded() {
    let home = Home::new();
    let text = "name = \"losses\"\n[subjects]\ncount = 1\n[[arm]]\nname = \"dpo\"\nrecipe = { preset = \"dpo\" }\n[[arm]]\nname = \"dco\"\nrecipe = { preset = \"dco\" }\nlora = { rank = 2, init = \"gaussian\" }\n[[arm]]\nname = \"kept\"\nrecipe = { preservation_weight = 1.0 }\n";
    fs::write(home.path("losses.toml"), text).unwrap();
    home.succeeds(&[&["losses.toml", "--out", "run"][..], &SMALL].concat());
    for (arm, terms) in [
        ("dpo", &["pref"][..]),
        ("dco", &["consistency"]),
        ("kept", &["pref", "preservation", "sim"]),
    ] {
        let records = fs::read_to_string(of_arm(&home, arm).join("metrics.jsonl")).unwrap();
        let records = records
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let steps: Vec<serde_json::Value> = records
            .filter(|record: &serde_json::Value| record["kind"] == "step")
            .collect();
        assert_eq!(steps.len(), 2);
        for step in steps {
            let found: Vec<&String> = step["terms"].as_object().unwrap().keys().collect();
            assert_eq!(found, terms, "{arm}");
        }
    }
}

#[test]
fn parts_that_do_not_go_together_are_refused() {
    let home = Home::new();
    let refused = |text: &str| {
        fs::write(home.path("x.toml"), format!("name = \"x\"\n{text}\n")).unwrap();
        home.refuses(&["plan", "x.toml"])
    };
    let told = refused("[train]\nparts = [\"token\"]\nphases = { lora = [0.0, 0.5] }");
    assert!(told.contains("\"lora\" is not trained"), "{told}");
    let told = refused("[train]\nparts = [\"token\"]\nphases = { token = [0.0, 0.5] }");
    assert!(told.contains("nothing is trained after 0.5"), "{told}");
    let told = refused("[[arm]]\nname = \"a\"\ntoken = { vectors = 2 }");
    assert!(told.contains("parts = [\"token\"]"), "{told}");
    let told = refused("[train]\nparts = [\"unet\", \"lora\"]");
    assert!(
        told.contains("x.toml:3") && told.contains("an arm for each"),
        "{told}"
    );
    let told = refused("[train]\nparts = [\"crossattention\"]");
    assert!(told.contains("cross_attention"), "{told}");
    let told =
        refused("[[arm]]\nname = \"a\"\nlora = { rank = 2 }\ntrain = { parts = [\"unet\"] }");
    assert!(told.contains("trains \"unet\""), "{told}");
}
