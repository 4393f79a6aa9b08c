//! Kept checkpoints of any trainable, and their metadata.

use super::network::{Network, Reward};
use super::setup::Setup;
use super::trainable::Trained;
use anyhow::{Context, Result};
use rpo_data::subject::Subject;
use rpo_diffusion::lora::{About, BaseModel};
use rpo_experiment::TrainingArm;
use rpo_experiment::plan::{Cell, folder_name};
use rpo_experiment::run::Folder;
use rpo_files::{SUMS, check_sums, write_sums};
use rpo_reward::Candidate;
use rpo_reward::select::{self, Kind, Validation};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

/// Name of a checkpoint for its users.
pub fn name(cell: &Cell) -> String {
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

/// Writes the weights of a candidate, the last one in `scored`. Step 0 is the base model and needs no copy.
///
/// # Errors
/// I/O errors, by path.
pub(super) fn save(
    setup: &Setup,
    cell: &Cell,
    trained: &dyn Trained,
    folder: &Folder,
    scored: &[Validation],
) -> Result<()> {
    let candidate = scored.last().map_or(Candidate::BASE, |v| v.candidate);
    let trainable = setup.trainable(&setup.arms[cell.arm]);
    let place = folder.checkpoint(trainable.folder(), candidate);
    let files = trained.save(setup.base(), &place, &about(setup, cell, scored)?)?;
    write_sums(&place, &files)
}

/// Removes the weights of everything that is not in `kept`.
///
/// # Errors
/// I/O errors, by path.
pub(super) fn keep(
    setup: &Setup,
    cell: &Cell,
    folder: &Folder,
    kept: &BTreeSet<Candidate>,
) -> Result<()> {
    let trainable = setup.trainable(&setup.arms[cell.arm]);
    let mut files = trainable.files(&name(cell));
    files.push(SUMS.to_owned());
    folder.keep_checkpoints(trainable.folder(), kept, &files)
}

fn about(setup: &Setup, cell: &Cell, scored: &[Validation]) -> Result<About> {
    let (arm, subject) = (&setup.arms[cell.arm], &setup.subjects[cell.subject]);
    let instance = arm.recipe.instance_prompt.of(&trigger(subject));
    let captions = subject.references.iter();
    let captions = captions.map(|r| r.caption.clone().unwrap_or_else(|| instance.clone()));
    let Candidate { step, variant } = scored.last().map_or(Candidate::BASE, |v| v.candidate);
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
    let variant = (!variant.is_trained()).then(|| ("variant", variant.to_string()));
    let rpo = rpo.into_iter().chain(variant);
    Ok(About {
        name: name(cell),
        base: base_model(setup),
        base_name: base_name(setup),
        resolution: setup.size,
        trigger: trigger(subject),
        seed: cell.seed,
        learning_rate: arm.training.learning_rate,
        steps: step,
        images: subject.references.len(),
        captions: captions.collect(),
        rpo: rpo.map(|(key, value)| (key.to_owned(), value)).collect(),
    })
}

/// The words that invoke the subject in a prompt.
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

/// What was trained up to a kept candidate, scaled by `scale`; `None` is step 0, the base.
///
/// # Errors
/// A missing or damaged file, by path.
pub fn load(
    setup: &Setup,
    arm: &TrainingArm,
    folder: &Folder,
    of: Candidate,
    scale: f64,
) -> Result<Option<Box<dyn Trained>>> {
    if of.step == 0 {
        return Ok(None);
    }
    let trainable = setup.trainable(arm);
    let place = folder.checkpoint(trainable.folder(), of);
    check_sums(&place).with_context(|| folder.again())?;
    trainable.read(setup.base(), &place, scale).map(Some)
}

/// The network for the result of [`load`].
///
/// # Errors
/// Tensor errors.
pub fn network(setup: &Setup, trained: Option<&dyn Trained>) -> Result<Network> {
    match trained {
        Some(trained) => Ok(Network {
            unet: trained.frozen(setup.base())?,
            texts: trained.frozen_texts(setup.base())?,
            weights: trained.fingerprint()?,
            reward: None,
        }),
        None => Ok(Network {
            unet: setup.pipeline.unet(&setup.pipeline.unet_params)?,
            texts: None,
            weights: setup.base_weights.clone(),
            reward: None,
        }),
    }
}

/// [`network`] as the pictures of a cell are drawn with it: with reward guidance where its recipe has it.
///
/// # Errors
/// Tensor errors.
pub fn drawn(setup: &Setup, cell: &Cell, trained: Option<&dyn Trained>) -> Result<Network> {
    let network = network(setup, trained)?;
    let Some(scale) = setup.arm(cell).recipe.reward_guidance else {
        return Ok(network);
    };
    Ok(Network {
        reward: Some(Reward {
            scale,
            base: setup.pipeline.unet(&setup.pipeline.unet_params)?,
            texts: None,
            weights: setup.base_weights.clone(),
            token: setup.subjects[cell.subject].token.clone(),
        }),
        ..network
    })
}
