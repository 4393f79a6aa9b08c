//! Columns: figures of pictures, one value a picture, that say themselves what they are.

use serde::{Deserialize, Serialize};

/// A figure of a picture. Nothing else knows its name: tables, pages and files carry it through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// `CLIP-I`, `ViT-I`, `0.5-Harmonic`: one of a kind in a table.
    pub name: String,
    /// The encoder, and whatever else the figure depends on: `micro eval_clip, token removed`.
    pub computed_by: String,
    /// A sentence about it.
    pub explanation: String,
    /// Which way is better; `None` where neither is.
    pub higher_is_better: Option<bool>,
}
