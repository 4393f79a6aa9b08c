//! One cell from its start, or from where it was, to its test pictures.

use super::exam::{Judges, examine};
use super::setup::Setup;
use super::trajectory::train;
use crate::progress::Progress;
use crate::run_folder::locked;
use anyhow::Result;
use rpo_experiment::plan::Cell;
use rpo_experiment::run::Run;

/// Trains and tests a cell. Any process may do any cell, in any order; one at a time does the same one.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] if another process works on it; what went wrong in it. What was written stays, and the
/// same call goes on from there.
pub(super) fn run_cell(
    setup: &Setup,
    judges: &Judges,
    run: &Run,
    cell: &Cell,
    progress: &mut Progress,
) -> Result<()> {
    let folder = run.trajectory(cell);
    let _lock = locked(&folder.0)?;
    progress.begin(folder.times());
    train(setup, cell, &folder, progress)?;
    examine(setup, judges, cell, &folder, progress)?;
    folder.write_times(&progress.taken())
}
