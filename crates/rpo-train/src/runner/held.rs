//! What changes with the steps of a trajectory, beside the trained tensors; all of it is in a saved state.

use super::rounds::Rounds;
use super::state;
use super::variants::Variants;
use anyhow::Result;
use rpo_experiment::run::Folder;
use rpo_nn::optim::AdamW;
use rpo_nn::weights::Params;

/// The optimiser's moments, averages, the current round.
pub(super) struct Held<'a> {
    pub(super) optimizer: AdamW,
    pub(super) variants: Variants<'a>,
    pub(super) rounds: Rounds<'a>,
}

impl Held<'_> {
    /// Saves the state after a step, with the trained tensors `params`; see [`state::save`].
    ///
    /// # Errors
    /// I/O errors; the older state then stays valid.
    pub(super) fn save(
        &self,
        folder: &Folder,
        step: usize,
        params: &Params,
        done: bool,
    ) -> Result<()> {
        let (averages, frozen) = (self.variants.averages(), self.rounds.frozen(step));
        state::save(
            folder,
            step,
            params,
            averages,
            frozen,
            &self.optimizer,
            done,
        )
    }
}
