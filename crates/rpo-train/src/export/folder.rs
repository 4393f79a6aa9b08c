//! Trained parts in a diffusers folder.

use super::sound::Sound;
use crate::files;
use anyhow::Result;
use rpo_files::AtPath;
use rpo_files::failure::OrBadInput;
use rpo_nn::weights::{Item, MAX_SHARD_SIZE, Precision, write_sharded};
use std::collections::BTreeMap;
use std::path::Path;

/// Writes `unet/` into the folder `to`: the unchanged configuration of the model in `base`, and the weights, in several files
/// where they exceed diffusers' limit.
///
/// # Errors
/// [`BadInput`](rpo_files::failure::BadInput) if a value is not finite or `precision` cannot hold it; I/O errors.
pub fn write_unet(
    base: &Path,
    to: &Path,
    items: Vec<Item>,
    precision: Precision,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let folder = to.join("unet");
    std::fs::create_dir_all(&folder).writing(&folder)?;
    let config = std::fs::read(base.join("unet/config.json")).or_bad_input("model")?;
    files::write(&folder.join("config.json"), &config)?;
    let stem = "diffusion_pytorch_model";
    write_weights(&folder, stem, items, precision, metadata)
}

/// Writes weights named `stem` into the folder of a part, in several files where they exceed diffusers' limit.
///
/// # Errors
/// As [`write_unet`].
pub fn write_weights(
    folder: &Path,
    stem: &str,
    items: Vec<Item>,
    precision: Precision,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let (sound, label) = (Sound::new(precision), folder.display().to_string());
    let items = sound.items(items, &label);
    let written = write_sharded(folder, stem, items, precision, metadata, MAX_SHARD_SIZE);
    sound.told(written).map(drop)
}
