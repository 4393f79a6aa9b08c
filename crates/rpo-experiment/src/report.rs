//! `[report]`: how results are compared, and what is printed beside them.

use crate::layer::Layers;
use crate::ranges::in_range;
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[report]`: how results are compared. No part of a run's identity: the same run may be reported in other ways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Report {
    /// The row that the others are compared with: `ARM · RULE`, a rule where there is one arm, `step 0`; empty: `step 0`. The page
    /// offers every row.
    pub baseline: String,
    /// Half-width of the equivalence tests, in the metric's unit: a difference is called none if two one-sided tests show that it is
    /// smaller.
    pub margin: f64,
    /// Published figures, printed after the results and compared with nothing: other models, pictures and encoders.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
}

/// `[[report.published]]`: what a paper says of a method, on DreamBench with DINO ViT-S/16 and CLIP ViT-B/32.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Published {
    /// The method.
    pub name: String,
    /// The model that it is on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backbone: String,
    /// Gradient steps for a subject; 0: none, an encoder reads the pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u64>,
    /// DINO.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dino: Option<f64>,
    /// CLIP-I.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_i: Option<f64>,
    /// CLIP-T.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_t: Option<f64>,
    /// Where the figures were read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
}

impl Report {
    /// Whether the table may be left away.
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// # Errors
    /// [`rpo_files::failure::BadInput`] at a margin or a figure out of range, or a row without a name or a source.
    pub(super) fn check(&self, layers: &Layers) -> Result<()> {
        in_range("report.margin", self.margin, 1e-9, 1e6, layers)?;
        for (i, row) in self.published.iter().enumerate() {
            let key = |key: &str| format!("report.published.{i}.{key}");
            for (name, value) in [("name", &row.name), ("source", &row.source)] {
                if value.trim().is_empty() {
                    return Err(layers.error(&key(name), "a published row has a name and a source"));
                }
            }
            for (name, value) in [
                ("dino", row.dino),
                ("clip_i", row.clip_i),
                ("clip_t", row.clip_t),
            ] {
                in_range(&key(name), value.unwrap_or(0.0), -1.0, 1.0, layers)?;
            }
        }
        Ok(())
    }
}
