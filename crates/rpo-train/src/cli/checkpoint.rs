//! Arguments that select a checkpoint of a run.

use super::given;
use crate::run_folder;
use crate::runner::setup::Setup;
use anyhow::Result;
use clap::Args;
use rpo_experiment::plan::Cell;
use rpo_experiment::run::Folder;
use rpo_experiment::run::{Run, choices, is_trained};
use rpo_files::failure::{BadInput, OrBadInput};
use std::path::PathBuf;

/// Arguments that select a checkpoint.
#[derive(Args)]
pub(super) struct CheckpointArgs {
    /// Run folder
    pub(super) run: PathBuf,
    /// Trajectory, as `arm/subject/seed-0`; default: the run's first
    #[arg(long)]
    trajectory: Option<String>,
    /// Checkpoint: a kept step, or `0` for the base model; default: the choice of the first rule
    #[arg(long)]
    step: Option<usize>,
}

/// A selected checkpoint.
pub(super) struct Checkpoint {
    /// The run's loaded inputs.
    pub(super) setup: Setup,
    /// The trajectory.
    pub(super) cell: Cell,
    /// Steps taken; 0 is the base model.
    pub(super) step: usize,
    /// The trajectory's folder.
    pub(super) folder: Folder,
}

impl CheckpointArgs {
    /// Refuses `--trajectory` and `--step` where no run is given.
    ///
    /// # Errors
    /// [`BadInput`] if either is given.
    pub(super) fn refuse_choice(&self) -> Result<()> {
        if self.trajectory.is_none() && self.step.is_none() {
            return Ok(());
        }
        Err(BadInput::new(format!(
            "{} is a model, not a run\n  hint: leave --trajectory and --step away",
            self.run.display()
        )))
    }

    /// Loads the run's inputs and finds the checkpoint; with `base`, the default is the base model.
    ///
    /// # Errors
    /// [`BadInput`] if the run's inputs have changed, the trajectory or step does not exist, or no rule has chosen yet.
    pub(super) fn find(&self, base: bool) -> Result<Checkpoint> {
        given::want_run(&self.run)?;
        let run = Run {
            path: self.run.clone(),
        };
        let (setup, _) = run_folder::load(&run)?;
        let names: Vec<&str> = setup.cells.iter().map(|c| c.id.as_str()).collect();
        let wanted = self
            .trajectory
            .as_deref()
            .or(names.first().copied())
            .unwrap_or_default();
        let Some(cell) = setup.cells.iter().find(|c| c.id == wanted) else {
            return Err(BadInput::new(format!(
                "no trajectory `{wanted}` in this run\n  hint: one of {}",
                names.join(", ")
            )));
        };
        let cell = cell.clone();
        let folder = run.trajectory(&cell);
        let trainable = setup.trainable(&setup.arms[cell.arm]);
        let kept = folder.kept_steps(trainable.folder());
        let step = match self.step {
            None if base => 0,
            Some(step) => step,
            None if !is_trained(&folder)? => {
                return Err(BadInput::new(format!(
                    "trajectory `{wanted}` is not finished, so no rule has chosen a step\n  hint: run its experiment to the end, or give --step, one of 0, {kept:?}"
                )));
            }
            None => {
                let choices =
                    choices(&setup.rules, &folder).or_bad_input("nothing was chosen yet")?;
                choices.steps[choices.decisions[0].chosen]
            }
        };
        if step > 0 && !kept.contains(&step) {
            return Err(BadInput::new(format!(
                "step {step} of `{wanted}` was not kept\n  hint: one of 0, {kept:?}"
            )));
        }
        Ok(Checkpoint {
            setup,
            cell,
            step,
            folder,
        })
    }
}
