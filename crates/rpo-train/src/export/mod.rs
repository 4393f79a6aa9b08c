//! Writes whole models for other programs: diffusers folders and single-file checkpoints.

mod base;
mod folder;
mod single_file;
mod staging;

pub use base::{NETWORKS, copy_configurations, copy_part, copy_rest};
pub use folder::write_unet;
pub use single_file::{import, write as write_single_file};
pub use staging::{Staging, refuse_occupied};
