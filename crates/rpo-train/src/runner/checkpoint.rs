//! Kept checkpoints: a diffusers U-Net folder, or a folder with the adapters in both kinds of LoRA file.

use super::card;
use super::setup::{Setup, fingerprint};
use super::trained::{Trained, adapted_fingerprint};
use crate::files;
use anyhow::{Context, Result};
use rpo_data::subject::Subject;
use rpo_diffusion::UNet2DConditionModel;
use rpo_diffusion::lora::{About, BaseModel, Lora};
use rpo_experiment::TrainingArm;
use rpo_experiment::plan::{Cell, folder_name};
use rpo_experiment::run::{Folder, UNET_WEIGHTS};
use rpo_files::failure::OrBadInput;
use rpo_files::{SUMS, check_sums, write_sums};
use rpo_nn::weights::Params;
use rpo_reward::select::{self, Kind, Validation};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The adapters for diffusers, below a checkpoint's folder: the file that is read back.
const PEFT_FILE: &str = "diffusers/pytorch_lora_weights.safetensors";

/// The adapters for all other programs: a name of its own, because A1111 calls a LoRA by the name of its file.
pub(super) fn lora_name(cell: &Cell) -> String {
    folder_name(&cell.id.replace('/', "-"))
}

/// Family of the run's model.
pub(super) fn base_model(setup: &Setup) -> BaseModel {
    BaseModel::of(
        &setup.pipeline.unet_config,
        setup.pipeline.schedule.prediction_type,
    )
}

/// Name of the run's model for people and metadata.
pub(super) fn base_name(setup: &Setup) -> String {
    let path = &setup.experiment.model.path;
    let last = Path::new(path).file_name();
    last.map_or_else(|| path.clone(), |name| name.to_string_lossy().into_owned())
}

/// Writes the weights of a step, the last one in `scored`. Step 0 is the base model and needs no copy.
///
/// # Errors
/// I/O errors, by path.
pub(super) fn save(
    setup: &Setup,
    cell: &Cell,
    trained: &Trained,
    folder: &Folder,
    scored: &[Validation],
) -> Result<()> {
    let step = scored.last().map_or(0, |v| v.step);
    let Some(adapters) = &trained.adapters else {
        // The configuration as it was read, so that the folder opens wherever the base model's does.
        let config = std::fs::read(setup.pipeline.folder.join("unet/config.json"))?;
        files::write(&folder.unet(step).join("config.json"), &config)?;
        let path = folder.weights(step);
        trained
            .params
            .save(&path)
            .with_context(|| files::cannot_write(&path))?;
        return write_sums(&folder.unet(step), &["config.json", UNET_WEIGHTS]);
    };
    let (base, layers) = (base_model(setup), setup.pipeline.unet_config.layers(0));
    let mut lora = Lora::of(adapters)?;
    lora.describe(&about(setup, cell, base, scored)?);
    let targets = setup.arms[cell.arm]
        .lora
        .as_ref()
        .map(|l| l.targets.as_slice());
    let place = folder.lora(step);
    files::write(&place.join(PEFT_FILE), &lora.to_peft(targets)?)?;
    let main = format!("{}.safetensors", lora_name(cell));
    files::write(&place.join(&main), &lora.to_kohya(base, layers)?)?;
    write_sums(&place, &[&main, PEFT_FILE])
}

/// Removes the weights of every step that is not in `steps`.
///
/// # Errors
/// I/O errors, by path.
pub(super) fn keep(cell: &Cell, folder: &Folder, steps: &BTreeSet<usize>) -> Result<()> {
    let main = format!("{}.safetensors", lora_name(cell));
    folder.keep_weights(steps, &[&main, PEFT_FILE, SUMS, card::CARD, card::PREVIEW])
}

fn about(setup: &Setup, cell: &Cell, base: BaseModel, scored: &[Validation]) -> Result<About> {
    let (arm, subject) = (&setup.arms[cell.arm], &setup.subjects[cell.subject]);
    let plain = format!("a photo of {}", trigger(subject));
    let captions = subject.references.iter();
    let captions = captions.map(|r| r.caption.clone().unwrap_or_else(|| plain.clone()));
    let step = scored.last().map_or(0, |v| v.step);
    let rpo = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("arm", arm.name.clone()),
        ("preset", arm.preset.name().to_owned()),
        ("recipe", serde_json::to_string(&arm.recipe)?),
        ("lambda_train", arm.recipe.lambda_train.to_string()),
        ("beta", arm.recipe.beta.to_string()),
        ("config_hash", setup.inputs_hash.clone()),
        ("base_weights", setup.base_weights.clone()),
        ("reward_model", setup.experiment.encoders.reward.clone()),
        ("step", step.to_string()),
        ("rewards", serde_json::to_string(&rewards(setup, scored)?)?),
    ];
    Ok(About {
        name: lora_name(cell),
        base,
        base_name: base_name(setup),
        resolution: setup.size,
        trigger: trigger(subject),
        seed: cell.seed,
        learning_rate: arm.training.learning_rate,
        steps: step,
        images: subject.references.len(),
        captions: captions.collect(),
        rpo: BTreeMap::from(rpo.map(|(key, value)| (key.to_owned(), value))),
    })
}

