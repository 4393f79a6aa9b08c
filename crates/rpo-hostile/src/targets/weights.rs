//! safetensors files, and shards with their index.

use super::made::{finite, named, tensors};
use crate::case::Case;
use crate::target::{Target, ensure_fault};
use anyhow::Result;
use rpo_encoders::folder::{open_archive, open_params, parameters, source_files};
use rpo_nn::weights::{Archive, Params, Precision, pt, to_bytes};
use std::path::Path;

pub(super) const SAFETENSORS: Target = Target::new(
    "safetensors",
    "a file of weights: header and values; written again it reads the same",
    || {
        let shapes: &[(&str, &[usize])] = &[
            ("a.weight", &[3, 4]),
            ("a.bias", &[3]),
            ("scale", &[]),
            ("none", &[0, 2]),
        ];
        let all = [Precision::F32, Precision::F16, Precision::Bf16].map(|p| tensors(shapes, p));
        Ok(named(
            "model.safetensors",
            all.into_iter().collect::<Result<Vec<_>>>()?,
        ))
    },
    |folder| {
        let path = folder.join("model.safetensors");
        let archive = Archive::open(&path)?;
        let params = Params::from_archive(&archive, false)?;
        for (name, tensor) in params.tensors_sorted()? {
            ensure_fault(finite(&tensor)?, || {
                format!("tensor `{name}` is not finite")
            })?;
        }
        again(&archive, &folder.join("again.tmp"))
    },
);

/// Writes an archive and compares what is read.
fn again(archive: &Archive, path: &Path) -> Result<()> {
    let bytes = to_bytes(&archive.items(), archive.precision(), &pt());
    let bytes = bytes.map_err(|e| crate::wrong(format!("it cannot be written again: {e}")))?;
    std::fs::write(path, bytes)?;
    let other = Archive::open(path);
    std::fs::remove_file(path)?;
    let other = other.map_err(|e| crate::wrong(format!("what was written cannot be read: {e}")))?;
    let names: Vec<&str> = archive.names().collect();
    ensure_fault(other.names().eq(names.iter().copied()), || {
        "other names".into()
    })?;
    for name in names {
        ensure_fault(archive.shape(name) == other.shape(name), || {
            "another shape".into()
        })?;
    }
    Ok(())
}

pub(super) const SHARDS: Target = Target::new(
    "shards",
    "a folder of weights in several files, with their index",
    || {
        let one = tensors(&[("a.weight", &[3, 4]), ("a.bias", &[3])], Precision::F32)?;
        let two = tensors(&[("b.weight", &[2, 2])], Precision::F32)?;
        let index = br#"{"metadata": {"total_size": 76}, "weight_map": {"a.weight": "model-00001-of-00002.safetensors",
            "a.bias": "model-00001-of-00002.safetensors", "b.weight": "model-00002-of-00002.safetensors"}}"#;
        let case = Case::of("model.safetensors.index.json", *index)
            .with("model-00001-of-00002.safetensors", one)
            .with("model-00002-of-00002.safetensors", two);
        Ok(vec![case])
    },
    |folder| {
        let archive = open_archive(folder, None)?;
        let files = source_files(folder)?;
        ensure_fault(files.iter().all(|f| f.starts_with(folder)), || {
            "a file outside the folder is a part of it".into()
        })?;
        let params = open_params(folder, false)?;
        ensure_fault(parameters(folder)? == params.parameters(), || {
            "another count".into()
        })?;
        ensure_fault(archive.names().count() == params.shapes().len(), || {
            "other tensors".into()
        })
    },
);
