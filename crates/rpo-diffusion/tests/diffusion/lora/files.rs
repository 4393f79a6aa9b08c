//! Files of other programs: reading, refusal of other files, and headers.

use super::common::{assert_same, file, golden_modules, lora_golden};
use crate::support::{Golden, tiny_unet};
use candle_core::{DType, Device, Result, Tensor};
use rpo_diffusion::lora::{About, BaseModel, Format, Lora, LoraConfig};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

#[test]
fn files_of_other_programs_are_read() -> Result<()> {
    let golden = lora_golden("conv")?;
    let known = golden_modules(&golden, 3.0)?;

    let peft = file("conv.peft")?;
    assert_eq!((peft.format, peft.dtype), (Format::Peft, DType::F16));
    assert_same(&peft.modules, &known, 0.0);
    assert_eq!(peft.notes, Vec::<String>::new());

    let kohya = file("conv.kohya")?;
    assert_eq!((kohya.format, kohya.dtype), (Format::Kohya, DType::F32));
    assert_same(&kohya.modules, &known, 0.0);
    assert_eq!(kohya.notes, Vec::<String>::new());
    let [text] = kohya.text.as_slice() else {
        panic!("the text encoder's part: {:?}", kohya.text)
    };
    let q = &text["text_model.encoder.layers.0.self_attn.q_proj"];
    assert_eq!((text.len(), q.a.dims(), q.alpha), (1, &[2, 4][..], 2.0));
    assert!(peft.text.is_empty());
    assert_eq!(kohya.metadata["ss_network_dim"], "2");

    // The older formats do not store α: it is the rank.
    let of_rank = golden_modules(&golden, 2.0)?;
    let script = file("conv.script")?;
    assert_eq!(
        (script.format, script.dtype),
        (Format::DiffusersScript, DType::BF16)
    );
    assert_same(&script.modules, &of_rank, 4e-3);

    let old = file("conv.old")?;
    assert_eq!(old.format, Format::DiffusersProcessor);
    let is_attention = |name: &str| LoraConfig::ATTENTION.iter().any(|t| name.ends_with(t));
    let attention = of_rank.into_iter().filter(|(name, _)| is_attention(name));
    assert_same(&old.modules, &attention.collect(), 0.0);
    Ok(())
}

#[test]
fn what_is_no_plain_lora_is_told() {
    let refusal = |tensors: &[(&str, &[usize])]| {
        let tensors: HashMap<String, Tensor> = tensors
            .iter()
            .map(|(k, shape)| {
                (
                    (*k).to_owned(),
                    Tensor::zeros(*shape, DType::F32, &Device::Cpu).unwrap(),
                )
            })
            .collect();
        let bytes = safetensors::serialize(&tensors, None).unwrap();
        let message = Lora::from_bytes(&bytes, "x.safetensors", 2)
            .unwrap_err()
            .to_string();
        assert!(message.contains("x.safetensors"), "{message}");
        message
    };
    let dora = refusal(&[("lora_unet_mid_block_attentions_0_proj_in.dora_scale", &[4])]);
    assert!(dora.contains("DoRA"), "{dora}");
    let half = refusal(&[("unet.conv_in.lora_A.weight", &[2, 4, 3, 3])]);
    assert!(
        half.contains("conv_in") && half.contains("one of its two"),
        "{half}"
    );
    let uneven = refusal(&[
        ("unet.conv_in.lora_A.weight", &[2, 4]),
        ("unet.conv_in.lora_B.weight", &[4, 3]),
    ]);
    assert!(
        uneven.contains("[2, 4]") && uneven.contains("[4, 3]"),
        "{uneven}"
    );
    let text = refusal(&[("text_encoder.q_proj.lora_A.weight", &[2, 4])]);
    assert!(text.contains("no LoRA of a U-Net"), "{text}");
    let other = refusal(&[("conv_in.weight", &[2, 4])]);
    assert!(other.contains("conv_in.weight is no key"), "{other}");
    let broken = Lora::from_bytes(b"12345678", "x.safetensors", 2)
        .unwrap_err()
        .to_string();
    assert!(
        broken.contains("not a complete safetensors file (8 bytes)"),
        "{broken}"
    );
}

#[test]
fn a_lora_of_another_model_is_told() -> Result<()> {
    let (_, base) = tiny_unet("tiny_linear", &Golden::load("tiny_linear")?, false)?;
    let message = file("conv.peft")?.adapters(&base).unwrap_err().to_string();
    assert!(message.contains("belongs to another model"), "{message}");
    Ok(())
}

#[test]
fn headers_hold_what_programs_look_for() -> Result<()> {
    let mut lora = file("conv.peft")?;
    lora.metadata.clear();
    lora.describe(&About {
        name: "dog".into(),
        base: BaseModel::Sd1,
        base_name: "stable-diffusion-v1-5".into(),
        resolution: 0,
        trigger: "[v] dog".into(),
        seed: 3,
        learning_rate: 1e-4,
        steps: 120,
        images: 5,
        captions: vec!["a photo of [v] dog".into(); 5],
        rpo: BTreeMap::from([("recipe".into(), "ours".into())]),
    });
    let bytes = lora.to_kohya(BaseModel::Sd1, 2)?;
    assert_eq!(
        bytes,
        lora.to_kohya(BaseModel::Sd1, 2)?,
        "the same bytes again"
    );
    let read = Lora::from_bytes(&bytes, "dog", 2)?;
    assert_same(&read.modules, &lora.modules, 0.0);
    let (length, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let values = bytes.len() - 8 - length;
    assert_eq!(values % 2, 0);
    let keys: Vec<String> = header.tensors().into_keys().collect();
    assert!(
        keys.iter().all(|k| k.starts_with("lora_unet_")),
        "diffusers asks this of all keys"
    );
    let meta = &read.metadata;
    assert!(!meta.contains_key("lora_adapter_metadata"));
    for (key, value) in [
        ("ss_v2", "False"),
        ("ss_base_model_version", "sd_v1"),
        ("ss_network_dim", "2"),
        ("ss_network_alpha", "3"),
        ("ss_network_args", r#"{"conv_alpha":"3","conv_dim":"2"}"#),
        ("ss_output_name", "dog"),
        ("ss_tag_frequency", r#"{"dog":{"a photo of [v] dog":5}}"#),
        ("modelspec.architecture", "stable-diffusion-v1/lora"),
        ("modelspec.resolution", "512x512"),
        ("modelspec.trigger_phrase", "[v] dog"),
        (
            "modelspec.usage_hint",
            r"In A1111, Forge and SD.Next write \[v\] dog in the prompt: brackets alone are taken for weights there.",
        ),
        ("rpo.recipe", "ours"),
    ] {
        assert_eq!(meta[key], value, "{key}");
    }
    assert_eq!(
        meta["modelspec.hash_sha256"],
        format!("0x{}", meta["sshs_model_hash"])
    );
    assert_eq!(meta["sshs_model_hash"].len(), 64);

    let peft = Lora::from_bytes(&lora.to_peft(Some(&["to_q".into()]))?, "dog", 2)?;
    let config: Value = serde_json::from_str(&peft.metadata["lora_adapter_metadata"]).unwrap();
    let expected =
        serde_json::json!({"unet.r": 2, "unet.lora_alpha": 3, "unet.target_modules": ["to_q"]});
    assert_eq!(config, expected);
    assert_eq!(peft.metadata["format"], "pt");
    Ok(())
}
