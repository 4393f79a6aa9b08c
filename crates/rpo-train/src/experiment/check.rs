//! Values that no type can refuse: ranges, names, combinations. Each error names file, line and key.

use super::fields::{Experiment, SubjectSource};
use super::source::Layers;
use anyhow::Result;
use rpo_reward::Lambda;

/// Checks a merged experiment.
///
/// # Errors
/// [`crate::failure::BadInput`] about the first key that is out of range.
pub(super) fn check(e: &Experiment, layers: &Layers) -> Result<()> {
    let at_least_one = [
        ("training.steps", e.training.steps),
        ("training.batch", e.training.batch),
        ("sampler.steps", e.sampler.steps),
        ("sampler.batch", e.sampler.batch),
        ("validation.every", e.validation.every),
        ("validation.pictures_per_prompt", e.validation.pictures_per_prompt),
        ("test.pictures_per_prompt", e.test.pictures_per_prompt),
        ("seeds", e.seeds.len()),
    ];
    for (key, value) in at_least_one {
        if value == 0 {
            return Err(layers.error(key, "must be 1 or more"));
        }
    }
    let ranges = [
        ("training.learning_rate", e.training.learning_rate, 0.0, 1.0),
        ("training.beta1", e.training.beta1, 0.0, 0.999_999),
        ("training.beta2", e.training.beta2, 0.0, 0.999_999_9),
        ("training.weight_decay", e.training.weight_decay, 0.0, 10.0),
        ("training.eps", e.training.eps, 0.0, 1.0),
        ("sampler.guidance", e.sampler.guidance, 1.0, 100.0),
    ];
    for (key, value, low, high) in ranges {
        if !(low..=high).contains(&value) {
            return Err(layers.error(key, &format!("{value} is not in {low}..={high}")));
        }
    }
    for (i, lambda) in e.rules.lambda.iter().enumerate() {
        Lambda::try_new(*lambda).map_err(|e| layers.error(&format!("rules.lambda.{i}"), &e.to_string()))?;
    }
    if (e.rules.lambda.is_empty() || e.rules.mean.is_empty()) && !e.rules.last {
        return Err(layers.error("rules", "there is no rule\n  mend: give `lambda` and `mean`, or `last = true`"));
    }
    for (i, seed) in e.seeds.iter().enumerate() {
        if e.seeds[..i].contains(seed) {
            return Err(layers.error("seeds", &format!("{seed} is given twice")));
        }
    }
    if e.name.is_empty() || e.name.contains(['/', '\\']) || e.name.starts_with('.') {
        return Err(layers.error("name", "must be a plain folder name"));
    }
    if e.model.device != "cpu" {
        let message = format!("`{}` is not available in this build\n  mend: device = \"cpu\"", e.model.device);
        return Err(layers.error("model.device", &message));
    }
    if e.model.size % 8 != 0 {
        return Err(layers.error("model.size", "must be a multiple of 8"));
    }
    if e.subjects.token.trim().is_empty() {
        return Err(layers.error("subjects.token", "must be a word, for example \"[v]\""));
    }
    match e.subjects.source {
        SubjectSource::Stickerbench if e.subjects.count == 0 => {
            Err(layers.error("subjects.count", "must be 1 or more"))
        }
        SubjectSource::Folder if e.subjects.path.is_empty() => {
            Err(layers.error("subjects.path", "is needed\n  mend: the folder of the photos"))
        }
        SubjectSource::Dreambench if e.subjects.path.is_empty() => {
            Err(layers.error("subjects.path", "is needed\n  mend: the folder `dataset` of DreamBench"))
        }
        _ => Ok(()),
    }
}
