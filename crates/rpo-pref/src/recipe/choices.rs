//! The words that a recipe's keys may hold.

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

/// Whether the two pictures of a pair have something in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// One draw for both.
    Shared,
    /// A draw for each.
    Independent,
}

/// What happens to the subject's token in the text that the reward model reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenInReward {
    /// It stays (official).
    Keep,
    /// It is taken out.
    Remove,
}

/// How a picture that is not square, or too large, is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Crop {
    /// The centre square.
    Centre,
    /// A random square, anew at every step (official).
    Random,
}

/// Which latent the VAE's posterior stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Latent {
    /// Its mean, computed once.
    Mean,
    /// A sample, anew at every step (official).
    Sample,
}

/// The noise that validation pictures start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationNoise {
    /// The same at every validation: checkpoints differ by their weights alone.
    Fixed,
    /// New at every validation (official, where the seed is 0 or none).
    Fresh,
}

/// The prompts that checkpoints are validated on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValidationPrompts {
    /// Those that training uses (paper, official).
    Training,
    /// Held-out ones.
    Validation,
}
