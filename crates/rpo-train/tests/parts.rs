//! What else than the whole U-Net or adapters is trained: a run of it, its file, and the same predictions read back.

mod home;

use home::{Home, SMALL, png_texts, pngs};
use rpo_diffusion::custom_diffusion::{FILE, is_key_or_value};
use rpo_nn::weights::{Archive, Params};
use std::fs;
use std::path::Path;

/// The U-Net's tensors in a folder or file.
fn tensors(path: &Path) -> Params {
    Params::open(path, false).unwrap()
}

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
    let subject = fs::read_dir(home.path("run/trajectories/ours")).unwrap();
    let subject = subject.flatten().next().unwrap().path();
    let file = subject
        .join("seed-0/custom_diffusion/step-000002")
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
    let values = |t: &candle_core::Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    for ((name, a), (_, b)) in whole.iter().zip(&base) {
        assert_eq!(values(a) != values(b), is_key_or_value(name), "{name}");
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
        let subject = fs::read_dir(home.path(&format!("run/trajectories/{arm}"))).unwrap();
        let subject = subject.flatten().next().unwrap().path();
        let records = fs::read_to_string(subject.join("seed-0/metrics.jsonl")).unwrap();
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
