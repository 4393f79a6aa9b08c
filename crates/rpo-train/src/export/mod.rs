//! Writes whole models for other programs: diffusers folders and single-file checkpoints.

mod base;
mod folder;
mod import;
mod index;
mod links;
mod parts;
mod single_file;
mod sound;
mod staging;

pub use base::{How, copy_config, copy_configurations, copy_part, copy_rest};
pub use folder::{write_unet, write_weights};
pub use import::{Imported, import};
pub use links::{check_links, check_part_links, refuse_within};
pub use single_file::write as write_single_file;
pub use sound::Sound;
pub use staging::{Staging, refuse_occupied};
