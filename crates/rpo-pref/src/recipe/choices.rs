//! The values of a recipe's keys.

use serde::{Deserialize, Serialize};

/// The prompt that conditions the reference in ℓ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferencePrompt {
    /// The pair's training prompt, as for the generated picture: a second pass on the same x_t as L_sim's (paper).
    CMod,
    /// The plain prompt of L_sim: one pass serves both losses (official).
    C,
}

/// Whether the two pictures of a pair share a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// One draw for both.
    Shared,
    /// One draw for each.
    Independent,
}

/// Treatment of the subject's token in the text that the reward model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenInReward {
    /// Kept (official).
    Keep,
    /// Removed.
    Remove,
}

/// How a picture that is not square, or too large, is cropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crop {
    /// The centre square.
    Centre,
    /// A random square, drawn in every step (official).
    Random,
}

/// Which latent of the VAE's posterior is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latent {
    /// Its mean, computed once.
    Mean,
    /// A sample, drawn in every step (official).
    Sample,
}

/// The noise of validation pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationNoise {
    /// The same at every validation, so that checkpoints differ only by their weights.
    Fixed,
    /// New at every validation (official, if the seed is 0 or absent).
    Fresh,
}

/// The prompts of validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationPrompts {
    /// Those of training (paper, official).
    Training,
    /// Held-out ones.
    Validation,
}

/// How references are shown, anew in every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Augment {
    /// As they are.
    #[default]
    None,
    /// Smaller, at a random place on grey, or larger and cropped, with words for it in the prompt (Kumari et al. 2023, as diffusers'
    /// script does it).
    CustomDiffusion,
}
