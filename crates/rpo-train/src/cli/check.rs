//! `rpo-train check FILE`: what would be run, and what it costs.

use super::ExperimentArgs;
use crate::plan::cells;
use crate::runner::{self, setup::Setup};
use anyhow::Result;

/// Loads all inputs and prints the plan.
pub(super) fn check(file: &ExperimentArgs) -> Result<()> {
    let (experiment, layers) = file.read()?;
    let setup = Setup::load(experiment, &layers)?;
    let cells = cells(&setup);
    let e = &setup.experiment;
    println!("{}: {}", e.name, e.reproduces);
    let tensors = setup.pipeline.unet_params.tensors_sorted()?;
    let parameters: usize = tensors.iter().map(|(_, t)| t.elem_count()).sum();
    println!("model      {} ({} px, U-Net of {:.2} M parameters)", e.model.path, setup.size, parameters as f64 / 1e6);
    println!("subjects   {}", setup.subjects.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", "));
    for arm in &setup.arms {
        println!("arm        {}: {}", arm.name, arm.recipe.describe(arm.preset));
    }
    for rule in &setup.rules {
        println!("rule       {}", rule.name);
    }
    let t = &e.training;
    println!("cells      {} trajectories of at most {} steps, scored every {}", cells.len(), t.steps, e.validation.every);
    let total = runner::total_cost(&setup, &cells);
    let validation: f64 = cells
        .iter()
        .map(|c| c.training_cost(&setup) - t.steps as f64 * c.step_cost(&setup))
        .sum();
    println!("cost       at most {total:.0} U-Net forwards, {:.0} % of them in validation", 100.0 * validation / total);
    println!("every key is known and every input was found");
    Ok(())
}
