//! `rpo-train plan FILE`: an experiment with everything resolved, without weights.

use super::{ExperimentArgs, output};
use crate::files;
use anyhow::Result;
use rpo_experiment::plan::Plan;
use std::path::Path;

/// Prints the plan, or writes it to `out`.
pub(super) fn plan(file: &ExperimentArgs, out: Option<&Path>) -> Result<()> {
    let (experiment, layers) = file.read()?;
    let plan = Plan::of(experiment, &layers)?;
    let Some(out) = out else {
        println!("{}", serde_json::to_string_pretty(&plan)?);
        return Ok(());
    };
    output::refuse_foreign("--out", out, [], |start| {
        output::holds(start, "\"experiment\"")
    })?;
    files::write_json(out, &plan)?;
    println!(
        "{}: {} cells, at most {:.0} U-Net forwards",
        out.display(),
        plan.cells.len(),
        plan.total_cost()
    );
    Ok(())
}
