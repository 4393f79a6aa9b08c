//! A run of the preset, and encoders that are refused.

use crate::checkpoints::{numbers, of_arm, tensors};
use crate::home::{Home, SMALL, png_texts, pngs};
use rpo_diffusion::ImageAdapter;
use rpo_diffusion::image_adapter::FILE;
use std::fs;
use std::path::Path;

/// The U-Net's layers with adapters.
const TARGETS: [&str; 4] = ["to_k", "to_out.0", "to_q", "to_v"];

#[test]
fn a_run_of_the_preset() {
    let home = Home::new();
    let text = "name = \"d\"\n[subjects]\ncount = 1\n[recipe]\npreset = \"disenbooth\"\nflip = true\nmin_snr_gamma = 5\nmasked = true\n[lora]\nrank = 2\n[rules]\nlambda = [0.5]\nlast = true\n[training]\nlearning_rate = 1e-2\n[[arm]]\nname = \"disenbooth\"\n[[arm]]\nname = \"without\"\nrecipe = { preset = \"lora_dreambooth\" }\n";
    fs::write(home.path("d.toml"), text).unwrap();
    let told = home.succeeds(&["check", "d.toml"]);
    // W1, b1, W2, b2 and m of 128.
    let adapter = 33_152;
    assert!(told.contains("a LoRA and an image adapter: "), "{told}");
    home.succeeds(&[&["d.toml", "--out", "run"][..], &SMALL].concat());
    let table = home.succeeds(&["report", "run"]);
    let words: Vec<&str> = table.split_whitespace().collect();
    let words = words.join(" ");
    assert!(words.contains("a LoRA and an image adapter"), "{table}");
    let trained = |arm: &str| -> u64 {
        let text = fs::read_to_string(of_arm(&home, arm).join("trained.json")).unwrap();
        let trained: serde_json::Value = serde_json::from_str(&text).unwrap();
        trained["parameters"].as_u64().unwrap()
    };
    assert_eq!(trained("disenbooth") - trained("without"), adapter);

    let records = fs::read_to_string(of_arm(&home, "disenbooth").join("metrics.jsonl")).unwrap();
    let step: serde_json::Value = serde_json::from_str(records.lines().nth(1).unwrap()).unwrap();
    let terms = step["terms"].as_object().unwrap();
    let names: Vec<&String> = terms.keys().collect();
    assert_eq!(names, ["contrastive", "sim", "weak_denoising"]);
    let of = |name: &str| terms[name].as_f64().unwrap();
    let total = of("sim") + 0.01 * of("weak_denoising") + 0.001 * of("contrastive");
    assert!((step["loss"].as_f64().unwrap() - total).abs() < 1e-9);
    assert!(of("sim") != of("weak_denoising") && of("contrastive").abs() <= 1.0);

    // Beside the LoRA's files, with every tensor away from its start by Adam's two steps.
    let place = of_arm(&home, "disenbooth").join("lora/step-000002");
    let file = tensors(&place.join(FILE));
    let shapes = ImageAdapter::shapes(128);
    assert_eq!(file.shapes(), shapes.map(|(n, s)| (n.to_owned(), s)));
    let mask = file.tensors_sorted().unwrap().pop().unwrap();
    let most = numbers(&mask.1).iter().fold(0f32, |m, v| m.max(v.abs()));
    assert!(mask.0 == "mask" && most > 0.005 && most < 0.021, "{most}");
    let card = fs::read_to_string(place.join("README.md")).unwrap();
    assert!(card.contains("pictures by the recipe `disenbooth` below. The"));
    assert!(!card.contains("Preference Optimization"), "{card}");
    let sums = fs::read_to_string(place.join("blake3.txt")).unwrap();
    assert!(sums.contains(FILE), "{sums}");

    // Drawn and exported with the LoRA alone.
    let of_arm = of_arm(&home, "disenbooth");
    let subject = of_arm.parent().and_then(Path::file_name).unwrap();
    let trajectory = format!("disenbooth/{}/seed-0", subject.to_string_lossy());
    let of = ["run", "--trajectory", &trajectory, "--step", "2"];
    home.succeeds(&[&["generate"], &of[..], &["-n", "1", "--out", "drawn"]].concat());
    let drawn = pngs(&home.path("drawn"));
    let told = png_texts(&home.path("drawn").join(&drawn[0]));
    assert!(
        drawn.len() == 1 && told[0].1.contains("Steps: "),
        "{told:?}"
    );
    home.succeeds(&[&["export"], &of[..], &["--to", "whole"]].concat());
    let whole = tensors(&home.path("whole/unet/diffusion_pytorch_model.safetensors"));
    let base = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets/micro/unet/diffusion_pytorch_model.safetensors");
    let base = tensors(&base).tensors_sorted().unwrap();
    for ((name, a), (_, b)) in whole.tensors_sorted().unwrap().iter().zip(&base) {
        let adapted = TARGETS
            .iter()
            .any(|t| name.ends_with(&format!(".{t}.weight")));
        assert_eq!(numbers(a) != numbers(b), adapted, "{name}");
    }
}

