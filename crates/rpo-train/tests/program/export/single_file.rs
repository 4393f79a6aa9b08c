//! Single files, exported from runs and models, and imported.

use super::common::{WHOLE, archived, copy, export, kept, refused, succeeds, values, workspace};
use rpo_diffusion::Pipeline;
use rpo_nn::weights::Archive;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

#[test]
fn a_single_file_becomes_the_same_folder_again() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("my dog.safetensors");
    export(&file, &WHOLE);
    let archive = Archive::open(&file).unwrap();
    assert_eq!(archive.metadata()["modelspec.title"], "my dog");
    assert_eq!(
        archive.metadata()["modelspec.architecture"],
        "stable-diffusion-v1"
    );
    assert!(
        archive
            .shape("model.diffusion_model.input_blocks.0.0.weight")
            .is_some()
    );
    assert!(
        archive
            .shape("cond_stage_model.transformer.text_model.final_layer_norm.weight")
            .is_some()
    );
    let back = folder.path().join("back");
    let micro = workspace("assets/micro");
    let [file_name, back_name, micro_name] = [&file, &back, &micro].map(|p| p.to_str().unwrap());
    let import = [
        "import",
        file_name,
        "--config-from",
        micro_name,
        "--to",
        back_name,
    ];
    let said = succeeds(&import);
    assert!(said.contains("Stable Diffusion 1.x"), "{said}");
    let pipeline = Pipeline::load(&back).unwrap();
    assert!(values(&pipeline.unet_params) == archived(&kept("whole")));
    for part in [
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ] {
        let bare = |all: BTreeMap<String, Vec<f32>>| -> BTreeMap<String, Vec<f32>> {
            let strip = |n: String| n.strip_prefix("text_model.").map(String::from).unwrap_or(n);
            all.into_iter().map(|(n, v)| (strip(n), v)).collect()
        };
        assert!(
            bare(archived(&back.join(part))) == bare(archived(&micro.join(part))),
            "{part}"
        );
    }
    refused(&import, &["nothing is overwritten"]);

    // f16 on request; import keeps the dtype.
    let half = folder.path().join("half.safetensors");
    let mut args = WHOLE.to_vec();
    args.extend(["--dtype", "bf16"]);
    export(&half, &args);
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&half) < size(&file) * 6 / 10);
    let back = folder.path().join("half");
    succeeds(&[
        "import",
        half.to_str().unwrap(),
        "--config-from",
        micro_name,
        "--to",
        back.to_str().unwrap(),
    ]);
    let unet = Archive::open(&back.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    assert_eq!(unet.precision(), rpo_nn::weights::Precision::Bf16);
}

#[test]
fn files_that_are_no_such_checkpoint_are_refused_by_name() {
    let folder = TempDir::new().unwrap();
    let micro = workspace("assets/micro");
    let micro_name = micro.to_str().unwrap();
    let to = folder.path().join("to");
    let to = to.to_str().unwrap();
    let import = |file: &Path, words: &[&str]| {
        refused(
            &[
                "import",
                file.to_str().unwrap(),
                "--config-from",
                micro_name,
                "--to",
                to,
            ],
            words,
        );
    };
    let unet = micro.join("unet/diffusion_pytorch_model.safetensors");
    import(
        &unet,
        &[
            "diffusion_pytorch_model.safetensors",
            "no single-file checkpoint",
        ],
    );
    let pickle = folder.path().join("v1-5.ckpt");
    std::fs::write(&pickle, b"PK\x03\x04 pickled").unwrap();
    import(&pickle, &["v1-5.ckpt", "pickle"]);
    import(
        &folder.path().join("nowhere.safetensors"),
        &["nowhere.safetensors"],
    );
    // A file of another size than the configurations.
    let file = folder.path().join("file.safetensors");
    export(&file, &WHOLE);
    let other = folder.path().join("other");
    copy(&micro, &other);
    let config = other.join("unet/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let index = text.find("\"cross_attention_dim\"").unwrap();
    let end = index + text[index..].find(',').unwrap();
    std::fs::write(
        &config,
        format!(
            "{}\"cross_attention_dim\": 4096{}",
            &text[..index],
            &text[end..]
        ),
    )
    .unwrap();
    refused(
        &[
            "import",
            file.to_str().unwrap(),
            "--config-from",
            other.to_str().unwrap(),
            "--to",
            to,
        ],
        &["file.safetensors", "do not fit together", "4096"],
    );
    refused(
        &[
            "import",
            file.to_str().unwrap(),
            "--config-from",
            folder.path().to_str().unwrap(),
            "--to",
            to,
        ],
        &["--config-from", "unet/config.json"],
    );
    assert!(!Path::new(to).exists());
}

#[test]
fn a_model_folder_needs_no_run() {
    let folder = TempDir::new().unwrap();
    let micro = workspace("assets/micro");
    let file = folder.path().join("base.safetensors");
    let export = [
        "export",
        micro.to_str().unwrap(),
        "--to",
        file.to_str().unwrap(),
    ];
    refused(
        &[&export[..], &["--step", "0"]].concat(),
        &["a model, not a run"],
    );
    succeeds(&export);
    let unet = archived(&micro.join("unet/diffusion_pytorch_model.safetensors"));
    let written = Archive::open(&file).unwrap();
    let input = written.values("model.diffusion_model.input_blocks.0.0.weight");
    assert_eq!(input.unwrap(), unet["conv_in.weight"]);
}
