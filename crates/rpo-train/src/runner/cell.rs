//! One cell from its start, or its saved state, to its test pictures.

use super::setup::Setup;
use super::test_pictures::{self, Judges};
use super::trajectory::train;
use crate::progress::Progress;
use anyhow::Result;
use rpo_experiment::plan::Cell;
use rpo_experiment::run::Run;

/// Trains and tests a cell that `progress` began. Any process may run any cell, in any order, but only one process at a time runs
/// the same cell.
///
/// # Errors
/// Errors of the cell. What was written stays, and the same call resumes from it.
pub(super) fn run_cell(
    setup: &Setup,
    judges: &Judges,
    run: &Run,
    cell: &Cell,
    progress: &mut Progress,
) -> Result<()> {
    let folder = &run.trajectory(cell);
    train(setup, cell, run, progress)?;
    test_pictures::test(setup, judges, cell, folder, progress)?;
    folder.write_times(&progress.taken())
}
