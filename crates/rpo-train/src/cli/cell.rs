//! `rpo-train cell RUN --index N`: one cell of a run, in a process of its own.

use crate::device;
use crate::run_folder;
use crate::runner;
use anyhow::Result;
use rpo_experiment::run::Run;
use rpo_files::failure::{BadInput, OrBadInput};
use std::path::Path;

/// Runs the cell with this place in the plan. One that is finished ends at once, without a model.
pub(super) fn cell(run: &Path, index: usize) -> Result<()> {
    let run = Run {
        path: run.to_owned(),
    };
    let plan = run.plan().or_bad_input(
        "this is no run, or one of a version without cells; give the folder that `rpo-train FILE` made",
    )?;
    let Some(cell) = plan.cells.get(index) else {
        return Err(BadInput::new(format!(
            "--index {index}: the run has {} cells, from 0 on",
            plan.cells.len()
        )));
    };
    if run.is_finished(&plan, cell)? {
        println!("{}: is finished", cell.id);
        return Ok(());
    }
    let (setup, _) = run_folder::load(&run)?;
    let model = &setup.experiment.model;
    let chosen = device::open(&model.device, &model.dtype)?;
    let setup = setup.at(chosen)?;
    runner::run_one(&setup, &run, cell)?;
    println!("{}: finished", cell.id);
    Ok(())
}
