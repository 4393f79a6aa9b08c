//! Where a file's strength is said: in keys, in the header, in peft's file beside it; and files that say it twice or wrongly.

use super::common::{message, saved};
use candle_core::{DType, Device, Result, Tensor};
use rpo_diffusion::lora::Lora;
use serde_json::{Value, json};
use std::path::Path;

const MODULE: &str = "mid_block.attentions.0.proj_in";

/// A LoRA of rank 4 on one module, and an α with its key where given.
fn tensors(start: &str, alpha: Option<Tensor>) -> Result<Vec<(String, Tensor)>> {
    let ones = |shape| Tensor::ones(shape, DType::F32, &Device::Cpu);
    let mut all = vec![
        (format!("{start}{MODULE}.lora_A.weight"), ones((4, 3))?),
        (format!("{start}{MODULE}.lora_B.weight"), ones((5, 4))?),
    ];
    all.extend(alpha.map(|alpha| (format!("{start}{MODULE}.alpha"), alpha)));
    Ok(all)
}

/// α of the module, by the name of the file and the configuration beside it.
fn beside(file: &str, config: &Value, alpha: Option<f32>) -> std::result::Result<f64, String> {
    let folder = tempfile::tempdir().unwrap();
    let alpha = alpha.map(|alpha| Tensor::new(alpha, &Device::Cpu).unwrap());
    let bytes = saved(tensors("base_model.model.", alpha).unwrap(), &[]);
    std::fs::write(folder.path().join(file), bytes).unwrap();
    std::fs::write(
        folder.path().join("adapter_config.json"),
        config.to_string(),
    )
    .unwrap();
    let of = |path: &Path| match Lora::read(path, 2) {
        Ok(lora) => {
            assert!(lora.notes.is_empty(), "{:?}", lora.notes);
            Ok(lora.modules[MODULE].alpha)
        }
        Err(e) => Err(message(&e)),
    };
    // The folder and the file are one and the same.
    let (by_folder, by_file) = (of(folder.path()), of(&folder.path().join(file)));
    assert_eq!(by_folder, by_file);
    by_file
}

#[test]
fn the_configuration_beside_a_file_of_peft_counts() {
    let peft = "adapter_model.safetensors";
    for (more, alpha) in [
        (json!({}), 32.0),
        (json!({"use_rslora": true}), 64.0),
        (json!({"alpha_pattern": {"proj_in": 8}}), 8.0),
        (
            json!({"r": 8, "rank_pattern": {".*attentions.*": 4}, "alpha_pattern": {"proj_in": 8}}),
            8.0,
        ),
        (json!({"alpha_pattern": {"^proj_in": 8}}), 32.0),
    ] {
        let mut config = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 32});
        let config_map = config.as_object_mut().unwrap();
        config_map.extend(more.as_object().unwrap().clone());
        assert_eq!(beside(peft, &config, None), Ok(alpha), "{config}");
        assert_eq!(beside("renamed.safetensors", &config, None), Ok(alpha));
    }
    for (config, told) in [
        (
            json!({"peft_type": "LORA", "r": 8, "lora_alpha": 8}),
            "the rank 8, its matrices have 4",
        ),
        (
            json!({"peft_type": "LOKR", "r": 4}),
            "`peft_type` is \"LOKR\"",
        ),
        (json!({"r": 4, "lora_alpha": 0}), "alpha = 0"),
    ] {
        let message = beside(peft, &config, None).unwrap_err();
        assert!(
            message.contains(told) && message.contains("adapter_config.json"),
            "{message}"
        );
    }
    let both = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 32});
    assert_eq!(beside(peft, &both, Some(32.0)), Ok(32.0));
    let message = beside(peft, &both, Some(4.0)).unwrap_err();
    assert!(
        message.contains("alpha is 4") && message.contains("32 in"),
        "{message}"
    );
}

#[test]
fn another_adapter_of_peft_is_named_by_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let values = Tensor::ones((2, 2), DType::F32, &Device::Cpu).unwrap();
    let key = format!("base_model.model.{MODULE}.hra_u");
    std::fs::write(
        at("adapter_model.safetensors"),
        saved(vec![(key, values)], &[]),
    )
    .unwrap();
    std::fs::write(at("adapter_config.json"), r#"{"peft_type": "HRA", "r": 2}"#).unwrap();
    let told = message(&Lora::read(folder.path(), 2).unwrap_err());
    assert!(told.contains("`peft_type` is \"HRA\""), "{told}");
}

