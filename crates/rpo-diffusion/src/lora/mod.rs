//! LoRA files of Stable Diffusion U-Nets: kohya's keys, which every program reads, and PEFT's, which diffusers writes.
//!
//! [`Lora::read`] reads either, and diffusers' two older formats; [`Lora::to_kohya`] and [`Lora::to_peft`] return the bytes of a
//! file. [`Lora::adapters`] matches the modules to a U-Net's tensors, to be applied on top or merged.

mod base;
mod file;
mod merge;
mod metadata;
mod names;
mod read;
mod write;

pub use base::BaseModel;
pub use file::{Format, Lora};
pub use metadata::{About, without_hashes};
pub use names::{Numbering, from_kohya, to_kohya};
pub use rpo_nn::lora::{Adapters, LoraConfig, LoraModule};
