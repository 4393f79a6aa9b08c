//! Checks that types cannot make: ranges, names, combinations. Each error names file, line and key.

use crate::bounds;
use crate::check_subjects::check_subjects;
use crate::device;
use crate::fields::{Experiment, Training};
use crate::layer::Layers;
use crate::lora::Lora;
use crate::ranges::{MOST_RANK, at_most, in_range};
use crate::rate::{LrScheduler, POLYNOMIAL_END};
use crate::solver::Solver;
use anyhow::Result;
use rpo_files::odd_spelling;
use rpo_reward::Lambda;
use std::collections::HashSet;

/// Checks the merged experiment.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] about the first key that is out of range.
pub(super) fn check(e: &Experiment, layers: &Layers) -> Result<()> {
    bounds::check(e, layers)?;
    let at_least_one = [
        ("sampler.steps", e.sampler.steps),
        ("sampler.batch", e.sampler.batch),
        ("validation.every", e.validation.every),
        (
            "validation.pictures_per_prompt",
            e.validation.pictures_per_prompt,
        ),
        ("test.pictures_per_prompt", e.test.pictures_per_prompt),
        ("seeds", e.seeds.len()),
    ];
    for (key, value) in at_least_one {
        if value == 0 {
            return Err(layers.error(key, "must be 1 or more"));
        }
    }
    check_training(&e.training, "training", layers)?;
    e.candidates.check(layers)?;
    e.report.check(layers)?;
    if let Some(lora) = &e.lora {
        check_lora(lora, "lora", layers)?;
    }
    in_range("sampler.guidance", e.sampler.guidance, 1.0, 100.0, layers)?;
    if let Some([from, to]) = e.sampler.guidance_interval
        && !(0.0 <= from && from < to && to <= 1.0)
    {
        let message =
            format!("[{from}, {to}] is no part of a trajectory\n  hint: 0 <= from < to <= 1");
        return Err(layers.error("sampler.guidance_interval", &message));
    }
    in_range("sampler.eta", e.sampler.eta, 0.0, 1.0, layers)?;
    // Whether the model's own scheduler supports it is checked when the model is loaded.
    if e.sampler.eta > 0.0 && !matches!(e.sampler.solver, Solver::Ddim | Solver::Scheduler) {
        let message = "only DDIM takes noise by eta\n  hint: solver = \"ddim\", or eta = 0";
        return Err(layers.error("sampler.eta", message));
    }
    for (i, lambda) in e.rules.lambda.iter().enumerate() {
        let key = format!("rules.lambda.{i}");
        Lambda::try_new(*lambda).map_err(|e| layers.error(&key, &e.to_string()))?;
        if e.rules.lambda[..i].contains(lambda) {
            return Err(layers.error(
                &key,
                &format!("{lambda} is given twice\n  hint: leave one away"),
            ));
        }
    }
    for (i, mean) in e.rules.mean.iter().enumerate() {
        if e.rules.mean[..i].contains(mean) {
            let message = format!("`{}` is given twice\n  hint: leave one away", mean.name());
            return Err(layers.error(&format!("rules.mean.{i}"), &message));
        }
    }
    if (e.rules.lambda.is_empty() || e.rules.mean.is_empty()) && !e.rules.last {
        return Err(layers.error(
            "rules",
            "there is no rule\n  hint: give `lambda` and `mean`, or `last = true`",
        ));
    }
    let mut seeds = HashSet::new();
    if let Some(seed) = e.seeds.iter().find(|seed| !seeds.insert(**seed)) {
        return Err(layers.error("seeds", &format!("{seed} is given twice")));
    }
    let none = String::new();
    let image_encoder = (e.image_adapter.as_ref()).map_or(&none, |keys| &keys.encoder);
    for (key, path) in [
        ("output", &e.output),
        ("model.path", &e.model.path),
        ("encoders.reward", &e.encoders.reward),
        ("encoders.clip", &e.encoders.clip),
        ("encoders.vit", &e.encoders.vit),
        ("image_adapter.encoder", image_encoder),
    ] {
        if let Some(hint) = odd_spelling(path) {
            return Err(layers.error(
                key,
                &format!("\"{path}\" is taken literally\n  hint: {hint}"),
            ));
        }
    }
    if e.name.is_empty() || e.name.contains(['/', '\\']) || e.name.starts_with('.') {
        return Err(layers.error("name", "must be a plain folder name"));
    }
    device::check(&e.model.device, &e.model.dtype)
        .map_err(|(key, message)| layers.error(key, &message))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !e.model.variant.chars().all(plain) {
        return Err(layers.error("model.variant", "must be a word, for example \"fp16\""));
    }
    if !e.model.size.is_multiple_of(8) {
        return Err(layers.error("model.size", "must be a multiple of 8"));
    }
    check_subjects(e, layers)
}

