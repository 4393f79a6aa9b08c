//! Bradley-Terry labels, pair sampling, L_sim and L_pref.
//!
//! - [`labels`]: the probability that a reference is preferred (Eq. 6), and the label drawn from it.
//! - [`pairs`]: which reference is paired with which generated picture, and whose rewards determine the label.
//! - [`preferred`]: which pairs of generated pictures are preferences, by both scores.
//! - [`loss`]: ℓ, L_pref (Eq. 8) and L_sim (Eq. 7) from per-sample squared errors, with their derivatives.
//! - [`terms`]: the objective of a step as a list of named terms (Eq. 9), from which its passes and records follow.
//! - [`recipe`]: `paper`, `official`, `dreambooth`, `dreambooth_dpo`, `dpo`, `dco`, `ours`: every known difference is one key.
//!
//! Everything is arithmetic on `f64`: no tensor, no network, no file, no picture.

pub mod labels;
pub mod loss;
pub mod pairs;
pub mod preferred;
pub mod recipe;
pub mod terms;

pub use labels::LabelKind;
pub use loss::Norm;
pub use pairs::{LabelReward, Pair, PairSampler, Pairs};
pub use recipe::{Preset, Recipe, RecipeError};
