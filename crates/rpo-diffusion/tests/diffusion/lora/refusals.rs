//! Files that cannot mean anything, or not one thing, and values that cannot be written.

use super::common::{message, saved, saved_raw, with_metadata};
use crate::support::{Golden, tiny_unet};
use candle_core::{DType, Device, Result, Tensor};
use rpo_diffusion::lora::{BaseModel, Lora};
use rpo_nn::weights::Archive;

const MODULE: &str = "mid_block.resnets.0.conv1";
const FLAT: &str = "lora_unet_mid_block_resnets_0_conv1";

fn full(shape: &[usize], value: f32) -> Tensor {
    Tensor::full(value, shape, &Device::Cpu).unwrap()
}

/// A LoRA of rank 2 on one module of tiny_conv, with these values.
fn lora(a: f32, b: f32, alpha: f32) -> Vec<(String, Tensor)> {
    vec![
        (format!("{FLAT}.lora_down.weight"), full(&[2, 12, 3, 3], a)),
        (format!("{FLAT}.lora_up.weight"), full(&[12, 2, 1, 1], b)),
        (format!("{FLAT}.alpha"), full(&[], alpha)),
    ]
}

fn refusal(tensors: Vec<(String, Tensor)>) -> String {
    let bytes = saved(tensors, &[("format", "pt")]);
    let message = message(&Lora::from_bytes(&bytes, "x.safetensors", 2).unwrap_err());
    assert!(message.starts_with("x.safetensors: "), "{message}");
    message
}

#[test]
fn values_that_are_not_finite_are_told_with_their_key() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for end in ["lora_down.weight", "lora_up.weight"] {
            let mut tensors = lora(1.0, 1.0, 1.0);
            let key = format!("{FLAT}.{end}");
            for (name, tensor) in &mut tensors {
                if *name == key {
                    *tensor = full(tensor.dims(), bad);
                }
            }
            let message = refusal(tensors);
            assert!(
                message.contains(&key) && message.contains(&bad.to_string()),
                "{message}"
            );
        }
    }
}

#[test]
fn shapes_without_values_or_sense_are_told() {
    let with = |a: &[usize], b: &[usize]| {
        refusal(vec![
            (format!("{FLAT}.lora_down.weight"), full(a, 1.0)),
            (format!("{FLAT}.lora_up.weight"), full(b, 1.0)),
        ])
    };
    for (a, b) in [
        (&[0, 12][..], &[12, 0][..]),
        (&[2, 0], &[12, 2]),
        (&[2, 12], &[0, 2]),
        (&[24], &[12, 2]),
        (&[], &[]),
    ] {
        let message = with(a, b);
        assert!(message.contains("no two matrices with values"), "{message}");
    }
    for (a, b) in [
        (&[2, 12][..], &[12, 3][..]),
        (&[2, 12, 3, 3], &[12, 2, 3, 3]),
        (&[2, 12, 3], &[12, 2, 1]),
        (&[2, 12, 1, 1, 1], &[12, 2, 1, 1, 1]),
    ] {
        let message = with(a, b);
        assert!(message.contains("do not fit each other"), "{message}");
    }
    let alone = refusal(lora(1.0, 1.0, 1.0).split_off(2));
    assert!(alone.contains("alphas alone"), "{alone}");
    let none = refusal(Vec::new());
    assert!(none.contains("no LoRA of a U-Net"), "{none}");
}

#[test]
fn two_keys_for_one_module_are_told() {
    let place = "unet.mid_block.resnets.0.conv1";
    for (a, b) in [
        (
            format!("{place}.lora_A.weight"),
            format!("{place}.lora_B.weight"),
        ),
        (
            format!("{place}.lora.down.weight"),
            format!("{place}.lora.up.weight"),
        ),
        (
            "lora_unet_middle_block_0_in_layers_2.lora_down.weight".to_owned(),
            "lora_unet_middle_block_0_in_layers_2.lora_up.weight".to_owned(),
        ),
    ] {
        let mut tensors = lora(1.0, 1.0, 1.0);
        tensors.push((a.clone(), full(&[2, 12, 3, 3], 2.0)));
        tensors.push((b, full(&[12, 2, 1, 1], 2.0)));
        let message = refusal(tensors);
        let both = [a.as_str(), FLAT, MODULE];
        assert!(both.iter().all(|part| message.contains(part)), "{message}");
    }
    let adapters = |name: &str, module: &str| {
        ["A", "B"].map(|part| {
            (
                format!("unet.{module}.lora_{part}.{name}.weight"),
                full(&[2, 2], 1.0),
            )
        })
    };
    let two = [adapters("first", "conv_in"), adapters("second", "conv_out")].concat();
    let message = refusal(two);
    assert!(
        message.contains("two adapters, `first` and `second`"),
        "{message}"
    );
}

