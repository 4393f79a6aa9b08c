//! U-Net, VAE, noise schedule and samplers read from a diffusers folder.
//!
//! Pictures and latents are `[B, H, W, C]` f32, text states `[B, S, D]`. Nothing here knows of rewards or training
//! recipes: the crate serves as a plain Stable Diffusion 1.x / 2.x library whose U-Net can be trained.

mod config_check;
mod pipeline;
mod resnet;
mod sampler;
pub mod schedule;
pub mod solver;
pub mod unet;
pub mod vae;

pub use pipeline::Pipeline;
pub use sampler::{SamplerConfig, sample};
pub use schedule::{
    NoiseSchedule, PredictionType, SchedulerClass, SchedulerConfig, TimestepSpacing,
};
pub use solver::Solver;
pub use unet::{TextContext, UNet2DConditionModel, UNetConfig};
pub use vae::{AutoencoderKL, Posterior, VaeConfig};
