//! `rpo-train forward` on small random models of every family, saved by diffusers and transformers, against their results
//! (`scripts/parity/diffusion.py --golden`); and a whole run on a very small SDXL.

use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FAMILIES: [&str; 3] = ["sd15", "sd21", "sdxl"];

fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/families")
        .join(name)
}

fn program(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .args(args)
        .env("RUST_BACKTRACE", "0")
        .output()
        .expect("the program starts")
}

fn tensors(path: &Path) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn squares(t: &Tensor) -> f64 {
    let t = t.to_dtype(DType::F64).expect("numbers");
    t.sqr()
        .and_then(|t| t.sum_all()?.to_scalar())
        .expect("numbers")
}

/// `||a - b||²` and `||b||²`.
fn distance(a: &Tensor, b: &Tensor) -> (f64, f64) {
    assert_eq!(a.dims(), b.dims());
    let f64s = |t: &Tensor| t.to_dtype(DType::F64).expect("numbers");
    (
        squares(&(f64s(a) - f64s(b)).expect("one shape")),
        squares(b),
    )
}

/// Runs `part` on the inputs `<name>.in` and returns its results and the expected ones.
fn run(family_name: &str, name: &str, part: &str, more: &[&str]) -> [HashMap<String, Tensor>; 2] {
    let folder = family(family_name);
    let out = tempfile::tempdir().expect("a folder");
    let output = out.path().join("out.safetensors");
    let path = |p: &Path| p.display().to_string();
    let inputs = path(&folder.join(format!("{name}.in.safetensors")));
    let (model, target) = (path(&folder), path(&output));
    let mut args = vec![
        "forward", "--model", &model, "--part", part, "--inputs", &inputs, "--output", &target,
    ];
    args.extend(more);
    let result = program(&args);
    assert!(
        result.status.success(),
        "{}",
        String::from_utf8_lossy(&result.stderr)
    );
    [
        tensors(&output),
        tensors(&folder.join(format!("{name}.expected.safetensors"))),
    ]
}

#[test]
fn outputs_of_every_part_of_every_family() {
    for family in FAMILIES {
        for (name, part) in [
            ("unet", "unet"),
            ("vae_encode", "vae-encode"),
            ("vae_decode", "vae-decode"),
            ("text", "text"),
        ] {
            let [results, expected] = run(family, name, part, &[]);
            for (key, wanted) in &expected {
                let (off, norm) = distance(&results[key], wanted);
                let figure = (off / norm).sqrt();
                println!("{family} {part} {key}: {figure:.1e}");
                assert!(
                    figure <= 1e-5,
                    "{family} {part} {key}: relative L2 {figure:e}"
                );
            }
        }
    }
}

#[test]
fn gradients_of_an_official_step_of_every_family() {
    for family_name in FAMILIES {
        let base = family(family_name).join("base").display().to_string();
        for more in [&["--recompute"][..], &[]] {
            let mut args = vec!["--grad", "official", "--beta", "10", "--base", &base];
            args.extend(more);
            let [results, expected] = run(family_name, "grad", "unet", &args);
            assert_eq!(results.len(), expected.len());
            let (mut off, mut total) = (0.0, 0.0);
            for (key, wanted) in &expected {
                let (apart, norm) = distance(&results[key], wanted);
                if key.starts_with("grad.") {
                    (off, total) = (off + apart, total + norm);
                    let figure = (apart / norm).sqrt();
                    assert!(
                        figure <= 1e-3,
                        "{family_name} {key}: relative L2 {figure:e}"
                    );
                } else if key != "ell" {
                    assert!((apart / norm).sqrt() <= 1e-5, "{family_name} {key}");
                } else {
                    // A small difference of errors near 1, each accurate to about 1e-7.
                    assert!(apart.sqrt() <= 1e-6, "{family_name} {key}");
                }
            }
            let all = (off / total).sqrt();
            println!("{family_name} {more:?}: all gradients {all:.1e}");
            assert!(
                all <= 1e-4,
                "{family_name}: all gradients are off by {all:e}"
            );
        }
    }
}