#[test]
fn the_encoder_is_one_of_its_width_and_no_judge() {
    let home = Home::new();
    let micro = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro");
    let refused = |text: &str| {
        let file = format!(
            "name = \"x\"\n[subjects]\ncount = 1\n[recipe]\npreset = \"disenbooth\"\n{text}\n"
        );
        fs::write(home.path("x.toml"), file).unwrap();
        home.refuses(&["check", "x.toml"])
    };
    let named = |encoder: &str| format!("[image_adapter]\nencoder = \"{encoder}\"");
    for judge in ["micro/eval_clip", "copy"] {
        // A copy under another name is the same judge.
        fs::create_dir_all(home.path("copy")).unwrap();
        for entry in fs::read_dir(micro.join("eval_clip")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), home.path("copy").join(entry.file_name())).unwrap();
        }
        let told = refused(&named(judge));
        assert!(told.contains("encoders.clip too"), "{told}");
        assert!(
            told.contains("x.toml:") && told.contains("image_adapter.encoder"),
            "{told}"
        );
    }
    for other in ["micro/reward", "micro/eval_dino"] {
        let told = refused(&named(other));
        assert!(told.contains("is not CLIP"), "{told}");
    }
    let told = refused(&named("nowhere"));
    assert!(told.contains("`nowhere` was not found"), "{told}");

    // A CLIP that is narrower than the texts.
    let config = fs::read_to_string(micro.join("cond_clip/config.json")).unwrap();
    let narrow = config.replace("\"projection_dim\": 128", "\"projection_dim\": 96");
    fs::create_dir_all(home.path("narrow")).unwrap();
    fs::write(home.path("narrow/config.json"), narrow).unwrap();
    fs::write(home.path("narrow/model.safetensors"), "").unwrap();
    let told = refused(&named("narrow"));
    assert!(
        told.contains("gives 96 numbers") && told.contains("have 128"),
        "{told}"
    );

    // A model without one.
    let model = home.path("model");
    for part in ["unet", "vae", "text_encoder", "tokenizer", "scheduler"] {
        fs::create_dir_all(model.join(part)).unwrap();
        for entry in fs::read_dir(micro.join(part)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), model.join(part).join(entry.file_name())).unwrap();
        }
    }
    fs::copy(
        micro.join("model_index.json"),
        model.join("model_index.json"),
    )
    .unwrap();
    let told = refused("[model]\npath = \"model\"");
    assert!(told.contains("image_encoder, cond_clip"), "{told}");
    assert!(told.contains("openai/clip-vit-large-patch14"), "{told}");
    let own = format!("[model]\npath = \"model\"\n{}", named("micro/cond_clip"));
    let file =
        format!("name = \"x\"\n[subjects]\ncount = 1\n[recipe]\npreset = \"disenbooth\"\n{own}\n");
    fs::write(home.path("x.toml"), file).unwrap();
    let told = home.succeeds(&["check", "x.toml"]);
    assert!(told.contains("every input was found"), "{told}");
}
