//! `rpo-train plan FILE`: an experiment with everything resolved, without weights.

use super::experiment_args::ExperimentArgs;
use crate::files;
use anyhow::Result;
use rpo_experiment::plan::{Plan, VERSION};
use rpo_files::console;
use rpo_files::failure::BadInput;
use rpo_files::{destination, say};
use std::path::{Path, PathBuf};

/// Prints the plan, or writes it to `out`.
pub(super) fn plan(file: &ExperimentArgs, out: Option<&Path>) -> Result<()> {
    let (experiment, layers) = file.read()?;
    let plan = Plan::of(experiment, &layers)?;
    let Some(out) = out else {
        return console::json(&plan);
    };
    let read = std::iter::once(&file.experiment).chain(&file.overlays);
    let ours = format!("{{\n  \"version\": {VERSION},\n  \"experiment\": {{");
    destination::replaceable("--out", out, read.map(PathBuf::as_path), |start| {
        start.starts_with(ours.as_bytes())
    })?;
    if out.with_file_name("run.json").exists() {
        return Err(BadInput::new(format!(
            "--out {}: this is the plan of a run, which the run itself writes\n  hint: name another file",
            out.display()
        )));
    }
    files::write_json(out, &plan)?;
    say!(
        "{}: {} cells, at most {:.0} U-Net forwards",
        out.display(),
        plan.cells.len(),
        plan.total_cost()
    );
    Ok(())
}
