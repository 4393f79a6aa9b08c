//! Params: reading, layouts, sharing, writing, and errors about broken files.

use crate::oracle::{Array, values};
use candle_core::{DType, Device, Tensor};
use rpo_nn::weights::Params;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn network() -> Vec<(String, Tensor)> {
    vec![
        (
            "conv.weight".into(),
            Array::random(1, &[5, 3, 2, 4]).tensor(),
        ),
        (
            "depth.weight".into(),
            Array::random(2, &[6, 1, 3, 2]).tensor(),
        ),
        ("fc.weight".into(), Array::random(3, &[4, 7]).tensor()),
        ("fc.bias".into(), Array::random(4, &[4]).tensor()),
    ]
}

fn write(dir: &TempDir, name: &str, tensors: Vec<(String, Tensor)>) -> PathBuf {
    let path = dir.path().join(name);
    let map = tensors
        .into_iter()
        .collect::<std::collections::HashMap<_, _>>();
    candle_core::safetensors::save(&map, &path).unwrap();
    path
}

fn refusal(path: &Path) -> String {
    let message = Params::open(path, false).unwrap_err().to_string();
    assert!(
        message.contains(path.file_name().unwrap().to_str().unwrap()),
        "{message}"
    );
    message
}

#[test]
fn kernels_are_arranged_and_written_back_as_they_were() {
    let dir = TempDir::new().unwrap();
    let params = Params::open(&write(&dir, "a.safetensors", network()), true).unwrap();
    let conv = params
        .root()
        .sub("conv")
        .conv("weight", [5, 3, 2, 4])
        .unwrap();
    assert_eq!(conv.dims(), [2, 4, 3, 5]);
    let want = network()[0].1.permute((2, 3, 1, 0)).unwrap();
    assert_eq!(values(&conv), values(&want.contiguous().unwrap()));
    let depth = params
        .root()
        .depthwise("depth.weight", [6, 1, 3, 2])
        .unwrap();
    assert_eq!(depth.dims(), [3, 2, 6]);
    let want = network()[1]
        .1
        .squeeze(1)
        .unwrap()
        .permute((1, 2, 0))
        .unwrap();
    assert_eq!(values(&depth), values(&want.contiguous().unwrap()));

    assert_eq!(params.unused(), ["fc.bias", "fc.weight"]);
    let names: Vec<String> = params.vars().into_iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["conv.weight", "depth.weight"]);

    let path = dir.path().join("b.safetensors");
    params.save(&path).unwrap();
    let again = candle_core::safetensors::load(&path, &candle_core::Device::Cpu).unwrap();
    let sorted = params.tensors_sorted().unwrap();
    assert_eq!(sorted.len(), 4);
    for (name, want) in network() {
        assert_eq!(values(&again[&name]), values(&want), "{name}");
    }
    for (name, tensor) in sorted {
        assert_eq!(tensor.dims(), again[&name].dims());
        assert_eq!(values(&tensor), values(&again[&name]), "{name}");
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        2,
        "no temporary file is left"
    );
}

#[test]
fn joined_sets_share_their_tensors() {
    let one = Params::from_tensors(network(), "one", true).unwrap();
    let two = Params::from_tensors(network(), "two", true).unwrap();
    let weight = one.root().tensor("fc.weight", &[4, 7]).unwrap();
    let other = two.root().tensor("fc.weight", &[4, 7]).unwrap();
    let both = Params::join(&[("a", &one), ("b", &two)]);
    // Only what layers have requested is a variable.
    let names: Vec<String> = both.vars().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.fc.weight", "b.fc.weight"]);
    let zeros = weight.zeros_like().unwrap();
    both.vars()[1].1.set(&zeros).unwrap();
    assert!(values(&other).iter().all(|&v| v == 0.0));
    assert_eq!(values(&weight), values(&network()[2].1));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("both.safetensors");
    both.save(&path).unwrap();
    both.vars()[0].1.set(&zeros).unwrap();
    both.load_values(&path).unwrap();
    assert_eq!(values(&weight), values(&network()[2].1));
    assert_eq!(both.shapes().len(), 2 * network().len());
    assert!(Params::join(&[("a", &one.detached())]).vars().is_empty());
    // A layer on the constant values of one of them follows what is read through both, whatever it keeps of them.
    let scope = one.constant().root().sub("fc");
    let layer = rpo_nn::layers::Linear::new(&scope, 7, 4, false).unwrap();
    let x = Tensor::ones((2, 7), DType::F32, &Device::Cpu).unwrap();
    let out = || values(&layer.forward(&x).unwrap());
    let before = out();
    both.vars()[0]
        .1
        .set(&(zeros.ones_like().unwrap() * 3.0).unwrap())
        .unwrap();
    both.save(&path).unwrap();
    both.vars()[0].1.set(&weight.zeros_like().unwrap()).unwrap();
    both.load_values(&path).unwrap();
    assert_ne!(out(), before);
    assert!(out().iter().all(|v| *v == 21.0));
}

