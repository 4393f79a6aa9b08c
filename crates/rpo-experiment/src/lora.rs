//! `[lora]`: the adapters' keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[lora]`: peft's names and meaning. The learning rate and the rest of the optimiser are those of `[training]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// r, the inner width of every adapter.
    pub rank: usize,
    /// α; an adapter is scaled by α / r. Without this key α = r.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Modules that get an adapter, by the ends of their names: `to_q`, `to_k`, `to_v`, `to_out.0`; also `proj_in`, `proj_out`,
    /// `ff.net.0.proj`, `ff.net.2`, `conv1`, `conv2`, `conv_shortcut`, `time_emb_proj`.
    pub targets: Vec<String>,
    /// Probability that an element of an adapter's input is dropped in a training step.
    pub dropout: f64,
    /// How A starts; B starts at 0.
    #[serde(skip_serializing_if = "LoraInit::is_usual")]
    pub init: LoraInit,
}

/// peft's `init_lora_weights`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoraInit {
    /// Uniform in ±1/√fan_in, peft's default.
    #[default]
    KaimingUniform,
    /// Normal with a standard deviation of 1/r, as diffusers' scripts train.
    Gaussian,
}

impl LoraInit {
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}
