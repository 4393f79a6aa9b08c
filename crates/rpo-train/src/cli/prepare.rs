//! `rpo-train prepare FILE`: the run folder of an experiment, for workers of any engine.

use super::experiment_args::ExperimentArgs;
use crate::run_folder::{RunFolder, Where};
use crate::runner::{self, setup::Setup};
use anyhow::Result;
use rpo_files::say;
use std::path::Path;

/// Makes the folder, or finds it, without running a cell.
pub(super) fn prepare(file: &ExperimentArgs, out: Option<&Path>) -> Result<()> {
    let setup = read(file, out)?;
    let folder = RunFolder::open(&setup, out, Where::Elsewhere)?;
    say!(
        "{}: {} cells; a worker runs one by `rpo-train cell {} --index N`",
        folder.run.path.display(),
        setup.cells.len(),
        folder.run.path.display()
    );
    Ok(())
}

/// The experiment with all that it reads, for cells that run elsewhere.
pub(super) fn read(file: &ExperimentArgs, out: Option<&Path>) -> Result<Setup> {
    let (experiment, layers) = file.read_for(out)?;
    let setup = Setup::load(experiment, &layers)?;
    runner::tell(&setup)?;
    Ok(setup)
}