#[test]
fn peft_s_file_is_chosen_among_several_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str| std::fs::write(at(name), saved(tensors("", None).unwrap(), &[]));
    let refusal = || Lora::read(folder.path(), 2).unwrap_err().to_string();
    assert!(refusal().contains("a folder without a LoRA file"));
    std::fs::create_dir(at("default")).unwrap();
    write("default/adapter_model.safetensors").unwrap();
    assert!(refusal().contains("default has one"), "{}", refusal());
    std::fs::write(at("adapter_model.bin"), "PK\x03\x04").unwrap();
    assert!(
        refusal().contains("adapter_model.bin: a pickle"),
        "{}",
        refusal()
    );
    write("adapter_model.safetensors").unwrap();
    write("optimizer.safetensors").unwrap();
    assert!(refusal().contains("2 safetensors files"), "{}", refusal());
    std::fs::write(at("adapter_config.json"), r#"{"r": 4, "lora_alpha": 2}"#).unwrap();
    assert_eq!(Lora::read(folder.path(), 2).unwrap().alpha(), Some(2.0));
    std::fs::write(at("adapter_config.json"), r#"{"r": 4,"#).unwrap();
    assert!(
        refusal().contains("adapter_config.json: this is no JSON"),
        "{}",
        refusal()
    );
    // A torch.save of 2020 and one of today.
    for start in [&b"\x80\x02\x8a\nl\xfc\x9cF\xf9"[..], b"PK\x03\x04\0\0\0\0"] {
        std::fs::write(at("x.pt"), start).unwrap();
        let message = Lora::read(&at("x.pt"), 2).unwrap_err().to_string();
        assert!(
            message.contains("x.pt: a pickle") && message.contains("save_file"),
            "{message}"
        );
    }
}

#[test]
fn the_configuration_in_the_header_counts() -> Result<()> {
    let of = |start: &str, config: Value| -> Result<f64> {
        let config = config.to_string();
        let bytes = saved(tensors(start, None)?, &[("lora_adapter_metadata", &config)]);
        Ok(Lora::from_bytes(&bytes, "x", 2)?.modules[MODULE].alpha)
    };
    let config = json!({"unet.r": 4, "unet.lora_alpha": 16, "unet.use_rslora": true, "text_encoder.lora_alpha": 1});
    assert_eq!(of("unet.", config)?, 32.0);
    // `save_lora_adapter` of a U-Net by itself.
    assert_eq!(
        of("", json!({"r": 4, "lora_alpha": 16, "peft_type": "LORA"}))?,
        16.0
    );
    let message = of("unet.", json!({"unet.use_dora": true}))
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("lora_adapter_metadata: `unet.use_dora`"),
        "{message}"
    );
    Ok(())
}

#[test]
fn alpha_is_one_finite_number_of_any_dtype() -> Result<()> {
    let of = |alpha: Tensor| -> std::result::Result<f64, String> {
        let bytes = saved(tensors("unet.", Some(alpha)).unwrap(), &[]);
        let lora = Lora::from_bytes(&bytes, "x", 2).map_err(|e| e.to_string())?;
        Ok(lora.modules[MODULE].alpha)
    };
    let cpu = &Device::Cpu;
    assert_eq!(of(Tensor::new(8i64, cpu)?), Ok(8.0));
    assert_eq!(of(Tensor::new(-3i64, cpu)?), Ok(-3.0));
    assert_eq!(of(Tensor::new(200u8, cpu)?), Ok(200.0));
    assert_eq!(of(Tensor::new(&[0.1f64], cpu)?), Ok(0.1));
    assert_eq!(of(Tensor::new(5f32, cpu)?.to_dtype(DType::F16)?), Ok(5.0));
    for (alpha, told) in [
        (Tensor::new(f32::NAN, cpu)?, "alpha = NaN"),
        (Tensor::new(f64::INFINITY, cpu)?, "alpha = inf"),
        (Tensor::new(0f32, cpu)?, "alpha = 0"),
        (
            Tensor::new(&[1f32, 2.0], cpu)?,
            "of shape [2] should be one number",
        ),
        (
            Tensor::zeros((0,), DType::F32, cpu)?,
            "of shape [0] should be one number",
        ),
    ] {
        let message = of(alpha).unwrap_err();
        assert!(
            message.contains(told) && message.contains(MODULE),
            "{message}"
        );
    }
    Ok(())
}
