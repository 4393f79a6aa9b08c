//! diffusers' `UNet2DConditionModel` in the layout of Stable Diffusion 1.x and 2.x, trainable.

mod config;
mod model;
mod time;
mod transformer;

pub use config::{PerBlock, UNetConfig};
pub use model::UNet2DConditionModel;
pub use transformer::TextContext;
