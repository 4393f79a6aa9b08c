//! The state a trajectory resumes from after an interruption: weights, moments, and averages of the weights where they are candidates.

use anyhow::{Context, Result};
use rpo_experiment::run::{AVERAGES, FROZEN, Folder, Latest, MOMENTS, WEIGHTS};
use rpo_files::{AtPath, check_sums, write_sums};
use rpo_nn::optim::AdamW;
use rpo_nn::weights::Params;

/// Saves weights, moments and averages, within a round the weights of its `frozen` model too, then points `latest.json` at them, then
/// removes older states.
///
/// # Errors
/// I/O errors; the older state then stays valid.
pub(super) fn save(
    folder: &Folder,
    step: usize,
    params: &Params,
    averages: Option<&Params>,
    frozen: Option<&Params>,
    optimizer: &AdamW,
    done: bool,
) -> Result<()> {
    let state = folder.state(step);
    if !done {
        std::fs::create_dir_all(&state).writing(&state)?;
        params.save(&state.join(WEIGHTS))?;
        optimizer.save_state(&state.join(MOMENTS))?;
        let mut files = vec![WEIGHTS, MOMENTS];
        if let Some(averages) = averages {
            averages.save(&state.join(AVERAGES))?;
            files.push(AVERAGES);
        }
        if let Some(frozen) = frozen {
            frozen.save(&state.join(FROZEN))?;
            files.push(FROZEN);
        }
        write_sums(&state, &files)?;
    }
    folder.point_to(step, done)
}

/// Loads what [`save`] saved and truncates the record to that step.
///
/// # Errors
/// Damaged or missing files, by name.
pub(super) fn load(
    folder: &Folder,
    latest: &Latest,
    params: &Params,
    optimizer: &mut AdamW,
) -> Result<()> {
    let state = folder.state(latest.step);
    check_sums(&state).with_context(|| folder.again())?;
    params.load_values(&state.join(WEIGHTS))?;
    optimizer.load_state(&state.join(MOMENTS))?;
    folder.cut(latest.metrics_bytes)
}
