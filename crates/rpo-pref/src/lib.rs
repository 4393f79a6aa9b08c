//! Bradley-Terry labels, pair sampling, L_sim and L_pref.
//!
//! - [`labels`]: the probability that a reference is preferred (Eq. 6), and the label drawn from it.
//! - [`pairs`]: which reference meets which generated picture, and whose reward makes the label.
//! - [`loss`]: ℓ, L_pref (Eq. 8), L_sim (Eq. 7) and their sum (Eq. 9) from per-sample squared errors.
//! - [`recipe`]: `paper`, `official`, `dreambooth`, `ours`: every known difference is one key.
//!
//! Nothing here knows a network, a file or a picture.

pub mod labels;
pub mod loss;
mod optional;
pub mod pairs;
pub mod recipe;

pub use labels::LabelKind;
pub use loss::Norm;
pub use pairs::{LabelReward, Pair, PairSampler, Pairs};
pub use recipe::{Preset, Recipe, RecipeError};
