//! Files with the adapters of text encoders: what is written and read, in every spelling, and what is not.

use super::common::{assert_same, file, message, saved};
use crate::support::golden_path;
use candle_core::{DType, Device, Result, Tensor};
use rpo_diffusion::lora::{BaseModel, Format, Lora};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ENCODERS: [&str; 2] = ["text_encoder", "text_encoder_2"];
const FC1: &str = "text_model.encoder.layers.1.mlp.fc1";
const FLAT: &str = "text_model_encoder_layers_1_mlp_fc1";
const UNET: &str = "lora_unet_mid_block_resnets_0_conv1";

fn keys(bytes: &[u8]) -> Vec<String> {
    let (_, header) = safetensors::SafeTensors::read_metadata(bytes).unwrap();
    header.tensors().into_keys().collect()
}

#[test]
fn both_files_hold_them() -> Result<()> {
    for (model, base, starts) in [
        ("sd", BaseModel::Sd1, ["lora_te_", "lora_te_"]),
        ("xl", BaseModel::Sdxl, ["lora_te1_", "lora_te2_"]),
    ] {
        let lora = Lora::read(&golden_path(&format!("lora/{model}.peft.safetensors")), 1)?;
        let kohya = lora.to_kohya(base, 1)?;
        let peft = lora.to_peft(Some(&["to_q".into()]))?;
        for (bytes, format) in [(&kohya, Format::Kohya), (&peft, Format::Peft)] {
            let read = Lora::from_bytes(bytes, "it", 1)?;
            assert_eq!((read.format, read.dtype), (format, lora.dtype));
            assert_same(&read.modules, &lora.modules, 0.0);
            assert_eq!(read.text.len(), lora.text.len());
            for (read, known) in read.text.iter().zip(&lora.text) {
                assert_same(read, known, 0.0);
            }
            assert_eq!(read.notes, Vec::<String>::new());
        }
        let names = keys(&kohya);
        let known = |name: &String| {
            let starts = starts.iter().chain(&["lora_unet_"]);
            starts.into_iter().any(|start| name.starts_with(start))
        };
        assert!(names.iter().all(known), "diffusers asks this of all keys");
        assert!(names.contains(&format!("{}{FLAT}.alpha", starts[0])));
        let names = keys(&peft);
        assert!(names.iter().all(|name| name.contains("lora")));
        assert!(names.contains(&format!("text_encoder.{FC1}.lora_A.weight")));
        let read = Lora::from_bytes(&peft, "it", 1)?;
        let config: Value = serde_json::from_str(&read.metadata["lora_adapter_metadata"]).unwrap();
        assert_eq!(config["unet.target_modules"], json!(["to_q"]));
        assert_eq!(config["text_encoder.r"], json!(3));
        assert_eq!(config["text_encoder.lora_alpha"], json!(4));
        // Without the prefix, which not every transformers has.
        let targets = config["text_encoder.target_modules"].as_array().unwrap();
        assert!(targets.contains(&json!("encoder.layers.1.mlp.fc1")));
        assert_eq!(config.get("text_encoder_2.r").is_some(), model == "xl");
    }
    // Modules that differ from the first one have patterns, which fit names with and without the prefix.
    let mut lora = file("sd.peft")?;
    lora.text[0].get_mut(FC1).unwrap().alpha = 7.5;
    let read = Lora::from_bytes(&lora.to_peft(None)?, "it", 1)?;
    let config: Value = serde_json::from_str(&read.metadata["lora_adapter_metadata"]).unwrap();
    let pattern = json!({"encoder.layers.1.mlp.fc1": 7.5});
    assert_eq!(config["text_encoder.alpha_pattern"], pattern);
    assert_same(&read.text[0], &lora.text[0], 0.0);
    // Ranks that differ are no one rank.
    lora.identify(BaseModel::Sd1, "x");
    assert_eq!(lora.metadata["ss_network_dim"], "Dynamic");
    Ok(())
}

fn full(shape: &[usize], value: f32) -> Tensor {
    Tensor::full(value, shape, &Device::Cpu).unwrap()
}

/// A LoRA of rank 2 on one module of a U-Net.
fn unet() -> Vec<(String, Tensor)> {
    vec![
        (
            format!("{UNET}.lora_down.weight"),
            full(&[2, 12, 3, 3], 1.0),
        ),
        (format!("{UNET}.lora_up.weight"), full(&[12, 2, 1, 1], 1.0)),
    ]
}

