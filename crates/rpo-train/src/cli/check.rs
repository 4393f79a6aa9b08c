//! `rpo-train check FILE`: what would be run, and what it costs.

use super::ExperimentArgs;
use crate::device;
use crate::hub::{self, Environment};
use crate::memory::{self, Memory, Sizes};
use crate::paths;
use crate::runner::{exam::Judges, settings, setup::Setup, trainable};
use anyhow::Result;
use rpo_diffusion::UNetConfig;
use rpo_experiment::plan::Plan;
use rpo_experiment::presets::{self, Preset};
use rpo_experiment::words::describe_guidance;
use rpo_experiment::{Experiment, Layers, SubjectSource};
use rpo_files::failure::OrBadInput;
use rpo_reward::select::Kind;

/// Loads all inputs and prints the plan. Where the weights of a preset are not here, prints the plan from its configuration.
pub(super) fn check(file: &ExperimentArgs) -> Result<()> {
    let (experiment, layers) = file.read()?;
    let preset = presets::find(&experiment.model.preset);
    let absent = absent(&experiment, &layers);
    if let (Some(preset), false) = (preset, absent.is_empty()) {
        let plan = Plan::of(experiment, &layers)?;
        let config = UNetConfig::from_json(preset.unet, preset.name)?;
        print(&plan, &planned(&plan, preset, &config), false)?;
        println!("every key is known; not here yet: {}", absent.join(", "));
        return Ok(());
    }
    let setup = Setup::load(experiment, &layers)?;
    Judges::load(&setup).or_bad_input("judges")?;
    print(&setup, &setup.sizes()?, true)?;
    println!("every key is known and every input was found");
    if let Err(e) = device::open(
        &setup.experiment.model.device,
        &setup.experiment.model.dtype,
    ) {
        println!("here it would not start: {e}");
    }
    Ok(())
}

/// The inputs that are not found here, as `key = value`.
fn absent(e: &Experiment, layers: &Layers) -> Vec<String> {
    // A plan fetches nothing.
    let environment = Environment {
        offline: true,
        ..Environment::of_process()
    };
    let weights = [
        ("model.path", &e.model.path, hub::Kind::Pipeline),
        ("encoders.reward", &e.encoders.reward, hub::Kind::Encoder),
        ("encoders.clip", &e.encoders.clip, hub::Kind::Encoder),
        ("encoders.vit", &e.encoders.vit, hub::Kind::Encoder),
    ];
    let mut absent: Vec<(&str, &str)> = Vec::new();
    for (key, name, kind) in weights {
        let variant = kind.variant(&e.model);
        let pinned = layers.sources.get(key);
        let found = paths::find_weights(name, &layers.folder, kind, variant, &environment, pinned);
        if found.is_err() {
            absent.push((key, name));
        }
    }
    let photos = e.subjects.path.as_str();
    if e.subjects.source != SubjectSource::Stickerbench
        && paths::find(photos, &layers.folder).is_err()
    {
        absent.push(("subjects.path", photos));
    }
    let absent = absent.into_iter();
    absent
        .map(|(key, name)| format!("{key} = {name:?}"))
        .collect()
}

/// ALIGN with its running statistics, CLIP ViT-B/32 and DINO ViT-S/16, which all presets name, as transformers counts them.
const ENCODERS: usize = 172_423_441 + 151_277_313 + 21_665_664;

/// What the preset says of a model that is not here.
fn planned<'a>(plan: &Plan, preset: &Preset, unet: &'a UNetConfig) -> Sizes<'a> {
    let size = match plan.experiment.model.size {
        0 => unet.sample_size.unwrap_or(64) * 8,
        size => size as usize,
    };
    Sizes {
        unet,
        size,
        factor: 8,
        encoders: ENCODERS,
        text_encoders: preset.text_encoders,
        vae: preset.vae,
    }
}

fn print(plan: &Plan, sizes: &Sizes, found: bool) -> Result<()> {
    let cells = &plan.cells;
    let e = &plan.experiment;
    println!("{}: {}", e.name, e.reproduces);
    println!(
        "model      {} ({} px, U-Net of {:.2} M parameters{})",
        e.model.path,
        sizes.size,
        sizes.unet.parameters() as f64 / 1e6,
        if found { "" } else { "; not found here" }
    );
    println!(
        "encoders   reward {}, CLIP {}, {} {}",
        e.encoders.reward, e.encoders.clip, e.encoders.vit_name, e.encoders.vit
    );
    let names: Vec<&str> = plan.subjects.iter().map(|s| s.name.as_str()).collect();
    println!("subjects   {} ({})", names.len(), names.join(", "));
    let shapes = sizes.unet.shapes()?;
    let available = memory::available(plan);
    for arm in &plan.arms {
        println!(
            "arm        {}: {}",
            arm.name,
            arm.recipe.describe(arm.preset)
        );
        if let Some(lora) = arm.lora.as_ref().map(settings::lora) {
            println!(
                "           LoRA of rank {}, alpha {}, on {} modules: {:.2} M parameters",
                lora.rank,
                lora.alpha,
                lora.modules(&shapes)?.len(),
                lora.parameters(&shapes)? as f64 / 1e6
            );
        }
        let trained = trainable::of(arm).parameters(&shapes)?;
        let estimate = memory::estimate(plan, arm, trained, sizes, Memory::Host);
        println!("memory     {}", estimate.describe());
        if let Some(available) = available.filter(|a| *a < estimate.total()) {
            println!(
                "           this machine has {}: it would be refused here",
                memory::size(available)
            );
        }
    }
    println!(
        "sampler    {} steps of {}, {}",
        e.sampler.steps,
        serde_json::to_string(&e.sampler.solver)?.trim_matches('"'),
        describe_guidance(e.sampler.guidance, e.sampler.guidance_interval)
    );
    if let Some(saved) = e.savings(&plan.arms) {
        println!("           {saved}");
    }
    for rule in &plan.rules {
        let patience = match (rule.kind, rule.patience) {
            (Kind::Best, Some(1)) => "patience 1 validation".into(),
            (Kind::Best, Some(n)) => format!("patience {n} validations"),
            (Kind::Best, None) => "runs all steps".into(),
            (Kind::Last, _) => "takes the last of all steps".to_owned(),
        };
        println!("rule       {}: {patience}", rule.name);
    }
    let limit = |arm: usize| plan.arms[arm].training.steps;
    let steps = (0..plan.arms.len()).map(limit).max().unwrap_or_default();
    println!(
        "cells      {} trajectories of at most {steps} steps, scored every {}",
        cells.len(),
        e.validation.every
    );
    let tests: usize = plan.subjects.iter().map(|s| s.prompts.test.len()).sum();
    println!(
        "test       {tests} prompts x {} pictures for each arm, seed and chosen checkpoint",
        e.test.pictures_per_prompt
    );
    let total = plan.total_cost();
    let validation: f64 = cells
        .iter()
        .map(|c| plan.training_cost(c) - limit(c.arm) as f64 * plan.step_cost(c))
        .sum();
    println!(
        "cost       at most {total:.0} U-Net forwards, {:.0} % of them in validation",
        100.0 * validation / total
    );
    Ok(())
}