#[test]
fn files_of_other_models_and_kinds_are_told() {
    let one = |key: &str| refusal(vec![(key.to_owned(), full(&[2, 2], 1.0))]);
    for (key, told) in [
        (
            "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight",
            "LoRA of Flux",
        ),
        (
            "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight",
            "PixArt or LTX",
        ),
        ("lora_unet_mid_block_resnets_0_conv1.hada_w1_a", "LoHa"),
        ("unet.conv_norm_out.lora_A.weight", "another model"),
        (
            "model.diffusion_model.input_blocks.0.0.weight",
            "not a LoRA",
        ),
        (
            "lora_te_text_model_x.lora_up.weight",
            "1 modules of text encoders",
        ),
        ("bundle_emb.x.clip_l", "1 embeddings"),
        (
            "\u{1b}]0;owned\u{7}\u{202e}.weight",
            r"\u{1b}]0;owned\u{7}\u{202e}.weight is no key",
        ),
    ] {
        let message = one(key);
        assert!(message.contains(told), "{message}");
        assert!(
            !message.contains(['\u{1b}', '\u{7}', '\u{202e}']),
            "{message:?}"
        );
    }
    let long = one(&format!("{}.weight", "x".repeat(100_000)));
    assert!(long.len() < 1000, "{}", long.len());
    let eight = saved_raw(&format!("{FLAT}.lora_down.weight"), "F8_E4M3", &[2, 2], 4);
    let message = Lora::from_bytes(&eight, "x", 2).unwrap_err().to_string();
    assert!(message.contains("only one of its two"), "{message}");
}

#[test]
fn metadata_that_are_no_text_are_read_as_text() {
    let values = r#"{"ss_network_dim": 4, "list": [1, {"a": null}], "plain": "x"}"#;
    let bytes = with_metadata(lora(1.0, 1.0, 1.0), values);
    let read = Lora::from_bytes(&bytes, "x", 2).unwrap();
    assert_eq!(read.metadata["ss_network_dim"], "4");
    assert_eq!(read.metadata["list"], r#"[1,{"a":null}]"#);
    assert_eq!(read.metadata["plain"], "x");
    let [note] = read.notes.as_slice() else {
        panic!("{:?}", read.notes)
    };
    assert!(note.contains("list, ss_network_dim are no text"), "{note}");
    // Written again they are text for every reader.
    let healed = read.to_kohya(BaseModel::Sd1, 2).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&healed).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["ss_network_dim"], "4");
    for values in ["7", "[]", r#""text""#] {
        let bytes = with_metadata(lora(1.0, 1.0, 1.0), values);
        let message = Lora::from_bytes(&bytes, "x", 2).unwrap_err().to_string();
        assert!(
            message.contains("`__metadata__` is no table of texts"),
            "{message}"
        );
    }
}

#[test]
fn what_a_dtype_cannot_hold_is_not_written() {
    let write = |a: f32, alpha: f64, dtype: DType| {
        let mut lora = Lora::from_bytes(&saved(lora(a, 1.0, 1.0), &[]), "x", 2).unwrap();
        lora.modules.get_mut(MODULE).unwrap().alpha = alpha;
        lora.dtype = dtype;
        let kohya = lora.to_kohya(BaseModel::Sd1, 2).map_err(|e| e.to_string());
        (kohya, lora.to_peft(None).map_err(|e| e.to_string()))
    };
    let (kohya, peft) = write(1.0, 4.0, DType::F16);
    assert!(kohya.is_ok() && peft.is_ok());
    for (a, dtype, told) in [
        (1e30, DType::F16, "1000000000000000000000000000000"),
        (1e-30, DType::F16, "too small for F16"),
        (f32::MAX, DType::BF16, "BF16 cannot hold"),
    ] {
        let (kohya, peft) = write(a, 4.0, dtype);
        for message in [kohya.unwrap_err(), peft.unwrap_err()] {
            assert!(message.contains(told), "{message}");
        }
    }
    for (alpha, dtype, told) in [
        (1e38, DType::F16, "would be inf in F16"),
        (1e-12, DType::F16, "would be 0 in F16"),
        (1e300, DType::F32, "would be inf in F32"),
    ] {
        let (kohya, peft) = write(1.0, alpha, dtype);
        let message = kohya.unwrap_err();
        assert!(
            message.contains(told) && message.contains(MODULE),
            "{message}"
        );
        // There α is a decimal number.
        let read = Lora::from_bytes(&peft.unwrap(), "x", 2).unwrap();
        assert_eq!(read.alpha(), Some(alpha));
    }
}

#[test]
fn sums_that_are_not_finite_are_not_merged() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.safetensors");
    let (_, base) = tiny_unet("tiny_conv", &Golden::load("tiny_conv")?, false)?;
    base.save(&path)?;
    let archive = Archive::open(&path)?;
    let refuse = |a: f32, scale: f64, largest: f32| -> Result<()> {
        let lora = Lora::from_bytes(&saved(lora(a, 1.0, 2.0), &[]), "x", 2)?;
        lora.refuse_overflow(&archive, scale, largest)
    };
    for (a, scale, largest, told) in [
        (1e30, 1e30, f32::MAX, "makes a weight inf"),
        (-1e30, 1e30, f32::MAX, "makes a weight -inf"),
        (1e5, 1.0, 65504.0, "no more than 65504"),
        (1.0, f64::NAN, f32::MAX, "the scale NaN"),
        (1.0, f64::INFINITY, f32::MAX, "the scale inf"),
    ] {
        let told_so = message(&refuse(a, scale, largest).unwrap_err());
        assert!(told_so.contains(told), "{told_so}");
    }
    // B A is 2 a in every place, and the weights are below 1.
    refuse(30_000.0, 1.0, 65504.0)?;
    assert!(refuse(33_000.0, 1.0, 65504.0).is_err());
    refuse(1e5, 1.0, f32::MAX)
}
