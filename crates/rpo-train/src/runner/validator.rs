//! Draws the validation pictures of the current weights and scores them.

use super::checkpoint;
use super::draw::{Drawer, Request};
use super::setup::Setup;
use super::trainable::Trained;
use crate::files;
use crate::progress::Progress;
use anyhow::{Context, Result};
use rpo_eval::reward::RefFeatures;
use rpo_experiment::plan::{Cell, Purpose};
use rpo_experiment::run::Folder;
use rpo_reward::{Candidate, Score};

/// Validates one trajectory.
pub(super) struct Validator<'a> {
    pub(super) setup: &'a Setup,
    pub(super) cell: &'a Cell,
    pub(super) folder: &'a Folder,
    pub(super) drawer: &'a Drawer<'a>,
    pub(super) trained: &'a dyn Trained,
    /// Of the subject's references.
    pub(super) features: &'a RefFeatures,
}

impl Validator<'_> {
    /// The scores of the current weights, which are those of a candidate.
    ///
    /// # Errors
    /// Sampling, scoring and I/O errors.
    pub(super) fn validate(&self, of: Candidate, progress: &mut Progress) -> Result<Vec<Score>> {
        let shots = (self.setup).shots(self.cell, Purpose::Validation, of.step);
        let texts: Vec<String> = shots.iter().map(|s| s.reward_text.clone()).collect();
        let requests: Vec<Request> = shots.into_iter().map(Request::from).collect();
        // Step 0 is the base model, which knows no new word.
        let trained = (of.step > 0).then_some(self.trained);
        let network = checkpoint::drawn(self.setup, self.cell, trained)?;
        let note = format!("{} · validation at step {of}", self.cell.id);
        let pictures = self
            .drawer
            .draw(&network, &requests, progress, &note)
            .with_context(|| note.clone())?;
        let each = self.setup.experiment.validation.pictures_per_prompt;
        for (i, picture) in pictures.iter().enumerate() {
            let name = format!("prompt-{:02}-{}.png", i / each, i % each);
            files::write_png(&self.folder.samples("validation", of).join(name), picture)?;
        }
        self.setup.rewarder.score(self.features, &pictures, &texts)
    }
}
