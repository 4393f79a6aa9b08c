//! diffusers' `UNet2DConditionModel` in the layout of Stable Diffusion 1.x, 2.x and XL, trainable.

mod block;
mod config;
#[cfg(test)]
mod first_token_tests;
mod model;
mod read;
mod size;
mod time;
mod transformer;

pub use block::Block;
pub use config::{PerBlock, UNetConfig};
pub use model::UNet2DConditionModel;
pub use size::Activations;
pub use transformer::TextContext;
