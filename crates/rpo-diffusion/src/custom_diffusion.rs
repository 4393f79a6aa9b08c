//! Custom Diffusion's file: keys and values of the text in every cross-attention, in the names of diffusers' training script.
//!
//! diffusers 0.42 does not apply it: `unet.load_attn_procs` returns without an error and without a change. Its tensors merged into
//! the U-Net's give the same predictions there (`scripts/parity/custom_diffusion.py`).

use candle_core::{Result, bail};
use rpo_nn::weights::{Archive, Item, Params, Precision, pt, to_bytes as bytes_of};
use std::path::Path;

/// Its name, as diffusers' script writes it.
pub const FILE: &str = "pytorch_custom_diffusion_weights.safetensors";

/// The ends of a tensor's name in a U-Net and in the file.
const ENDS: [(&str, &str); 2] = [
    (
        ".attn2.to_k.weight",
        ".attn2.processor.to_k_custom_diffusion.weight",
    ),
    (
        ".attn2.to_v.weight",
        ".attn2.processor.to_v_custom_diffusion.weight",
    ),
];

/// Whether a U-Net's tensor makes keys or values of the text.
pub fn is_key_or_value(tensor: &str) -> bool {
    ENDS.iter().any(|(own, _)| tensor.ends_with(own))
}

/// The name in the file of a U-Net's tensor.
fn in_file(tensor: &str) -> String {
    ENDS.iter()
        .find_map(|(own, theirs)| Some(format!("{}{theirs}", tensor.strip_suffix(own)?)))
        .unwrap_or_else(|| tensor.to_owned())
}

/// The bytes of a file with the keys and values `part`, in f32.
///
/// # Errors
/// If a value is not finite.
pub fn to_bytes(part: &Params) -> Result<Vec<u8>> {
    let items = part.items().into_iter();
    let items: Vec<Item> = items
        .map(|item| {
            let name = in_file(&item.name);
            item.renamed(name)
        })
        .collect();
    bytes_of(&items, Precision::F32, &pt())
}

/// Reads a file into `part`, the base's keys and values: `w + scale (file - w)`.
///
/// # Errors
/// If it cannot be read, a tensor is missing, of another shape or not one of the U-Net's; with file and tensor.
pub fn read(path: &Path, part: &Params, scale: f64) -> Result<()> {
    let file = Archive::open(path)?;
    let shown = path.display();
    let own = part.shapes();
    let mut tensors = Vec::with_capacity(own.len());
    for (name, shape) in &own {
        let theirs = in_file(name);
        match file.shape(&theirs) {
            Some(found) if found == shape => {}
            Some(found) => bail!(
                "{shown}: tensor {theirs} has shape {found:?}, the U-Net's {name} has {shape:?}: the file belongs to another model"
            ),
            None => bail!(
                "{shown}: tensor {theirs} is missing: the file belongs to another model, or is none of Custom Diffusion's"
            ),
        }
        let values = candle_core::Tensor::from_vec(
            file.values(&theirs)?,
            shape.as_slice(),
            &candle_core::Device::Cpu,
        )?;
        tensors.push((name.clone(), values));
    }
    if let Some(other) = file
        .names()
        .find(|f| !own.iter().any(|(name, _)| in_file(name) == **f))
    {
        bail!(
            "{shown}: tensor {other} is not one of the U-Net's keys and values: the file belongs to another model, or trains more than these"
        )
    }
    part.interpolate(
        &Params::from_tensors(tensors, &shown.to_string(), false)?,
        scale,
    )
}
