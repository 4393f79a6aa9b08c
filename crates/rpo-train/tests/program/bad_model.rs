//! Model folders that are damaged or of another kind: the file, the tensor or key, exit code 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of the embedded model.
fn micro(folder: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro");
    let to = folder.join("model");
    let index = "model_index.json";
    fs::create_dir_all(&to).unwrap();
    fs::copy(from.join(index), to.join(index)).unwrap();
    for part in ["unet", "vae", "text_encoder", "tokenizer", "scheduler"] {
        fs::create_dir_all(to.join(part)).unwrap();
        for entry in fs::read_dir(from.join(part)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(part).join(path.file_name().unwrap())).unwrap();
        }
    }
    to
}

/// The exit code of `check` with this model, and what it printed.
fn check(model: &Path, extra: &[&str]) -> (Option<i32>, String) {
    let experiments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments");
    let output = Command::new(env!("CARGO_BIN_EXE_rpo-train"))
        .arg("check")
        .arg(experiments.join("quickstart.toml"))
        .args(["--set", &format!("model.path={}", model.display())])
        .args(extra)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned());
    (output.status.code(), text.concat())
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from}");
    fs::write(path, text.replace(from, to)).unwrap();
}

#[test]
fn damaged_models_end_with_the_file_and_code_2() {
    let folder = tempfile::tempdir().unwrap();
    let model = micro(folder.path());
    let refused = |words: &[&str]| {
        let (code, text) = check(&model, &[]);
        assert_eq!(code, Some(2), "{text}");
        for word in words {
            assert!(text.contains(word), "no {word:?} in: {text}");
        }
    };
    let weights = model.join("vae/diffusion_pytorch_model.safetensors");
    let fine = fs::read(&weights).unwrap();
    let mut broken = fine.clone();
    let end = broken.len();
    broken[end - 4..].fill(0xff);
    fs::write(&weights, broken).unwrap();
    refused(&[
        "vae/diffusion_pytorch_model.safetensors: tensor ",
        "is NaN",
        "hint: ",
    ]);
    fs::write(&weights, fine).unwrap();
    let config = model.join("unet/config.json");
    edit(&config, "\"norm_eps\": 1e-05", "\"norm_eps\": NaN");
    refused(&["unet/config.json: norm_eps = \"NaN\"", "above 0"]);
    edit(
        &config,
        "\"norm_eps\": NaN",
        "\"norm_eps\": 1e-05, \"layers_per_block\": 1000000000000",
    );
    refused(&[
        "unet/config.json: layers_per_block = 1000000000000",
        "1 to 32",
    ]);
}

#[test]
fn a_scheduler_file_of_another_class_is_read_by_a_named_solver() {
    let folder = tempfile::tempdir().unwrap();
    let model = micro(folder.path());
    let config = model.join("scheduler/scheduler_config.json");
    edit(&config, "DDIMScheduler", "UniPCMultistepScheduler");
    let (code, text) = check(&model, &["--set", "sampler.solver=dpmpp_2m"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = check(&model, &["--set", "sampler.solver=scheduler"]);
    assert_eq!(code, Some(2), "{text}");
    for word in [
        "sampler.solver",
        "UniPCMultistepScheduler",
        "hint: ",
        "dpmpp_2m",
    ] {
        assert!(text.contains(word), "no {word:?} in: {text}");
    }
}
