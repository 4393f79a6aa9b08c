//! A preview picture and a model card for the Hugging Face hub beside every kept LoRA.

use super::checkpoint::{self, base_model, base_name, rewards, trigger};
use super::setup::Setup;
use super::trainable::{CARD, PREVIEW, kohya_file};
use crate::files;
use anyhow::{Context, Result};
use image::{RgbImage, imageops};
use minijinja::{AutoEscape, Environment, context};
use rpo_diffusion::image_adapter;
use rpo_diffusion::lora::{BaseModel, for_a1111, for_comfyui};
use rpo_diffusion::textual_inversion::FILE;
use rpo_experiment::plan::Cell;
use rpo_experiment::run::Folder;
use rpo_experiment::run::choices;
use rpo_experiment::words::describe_guidance;
use rpo_experiment::{LrScheduler, Training, TrainingArm};
use rpo_reward::select::Kind;
use rpo_reward::{Candidate, Variant};
use std::path::{Path, PathBuf};

const TEMPLATE: &str = include_str!("card.md.j2");

/// Pictures in a preview: two rows of two.
const PICTURES: usize = 4;

/// Writes `README.md` and `preview.png` into the folder of every kept LoRA of a finished trajectory. Does nothing where whole
/// U-Nets are kept.
///
/// # Errors
/// A damaged record; I/O errors.
pub(super) fn write(setup: &Setup, cell: &Cell, folder: &Folder) -> Result<()> {
    let arm = &setup.arms[cell.arm];
    if arm.lora.is_none() {
        return Ok(());
    }
    let trainable = setup.trainable(arm);
    if !trainable
        .files(&checkpoint::name(cell))
        .iter()
        .any(|f| f == CARD)
    {
        return Ok(());
    }
    let kept = trainable.folder();
    for candidate in folder.kept(kept) {
        let place = folder.checkpoint(kept, candidate);
        if let Some(preview) = preview(&folder.samples("validation", candidate))? {
            files::write_png(&place.join(PREVIEW), &preview)?;
        }
        let card = card(setup, cell, folder, candidate)?;
        files::write(&place.join(CARD), card.as_bytes())?;
    }
    Ok(())
}

/// What these weights are, if not the trained ones.
fn variant(variant: Variant) -> Option<String> {
    match variant {
        Variant::Trained => None,
        Variant::Ema => Some("the moving average of the weights up to this step".to_owned()),
        Variant::Scaled(scale) => {
            let scale = scale.get();
            Some(format!(
                "what was trained, {scale} times; it is part of the weights, which are used at strength 1"
            ))
        }
    }
}

fn card(setup: &Setup, cell: &Cell, folder: &Folder, of: Candidate) -> Result<String> {
    let (arm, subject) = (&setup.arms[cell.arm], &setup.subjects[cell.subject]);
    let lora = arm.lora.as_ref().context("an arm without adapters")?;
    let choices = choices(&setup.rules, folder)?;
    let at = choices.candidates.iter().position(|c| *c == of);
    let scored = at.map_or(choices.validations.as_slice(), |at| {
        &choices.validations[..=at]
    });
    let chosen_by: Vec<&str> = setup
        .rules
        .iter()
        .enumerate()
        .filter(|(i, rule)| rule.kind == Kind::Best && choices.chosen(*i) == of)
        .map(|(_, rule)| rule.name.as_str())
        .collect();
    let base = base_model(setup);
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_keep_trailing_newline(true);
    environment.set_trim_blocks(true);
    environment.add_filter("quoted", |text: String| {
        // A JSON string is also a YAML string.
        serde_json::to_string(&text).unwrap_or_default()
    });
    environment.add_template("card", TEMPLATE)?;
    let name = checkpoint::name(cell);
    let card = environment.get_template("card")?.render(context! {
        file => kohya_file(&name), name, step => of.step, variant => variant(of.variant), chosen_by,
        hub => hub_name(&setup.experiment.model.path),
        base => base_name(setup), architecture => base.architecture(),
        xl => base == BaseModel::Sdxl, size => setup.size,
        instance => arm.recipe.instance_prompt.of(&trigger(subject)),
        trigger => trigger(subject), class => &subject.class,
        trigger_a1111 => for_a1111(&trigger(subject)),
        trigger_comfyui => for_comfyui(&trigger(subject)),
        images => subject.references.len(), preset => arm.preset.name(),
        // L_sim and preferences between references and the base's pictures.
        by_rpo => arm.recipe.l_sim_weight > 0.0 && arm.recipe.l_pref_weight > 0.0 && arm.recipe.rounds == 0,
        recipe => arm.recipe.describe(arm.preset),
        steps => arm.training.steps, learning_rate => arm.training.learning_rate,
        schedule => schedule(&arm.training),
        rank => lora.rank, alpha => lora.alpha, dropout => lora.dropout,
        targets => lora.targets, seed => cell.seed,
        // In the LoRA files, or beside them.
        text_adapters => arm.text_encoder.as_ref().filter(|keys| keys.rank > 0),
        text_folder => arm.text_encoder.as_ref().is_some_and(|keys| keys.rank == 0),
        image_adapter => arm.image_adapter.as_ref().map(|_| image_adapter::FILE),
        embedding => arm.token.as_ref().map(|_| FILE), word => &subject.token,
        reward_model => &setup.experiment.encoders.reward,
        pictures => scored.last().map_or(0, |v| v.scores.len()),
        rewards => rewards(setup, scored)?,
        solver => setup.experiment.sampler.solver, sampler_steps => setup.experiment.sampler.steps,
        guidance => setup.experiment.sampler.guidance,
        guidance_words => drawn_with(setup, arm),
        version => env!("CARGO_PKG_VERSION"),
    })?;
    Ok(card)
}

