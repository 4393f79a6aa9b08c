//! `rpo-train check FILE`: what would be run, and what it costs.

use super::ExperimentArgs;
use crate::failure::OrBadInput;
use crate::plan::cells;
use crate::runner::{self, exam::Judges, setup::Setup};
use anyhow::Result;
use rpo_reward::select::Kind;

/// Loads all inputs and prints the plan.
pub(super) fn check(file: &ExperimentArgs) -> Result<()> {
    let (experiment, layers) = file.read()?;
    let setup = Setup::load(experiment, &layers)?;
    Judges::load(&setup).or_bad_input("judges")?;
    let cells = cells(&setup);
    let e = &setup.experiment;
    println!("{}: {}", e.name, e.reproduces);
    println!(
        "model      {} ({} px, U-Net of {:.2} M parameters)",
        e.model.path,
        setup.size,
        setup.pipeline.unet_params.parameters() as f64 / 1e6
    );
    println!(
        "subjects   {}",
        setup
            .subjects
            .iter()
            .map(|s| s.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    for arm in &setup.arms {
        println!(
            "arm        {}: {}",
            arm.name,
            arm.recipe.describe(arm.preset)
        );
        if let Some(lora) = &arm.lora {
            let shapes = setup.pipeline.unet_params.shapes();
            println!(
                "           LoRA of rank {}, alpha {}, on {} modules: {:.2} M parameters",
                lora.rank,
                lora.alpha,
                lora.modules(&shapes)?.len(),
                lora.parameters(&shapes)? as f64 / 1e6
            );
        }
    }
    for rule in &setup.rules {
        let patience = match (rule.kind, rule.patience) {
            (Kind::Best, Some(1)) => "patience 1 validation".into(),
            (Kind::Best, Some(n)) => format!("patience {n} validations"),
            (Kind::Best, None) => "runs all steps".into(),
            (Kind::Last, _) => "takes the last of all steps".to_owned(),
        };
        println!("rule       {}: {patience}", rule.name);
    }
    let limit = |arm: usize| setup.arms[arm].training.steps;
    let steps = (0..setup.arms.len()).map(limit).max().unwrap_or_default();
    println!(
        "cells      {} trajectories of at most {steps} steps, scored every {}",
        cells.len(),
        e.validation.every
    );
    let total = runner::total_cost(&setup, &cells);
    let validation: f64 = cells
        .iter()
        .map(|c| c.training_cost(&setup) - limit(c.arm) as f64 * c.step_cost(&setup))
        .sum();
    println!(
        "cost       at most {total:.0} U-Net forwards, {:.0} % of them in validation",
        100.0 * validation / total
    );
    println!("every key is known and every input was found");
    Ok(())
}