/// A and B of one module with these ends.
fn pair(place: &str, [a, b]: [&str; 2]) -> Vec<(String, Tensor)> {
    vec![
        (format!("{place}{a}"), full(&[2, 4], 1.0)),
        (format!("{place}{b}"), full(&[8, 2], 1.0)),
    ]
}

const KOHYA: [&str; 2] = [".lora_down.weight", ".lora_up.weight"];
const PEFT: [&str; 2] = [".lora_A.weight", ".lora_B.weight"];

#[test]
fn every_spelling_is_read() -> Result<()> {
    let q = "text_model.encoder.layers.1.self_attn.q_proj";
    let linear = [
        ".lora_linear_layer.down.weight",
        ".lora_linear_layer.up.weight",
    ];
    let old = ["_lora.down.weight", "_lora.up.weight"];
    for (place, ends, encoder, module) in [
        (format!("lora_te_{FLAT}"), KOHYA, 0, FC1),
        (format!("lora_te1_{FLAT}"), KOHYA, 0, FC1),
        (format!("lora_te2_{FLAT}"), KOHYA, 1, FC1),
        (format!("text_encoder.{FC1}"), PEFT, 0, FC1),
        (format!("text_encoder_2.{FC1}"), PEFT, 1, FC1),
        ("text_encoder.encoder.layers.1.mlp.fc1".into(), PEFT, 0, FC1),
        (format!("text_encoder_2.{FC1}"), linear, 1, FC1),
        (
            format!("text_encoder.{FC1}"),
            [".lora_A.default.weight", ".lora_B.default.weight"],
            0,
            FC1,
        ),
        (
            format!("text_encoder.{q}"),
            [".lora.down.weight", ".lora.up.weight"],
            0,
            q,
        ),
        (
            "text_encoder.text_model.encoder.layers.1.self_attn.to_q".into(),
            old,
            0,
            q,
        ),
    ] {
        let alpha = (format!("{place}.alpha"), full(&[], 5.0));
        for (more, expected) in [(None, 2.0), (Some(alpha), 5.0)] {
            let all = unet().into_iter().chain(pair(&place, ends)).chain(more);
            let read = Lora::from_bytes(&saved(all.collect(), &[]), "x", 1)?;
            assert_eq!(read.text.len(), encoder + 1, "{place}");
            assert_eq!(read.text[encoder][module].alpha, expected, "{place}");
            assert_eq!(read.text.iter().map(BTreeMap::len).sum::<usize>(), 1);
            assert_eq!(read.notes, Vec::<String>::new());
            assert_eq!(read.format, Format::Kohya, "that of the U-Net");
        }
    }
    Ok(())
}

#[test]
fn the_header_holds_the_strength_of_each() -> Result<()> {
    let read = |config: Value| -> Result<Vec<f64>> {
        let parts = ENCODERS
            .iter()
            .flat_map(|e| pair(&format!("{e}.{FC1}"), PEFT));
        let all = unet().into_iter().chain(parts).collect();
        let config = [("lora_adapter_metadata", &*config.to_string())];
        let lora = Lora::from_bytes(&saved(all, &config), "x", 1)?;
        Ok(lora.text.iter().map(|part| part[FC1].alpha).collect())
    };
    let both = json!({"unet.lora_alpha": 1, "unet.r": 2, "text_encoder.r": 2, "text_encoder.lora_alpha": 6,
        "text_encoder_2.r": 4, "text_encoder_2.rank_pattern": {"fc1": 2}, "text_encoder_2.lora_alpha": 6,
        "text_encoder_2.alpha_pattern": {"layers.1.mlp.fc1": 9}});
    assert_eq!(read(both)?, [6.0, 9.0]);
    // One that is not said is the rank.
    let first = json!({"unet.lora_alpha": 1, "text_encoder.lora_alpha": 6});
    assert_eq!(read(first)?, [6.0, 2.0]);
    for (config, told) in [
        (
            json!({"text_encoder.r": 3}),
            "module text_model.encoder.layers.1.mlp.fc1 the rank 3",
        ),
        (
            json!({"text_encoder_2.use_dora": true}),
            "`text_encoder_2.use_dora` is true",
        ),
        (
            json!({"text_encoder.lora_alpha": "6"}),
            "`text_encoder.lora_alpha`",
        ),
    ] {
        let message = message(&read(config).unwrap_err());
        assert!(message.contains(told), "{message}");
    }
    Ok(())
}

