//! Whether what was found is what it is called: a preset's model, the judge called DINO.

use anyhow::Result;
use rpo_diffusion::UNetConfig;
use rpo_encoders::vit::VitConfig;
use rpo_experiment::{Experiment, Layers, presets};
use rpo_files::failure::OrBadInput;
use std::path::Path;

/// Checks that a model in another folder than the preset's has the preset's U-Net; its `sample_size` may differ.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at `model.path`.
pub(super) fn check_model(e: &Experiment, unet: &UNetConfig, layers: &Layers) -> Result<()> {
    let Some(preset) = presets::find(&e.model.preset) else {
        return Ok(());
    };
    let mut expected = UNetConfig::from_json(preset.unet, preset.name)?;
    expected.sample_size = unet.sample_size;
    if expected == *unet {
        return Ok(());
    }
    let message = format!(
        "{} is not the model of the preset {}: its U-Net has {:.2} M parameters, the preset's {:.2} M, or other settings\n  hint: leave `model.preset` away, and give encoders, sampler and learning rate yourself",
        e.model.path,
        preset.name,
        unet.parameters() as f64 / 1e6,
        expected.parameters() as f64 / 1e6
    );
    Err(layers.error("model.path", &message))
}

/// Checks that a judge called DINO has the architecture of one of DINO's four vision transformers: ViT-S or ViT-B, patches of 16 or
/// 8. Other weights of this architecture cannot be told apart.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at `encoders.vit_name`.
pub(super) fn check_judge(e: &Experiment, vit: &Path, layers: &Layers) -> Result<()> {
    let Some((key, _)) = e.encoders.claims_dino() else {
        return Ok(());
    };
    let config: VitConfig =
        rpo_files::input::read_json(&vit.join("config.json")).or_bad_input("judge")?;
    if is_dino(&config) {
        return Ok(());
    }
    let message = format!(
        "{} is called DINO, but is none: {} wide, {} layers, {} heads\n  hint: give encoders.vit_name and encoders.label other names, or the folder of facebook/dino-vits16",
        vit.display(),
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads
    );
    Err(layers.error(key, &message))
}

/// ViT-S and ViT-B as `facebook/dino-vit{s,b}{16,8}` have them.
fn is_dino(config: &VitConfig) -> bool {
    let width = (
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
    );
    let patch = config.patch_size.sides();
    [(384, 6, 1536), (768, 12, 3072)].contains(&width)
        && [(16, 16), (8, 8)].contains(&patch)
        && config.num_hidden_layers == 12
        && config.qkv_bias
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpo_experiment::read;

    #[test]
    fn a_preset_is_of_one_model() {
        let sets = |path: &str| vec![format!("model.path={path}")];
        let (e, layers) = read(Path::new("sd15_rpo"), &[], &sets("/models/x")).unwrap();
        let of = |preset: &str| {
            let preset = presets::find(preset).unwrap();
            UNetConfig::from_json(preset.unet, preset.name).unwrap()
        };
        check_model(&e, &of("sd15"), &layers).unwrap();
        for other in ["sd21", "sdxl-lora"] {
            let message = check_model(&e, &of(other), &layers)
                .unwrap_err()
                .to_string();
            assert!(
                message.contains("/models/x is not the model of the preset sd15"),
                "{message}"
            );
        }
    }

    #[test]
    fn dino_is_a_name_of_four_networks() {
        let small = VitConfig {
            hidden_size: 384,
            num_attention_heads: 6,
            intermediate_size: 1536,
            ..VitConfig::default()
        };
        assert!(is_dino(&small) && is_dino(&VitConfig::default()));
        let shallow = VitConfig {
            num_hidden_layers: 6,
            ..VitConfig::default()
        };
        assert!(!is_dino(&shallow));

        let sets = [
            "encoders.vit=/some/vit".into(),
            "encoders.vit_name=DINO".into(),
        ];
        let (e, layers) = read(Path::new("quickstart"), &[], &sets).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let check = |config: &str| {
            std::fs::write(folder.path().join("config.json"), config).unwrap();
            check_judge(&e, folder.path(), &layers)
        };
        check("{}").unwrap();
        let message = check("{\"hidden_size\": 64, \"num_attention_heads\": 4}")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("called DINO") && message.contains("64 wide"),
            "{message}"
        );
    }
}
