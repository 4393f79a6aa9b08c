//! Single-file checkpoints, converted into a model folder.

use super::base::copy_configurations;
use super::links::{check_links, refuse_within};
use super::parts::NETWORKS;
use super::sound::Sound;
use super::staging::{Staging, refuse_occupied};
use crate::files;
use anyhow::Result;
use rpo_diffusion::checkpoint::{Family, Marks, Names, ZERO_SNR, family, marks, to_folders};
use rpo_diffusion::{NoiseSchedule, Pipeline, PredictionType, SchedulerClass, check_folder};
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_nn::weights::{Archive, MAX_SHARD_SIZE, Precision, pt, write_sharded};
use serde_json::Value;
use std::path::Path;

/// The schedule's file in a model folder.
const SCHEDULE: &str = "scheduler/scheduler_config.json";

/// The key that [`ZERO_SNR`] stands for.
const RESCALE: &str = "rescale_betas_zero_snr";

/// What was read.
pub struct Imported {
    /// The model's family.
    pub family: Family,
    /// Names of the tensors that no part reads.
    pub passed_over: Vec<String>,
    /// What was changed in the copied configurations, because the file says so.
    pub changed: Option<String>,
}

/// Converts the single-file checkpoint `file` into a model folder, with configurations, tokenizers and scheduler of the folder
/// `configurations`, which must be of the same architecture. Weights keep the file's dtype unless `precision` names another. The
/// result is loaded once before it is moved into place.
///
/// # Errors
/// [`BadInput`] if the file is no checkpoint, of another family or prediction than the configurations, or lacks a tensor that
/// they require, or one is not finite; I/O errors.
pub fn import(
    file: &Path,
    configurations: &Path,
    to: &Path,
    precision: Option<Precision>,
) -> Result<Imported> {
    refuse_occupied(to)?;
    let archive = Archive::open(file).or_bad_input("checkpoint")?;
    let of_file = family(&archive).or_bad_input("checkpoint")?;
    let marks = marks(&archive).or_bad_input("checkpoint")?;
    check_links(configurations)?;
    let names = Names::of_folder(configurations).or_bad_input("--config-from")?;
    refuse_within(configurations, to)?;
    if names.family != of_file {
        return Err(BadInput::new(format!(
            "{} is a {of_file}, {} has the configurations of a {}\n  hint: give a folder of the same family with --config-from",
            file.display(),
            configurations.display(),
            names.family
        )));
    }
    let rescale = check_schedule(&marks, archive.label(), configurations)?;
    let folders = to_folders(&names, &archive).or_bad_input("checkpoint")?;
    let staging = Staging::begin(to)?;
    copy_configurations(configurations, staging.path())?;
    if rescale {
        set_rescaled(&staging.path().join(SCHEDULE))?;
    }
    let precision = precision.unwrap_or(archive.precision());
    for (part, items) in folders.parts {
        let stem = NETWORKS
            .iter()
            .find(|(name, _)| *name == part)
            .map_or("model", |(_, stem)| stem);
        let sound = Sound::new(precision);
        let items = sound.items(items, archive.label());
        let folder = staging.path().join(part);
        sound.told(write_sharded(
            &folder,
            stem,
            items,
            precision,
            &pt(),
            MAX_SHARD_SIZE,
        ))?;
    }
    // Names and shapes are right only if every part can be built.
    let staged = staging.path().display().to_string();
    let loads = check_folder(staging.path(), None).and_then(|()| Pipeline::load(staging.path()));
    loads.map_err(|e| {
        let said = e.to_string().replace(&staged, &to.display().to_string());
        BadInput::new(format!(
            "{} and the configurations of {} do not fit together: {said}",
            file.display(),
            configurations.display()
        ))
    })?;
    staging.finish()?;
    Ok(Imported {
        family: of_file,
        passed_over: folders.passed_over,
        changed: rescale
            .then(|| format!("{SCHEDULE}: {RESCALE} is true, as the file's mark {ZERO_SNR} says")),
    })
}

/// Refuses a schedule with another prediction than the file's marks; returns whether its betas must be rescaled in addition.
fn check_schedule(marks: &Marks, label: &str, configurations: &Path) -> Result<bool> {
    let path = configurations.join(SCHEDULE);
    let schedule = NoiseSchedule::load(&path).or_bad_input("--config-from")?;
    let words = |prediction| match prediction {
        PredictionType::VPrediction => "velocities (v_prediction)",
        PredictionType::Epsilon => "noise (epsilon)",
        PredictionType::Sample => "clean samples (sample)",
    };
    if let Some((wants, mark)) = &marks.prediction
        && *wants != schedule.prediction_type
    {
        return Err(BadInput::new(format!(
            "{label}: it predicts {} ({mark}), {} says {}\n  hint: give a folder with the checkpoint's own prediction_type",
            words(*wants),
            path.display(),
            words(schedule.prediction_type)
        )));
    }
    let rescale = marks.zero_snr && schedule.config.rescale_betas_zero_snr != Some(true);
    if rescale && schedule.config.class == Some(SchedulerClass::PNDMScheduler) {
        return Err(BadInput::new(format!(
            "{label}: it was trained with {RESCALE} (tensor {ZERO_SNR}), which the PNDMScheduler of {} does not have\n  hint: give a folder with a DDIMScheduler or EulerDiscreteScheduler",
            path.display()
        )));
    }
    Ok(rescale)
}

/// Sets the key in a copied schedule.
fn set_rescaled(path: &Path) -> Result<()> {
    let mut value: Value = files::read_json(path).or_bad_input("--config-from")?;
    if let Some(keys) = value.as_object_mut() {
        keys.insert(RESCALE.into(), true.into());
    }
    files::write_json(path, &value)
}
