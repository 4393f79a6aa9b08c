//! safetensors files to and from f32 values.

use candle_core::{CpuStorage, Error, InplaceOp1, Layout, Result, bail};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Values and shape of a tensor as it stands in a file.
pub(crate) struct Stored {
    pub(crate) values: Vec<f32>,
    pub(crate) shape: Vec<usize>,
}

/// Reads all floating-point tensors of a safetensors file as f32. Integer and boolean tensors are passed over: they are
/// buffers such as `position_ids`, which follow from the configuration.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, Stored>> {
    let bytes = std::fs::read(path)
        .map_err(|e| Error::msg(format!("{}: cannot be read: {e}", path.display())))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| {
        Error::msg(format!(
            "{}: not a complete safetensors file ({} bytes): {e}; copy or download it again",
            path.display(),
            bytes.len()
        ))
    })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if let Some(values) = to_f32(&view) {
            tensors.insert(
                name.to_string(),
                Stored {
                    values,
                    shape: view.shape().to_vec(),
                },
            );
        } else if !is_buffer(view.dtype()) {
            bail!(
                "{}: tensor {name} is {:?}; f32, f16, bf16 and f64 can be read",
                path.display(),
                view.dtype()
            )
        }
    }
    Ok(tensors)
}

fn is_buffer(dtype: Dtype) -> bool {
    use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, BOOL | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}

fn to_f32(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => data
            .as_chunks()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect(),
        Dtype::F64 => data
            .as_chunks()
            .0
            .iter()
            .map(|&b| f64::from_le_bytes(b) as f32)
            .collect(),
        Dtype::F16 => data
            .as_chunks()
            .0
            .iter()
            .map(|&b| half::f16::from_le_bytes(b).to_f32())
            .collect(),
        Dtype::BF16 => data
            .as_chunks()
            .0
            .iter()
            .map(|&b| half::bf16::from_le_bytes(b).to_f32())
            .collect(),
        _ => return None,
    })
}

/// Writes f32 tensors to a safetensors file; a reader sees the old file or the whole new one, never a part.
pub(crate) fn write(path: &Path, tensors: &BTreeMap<String, Stored>) -> Result<()> {
    let fail = |e: &dyn std::fmt::Display| {
        Error::msg(format!("{}: cannot be written: {e}", path.display()))
    };
    let bytes: Vec<(&String, Vec<u8>, &[usize])> = tensors
        .iter()
        .map(|(name, t)| {
            (
                name,
                t.values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                t.shape.as_slice(),
            )
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(name, data, shape)| Ok((*name, TensorView::new(Dtype::F32, shape.to_vec(), data)?)))
        .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| fail(&e))?;
    let content = safetensors::serialize(views, None).map_err(|e| fail(&e))?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = std::fs::File::create(&part)
        .and_then(|mut file| {
            file.write_all(&content)?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&part, path));
    written.map_err(|e| {
        // The error that counts is the first one.
        let _ = std::fs::remove_file(&part);
        fail(&e)
    })
}

/// Replaces the values of a contiguous f32 tensor in place.
pub(super) struct Overwrite(pub(super) Vec<f32>);

impl InplaceOp1 for Overwrite {
    fn name(&self) -> &'static str {
        "overwrite"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        match (storage, layout.contiguous_offsets()) {
            (CpuStorage::F32(data), Some((from, to))) if to - from == self.0.len() => {
                data[from..to].copy_from_slice(&self.0);
                Ok(())
            }
            _ => bail!("overwrite: {} values into {layout:?}", self.0.len()),
        }
    }
}
