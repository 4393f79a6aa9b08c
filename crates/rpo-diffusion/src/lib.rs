//! U-Net, VAE, noise schedule and samplers read from a diffusers folder.
//!
//! Pictures and latents are `[B, H, W, C]` f32, texts a [`Conditioning`]. Nothing here depends on rewards or training
//! recipes: the crate is a plain Stable Diffusion 1.x / 2.x / XL library whose U-Net can be trained.

pub mod checkpoint;
mod conditioning;
mod config_check;
mod config_keys;
pub mod custom_diffusion;
mod guidance;
pub mod image_adapter;
pub mod lora;
mod part;
mod pipeline;
mod resnet;
mod sampler;
pub mod schedule;
pub mod solver;
mod texts;
pub mod textual_inversion;
pub mod unet;
pub mod vae;

pub use conditioning::{Added, Conditioning};
pub use guidance::{Guided, RewardGuidance};
pub use image_adapter::ImageAdapter;
pub use pipeline::{PIXEL_BATCH, Pipeline, check_folder, check_unet, load_unet, load_vae};
pub use sampler::{SamplerConfig, sample, sample_guided};
pub use schedule::{
    NoiseSchedule, PredictionType, SchedulerClass, SchedulerConfig, TimestepSpacing,
};
pub use solver::Solver;
pub use texts::{Texts, Word, xl as xl_conditioning};
pub use unet::{Activations, TextContext, UNet2DConditionModel, UNetConfig};
pub use vae::{AutoencoderKL, Posterior, VaeConfig};