#[test]
fn detached_parameters_share_values_and_copies_do_not() {
    let params = Params::from_tensors(network(), "net", true).unwrap();
    let weight = params.root().tensor("fc.weight", &[4, 7]).unwrap();
    let seen = params
        .detached()
        .root()
        .tensor("fc.weight", &[4, 7])
        .unwrap();
    let copy = params.deep_copy(true).unwrap();
    let own = copy.root().tensor("fc.weight", &[4, 7]).unwrap();
    assert!(weight.is_variable() && !seen.track_op() && own.is_variable());
    assert!(params.detached().vars().is_empty());
    params.vars()[0]
        .1
        .set(&weight.zeros_like().unwrap())
        .unwrap();
    assert!(values(&seen).iter().all(|&v| v == 0.0));
    assert_eq!(values(&own), values(&network()[2].1));
    // A kernel first requested through the detached set has the same storage too.
    let seen = params
        .detached()
        .root()
        .conv("conv.weight", [5, 3, 2, 4])
        .unwrap();
    let weight = params.root().conv("conv.weight", [5, 3, 2, 4]).unwrap();
    assert!(weight.is_variable() && !seen.track_op());
    let (_, var) = params
        .vars()
        .into_iter()
        .find(|(n, _)| n == "conv.weight")
        .unwrap();
    var.set(&weight.zeros_like().unwrap()).unwrap();
    assert!(values(&seen).iter().all(|&v| v == 0.0));
    assert!(
        Params::from_tensors(network(), "net", false)
            .unwrap()
            .vars()
            .is_empty()
    );
}

#[test]
fn saved_values_come_back_into_the_same_tensors() {
    let dir = TempDir::new().unwrap();
    let params = Params::from_tensors(network(), "net", true).unwrap();
    let kernel = params.root().conv("conv.weight", [5, 3, 2, 4]).unwrap();
    let before = values(&kernel);
    let path = dir.path().join("saved.safetensors");
    params.save(&path).unwrap();
    params.vars()[0]
        .1
        .set(&kernel.zeros_like().unwrap())
        .unwrap();
    params.load_values(&path).unwrap();
    assert_eq!(values(&kernel), before);

    let mut fewer = network();
    let (_, bias) = fewer.pop().unwrap();
    let path = write(&dir, "fewer.safetensors", fewer.clone());
    assert!(
        params
            .load_values(&path)
            .unwrap_err()
            .to_string()
            .contains("fc.bias is missing")
    );
    fewer.push(("fc.bias".into(), bias.reshape((2, 2)).unwrap()));
    let path = write(&dir, "shape.safetensors", fewer);
    assert!(
        params
            .load_values(&path)
            .unwrap_err()
            .to_string()
            .contains("fc.bias has shape [2, 2]")
    );
    let mut more = network();
    more.push(("extra".into(), bias));
    let path = write(&dir, "more.safetensors", more);
    assert!(
        params
            .load_values(&path)
            .unwrap_err()
            .to_string()
            .contains("extra")
    );
    assert_eq!(values(&kernel), before, "a refused file changes nothing");
}

#[test]
fn half_precision_is_read_as_f32_and_integers_are_left_out() {
    let dir = TempDir::new().unwrap();
    for dtype in [DType::F16, DType::BF16, DType::F64, DType::F32] {
        let x = Array::random(1, &[3, 5]).tensor().to_dtype(dtype).unwrap();
        let ids = Tensor::arange(0i64, 4, &candle_core::Device::Cpu).unwrap();
        let path = write(
            &dir,
            "h.safetensors",
            vec![("x".into(), x.clone()), ("ids".into(), ids)],
        );
        let params = Params::open(&path, false).unwrap();
        let got = params.root().tensor("x", &[3, 5]).unwrap();
        assert_eq!(got.dtype(), DType::F32);
        assert_eq!(
            values(&got),
            values(&x.to_dtype(DType::F32).unwrap()),
            "{dtype:?}"
        );
        assert!(params.unused().is_empty() && !params.root().contains("ids"));
    }
}

#[test]
fn broken_files_are_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let path = write(&dir, "whole.safetensors", network());
    let whole = std::fs::read(&path).unwrap();
    let broken = dir.path().join("broken.safetensors");
    for keep in [0, 5, 20, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&broken, &whole[..keep]).unwrap();
        assert!(
            refusal(&broken).contains("not a complete safetensors file"),
            "cut to {keep} bytes"
        );
    }
    std::fs::write(
        &broken,
        b"<html>not found, but long enough to have a header</html>",
    )
    .unwrap();
    refusal(&broken);
    // A header with a shape that does not fit the data.
    let mut lying = whole.clone();
    let at = whole.windows(5).position(|w| w == b"[4,7]").unwrap();
    lying[at..at + 5].copy_from_slice(b"[4,9]");
    std::fs::write(&broken, &lying).unwrap();
    refusal(&broken);
    assert!(refusal(&dir.path().join("nowhere.safetensors")).contains("cannot be read"));
}

#[test]
fn missing_and_misshapen_tensors_are_named() {
    let params = Params::from_tensors(network(), "net.safetensors", false).unwrap();
    let message = |r: candle_core::Result<Tensor>| r.unwrap_err().to_string();
    let text = message(params.root().sub("fc").tensor("weights", &[4, 7]));
    assert!(
        text.contains("net.safetensors")
            && text.contains("fc.weights")
            && text.contains("there is fc.weight"),
        "{text}"
    );
    let text = message(params.root().sub("fc").tensor("weight", &[7, 4]));
    assert!(
        text.contains("fc.weight") && text.contains("[4, 7]") && text.contains("[7, 4]"),
        "{text}"
    );
    params.root().conv("conv.weight", [5, 3, 2, 4]).unwrap();
    let text = message(params.root().tensor("conv.weight", &[5, 3, 2, 4]));
    assert!(text.contains("conv.weight"), "{text}");
    let text = message(params.root().depthwise("conv.weight", [5, 3, 2, 4]));
    assert!(text.contains("[c, 1, kh, kw]"), "{text}");
}