/// Arms of one run: the whole U-Net, adapters with a word, a word with both text encoders. SDXL's two encoders and size conditions in
/// training, sampling, tests and exported.
#[test]
fn the_smallest_sdxl_trains_all_its_parts() {
    let out = tempfile::tempdir().expect("a folder");
    let file = out.path().join("xl.toml");
    let model = family("sdxl").display().to_string();
    let text = format!(
        "name = \"xl\"\nreproduces = \"a test\"\n[model]\npath = {model:?}\n[subjects]\ncount = 1\n\
         [sampler]\nsolver = \"scheduler\"\n[recipe]\npreset = \"official_sdxl\"\n[rules]\nlambda = [0.5]\n\
         [[arm]]\nname = \"whole\"\n[[arm]]\nname = \"lora\"\nlora = {{ rank = 2 }}\ntraining = {{ learning_rate = 1e-3 }}\n\
         train = {{ parts = [\"lora\", \"token\"] }}\n\
         [[arm]]\nname = \"texts\"\ntrain = {{ parts = [\"token\", \"text_encoder\"] }}\ntraining = {{ learning_rate = 1e-3 }}\n"
    );
    std::fs::write(&file, text).expect("written");
    let smoke = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments/sizes/smoke.toml");
    let runs = out.path().join("runs").display().to_string();
    let (file, smoke) = (file.display().to_string(), smoke.display().to_string());
    let output = format!("output={runs}");
    let more = [
        "--set",
        &output,
        "--set",
        "subjects.count=1",
        "--set",
        "training.recompute=true",
    ];
    let result = program(&[&["run", &file, "--with", &smoke], &more[..]].concat());
    let text = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{text}");
    let table = String::from_utf8_lossy(&result.stdout);
    assert!(table.contains("whole") && table.contains("lora"), "{table}");

    // Both encoders of a whole model are the trained ones, projection included, and the word has a vector for each.
    let mut folders = std::fs::read_dir(&runs).unwrap().flatten();
    let run = folders.find(|e| e.path().join("plan.json").exists());
    let run = run.unwrap().path().display().to_string();
    let subject = std::fs::read_dir(Path::new(&run).join("trajectories/texts"));
    let subject = subject.unwrap().flatten().next().unwrap().file_name();
    let trajectory = format!("texts/{}/seed-0", subject.to_string_lossy());
    let to = out.path().join("whole");
    let arguments = ["export", &run, "--trajectory", &trajectory, "--step", "4"];
    let result = program(&[&arguments[..], &["--to", to.to_str().unwrap()]].concat());
    assert!(result.status.success(), "{result:?}");
    for part in ["text_encoder", "text_encoder_2"] {
        let read = |folder: &Path| tensors(&folder.join(part).join("model.safetensors"));
        let (own, trained) = (read(&family("sdxl")), read(&to));
        let moved = |end: &str| {
            let name = own.keys().find(|name| name.ends_with(end)).unwrap();
            distance(&trained[name], &own[name]).0 > 0.0
        };
        assert!(moved("layers.0.self_attn.q_proj.weight"), "{part}");
        let second = part == "text_encoder_2";
        assert_eq!(moved("final_layer_norm.weight"), second, "{part}");
        assert!(!second || moved("text_projection.weight"));
    }
    let words = rpo_diffusion::textual_inversion::read(&to.join("learned_embeds.safetensors"));
    assert_eq!(words.unwrap()[0].rows.len(), 2);
}

fn refused(args: &[&str], words: &[&str]) {
    let result = program(args);
    let text = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(2), "{args:?}: {text}");
    for word in words {
        assert!(text.contains(word), "{args:?}: no `{word}` in: {text}");
    }
}

#[test]
fn wrong_inputs_are_named() {
    let out = tempfile::tempdir().expect("a folder");
    let target = out.path().join("out.safetensors").display().to_string();
    let folder = family("sdxl");
    let model = folder.display().to_string();
    let inputs = |name: &str| {
        folder
            .join(format!("{name}.in.safetensors"))
            .display()
            .to_string()
    };
    let forward = |part: &str, inputs: &str, more: &[&str], words: &[&str]| {
        let args = [
            "forward", "--model", &model, "--part", part, "--inputs", inputs, "--output", &target,
        ];
        refused(&[&args[..], more].concat(), words);
    };
    forward(
        "unet",
        &inputs("text"),
        &[],
        &[
            "`sample` is missing",
            "input_ids [3, 24]",
            "docs/forward.md",
        ],
    );
    forward("vae-decode", &inputs("unet"), &["--grad"], &["--part unet"]);
    forward(
        "unet",
        &inputs("unet"),
        &["--grad", "oficial"],
        &["no recipe `oficial`", "official_sdxl"],
    );
    forward("unet", "nowhere.safetensors", &[], &["nowhere.safetensors"]);
    forward("clip", &inputs("unet"), &[], &["config.json"]);
    refused(
        &[
            "forward", "--model", "nowhere", "--part", "unet", "--output", &target,
        ],
        &["nowhere", "no such folder"],
    );
    assert!(!Path::new(&target).exists());
}

#[test]
fn pictures_and_texts_go_through_the_folder_s_own_processors() {
    let out = tempfile::tempdir().expect("a folder");
    let target = out.path().join("out.safetensors");
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro");
    let picture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../rpo-encoders/tests/golden/pictures/wide.png");
    for (part, folder, texts) in [
        ("align", "reward", true),
        ("clip", "eval_clip", true),
        ("vit", "eval_dino", false),
    ] {
        let (model, picture, output) = (
            assets.join(folder).display().to_string(),
            picture.display().to_string(),
            target.display().to_string(),
        );
        let mut args = vec![
            "forward",
            "--model",
            &model,
            "--part",
            part,
            "--output",
            &output,
            "--picture",
            &picture,
            &picture,
        ];
        if texts {
            args.extend(["--text", "a dog in the snow"]);
        }
        let result = program(&args);
        assert!(
            result.status.success(),
            "{}",
            String::from_utf8_lossy(&result.stderr)
        );
        let results = tensors(&target);
        assert_eq!(results["image_embeds"].dim(0).expect("rows"), 2);
        assert!((squares(&results["image_embeds"]) - 2.0).abs() < 1e-5);
        assert_eq!(results.contains_key("text_embeds"), texts);
    }
}
