//! Reference values and comparisons with them.

pub(crate) mod forms;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use image::RgbImage;

pub(crate) fn micro(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets/micro")
        .join(folder)
}

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

pub(crate) fn tensors(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden(name), &Device::Cpu).unwrap()
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(golden(name)).unwrap()).unwrap()
}

/// Grey is repeated and alpha dropped, as by Pillow's `convert("RGB")`.
pub(crate) fn picture(name: &str) -> RgbImage {
    image::open(golden("pictures").join(name))
        .unwrap()
        .to_rgb8()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn ids(tensor: &Tensor) -> Vec<Vec<u32>> {
    let rows = tensor.to_dtype(candle_core::DType::U32).unwrap();
    rows.to_vec2().unwrap()
}

/// max |got - want| / max |want|
pub(crate) fn relative_error(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let difference = got
        .iter()
        .zip(want)
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, |a, b| if b.is_nan() { b } else { f64::max(a, b) });
    let scale = want.iter().map(|b| f64::from(b.abs())).fold(0.0, f64::max);
    difference / scale
}

/// The smallest cosine between rows of width `width`.
pub(crate) fn least_cosine(got: &[f32], want: &[f32], width: usize) -> f64 {
    assert_eq!(got.len(), want.len());
    got.chunks_exact(width)
        .zip(want.chunks_exact(width))
        .map(|(a, b)| {
            let dot = |x: &[f32], y: &[f32]| -> f64 {
                x.iter()
                    .zip(y)
                    .map(|(p, q)| f64::from(*p) * f64::from(*q))
                    .sum()
            };
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        })
        .fold(f64::INFINITY, f64::min)
}

/// Prints the error and checks it against `limit`.
pub(crate) fn close(what: &str, got: &Tensor, want: &Tensor, limit: f64) {
    assert_eq!(got.dims(), want.dims(), "{what}");
    let error = relative_error(&values(got), &values(want));
    println!("{what}: relative error {error:.2e}");
    assert!(error <= limit, "{what}: {error:.2e} > {limit:.0e}");
}