#[test]
fn what_means_nothing_is_refused_as_in_the_unet() {
    let refusal = |more: Vec<(String, Tensor)>| {
        let all = unet().into_iter().chain(more).collect();
        message(&Lora::from_bytes(&saved(all, &[]), "x", 1).unwrap_err())
    };
    let te1 = || pair(&format!("lora_te1_{FLAT}"), KOHYA);
    let named = format!("text_encoder.{FC1}");
    for other in [format!("lora_te_{FLAT}"), named.clone()] {
        let ends = if other == named { PEFT } else { KOHYA };
        let told = refusal([te1(), pair(&other, ends)].concat());
        let both = [other.as_str(), "lora_te1_", "only one can count", &named];
        assert!(both.iter().all(|part| told.contains(part)), "{told}");
    }
    let told = refusal(te1().split_off(1));
    assert!(
        told.contains("only one of its two") && told.contains(&named),
        "{told}"
    );
    let mut broken = te1();
    broken[1].1 = full(&[8, 2], f32::NAN);
    let told = refusal(broken);
    assert!(told.contains("NaN") && told.contains("lora_te1_"), "{told}");
    let zero = (format!("lora_te1_{FLAT}.alpha"), full(&[], 0.0));
    let told = refusal(te1().into_iter().chain([zero]).collect());
    assert!(
        told.contains("alpha = 0") && told.contains(&named),
        "{told}"
    );
    let adapters = |adapter: &str, layer: usize| {
        let ends = [
            format!(".lora_A.{adapter}.weight"),
            format!(".lora_B.{adapter}.weight"),
        ];
        let place = format!("text_encoder.encoder.layers.{layer}.mlp.fc1");
        pair(&place, [&ends[0], &ends[1]])
    };
    let told = refusal([adapters("first", 0), adapters("second", 1)].concat());
    assert!(
        told.contains("two adapters, `first` and `second`"),
        "{told}"
    );
    // Without a U-Net's it is none that a pipeline is drawn with here.
    let alone = Lora::from_bytes(&saved(te1(), &[]), "x", 1).unwrap_err();
    let told = message(&alone);
    assert!(
        told.contains("no LoRA of a U-Net") && told.contains("1 modules"),
        "{told}"
    );
}

/// A module with keys of another kind of adapter would do something else without them.
#[test]
fn other_adapters_of_text_encoders_are_passed_over_as_a_whole() -> Result<()> {
    let place = format!("lora_te_{FLAT}");
    let other = "lora_te_text_model_encoder_layers_0_mlp_fc2";
    let scale = |key: &str| (key.to_owned(), full(&[8], 1.0));
    for marks in [
        vec![scale(&format!("{place}.dora_scale"))],
        vec![scale(&format!(
            "text_encoder.{FC1}.lora_magnitude_vector.weight"
        ))],
    ] {
        let parts = [unet(), pair(&place, KOHYA), pair(other, KOHYA), marks];
        let read = Lora::from_bytes(&saved(parts.concat(), &[]), "x", 1)?;
        let names: Vec<&String> = read.text[0].keys().collect();
        assert_eq!(names, ["text_model.encoder.layers.0.mlp.fc2"]);
        let [note] = read.notes.as_slice() else {
            panic!("{:?}", read.notes)
        };
        assert!(note.starts_with("1 modules of a text encoder"), "{note}");
    }
    let mut all = unet();
    for key in [
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q.lora_up.weight",
        "lora_te3_encoder_block_0_layer_0_SelfAttention_q.alpha",
        "t5xxl.encoder.block.0.lora_up.weight",
        "lora_te2_text_projection.lora_down.weight",
        "text_encoder.text_model.embeddings.token_embedding.lora_embedding_A",
    ] {
        all.push((
            key.to_owned(),
            Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?,
        ));
    }
    let read = Lora::from_bytes(&saved(all, &[]), "x", 1)?;
    assert!(read.text.is_empty() && !read.has_text());
    assert!(
        read.notes[0].starts_with("4 modules of a text encoder"),
        "{:?}",
        read.notes
    );
    Ok(())
}
