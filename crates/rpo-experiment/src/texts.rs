//! `[token]` and `[text_encoder]`: what is trained of the text encoders.

use crate::layer::Layers;
use crate::lora::LoraInit;
use crate::ranges::{MOST_RANK, at_most, in_range};
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most vectors of a word: a text has 77 tokens.
const MOST_VECTORS: usize = 64;

/// `[token]`: a new word of the text encoders, the subject's `token`, as textual inversion learns it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Token {
    /// n, the number of its vectors; each takes a token of the text.
    pub vectors: usize,
    /// The text whose mean token vector all n start from; empty: the subject's class.
    pub init: String,
    /// Whether each vector keeps the norm that it starts with, restored after every step, as DCO does.
    pub keep_norm: bool,
}

/// `[text_encoder]`: how the text encoders are trained, SDXL's both, where `train.parts` names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TextEncoder {
    /// r of low-rank adapters; 0 trains all weights instead.
    pub rank: usize,
    /// α; an adapter is scaled by α / r. Without this key α = r.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Modules that get an adapter, by the ends of their names: `q_proj`, `k_proj`, `v_proj`, `out_proj`; also `fc1`, `fc2`.
    pub targets: Vec<String>,
    /// How A starts; B starts at 0.
    #[serde(skip_serializing_if = "LoraInit::is_usual")]
    pub init: LoraInit,
}

impl Default for Token {
    fn default() -> Self {
        Self {
            vectors: 1,
            init: String::new(),
            keep_norm: false,
        }
    }
}

impl Default for TextEncoder {
    fn default() -> Self {
        Self {
            rank: 0,
            alpha: None,
            targets: ["q_proj", "k_proj", "v_proj", "out_proj"]
                .map(String::from)
                .into(),
            init: LoraInit::default(),
        }
    }
}

impl Token {
    pub(super) fn check(&self, table: &str, layers: &Layers) -> Result<()> {
        let key = format!("{table}.vectors");
        if self.vectors == 0 {
            return Err(layers.error(&key, "must be 1 or more"));
        }
        at_most(&key, self.vectors, MOST_VECTORS, layers)
    }
}

impl TextEncoder {
    pub(super) fn check(&self, table: &str, layers: &Layers) -> Result<()> {
        at_most(&format!("{table}.rank"), self.rank, MOST_RANK, layers)?;
        at_most(
            &format!("{table}.targets"),
            self.targets.len(),
            1000,
            layers,
        )?;
        if let Some(alpha) = self.alpha {
            in_range(&format!("{table}.alpha"), alpha, 1e-9, 1e6, layers)?;
        }
        if self.targets.is_empty() {
            return Err(layers.error(
                &format!("{table}.targets"),
                "there is none\n  hint: leave the key away for the projections of attention",
            ));
        }
        Ok(())
    }
}
