//! Golden adapters, and comparisons.

use crate::support::{Golden, golden_path, relative};
use candle_core::{DType, Result, Tensor};
use rpo_diffusion::lora::{Lora, LoraModule};
use serde_json::Value;
use std::collections::BTreeMap;

/// α of the golden adapters.
pub(crate) const ALPHA: [(&str, f64); 2] = [("conv", 3.0), ("linear", 5.0)];

pub(crate) fn lora_golden(name: &str) -> Result<Golden> {
    Golden::load(&format!("lora/{name}"))
}

/// The golden A and B of a network as modules.
pub(crate) fn golden_modules(golden: &Golden, alpha: f64) -> Result<BTreeMap<String, LoraModule>> {
    let tensors = golden.below("lora.");
    let f32 = |key: String| match tensors.get(&key) {
        Some(t) => t.to_dtype(DType::F32),
        None => candle_core::bail!("no golden {key}"),
    };
    let names = tensors
        .keys()
        .filter_map(|k| k.strip_suffix(".lora_A.weight"));
    names
        .map(|name| {
            let module = LoraModule {
                a: f32(format!("{name}.lora_A.weight"))?,
                b: f32(format!("{name}.lora_B.weight"))?,
                alpha,
            };
            Ok((name.to_owned(), module))
        })
        .collect()
}

/// PyTorch's layout of a layer's tensor.
pub(crate) fn torch_layout(t: &Tensor) -> Result<Tensor> {
    match t.rank() {
        4 => t.permute((3, 2, 0, 1))?.contiguous(),
        _ => Ok(t.clone()),
    }
}

pub(crate) fn file(name: &str) -> Result<Lora> {
    Lora::read(&golden_path(&format!("lora/{name}.safetensors")), 2)
}

pub(crate) fn assert_same(
    a: &BTreeMap<String, LoraModule>,
    b: &BTreeMap<String, LoraModule>,
    tolerance: f64,
) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, x) in a {
        let y = &b[name];
        assert_eq!(x.alpha, y.alpha, "{name}");
        for (x, y) in [(&x.a, &y.a), (&x.b, &y.b)] {
            assert_eq!(x.dims(), y.dims(), "{name}");
            assert!(relative(x, y).unwrap() <= tolerance, "{name}");
        }
    }
}

pub(crate) fn architectures() -> Value {
    let path = golden_path("lora/keys.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

pub(crate) fn shapes(architecture: &Value) -> Vec<(String, Vec<usize>)> {
    let all = architecture["shapes"].as_object().unwrap();
    let each = all.iter().map(|(name, shape)| {
        let shape = serde_json::from_value(shape.clone()).unwrap();
        (format!("{name}.weight"), shape)
    });
    each.collect()
}

/// The bytes of a file with these tensors and this metadata.
pub(crate) fn saved(tensors: Vec<(String, Tensor)>, metadata: &[(&str, &str)]) -> Vec<u8> {
    let metadata = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    safetensors::serialize(tensors, Some(metadata.collect())).unwrap()
}

/// The same with any JSON under `__metadata__`.
pub(crate) fn with_metadata(tensors: Vec<(String, Tensor)>, values: &str) -> Vec<u8> {
    let plain = saved(tensors, &[]);
    let length = u64::from_le_bytes(plain[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&plain[8..8 + length]).unwrap();
    header["__metadata__"] = serde_json::from_str(values).unwrap();
    assemble(&header, &plain[8 + length..])
}

/// The bytes of a file with one tensor of any dtype, all bytes of it 1.
pub(crate) fn saved_raw(name: &str, dtype: &str, shape: &[usize], bytes: usize) -> Vec<u8> {
    let header = serde_json::json!({
        name: { "dtype": dtype, "shape": shape, "data_offsets": [0, bytes] }
    });
    assemble(&header, &vec![1; bytes])
}

fn assemble(header: &Value, data: &[u8]) -> Vec<u8> {
    let text = header.to_string();
    [&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat()
}

/// A message without the backtrace that candle adds where one is asked for.
pub(crate) fn message(error: &candle_core::Error) -> String {
    let text = error.to_string();
    text.split("\n   0: ").next().unwrap_or_default().to_owned()
}
