//! Rounds of preferences between the trained model's own pictures, as DreamBoothDPO has them: after a share of the steps, the model
//! draws, pairs of its pictures are kept, and the steps of the round train on them against the model that drew.

use super::{Passes, Recipe, RecipeError};
use crate::preferred::Angle;
use crate::terms::{Objective, Preference, Rows};
use serde::{Deserialize, Serialize};

/// Far beyond any use.
const MOST: usize = 1000;

/// A share of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(pub f64);

impl Default for Share {
    fn default() -> Self {
        Self(0.5)
    }
}

impl Recipe {
    /// What a step of a round minimises if the round has pairs: L_pref of two of the model's own pictures, the winner in the place of
    /// the reference, against the model at the round's start. All other steps have [`Recipe::objective`].
    #[must_use]
    pub fn round_objective(&self) -> Objective {
        let pref = Preference {
            reference: Rows::Preferred,
            beta: self.beta,
        };
        let weight = match self.rounds {
            0 => 0.0,
            _ => self.l_pref_weight,
        };
        Objective::default().with(pref, weight)
    }

    /// Number of U-Net passes in one step of a round with pairs, of batch 1.
    #[must_use]
    pub fn round_passes(&self) -> Passes {
        Passes::of(&self.round_objective())
    }

    /// The steps after which rounds begin, in order, in a training of `steps`: equal parts of those from the share `rounds_from` on. Of
    /// more rounds than steps there are as many as steps.
    #[must_use]
    pub fn round_starts(&self, steps: usize) -> Vec<usize> {
        // 0.55 of 100 steps is a little more than 55 in f64.
        let before = (self.rounds_from.0 * steps as f64 - 1e-9).ceil() as usize;
        let left = steps.saturating_sub(before);
        let rounds = self.rounds.min(left);
        (0..rounds).map(|i| before + i * left / rounds).collect()
    }

    /// Checks the keys of rounds.
    ///
    /// # Errors
    /// [`RecipeError`] with the first key that is out of range, or without effect.
    pub(super) fn check_rounds(&self) -> Result<(), RecipeError> {
        let error = |key, value: String, hint| Err(RecipeError { key, value, hint });
        let Angle([low, high]) = self.angle;
        let angle = format!("[{low}, {high}]");
        let (from, usual) = (self.rounds_from, Share::default());
        if self.rounds == 0 {
            let hint = "it is of rounds, and there is none; rounds = 1 or more, as in the preset `dreambooth_dpo`";
            if self.angle != Angle::default() {
                return error("angle", angle, hint);
            }
            if from != usual {
                return error("rounds_from", from.0.to_string(), hint);
            }
            return Ok(());
        }
        if self.rounds > MOST {
            return error("rounds", self.rounds.to_string(), "at most 1000 rounds");
        }
        if !(0.0..1.0).contains(&from.0) {
            return error(
                "rounds_from",
                from.0.to_string(),
                "a share of the steps, 0 or more and less than 1: 0.5 begins the first round after half of them",
            );
        }
        if !self.angle.is_valid() {
            return error(
                "angle",
                angle,
                "two angles in degrees, 0 <= from < to <= 90: 0 gains in the text alone, 90 in the image alone",
            );
        }
        if self.l_pref_weight == 0.0 {
            return error(
                "rounds",
                self.rounds.to_string(),
                "rounds train on L_pref; l_pref_weight is more than 0, or rounds = 0",
            );
        }
        if self.l_sim_weight == 0.0 {
            return error(
                "l_sim_weight",
                "0".to_owned(),
                "the steps before the first round, and rounds that keep no pair, train on L_sim; more than 0, or rounds = 0",
            );
        }
        if self.negatives_per_prompt < 2 {
            return error(
                "negatives_per_prompt",
                self.negatives_per_prompt.to_string(),
                "at least 2 with rounds: a pair is two pictures of one prompt",
            );
        }
        Ok(())
    }
}
