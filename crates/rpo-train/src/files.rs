//! Files that are either wholly there or not at all: everything is written under a temporary name and renamed.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use rpo_files::failure::BadInput;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Writes `bytes` to `path` by a temporary file beside it.
///
/// # Errors
/// [`BadInput`] if something at `path` is no plain file; I/O errors (a full disk among them) naming the path. An older file at
/// `path` is then untouched.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    rpo_files::write(path, bytes).map_err(|e| match e.kind() {
        ErrorKind::InvalidInput => BadInput::new(e.to_string()),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            anyhow::Error::new(e).context(cannot_write(path))
        }
        _ => anyhow::Error::new(e).context(format!("{}: cannot write", path.display())),
    })
}

/// What to say when a file cannot be written.
pub fn cannot_write(path: &Path) -> String {
    format!(
        "{}: cannot write\n  mend: free some space, then run the same command again; it goes on where it was",
        path.display()
    )
}

/// Writes a value as indented JSON.
///
/// # Errors
/// As [`write()`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    write(path, &text)
}

/// Writes a picture as PNG; its folder is made.
///
/// # Errors
/// As [`write()`].
pub fn write_png(path: &Path, picture: &image::RgbImage) -> Result<()> {
    write(path, &rpo_data::picture::png_bytes(picture))
}

/// Reads a JSON file.
///
/// # Errors
/// Names the path.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}

/// Writes named tensors and a text as one safetensors file.
///
/// # Errors
/// As [`write()`].
pub fn write_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>, text: &str) -> Result<()> {
    let metadata = Some(std::collections::HashMap::from([(
        "rpo".to_owned(),
        text.to_owned(),
    )]));
    let bytes = safetensors::serialize(tensors.iter().map(|(k, v)| (k.as_str(), v)), metadata)
        .with_context(|| path.display().to_string())?;
    write(path, &bytes)
}

/// Reads a file of [`write_tensors`]: the tensors and the text.
///
/// # Errors
/// Names the path when it is missing, truncated or of another kind.
pub fn read_tensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, String)> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes)
        .with_context(|| format!("{}: not a whole safetensors file", path.display()))?;
    let text = metadata
        .metadata()
        .as_ref()
        .and_then(|m| m.get("rpo"))
        .cloned();
    let Some(text) = text else {
        bail!("{}: not written by this program", path.display())
    };
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)?;
    Ok((tensors.into_iter().collect(), text))
}

/// The bytes of a tensor, for hashing: dtype, shape and values.
///
/// # Errors
/// Tensors of another dtype than f32 and u8.
pub fn hash_tensor(hasher: &mut blake3::Hasher, name: &str, tensor: &Tensor) -> Result<()> {
    match tensor.dtype() {
        DType::U8 => {
            hasher.update(format!("{name}|U8|{:?}|", tensor.dims()).as_bytes());
            hasher.update(&tensor.flatten_all()?.to_vec1::<u8>()?);
        }
        _ => hash_values(
            hasher,
            name,
            tensor.dims(),
            &tensor.flatten_all()?.to_vec1::<f32>()?,
        ),
    }
    Ok(())
}

/// As [`hash_tensor`], of values in a plain slice.
pub fn hash_values(hasher: &mut blake3::Hasher, name: &str, shape: &[usize], values: &[f32]) {
    hasher.update(format!("{name}|F32|{shape:?}|").as_bytes());
    // In pieces: a call of the hasher for each number would take minutes for a large model.
    for piece in values.chunks(1 << 14) {
        let bytes: Vec<u8> = piece.iter().flat_map(|v| v.to_le_bytes()).collect();
        hasher.update(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_back_with_their_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b.safetensors");
        let t = Tensor::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu).unwrap();
        write_tensors(&path, &BTreeMap::from([("t".into(), t.clone())]), "{}").unwrap();
        let (tensors, text) = read_tensors(&path).unwrap();
        assert_eq!(text, "{}");
        assert_eq!(
            tensors["t"].to_vec2::<f32>().unwrap(),
            t.to_vec2::<f32>().unwrap()
        );
    }

    #[test]
    fn a_truncated_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let t = Tensor::zeros(64, DType::F32, &Device::Cpu).unwrap();
        write_tensors(&path, &BTreeMap::from([("t".into(), t)]), "").unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 7]).unwrap();
        assert!(format!("{:#}", read_tensors(&path).unwrap_err()).contains("x.safetensors"));
    }
}
