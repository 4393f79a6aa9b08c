//! Masked L_sim and Custom Diffusion's augmentation.

mod batch;
mod common;
mod loss;
