//! Columns: named scores of pictures, one value per picture.

use serde::{Deserialize, Serialize};

/// A score of each picture. Its name is not known elsewhere: tables, pages and files pass it through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// `CLIP-I`, `ViT-I`, `0.5-Harmonic`: unique in a table.
    pub name: String,
    /// The encoder, and whatever else the score depends on: `micro eval_clip, token removed`.
    pub computed_by: String,
    /// An explanation in one sentence.
    pub explanation: String,
    /// Whether higher is better; `None` if neither direction is.
    pub higher_is_better: Option<bool>,
}
