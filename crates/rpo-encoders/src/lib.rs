//! Text and image encoders read from transformers folders: CLIP, ViT, BERT, EfficientNet.
//!
//! Everything here is forward only: the weights are frozen. A folder is what `save_pretrained` writes:
//! `config.json`, `model.safetensors`, and for the input `preprocessor_config.json` and the tokenizer's files.
//! Start with [`dual::DualEncoder`] (pictures and texts in a common space) or [`vit::VitEncoder`] (pictures only).

pub mod activation;
pub mod bert;
pub mod clip;
pub mod dual;
pub mod efficientnet;
pub mod folder;
pub mod image_processor;
pub mod tokenizer;
pub mod vit;

mod embeddings;
mod limits;
mod patches;
mod pooling;
mod projection;
mod transformer;
