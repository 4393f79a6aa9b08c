//! Upper limits of counts: far above what anyone runs, far below what overflows or fills memory before a message appears.

use crate::fields::Experiment;
use crate::layer::Layers;
use crate::ranges::at_most;
use anyhow::Result;

/// Subjects, arms and seeds are multiplied; each cell has a folder.
pub(super) const MOST_CELLS: usize = 100_000;

/// Bytes of a name that becomes a folder; file systems allow 255, with what is appended.
const NAME_BYTES: usize = 150;

/// Checks the experiment's counts.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at the first key that is too large.
pub(super) fn check(e: &Experiment, layers: &Layers) -> Result<()> {
    let mut counts = vec![
        ("seeds", e.seeds.len(), MOST_CELLS),
        ("arm", e.arms.len(), 1000),
        ("subject", e.own_subjects.len(), 10_000),
        ("subjects.names", e.subjects.names.len(), 10_000),
        ("model.size", e.model.size as usize, 8192),
        ("sampler.steps", e.sampler.steps, 10_000),
        ("sampler.batch", e.sampler.batch, 4096),
        ("validation.every", e.validation.every, 100_000_000),
        ("validation.candidates", e.validation.candidates, 100_000),
        (
            "validation.pictures_per_prompt",
            e.validation.pictures_per_prompt,
            10_000,
        ),
        (
            "test.pictures_per_prompt",
            e.test.pictures_per_prompt,
            10_000,
        ),
        ("rules.lambda", e.rules.lambda.len(), 1000),
        ("rules.patience", e.rules.patience.unwrap_or(0), 100_000_000),
    ];
    if let Some(lora) = &e.lora {
        counts.push(("lora.targets", lora.targets.len(), 1000));
    }
    for (key, value, most) in counts {
        at_most(key, value, most, layers)?;
    }
    if e.name.len() > NAME_BYTES {
        let message = format!(
            "{} bytes, of at most {NAME_BYTES}: it names a folder",
            e.name.len()
        );
        return Err(layers.error("name", &message));
    }
    if !(0.0..=1e9).contains(&e.model.memory_gb) {
        let message = format!(
            "{} is no size\n  hint: gigabytes; 0 for what is free",
            e.model.memory_gb
        );
        return Err(layers.error("model.memory_gb", &message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;
    use crate::read;
    use std::path::Path;

    fn message(sets: &[String]) -> String {
        let read = read(Path::new("quickstart"), &[], sets);
        let plan = read.and_then(|(e, layers)| Plan::of(e, &layers));
        plan.err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn every_count_has_a_limit_that_names_its_key() {
        for key in [
            "model.size",
            "model.memory_gb",
            "subjects.count",
            "sampler.steps",
            "sampler.batch",
            "sampler.guidance",
            "training.steps",
            "training.batch",
            "training.learning_rate",
            "training.lr_warmup_steps",
            "lora.rank",
            "lora.alpha",
            "validation.every",
            "validation.pictures_per_prompt",
            "test.pictures_per_prompt",
            "rules.patience",
            "recipe.beta",
            "recipe.tau",
            "recipe.l_sim_weight",
            "recipe.preservation_weight",
            "recipe.consistency_weight",
            "recipe.reward_guidance",
            "recipe.negatives_per_prompt",
            "recipe.class_pictures",
            "recipe.rounds",
            "recipe.rounds_from",
        ] {
            // Sizes are checked to be multiples of 8.
            for value in ["4294967288", "1000000000000", "9223372036854775800"] {
                let said = message(&[format!("{key}={value}")]);
                let sized = said.contains("u32") && key == "model.size";
                assert!(said.contains(key) || sized, "{key} = {value}: {said}");
            }
        }
        for value in ["nan", "inf", "-inf", "-1.0"] {
            for key in [
                "model.memory_gb",
                "sampler.guidance",
                "sampler.eta",
                "training.learning_rate",
                "training.lr_power",
                "training.beta1",
                "training.save_minutes",
                "lora.alpha",
                "lora.dropout",
                "recipe.beta",
                "recipe.lambda_train",
                "recipe.min_snr_gamma",
                "recipe.reward_guidance",
                "recipe.rounds_from",
            ] {
                let said = message(&[format!("{key}={value}")]);
                assert!(said.contains(key), "{key} = {value}: {said}");
            }
        }
    }

    #[test]
    fn cells_are_counted_before_they_are_made() {
        let seeds: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
        let said = message(&[
            format!("seeds=[{}]", seeds.join(",")),
            "subjects.count=70".into(),
        ]);
        assert!(
            said.contains("`seeds`") && said.contains("1400000 trajectories"),
            "{said}"
        );
        let twice = message(&[format!("seeds=[{},7]", seeds.join(","))]);
        assert!(twice.contains("7 is given twice"), "{twice}");
        let long = message(&[format!("name={}", "名".repeat(80))]);
        assert!(long.contains("240 bytes"), "{long}");
    }
}
