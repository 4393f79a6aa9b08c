//! CLIP: a causal text transformer and a vision transformer with a projection each.
//!
//! Source: `transformers/models/clip/modeling_clip.py`, 5.23.

mod config;
mod image;
mod text;
mod vision;

pub use crate::patches::Extent;
pub use config::{ClipConfig, ClipImageConfig, ClipTextConfig, ClipVisionConfig};
pub use image::ClipImageEncoder;
pub use text::{ClipTextModel, ClipTextOutput};
pub use vision::{ClipVisionModel, ClipVisionOutput};

use crate::transformer::Names;

/// The names in one CLIP layer, text or vision.
const LAYER: Names = Names {
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    output: "self_attn.out_proj",
    attention_norm: "layer_norm1",
    up: "mlp.fc1",
    down: "mlp.fc2",
    mlp_norm: "layer_norm2",
    qkv_bias: true,
};
