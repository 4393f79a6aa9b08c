//! Unknown and ambiguous files.

use super::common::{micro, parts};
use candle_core::{Result, Tensor};
use rpo_diffusion::PredictionType;
use rpo_diffusion::checkpoint::{Family, family, model_spec, to_file, to_folders};
use rpo_nn::weights::{Archive, Item, Precision, pt, write};
use tempfile::TempDir;

/// Additional tensors in the published files.
#[test]
fn what_a_file_has_besides_is_passed_over_or_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let (model, names) = micro(Family::Sd2);
    let with = |extra: &[&str]| -> Result<Vec<String>> {
        let mut items = to_file(&names, parts(&model))?;
        items.extend(
            extra
                .iter()
                .map(|name| Item::new(*name, [2], || Ok(vec![1.0, 2.0]))),
        );
        let path = dir.path().join("file.safetensors");
        write(&path, &items, Precision::F32, &pt())?;
        let archive = Archive::open(&path)?;
        Ok(to_folders(&names, &archive)?.passed_over)
    };
    let besides = [
        "alphas_cumprod",
        "betas",
        "cond_stage_model.model.logit_scale",
        "cond_stage_model.model.text_projection",
        // The folder's encoder has three layers.
        "cond_stage_model.model.transformer.resblocks.3.attn.in_proj_weight",
        "first_stage_model.loss.logvar",
        "model_ema.diffusion_modelinput_blocks00weight",
        "sqrt_alphas_cumprod",
    ];
    assert_eq!(with(&besides).unwrap(), besides);
    for (name, part) in [
        (
            "model.diffusion_model.input_blocks.99.0.in_layers.0.weight",
            "unet",
        ),
        (
            "first_stage_model.encoder.down.9.block.0.norm1.weight",
            "vae",
        ),
        ("cond_stage_model.model.surprise", "text_encoder"),
        ("control_model.zero_convs.0.0.weight", "no part"),
    ] {
        let message = with(&[name]).unwrap_err().to_string();
        assert!(
            message.contains(name)
                && message.contains(part)
                && message.contains("file.safetensors"),
            "{message}"
        );
    }
}

#[test]
fn files_of_another_kind_are_recognised() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("file.safetensors");
    let refusal = |tensors: &[(&str, &[usize])]| {
        let zeros = |shape: &[usize]| {
            Tensor::zeros(shape, candle_core::DType::F32, &candle_core::Device::Cpu).unwrap()
        };
        let map = tensors
            .iter()
            .map(|(name, shape)| ((*name).to_owned(), zeros(shape)))
            .collect();
        candle_core::safetensors::save(&map, &path).unwrap();
        let message = family(&Archive::open(&path).unwrap())
            .unwrap_err()
            .to_string();
        assert!(message.contains("file.safetensors"), "{message}");
        message
    };
    let input = "model.diffusion_model.input_blocks.0.0.weight";
    assert!(refusal(&[("lora_unet_down_blocks_0.lora_down.weight", &[1])]).contains("LoRA"));
    assert!(
        refusal(&[("down_blocks.0.resnets.0.conv1.weight", &[1])]).contains("diffusers folder")
    );
    assert!(
        refusal(&[("double_blocks.0.img_attn.qkv.weight", &[1])]).contains("model.diffusion_model")
    );
    assert!(
        refusal(&[
            (input, &[8, 9, 3, 3]),
            ("cond_stage_model.transformer.x", &[1])
        ])
        .contains("inpainting")
    );
    assert!(
        refusal(&[
            (input, &[8, 4, 3, 3]),
            ("conditioner.embedders.0.model.x", &[1])
        ])
        .contains("refiner")
    );
    assert!(refusal(&[(input, &[8, 4, 3, 3])]).contains("no text encoder"));
}

#[test]
fn model_spec_names_the_architecture() {
    let spec = |family, prediction| model_spec(family, prediction, 768, "my dog");
    let spec_of_2 = spec(Family::Sd2, PredictionType::VPrediction);
    assert_eq!(
        spec_of_2["modelspec.architecture"],
        "stable-diffusion-v2-768-v"
    );
    assert_eq!(spec_of_2["modelspec.prediction_type"], "v");
    assert_eq!(spec_of_2["modelspec.resolution"], "768x768");
    assert_eq!(spec_of_2["modelspec.title"], "my dog");
    let architecture =
        |family| spec(family, PredictionType::Epsilon)["modelspec.architecture"].clone();
    assert_eq!(architecture(Family::Sd1), "stable-diffusion-v1");
    assert_eq!(architecture(Family::Sdxl), "stable-diffusion-xl-v1-base");
}
