//! Files of a run, and hashes of tensors.

use anyhow::Result;
use candle_core::{DType, Tensor};
use rpo_files::failure::BadInput;
use rpo_files::{FileError, Lock, LockError};
use rpo_nn::weights::Params;
use std::path::Path;

pub use rpo_files::input::read_json;
pub use rpo_files::output::{write, write_json};

/// Writes a picture as PNG and creates its folder.
///
/// # Errors
/// As [`write()`].
pub fn write_png(path: &Path, picture: &image::RgbImage) -> Result<()> {
    write(path, &rpo_data::picture::png_bytes(picture))
}

/// Hash of a network's names, shapes and values.
///
/// # Errors
/// Tensor errors.
pub fn fingerprint(params: &Params) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for item in params.items() {
        hash_values(&mut hasher, &item.name, &item.shape, &item.values()?);
    }
    Ok(hasher.finalize().to_hex()[..32].to_owned())
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
    // In chunks: one hasher call per number would take minutes for a large model.
    let mut bytes = [0; 1 << 16];
    for piece in values.chunks(1 << 14) {
        let bytes = &mut bytes[..4 * piece.len()];
        for (to, value) in bytes.chunks_exact_mut(4).zip(piece) {
            to.copy_from_slice(&value.to_le_bytes());
        }
        hasher.update(bytes);
    }
}

/// The lock of a folder.
///
/// # Errors
/// [`BadInput`] if another process has it; I/O errors.
pub fn locked(folder: &Path) -> Result<Lock> {
    Lock::take(folder).map_err(|e| match e {
        LockError::Held { .. } => BadInput::new(e.to_string()),
        LockError::Io(e) => FileError::writing(folder, e).into(),
    })
}
