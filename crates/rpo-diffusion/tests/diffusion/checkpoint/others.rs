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
        "cond_stage_model.model.visual.proj",
        "embedding_manager.embedder.transformer.x",
        "first_stage_model.loss.logvar",
        "loss",
        "model_ema.diffusion_modelinput_blocks00weight",
        "optimizer_states.0.exp_avg",
        "sqrt_alphas_cumprod",
        "v_pred",
        "ztsnr",
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
        // Two layers more than the configuration has, not one.
        (
            "cond_stage_model.model.transformer.resblocks.4.attn.in_proj_weight",
            "text_encoder",
        ),
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
    let clip = "cond_stage_model.transformer.x";
    for (name, word) in [
        ("lora_unet_down_blocks_0.lora_down.weight", "LoRA"),
        ("unet.down_blocks.0.attn.lora_A.weight", "LoRA"),
        ("down_blocks.0.resnets.0.conv1.weight", "diffusers folder"),
        (
            "text_model.embeddings.token_embedding.weight",
            "text encoder",
        ),
        ("encoder.down.0.block.0.norm1.weight", "a VAE alone"),
        (
            "first_stage_model.encoder.conv_in.weight",
            "a VAE, no U-Net",
        ),
        ("input_blocks.0.0.weight", "a U-Net alone"),
        ("double_blocks.0.img_attn.qkv.weight", "Flux"),
        (
            "model.diffusion_model.joint_blocks.0.x",
            "Stable Diffusion 3",
        ),
        ("t_block.1.weight", "PixArt"),
        ("clip_txt_mapper.weight", "Stable Cascade"),
        ("down_blocks.1.0.channelwise.0.weight", "Stable Cascade"),
        ("down_blocks.0.motion_modules.0.x", "AnimateDiff"),
        ("control_model.time_embed.0.weight", "ControlNet"),
        ("string_to_param", "textual inversion"),
        ("\u{1b}[31m", "\\u{1b}"),
    ] {
        assert!(refusal(&[(name, &[1])]).contains(word), "{name}");
    }
    for (more, word) in [
        ("control_model.zero_convs.0.0.weight", "ControlNet"),
        ("depth_model.x", "depth"),
        ("embedder.model.visual.x", "unCLIP"),
        ("lora_unet_x.lora_up.weight", "not merged"),
        ("model.diffusion_model.out.2.weight.absmax", "quantised"),
        (
            "model.diffusion_model.input_blocks.1.0.time_stack.x",
            "Video",
        ),
    ] {
        let said = refusal(&[(input, &[8, 4, 3, 3]), (clip, &[1]), (more, &[1])]);
        assert!(said.contains(word), "{more}: {said}");
    }
    for (channels, word) in [
        (5, "depth"),
        (7, "upscaling"),
        (8, "edits"),
        (9, "inpainting"),
        (16, "another"),
    ] {
        let said = refusal(&[(input, &[8, channels, 3, 3]), (clip, &[1])]);
        assert!(said.contains(word), "{channels}: {said}");
    }
    let turbo = "conditioner.embedders.0.model.ln_final.weight";
    assert!(refusal(&[(input, &[8, 4, 3, 3]), (turbo, &[1280])]).contains("refiner"));
    let label = "model.diffusion_model.label_emb.0.0.weight";
    assert!(refusal(&[(input, &[8, 4, 3, 3]), (turbo, &[16]), (label, &[1])]).contains("refiner"));
    assert!(
        refusal(&[(input, &[8, 4, 3, 3]), (clip, &[1]), (label, &[1])]).contains("second text")
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
