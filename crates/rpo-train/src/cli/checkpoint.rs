//! Arguments that select a checkpoint of a run.

use super::chooser::ChooserArgs;
use super::given;
use crate::run_folder;
use crate::runner::checkpoint;
use crate::runner::setup::Setup;
use crate::runner::trainable::Trained;
use anyhow::Result;
use clap::Args;
use rpo_experiment::plan::Cell;
use rpo_experiment::run::{Folder, Run, SoFar};
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::{Lock, tell};
use rpo_reward::Candidate;
use rpo_reward::select::{self, Rule};
use std::path::PathBuf;
use std::time::Duration;

/// Time for a trainer to finish the removal of a checkpoint.
const MOMENT: Duration = Duration::from_millis(200);

/// How often a checkpoint is looked for while a trainer works.
const ATTEMPTS: usize = 5;

/// Arguments that select a checkpoint.
#[derive(Args)]
pub(super) struct CheckpointArgs {
    /// Run folder
    pub(super) run: PathBuf,
    /// Trajectory, as `arm/subject/seed-0`; default: the run's first
    #[arg(long)]
    trajectory: Option<String>,
    /// Checkpoint: a kept step, or `0` for the base model; with `-ema` or `-scale-0.4` this variant of a step's weights; default: the choice of the first rule, so far if training goes on
    #[arg(long)]
    step: Option<Candidate>,
    #[command(flatten)]
    chooser: ChooserArgs,
}

/// A selected checkpoint.
pub(super) struct Checkpoint {
    /// The run's loaded inputs.
    pub(super) setup: Setup,
    /// The trajectory.
    pub(super) cell: Cell,
    /// The weights; step 0 is the base model.
    candidate: Candidate,
    /// The trajectory's folder.
    folder: Folder,
    /// The rule that chose it; `None` if it was given.
    rule: Option<Rule>,
}

impl CheckpointArgs {
    /// Refuses `--trajectory` and `--step` where no run is given.
    ///
    /// # Errors
    /// [`BadInput`] if either is given.
    pub(super) fn refuse_choice(&self) -> Result<()> {
        if self.trajectory.is_none() && self.step.is_none() && !self.chooser.is_given() {
            return Ok(());
        }
        Err(BadInput::new(format!(
            "{} is a model, not a run\n  hint: leave --trajectory, --step, --rule and --lambda away",
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
        let rule = self.chooser.rule(&setup)?;
        let candidate = match self.step {
            None if base => Candidate::BASE,
            None => chosen(&setup, &cell, &folder, &rule)?,
            Some(candidate) => candidate,
        };
        let kept = kept(&setup, &cell, &folder);
        // A trainer may have removed a choice that it has superseded: then it is looked for again when it is loaded.
        let again = self.step.is_none() && Lock::is_held(&folder.0);
        if candidate != Candidate::BASE && !kept.contains(&candidate) && !again {
            return Err(BadInput::new(format!(
                "step {candidate} of `{wanted}` was not kept\n  hint: one of {}",
                words(&kept)
            )));
        }
        Ok(Checkpoint {
            setup,
            cell,
            candidate,
            folder,
            rule: self.step.is_none().then_some(rule),
        })
    }
}

impl Checkpoint {
    /// Loads what was trained, scaled by `scale`, with what it is; `None` is the base model.
    ///
    /// Nothing is locked, so that a trainer goes on undisturbed: it may remove a checkpoint that it has superseded at any moment.
    /// Then the present choice is loaded instead.
    ///
    /// # Errors
    /// [`BadInput`] if the step that was asked for is gone; missing or damaged files, by path.
    pub(super) fn load(&self, scale: f64) -> Result<(Candidate, Option<Box<dyn Trained>>)> {
        let (setup, cell) = (&self.setup, &self.cell);
        let arm = &setup.arms[cell.arm];
        let mut candidate = self.candidate;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match checkpoint::load(setup, arm, &self.folder, candidate, scale) {
                Ok(trained) => return Ok((candidate, trained)),
                Err(error) => error,
            };
            // A removal takes a moment, and the record of what superseded it comes before.
            std::thread::sleep(MOMENT);
            let kept = kept(setup, cell, &self.folder);
            let (gone, id) = (!kept.contains(&candidate), &cell.id);
            if let (true, None) = (gone, &self.rule) {
                return Err(BadInput::new(format!(
                    "step {candidate} of `{id}` was superseded and removed while it was read\n  hint: one of {}",
                    words(&kept)
                )));
            }
            if attempts == ATTEMPTS || !(gone || Lock::is_held(&self.folder.0)) {
                return Err(error);
            }
            if let Some(rule) = &self.rule {
                candidate = chosen(setup, cell, &self.folder, rule)?;
            }
        }
    }
}

/// What the rule has chosen so far.
fn chosen(setup: &Setup, cell: &Cell, folder: &Folder, rule: &Rule) -> Result<Candidate> {
    let Some(so_far) = SoFar::read(&setup.rules, folder).or_bad_input("nothing was chosen yet")?
    else {
        return Err(BadInput::new(format!(
            "trajectory `{}` has no validation yet, so no rule has chosen a step\n  hint: wait for its first one, or give --step 0, the base model",
            cell.id
        )));
    };
    let validations = &so_far.choices.validations;
    let decision = select::decide(rule, validations, so_far.is_trained)?;
    let candidate = so_far.choices.candidates[decision.chosen];
    if !so_far.is_trained {
        tell!(
            "{} is trained to step {} of {} and not finished: {} has chosen step {candidate} so far",
            cell.id,
            so_far.step,
            setup.arms[cell.arm].training.steps,
            rule.name
        );
    }
    Ok(candidate)
}

fn kept(setup: &Setup, cell: &Cell, folder: &Folder) -> Vec<Candidate> {
    let trainable = setup.trainable(&setup.arms[cell.arm]);
    folder.kept(trainable.folder())
}

/// The checkpoints that may be asked for.
fn words(kept: &[Candidate]) -> String {
    let all = std::iter::once("0".to_owned()).chain(kept.iter().map(|kept| kept.written()));
    all.collect::<Vec<_>>().join(", ")
}