/// The words that call the subject.
pub(super) fn trigger(subject: &Subject) -> String {
    format!("{} {}", subject.token, subject.class)
}

/// The last validation by every rule that has a reward: its mean, and how far it is above step 0 on the same noise.
pub(super) fn rewards(setup: &Setup, scored: &[Validation]) -> Result<Vec<serde_json::Value>> {
    let rules = setup.rules.iter().filter(|r| r.kind == Kind::Best);
    let last = scored.len().saturating_sub(1);
    rules
        .map(|rule| {
            let gain = select::gain_over_first(rule, scored, last)?;
            let all = scored[last].rewards(rule.mean, rule.lambda);
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            Ok(json!({
                "rule": rule.name, "mean": rule.mean, "lambda": rule.lambda.get(),
                "reward": mean, "gain": gain.mean, "interval": gain.interval,
            }))
        })
        .collect()
}

/// The network of a kept step and the hash of its weights; step 0 is the base.
///
/// # Errors
/// A missing or damaged file, by path.
pub fn load(
    setup: &Setup,
    arm: &TrainingArm,
    folder: &Folder,
    step: usize,
    scale: f64,
) -> Result<(UNet2DConditionModel, String)> {
    let base = &setup.pipeline.unet_params;
    if step == 0 {
        return Ok((setup.pipeline.unet(base)?, setup.base_weights.clone()));
    }
    check(folder, step)?;
    if arm.lora.is_some() {
        return load_lora(setup, &folder.lora(step).join(PEFT_FILE), scale);
    }
    let params = base.deep_copy(false)?;
    params.load_values(&folder.weights(step))?;
    Ok((setup.pipeline.unet(&params)?, fingerprint(&params)?))
}

/// Holds a kept checkpoint to its checksums.
fn check(folder: &Folder, step: usize) -> Result<()> {
    let kept = [folder.unet(step), folder.lora(step)];
    let checked: Result<()> = kept.iter().try_for_each(|place| check_sums(place));
    checked.with_context(|| folder.again())
}

/// The whole U-Net's weights at a kept step, adapters merged into the base; step 0 is the base.
///
/// # Errors
/// A missing or damaged file, by path.
pub fn params(setup: &Setup, arm: &TrainingArm, folder: &Folder, step: usize) -> Result<Params> {
    let base = &setup.pipeline.unet_params;
    if step == 0 {
        return Ok(base.clone());
    }
    check(folder, step)?;
    let params = base.deep_copy(false)?;
    if arm.lora.is_none() {
        params.load_values(&folder.weights(step))?;
        return Ok(params);
    }
    let path = folder.lora(step).join(PEFT_FILE);
    let lora = Lora::read(&path, setup.pipeline.unet_config.layers(0))?;
    lora.adapters(base)?.merge_into(&params, 1.0)?;
    Ok(params)
}

/// The base with the adapters of a LoRA file over it, `scale` times, and the hash of that network.
///
/// # Errors
/// A missing or damaged file, or one for another model, by path.
pub fn load_lora(setup: &Setup, path: &Path, scale: f64) -> Result<(UNet2DConditionModel, String)> {
    let base = &setup.pipeline.unet_params;
    let lora = Lora::read(path, setup.pipeline.unet_config.layers(0)).or_bad_input("LoRA")?;
    if let Some(left_out) = lora.left_out() {
        eprintln!("{}: {left_out}", path.display());
    }
    let adapters = lora.adapters(base).or_bad_input(path.display())?;
    adapters.set_scale(scale);
    let unet = setup.pipeline.unet(&base.with_adapters(&adapters))?;
    let hash = adapted_fingerprint(setup, &adapters)?;
    Ok((
        unet,
        if scale == 1.0 {
            hash
        } else {
            format!("{hash} x {scale}")
        },
    ))
}

/// Files of a kept LoRA, for the model card.
pub(super) fn lora_files(folder: &Folder, cell: &Cell, step: usize) -> [PathBuf; 2] {
    let place = folder.lora(step);
    [
        place.join(format!("{}.safetensors", lora_name(cell))),
        place.join(PEFT_FILE),
    ]
}
