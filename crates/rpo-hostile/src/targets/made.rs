//! Small valid inputs, from the tree or made here; and ways to ask the program.

use crate::case::Case;
use anyhow::{Context, Result};
use candle_core::Tensor;
use rpo_nn::weights::{Item, Precision, pt, to_bytes};
use std::path::Path;

/// A file of the source tree.
pub(super) fn file(path: &str) -> Result<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    std::fs::read(&path).with_context(|| path.display().to_string())
}

/// A folder of the source tree.
pub(super) fn folder(path: &str) -> Result<Case> {
    Case::read(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(path),
    )
}

/// Some files of a case, without the folder in front of their names.
pub(super) fn below(case: &Case, folder: &str) -> Case {
    let inside = |(name, bytes): (&String, &Vec<u8>)| {
        let name = name.strip_prefix(folder)?.strip_prefix('/')?;
        Some((name.to_owned(), bytes.clone()))
    };
    Case {
        files: case.files.iter().filter_map(inside).collect(),
    }
}

/// A whole model of a family (`sd15`, `sd21`, `sdxl`) with a few thousand weights.
pub(super) fn model(family: &str) -> Result<Case> {
    let mut case = folder(&format!("crates/rpo-train/tests/golden/families/{family}"))?;
    case.files.retain(|name, _| {
        !(name.ends_with(".in.safetensors")
            || name.ends_with(".expected.safetensors")
            || name.starts_with("base/"))
    });
    Ok(case)
}

/// Seeds of one file name each.
pub(super) fn named(name: &str, contents: impl IntoIterator<Item = Vec<u8>>) -> Vec<Case> {
    contents
        .into_iter()
        .map(|bytes| Case::of(name, bytes))
        .collect()
}

/// A safetensors file of small values.
pub(super) fn tensors(shapes: &[(&str, &[usize])], precision: Precision) -> Result<Vec<u8>> {
    let items: Vec<Item> = shapes
        .iter()
        .map(|(name, shape)| {
            let count = shape.iter().product::<usize>();
            let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7).sin()).collect();
            Item::new(*name, shape.to_vec(), move || Ok(values.clone()))
        })
        .collect();
    Ok(to_bytes(&items, precision, &pt())?)
}

/// Whether every value is finite.
pub(super) fn finite(tensor: &Tensor) -> Result<bool> {
    let values = tensor
        .flatten_all()?
        .to_dtype(candle_core::DType::F32)?
        .to_vec1::<f32>()?;
    Ok(values.iter().all(|v| v.is_finite()))
}

/// Runs a verb of the program in this process; its text goes to standard output.
pub(super) fn program(args: &[&str]) -> Result<()> {
    let args = std::iter::once("rpo-train").chain(args.iter().copied());
    rpo_train::cli::main(args.map(From::from))
}

/// A path as an argument.
pub(super) fn arg(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}
