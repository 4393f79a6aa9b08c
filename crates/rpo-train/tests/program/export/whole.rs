//! Models whose parts are not whole, do not fit each other, or are of different dtypes.

use super::common::{copy, refused, succeeds, workspace};
use rpo_nn::weights::{Archive, Precision};
use std::path::Path;
use tempfile::TempDir;

type Tensors = Vec<(String, String, Vec<usize>, Vec<u8>)>;

/// The tensors of a safetensors file: name, dtype, shape, bytes.
fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let dtype = format!("{:?}", view.dtype());
            (
                name.to_owned(),
                dtype,
                view.shape().to_vec(),
                view.data().to_vec(),
            )
        })
        .collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let from = data.len();
        data.extend_from_slice(bytes);
        let entry =
            serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [from, data.len()]});
        header.insert(name.clone(), entry);
    }
    let text = serde_json::Value::Object(header).to_string();
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(text.as_bytes());
    file.extend_from_slice(&data);
    std::fs::write(path, file).unwrap();
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A copy of the embedded model.
fn model(folder: &TempDir) -> std::path::PathBuf {
    let model = folder.path().join("model");
    copy(&workspace("assets/micro"), &model);
    model
}

#[test]
fn no_part_may_lack_a_tensor_or_have_a_wrong_one() {
    let folder = TempDir::new().unwrap();
    let model = model(&folder);
    let to = folder.path().join("to");
    for (i, (file, tensor)) in [
        (
            "unet/diffusion_pytorch_model.safetensors",
            "time_embedding.linear_1.weight",
        ),
        (
            "vae/diffusion_pytorch_model.safetensors",
            "decoder.conv_in.weight",
        ),
        (
            "text_encoder/model.safetensors",
            "encoder.layers.0.mlp.fc1.weight",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let path = model.join(file);
        let sound = read(&path);
        let changed = |change: &dyn Fn(&mut Tensors, usize), words: &[&str]| {
            let mut tensors = sound.clone();
            let at = tensors.iter().position(|(n, ..)| n == tensor).unwrap();
            change(&mut tensors, at);
            write(&path, &tensors);
            let forms = [to.clone(), to.with_extension("safetensors")];
            // Both forms check alike: one each is enough.
            let to = &forms[i % 2];
            let part = file.split_once('/').unwrap().0;
            let words: Vec<&str> = words.iter().copied().chain([part]).collect();
            refused(&["export", name(&model), "--to", name(to)], &words);
            assert!(!to.exists());
        };
        changed(&|t, at| drop(t.remove(at)), &[tensor, "is missing"]);
        changed(&|t, at| t[at].2.reverse(), &[tensor, "has shape"]);
        changed(
            &|t, at| {
                t[at].2 = vec![0];
                t[at].3.clear();
            },
            &[tensor, "has shape [0]"],
        );
        changed(&|t, at| t[at].1 = "I16".into(), &[tensor, "whole numbers"]);
        changed(
            &|t, at| {
                let mut more = t[at].clone();
                more.0 = "encoder.layers.9.left.over".into();
                t.push(more);
            },
            &["encoder.layers.9.left.over", "no place"],
        );
        changed(
            &|t, at| t[at].3[..2].copy_from_slice(&0x7e00_u16.to_le_bytes()),
            &[tensor, "NaN"],
        );
        write(&path, &sound);
    }
}

#[test]
fn tokens_need_rows_and_a_single_file_needs_clips() {
    let folder = TempDir::new().unwrap();
    let model = model(&folder);
    let to = folder.path().join("to.safetensors");
    let export = ["export", name(&model), "--to", name(&to)];
    let added = model.join("tokenizer/added_tokens.json");
    std::fs::write(&added, r#"{"<dog>": 587}"#).unwrap();
    refused(&export, &["<dog>", "587", "has 587 rows"]);
    // One more than CLIP has, with names and rows for all.
    let names = (587..49409).map(|id| (format!("<{id}>"), id.into()));
    let names: serde_json::Map<String, serde_json::Value> = names.collect();
    std::fs::write(&added, serde_json::to_vec(&names).unwrap()).unwrap();
    let config = model.join("text_encoder/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["vocab_size"] = 49409.into();
    std::fs::write(&config, value.to_string()).unwrap();
    let path = model.join("text_encoder/model.safetensors");
    let mut tensors = read(&path);
    for (tensor, _, shape, bytes) in &mut tensors {
        if tensor.ends_with("token_embedding.weight") {
            shape[0] = 49409;
            bytes.resize(49409 * shape[1] * 2, 0);
        }
    }
    write(&path, &tensors);
    refused(&export, &["vocab_size", "49409", "export a folder"]);
    assert!(!to.exists());
}

#[test]
fn every_part_has_the_dtype_that_was_asked_for() {
    let folder = TempDir::new().unwrap();
    let model = model(&folder);
    for (dtype, precision) in [
        ("f32", Precision::F32),
        ("f16", Precision::F16),
        ("bf16", Precision::Bf16),
    ] {
        let to = folder.path().join(dtype);
        succeeds(&["export", name(&model), "--to", name(&to), "--dtype", dtype]);
        for file in [
            "unet/diffusion_pytorch_model.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
            "text_encoder/model.safetensors",
        ] {
            let archive = Archive::open(&to.join(file)).unwrap();
            assert_eq!(archive.stored(), Some(precision), "{dtype} {file}");
        }
        let config = std::fs::read_to_string(to.join("text_encoder/config.json")).unwrap();
        assert!(config.contains("\"dtype\": \"float32\""), "{config}");
    }
    // A value that f16 does not hold, in a part that is not trained.
    let path = model.join("vae/diffusion_pytorch_model.safetensors");
    let mut tensors = read(&path);
    let tensor = tensors
        .iter_mut()
        .find(|(n, ..)| n == "decoder.conv_out.bias")
        .unwrap();
    tensor.1 = "F32".into();
    tensor.3 = [1e30_f32, 0.0, 0.0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    write(&path, &tensors);
    let to = folder.path().join("large");
    let export = ["export", name(&model), "--to", name(&to), "--dtype", "f16"];
    refused(&export, &["decoder.conv_out.bias", "1e30", "--dtype"]);
    assert!(!to.exists());
}

#[test]
fn a_model_that_predicts_velocities_says_so() {
    let folder = TempDir::new().unwrap();
    let model = model(&folder);
    let config = model.join("scheduler/scheduler_config.json");
    let mut value: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    value["prediction_type"] = "v_prediction".into();
    value["rescale_betas_zero_snr"] = true.into();
    std::fs::write(&config, value.to_string()).unwrap();
    let file = folder.path().join("v.safetensors");
    succeeds(&["export", name(&model), "--to", name(&file)]);
    let archive = Archive::open(&file).unwrap();
    for mark in ["v_pred", "ztsnr"] {
        assert_eq!(archive.shape(mark), Some(&[0][..]), "{mark}");
    }
    let to = folder.path().join("to");
    let import = |from: &Path| {
        [
            "import",
            name(&file),
            "--config-from",
            name(from),
            "--to",
            name(&to),
        ]
        .map(String::from)
    };
    let args = import(&workspace("assets/micro"));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    refused(&args, &["velocities", "scheduler_config.json", "epsilon"]);
    // The second mark becomes a key of the schedule.
    value["rescale_betas_zero_snr"] = false.into();
    std::fs::write(&config, value.to_string()).unwrap();
    let args = import(&model);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    assert!(succeeds(&args).contains("rescale_betas_zero_snr"));
    let written = std::fs::read(to.join("scheduler/scheduler_config.json")).unwrap();
    let written: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(written["rescale_betas_zero_snr"], true);
}