/// The guidance of the validation pictures, in words.
fn drawn_with(setup: &Setup, arm: &TrainingArm) -> String {
    let sampler = &setup.experiment.sampler;
    let words = describe_guidance(sampler.guidance, sampler.guidance_interval);
    match arm.recipe.reward_guidance {
        Some(scale) => format!("{words}, reward guidance {scale}"),
        None => words,
    }
}

/// How the learning rate changes; nothing if it does not.
fn schedule(training: &Training) -> String {
    let mut words = String::new();
    if training.lr_scheduler != LrScheduler::Constant {
        let name = format!("{:?}", training.lr_scheduler).to_lowercase();
        words += &format!(", {name} to step {}", training.steps);
    }
    if training.lr_warmup_steps > 0 {
        words += &format!(", warm-up of {} steps", training.lr_warmup_steps);
    }
    words
}

/// The repository's name, if the model was given by one: the hub refuses a card with any other name.
fn hub_name(path: &str) -> Option<&str> {
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let (owner, name) = path.split_once('/')?;
    (plain(owner) && plain(name) && !Path::new(path).exists()).then_some(path)
}

/// The first picture of each of the first prompts, side by side; `None` if none was drawn.
fn preview(samples: &Path) -> Result<Option<RgbImage>> {
    let Ok(entries) = std::fs::read_dir(samples) else {
        return Ok(None);
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
    paths.retain(|p| p.to_string_lossy().ends_with("-0.png"));
    paths.sort();
    paths.truncate(PICTURES);
    let open = |path: &PathBuf| {
        let picture = image::open(path).with_context(|| path.display().to_string())?;
        Ok(picture.to_rgb8())
    };
    let pictures: Vec<RgbImage> = paths.iter().map(open).collect::<Result<_>>()?;
    let Some((w, h)) = pictures.first().map(RgbImage::dimensions) else {
        return Ok(None);
    };
    let columns = (pictures.len() as u32).min(2);
    let rows = (pictures.len() as u32).div_ceil(columns);
    let mut sheet = RgbImage::from_pixel(columns * w, rows * h, image::Rgb([255; 3]));
    for (i, picture) in (0u32..).zip(&pictures) {
        let (x, y) = (i % columns * w, i / columns * h);
        imageops::replace(&mut sheet, picture, i64::from(x), i64::from(y));
    }
    Ok(Some(sheet))
}

#[cfg(test)]
mod tests {
    use super::hub_name;

    #[test]
    fn only_a_repository_is_named_as_base_model() {
        let repository = "stable-diffusion-v1-5/stable-diffusion-v1-5";
        assert_eq!(hub_name(repository), Some(repository));
        for path in ["micro", "/models/sd15", "../sd15", "a/b/c", "src/runner"] {
            assert_eq!(hub_name(path), None, "{path}");
        }
    }
}
