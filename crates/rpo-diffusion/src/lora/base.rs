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

    /// The family of a file: SDXL by an attention of several transformer blocks, text states of width 2048 or adapters of two text
    /// `encoders`, SD 2.x by text states of width 1024, SD 1.x by those of width 768; where none of these is in the file, as its metadata say, else SD 1.x. That an SD 2.x
    /// model predicts velocity is in the metadata alone.
    pub(super) fn guess(
        modules: &BTreeMap<String, LoraModule>,
        encoders: usize,
        metadata: &BTreeMap<String, String>,
    ) -> Self {
        let said = Self::said(metadata);
        let second = |name: &String| name.contains(".transformer_blocks.1.");
        let text = modules
            .iter()
            .find(|(name, _)| name.ends_with(".attn2.to_k") || name.ends_with(".attn2.to_v"))
            .and_then(|(_, m)| m.a.dims().get(1).copied());
        match text {
            _ if modules.keys().any(second) => Self::Sdxl,
            Some(2048) => Self::Sdxl,
            _ if encoders > 1 => Self::Sdxl,
            Some(1024) if said == Some(Self::Sd2V) => Self::Sd2V,
            Some(1024) => Self::Sd2,
            Some(768) => Self::Sd1,
            _ => said.unwrap_or(Self::Sd1),
        }
    }

    /// The family that sd-scripts' or ModelSpec's metadata name.
    fn said(metadata: &BTreeMap<String, String>) -> Option<Self> {
        let version = metadata.get("ss_base_model_version");
        let architecture = metadata.get("modelspec.architecture");
        let says = |starts: [&str; 2]| {
            version.is_some_and(|v| v.starts_with(starts[0]))
                || architecture.is_some_and(|a| a.starts_with(starts[1]))
        };
        [
            (["sdxl", "stable-diffusion-xl"], Self::Sdxl),
            (["sd_v2_v", "stable-diffusion-v2-768"], Self::Sd2V),
            (["sd_v2", "stable-diffusion-v2"], Self::Sd2),
            (["sd_v1", "stable-diffusion-v1"], Self::Sd1),
        ]
        .into_iter()
        .find_map(|(starts, family)| says(starts).then_some(family))
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
