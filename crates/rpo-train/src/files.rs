//! Files of a run: JSON, pictures, tensors.

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub use rpo_files::input::read_json;
pub use rpo_files::output::{cannot_write, write, write_json};

/// Writes a picture as PNG; its folder is made.
///
/// # Errors
/// As [`write()`].
pub fn write_png(path: &Path, picture: &image::RgbImage) -> Result<()> {
    write(path, &rpo_data::picture::png_bytes(picture))
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
