//! When the rounds of a trajectory begin, and how one is found again after an interruption.

use super::draw::Drawer;
use super::prepare::TrainingSet;
use super::round::Round;
use super::setup::Setup;
use super::trainable::Trained;
use crate::progress::Progress;
use anyhow::{Context, Result};
use rpo_experiment::plan::Cell;
use rpo_experiment::run::{FROZEN, Folder, Phase, Record};
use rpo_nn::weights::Params;

/// The rounds of a cell, one after the other.
pub(super) struct Rounds<'a> {
    setup: &'a Setup,
    cell: &'a Cell,
    /// The steps after which they begin.
    starts: Vec<usize>,
    current: Option<Round>,
}

impl<'a> Rounds<'a> {
    /// Before the first step.
    pub(super) fn new(setup: &'a Setup, cell: &'a Cell) -> Self {
        Self {
            setup,
            cell,
            starts: setup.round_starts(cell),
            current: None,
        }
    }

    /// The round of the latest step.
    pub(super) fn current(&self) -> Option<&Round> {
        self.current.as_ref()
    }

    /// The trained tensors at the start of the round that goes on after `step`, for the state of that step.
    pub(super) fn frozen(&self, step: usize) -> Option<&Params> {
        let goes_on = self.begun(step).is_some();
        self.current.as_ref().filter(|_| goes_on).map(Round::params)
    }

    /// The start of the round that goes on after `step`: it began before, and no other begins there.
    fn begun(&self, step: usize) -> Option<usize> {
        let limit = self.setup.arm(self.cell).training.steps;
        let latest = self.starts.iter().rfind(|start| **start <= step);
        latest
            .copied()
            .filter(|start| *start < step && step < limit)
    }

    /// Begins the round after `step`, if one begins there, with the weights of `trained`; gives its record.
    ///
    /// # Errors
    /// Sampling, scoring and I/O errors.
    pub(super) fn begin(
        &mut self,
        step: usize,
        trained: &dyn Trained,
        set: &TrainingSet,
        drawer: &Drawer,
        progress: &mut Progress,
    ) -> Result<Option<Record>> {
        let Some(index) = self.starts.iter().position(|start| *start == step) else {
            return Ok(None);
        };
        // Its memory is free before that of the next one is taken.
        self.current = None;
        let start = self.copy()?;
        start.params().interpolate(trained.params(), 1.0)?;
        self.set_current(start, step, set, drawer, progress)?;
        let (pairs, kept) = self.current.as_ref().map_or((0, 0), Round::pairs);
        let [low, high] = self.setup.arm(self.cell).recipe.angle.0;
        let (keeps, trains) = match kept {
            0 => ("none".to_owned(), "; it trains on L_sim as before"),
            kept => (kept.to_string(), ""),
        };
        progress.line(&format!(
            "{}: round {} of {} keeps {keeps} of {pairs} pairs of own pictures, better in both scores at {low} to {high} degrees{trains}",
            self.cell.id,
            index + 1,
            self.starts.len(),
        ));
        Ok(Some(Record::Round {
            step,
            round: index + 1,
            pairs,
            kept,
        }))
    }

    /// Finds the round that goes on after `step` again, from the state of that step, if there is one; gives the cost of its pictures,
    /// which were counted when it began.
    ///
    /// # Errors
    /// Damaged or missing files, by path; sampling and scoring errors.
    pub(super) fn resume(
        &mut self,
        step: usize,
        folder: &Folder,
        set: &TrainingSet,
        drawer: &Drawer,
        progress: &mut Progress,
    ) -> Result<f64> {
        let Some(begun) = self.begun(step) else {
            return Ok(0.0);
        };
        let start = self.copy()?;
        let path = folder.state(step).join(FROZEN);
        start
            .params()
            .load_values(&path)
            .with_context(|| folder.again())?;
        self.set_current(start, begun, set, drawer, progress)?;
        Ok(self.setup.round_cost(self.cell))
    }

    /// Trained tensors of their own, to be overwritten.
    fn copy(&self) -> Result<Box<dyn Trained>> {
        let subject = &self.setup.subjects[self.cell.subject];
        let trainable = self.setup.trainable(self.setup.arm(self.cell));
        trainable.start(self.setup.base(), subject, &mut |_, n| vec![0.0; n])
    }

    fn set_current(
        &mut self,
        start: Box<dyn Trained>,
        step: usize,
        set: &TrainingSet,
        drawer: &Drawer,
        progress: &mut Progress,
    ) -> Result<()> {
        let (setup, cell) = (self.setup, self.cell);
        let round = progress.timed(Phase::Negatives, |progress| {
            Round::of(setup, cell, start, step, &set.features, drawer, progress)
        });
        let named = || format!("{}: round after step {step}", cell.id);
        self.current = Some(round.with_context(named)?);
        Ok(())
    }
}
