//! Single-file checkpoints: written from a model folder and a U-Net, and converted into a model folder.

use super::base::{NETWORKS, copy_configurations};
use super::staging::{Staging, refuse_occupied};
use crate::files;
use anyhow::{Context, Result};
use rpo_diffusion::checkpoint::{Family, Names, family, to_file, to_folders};
use rpo_diffusion::{NoiseSchedule, Pipeline, PredictionType};
use rpo_encoders::folder;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_nn::weights::{Archive, Item, MAX_SHARD_SIZE, Precision, pt, write_sharded};
use std::collections::BTreeMap;
use std::path::Path;

/// Writes the U-Net `unet` and the other parts of the model in `base` as one file; returns the model's family. `metadata` is
/// called once the family is known.
///
/// # Errors
/// [`BadInput`] if `to` exists, or a part has a tensor without a name in the file; I/O errors.
pub fn write(
    base: &Path,
    variant: Option<&str>,
    unet: Vec<Item>,
    to: &Path,
    precision: Precision,
    metadata: impl Fn(Family) -> BTreeMap<String, String>,
) -> Result<Family> {
    refuse_occupied(to)?;
    let names = Names::of_folder(base).or_bad_input("model")?;
    let mut archives = Vec::new();
    for (part, _) in names.parts.iter().filter(|(part, _)| *part != "unet") {
        let archive = folder::open_archive(&base.join(part), variant).or_bad_input("model")?;
        archives.push((*part, archive));
    }
    let mut parts: Vec<(&str, Vec<Item>)> = archives
        .iter()
        .map(|(part, a)| (*part, a.items()))
        .collect();
    parts.push(("unet", unet));
    let items = to_file(&names, parts).or_bad_input(base.display())?;
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).with_context(|| files::cannot_write(to))?;
    }
    rpo_nn::weights::write(to, &items, precision, &metadata(names.family))?;
    Ok(names.family)
}

/// Converts the single-file checkpoint `file` into a model folder, with configurations, tokenizers and scheduler of the folder
/// `configurations`, which must be of the same architecture. Weights keep the file's dtype unless `precision` names another. The
/// result is loaded once before it is moved into place. Returns the family and the names of the tensors that no part reads.
///
/// # Errors
/// [`BadInput`] if the file is no checkpoint, of another family than the configurations, or lacks a tensor that they require;
/// I/O errors.
pub fn import(
    file: &Path,
    configurations: &Path,
    to: &Path,
    precision: Option<Precision>,
) -> Result<(Family, Vec<String>)> {
    let staging = Staging::begin(to)?;
    let archive = Archive::open(file).or_bad_input("checkpoint")?;
    let of_file = family(&archive).or_bad_input("checkpoint")?;
    let names = Names::of_folder(configurations).or_bad_input("--config-from")?;
    if names.family != of_file {
        return Err(BadInput::new(format!(
            "{} is a {of_file}, {} has the configurations of a {}\n  hint: give a folder of the same family with --config-from",
            file.display(),
            configurations.display(),
            names.family
        )));
    }
    check_prediction(&archive, configurations)?;
    copy_configurations(configurations, staging.path())?;
    let folders = to_folders(&names, &archive).or_bad_input("checkpoint")?;
    let precision = precision.unwrap_or(archive.precision());
    for (part, items) in folders.parts {
        let stem = NETWORKS
            .iter()
            .find(|(name, _)| *name == part)
            .map_or("model", |(_, stem)| stem);
        write_sharded(
            &staging.path().join(part),
            stem,
            items,
            precision,
            &pt(),
            MAX_SHARD_SIZE,
        )?;
    }
    // Names and shapes are right only if every part can be built.
    let staged = staging.path().display().to_string();
    Pipeline::load(staging.path()).map_err(|e| {
        let said = e.to_string().replace(&staged, &to.display().to_string());
        BadInput::new(format!(
            "{} and the configurations of {} do not fit together: {said}",
            file.display(),
            configurations.display()
        ))
    })?;
    staging.finish()?;
    Ok((of_file, folders.passed_over))
}

/// Refuses a noise-prediction scheduler for a checkpoint that declares v-prediction, and vice versa.
fn check_prediction(archive: &Archive, configurations: &Path) -> Result<()> {
    let path = configurations.join("scheduler/scheduler_config.json");
    let schedule = NoiseSchedule::load(&path).or_bad_input("--config-from")?;
    let Some(says) = archive.metadata().get("modelspec.prediction_type") else {
        return Ok(());
    };
    let velocity = schedule.prediction_type == PredictionType::VPrediction;
    let wants = match says.as_str() {
        "v" => true,
        "epsilon" => false,
        _ => return Ok(()),
    };
    if wants == velocity {
        return Ok(());
    }
    Err(BadInput::new(format!(
        "{}: it predicts {}, {} says otherwise\n  hint: give a folder with the checkpoint's own prediction_type",
        archive.label(),
        if wants {
            "velocities (v_prediction)"
        } else {
            "noise (epsilon)"
        },
        path.display()
    )))
}
