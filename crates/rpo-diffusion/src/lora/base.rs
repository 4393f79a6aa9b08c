//! The family of models that a LoRA belongs to, as named in metadata.

use rpo_nn::lora::LoraModule;
use std::collections::BTreeMap;

use super::names::Numbering;
use crate::schedule::PredictionType;
use crate::unet::UNetConfig;

/// A family of base models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseModel {
    /// Stable Diffusion 1.x.
    Sd1,
    /// Stable Diffusion 2.x that predicts noise (512 px).
    Sd2,
    /// Stable Diffusion 2.x that predicts velocity (768 px).
    Sd2V,
    /// Stable Diffusion XL.
    Sdxl,
}

impl BaseModel {
    /// The family of a U-Net. Small networks count as the family with the same structure.
    pub fn of(config: &UNetConfig, prediction_type: PredictionType) -> Self {
        match (
            config.takes_added(),
            config.use_linear_projection,
            prediction_type,
        ) {
            (true, ..) => Self::Sdxl,
            (_, true, PredictionType::VPrediction) => Self::Sd2V,
            (_, true, _) => Self::Sd2,
            (_, false, _) => Self::Sd1,
        }
    }

    /// The family inferred from the modules of a file: SDXL by an attention of several transformer blocks or text states of width
    /// 2048, SD 2.x by text states of width 1024 (assumed to predict noise), else SD 1.x.
    pub fn guess(modules: &BTreeMap<String, LoraModule>) -> Self {
        let second = |name: &String| name.contains(".transformer_blocks.1.");
        let text = modules
            .iter()
            .find(|(name, _)| name.ends_with(".attn2.to_k") || name.ends_with(".attn2.to_v"))
            .and_then(|(_, m)| m.a.dims().get(1).copied());
        match text {
            _ if modules.keys().any(second) => Self::Sdxl,
            Some(2048) => Self::Sdxl,
            Some(1024) => Self::Sd2,
            _ => Self::Sd1,
        }
    }

    /// How sd-scripts names the modules of this family: by the released checkpoint for SDXL, else by diffusers' names.
    /// `layers_per_block` is the U-Net's; 2 in every released one.
    pub fn numbering(self, layers_per_block: usize) -> Numbering {
        match self {
            Self::Sdxl => Numbering::Checkpoint { layers_per_block },
            Self::Sd1 | Self::Sd2 | Self::Sd2V => Numbering::Diffusers,
        }
    }

    /// ModelSpec's architecture of the base model.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Sd1 => "stable-diffusion-v1",
            Self::Sd2 => "stable-diffusion-v2-512",
            Self::Sd2V => "stable-diffusion-v2-768-v",
            Self::Sdxl => "stable-diffusion-xl-v1-base",
        }
    }

    /// ModelSpec's implementation, whose module names the kohya file has.
    pub(super) fn implementation(self) -> &'static str {
        match self {
            Self::Sdxl => "https://github.com/Stability-AI/generative-models",
            Self::Sd1 | Self::Sd2 | Self::Sd2V => "diffusers",
        }
    }

    /// sd-scripts' `ss_base_model_version`; A1111 takes values that start with `sdxl_` for SDXL.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Sd1 => "sd_v1",
            Self::Sd2 => "sd_v2",
            Self::Sd2V => "sd_v2_v",
            Self::Sdxl => "sdxl_base_v1-0",
        }
    }

    /// ModelSpec's prediction type.
    pub(super) fn prediction(self) -> &'static str {
        match self {
            Self::Sd2V => "v",
            Self::Sd1 | Self::Sd2 | Self::Sdxl => "epsilon",
        }
    }

    /// Side in pixels of the pictures that the released models were trained on.
    pub(super) fn side(self) -> u32 {
        match self {
            Self::Sd1 | Self::Sd2 => 512,
            Self::Sd2V => 768,
            Self::Sdxl => 1024,
        }
    }
}
