//! Any LoRA survives a round trip through its files.

use super::common::{architectures, assert_same};
use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use rpo_diffusion::lora::{BaseModel, Format, Lora, LoraModule};
use std::collections::BTreeMap;

/// A few modules of a U-Net with some rank, α and seed.
fn arbitrary_lora() -> impl Strategy<Value = Lora> {
    let all = architectures();
    let names: Vec<(String, Vec<usize>)> = all["sdxl"]["shapes"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, shape)| (name.clone(), serde_json::from_value(shape.clone()).unwrap()))
        .collect();
    let modules = proptest::sample::subsequence(names, 1..6);
    let dtype = prop_oneof![Just(DType::F32), Just(DType::F16), Just(DType::BF16)];
    (
        modules,
        1usize..9,
        1u32..65,
        any::<bool>(),
        dtype,
        any::<u32>(),
    )
        .prop_map(|(names, rank, alpha, even, dtype, seed)| {
            let mut state = u64::from(seed);
            // Small whole numbers are exact in every dtype.
            let mut random = |shape: Vec<usize>| {
                let values: Vec<f32> = (0..shape.iter().product())
                    .map(|_| {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1);
                        ((state >> 60) as f32) - 8.0
                    })
                    .collect();
                Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
            };
            let mut modules = BTreeMap::new();
            for (i, (name, shape)) in names.into_iter().enumerate() {
                // Reduced widths: only names, dimensions and kernels matter.
                let kernel = &shape[2..];
                let rank = if even { rank } else { rank + i };
                let a = random([&[rank, 3], kernel].concat());
                let b = random([vec![4, rank], vec![1; kernel.len()]].concat());
                let alpha = f64::from(alpha) / 2.0 + if even { 0.0 } else { i as f64 };
                modules.insert(name, LoraModule { a, b, alpha });
            }
            // Of SDXL's encoders none, the first, the second or both.
            let text = (0..seed as usize % 3).map(|encoder| {
                let named = |layer: usize| {
                    let kinds = [
                        "self_attn.q_proj",
                        "self_attn.out_proj",
                        "mlp.fc1",
                        "mlp.fc2",
                    ];
                    let kind = kinds[(layer + encoder) % kinds.len()];
                    format!("text_model.encoder.layers.{layer}.{kind}")
                };
                let present = encoder == 1 || seed % 2 == 0;
                let layers = (0..if present { rank } else { 0 }).map(|layer| {
                    let rank = if even { rank } else { rank + layer };
                    let (a, b) = (random(vec![rank, 5]), random(vec![3, rank]));
                    let alpha = f64::from(alpha) / 2.0;
                    (named(3 * layer), LoraModule { a, b, alpha })
                });
                layers.collect()
            });
            let mut text: Vec<BTreeMap<String, LoraModule>> = text.collect();
            while text.last().is_some_and(BTreeMap::is_empty) {
                text.pop();
            }
            Lora {
                modules,
                text,
                metadata: BTreeMap::from([("rpo.seed".into(), seed.to_string())]),
                format: Format::Kohya,
                dtype,
                notes: Vec::new(),
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn files_come_back_as_they_were(lora in arbitrary_lora(), sdxl: bool) {
        let base = if sdxl || lora.text.len() > 1 { BaseModel::Sdxl } else { BaseModel::Sd1 };
        for (bytes, format) in [
            (lora.to_kohya(base, 2).unwrap(), Format::Kohya),
            (lora.to_peft(None).unwrap(), Format::Peft),
        ] {
            let read = Lora::from_bytes(&bytes, "it", 2).unwrap();
            assert_eq!((read.format, read.dtype), (format, lora.dtype));
            assert_same(&read.modules, &lora.modules, 0.0);
            assert_eq!(read.text.len(), lora.text.len());
            for (read, known) in read.text.iter().zip(&lora.text) {
                assert_same(read, known, 0.0);
            }
            assert_eq!(&read.metadata["rpo.seed"], &lora.metadata["rpo.seed"]);
        }
    }
}
