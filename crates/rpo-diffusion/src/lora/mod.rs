//! LoRA files of Stable Diffusion's U-Nets and text encoders: kohya's keys, which every program reads, and PEFT's, which diffusers
//! writes.
//!
//! [`Lora::read`] reads either, in the spellings of many programs, and peft's folders; [`Lora::to_kohya`] and [`Lora::to_peft`] return the bytes of a
//! file. [`Lora::adapters`] matches the modules to a U-Net's tensors, [`Lora::texts`] to
//! a pipeline's text encoders, to be applied on top; [`Lora::merged`] and [`Lora::merged_text`] add them to weights.

mod base;
mod families;
mod file;
mod keys;
mod kinds;
mod left_out;
mod locate;
mod merge;
mod metadata;
mod module;
mod names;
mod network;
mod patterns;
mod peft;
mod peft_keys;
mod prompts;
mod read;
mod text_encoders;
mod text_names;
mod text_networks;
mod unet_names;
mod write;

pub use base::BaseModel;
pub use file::{Format, Lora};
pub use metadata::{About, without_hashes};
pub use names::{Numbering, from_kohya, to_kohya};
pub use prompts::{for_a1111, for_comfyui};
pub use rpo_nn::lora::{Adapters, LoraConfig, LoraInit, LoraModule};
pub use text_encoders::{as_in_encoder, as_released};