/// Checks the optimiser and its length: `[training]` itself, or as an arm changes it. `table` is where its keys are written.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at the first key that is out of range.
pub(super) fn check_training(t: &Training, table: &str, layers: &Layers) -> Result<()> {
    for (key, value) in [("steps", t.steps), ("batch", t.batch)] {
        if value == 0 {
            return Err(layers.error(&format!("{table}.{key}"), "must be 1 or more"));
        }
    }
    at_most(&format!("{table}.steps"), t.steps, 100_000_000, layers)?;
    at_most(&format!("{table}.batch"), t.batch, 4096, layers)?;
    let warmup = format!("{table}.lr_warmup_steps");
    at_most(&warmup, t.lr_warmup_steps, t.steps, layers)?;
    if t.lr_scheduler == LrScheduler::Polynomial && t.learning_rate <= POLYNOMIAL_END {
        let message = format!(
            "{} does not fall to {POLYNOMIAL_END}, where lr_scheduler = \"polynomial\" ends",
            t.learning_rate
        );
        return Err(layers.error(&format!("{table}.learning_rate"), &message));
    }
    if t.gradient_accumulation == 0 || !t.batch.is_multiple_of(t.gradient_accumulation) {
        let message = format!(
            "{} parts of a batch of {}\n  hint: a number that divides training.batch",
            t.gradient_accumulation, t.batch
        );
        return Err(layers.error(&format!("{table}.gradient_accumulation"), &message));
    }
    let ranges = [
        ("learning_rate", t.learning_rate, 1.0),
        ("lr_power", t.lr_power, 100.0),
        ("beta1", t.beta1, 0.999_999),
        ("beta2", t.beta2, 0.999_999_9),
        ("weight_decay", t.weight_decay, 10.0),
        ("eps", t.eps, 1.0),
        ("save_minutes", t.save_minutes, 1e6),
    ];
    for (key, value, high) in ranges {
        in_range(&format!("{table}.{key}"), value, 0.0, high, layers)?;
    }
    Ok(())
}

/// Checks the adapters' keys: `[lora]` itself, or as an arm changes it. Whether the model has the targets is checked when it is
/// loaded.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at the first key that is out of range.
pub(super) fn check_lora(lora: &Lora, table: &str, layers: &Layers) -> Result<()> {
    if lora.rank == 0 {
        return Err(layers.error(&format!("{table}.rank"), "must be 1 or more"));
    }
    at_most(&format!("{table}.rank"), lora.rank, MOST_RANK, layers)?;
    if lora.alpha.is_some_and(|a| !(a > 0.0 && a <= 1e6)) {
        return Err(layers.error(
            &format!("{table}.alpha"),
            "must be more than 0, and at most 1e6",
        ));
    }
    if lora.targets.is_empty() {
        return Err(layers.error(
            &format!("{table}.targets"),
            "there is none\n  hint: leave the key away for the projections of attention",
        ));
    }
    in_range(&format!("{table}.dropout"), lora.dropout, 0.0, 0.99, layers)
}
