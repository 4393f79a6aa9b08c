//! Every reader of outside data, with valid inputs to begin from.

mod checkpoints;
mod configs;
mod embeddings;
mod encoders;
mod experiment;
mod hub;
mod lora;
mod made;
mod pictures;
mod prompt_lists;
mod prompts;
mod records;
mod schedule;
mod tokenizers;
mod weights;

use crate::target::Target;

/// All of them.
pub const ALL: &[Target] = &[
    weights::SAFETENSORS,
    weights::SHARDS,
    lora::FILE,
    lora::FOLDER,
    lora::INFO,
    lora::MERGE,
    embeddings::FILE,
    configs::UNET,
    configs::VAE,
    encoders::CLIP,
    encoders::ALIGN,
    encoders::VIT,
    encoders::PROCESSOR,
    schedule::SCHEDULE,
    tokenizers::CLIP,
    tokenizers::SAVED,
    tokenizers::WORDPIECE,
    checkpoints::MODEL,
    checkpoints::EXPORT,
    checkpoints::IMPORT,
    pictures::PICTURE,
    pictures::PHOTOS,
    prompts::PROMPTS,
    prompt_lists::LIST,
    experiment::EXPERIMENT,
    experiment::PLAN,
    records::REPORT,
    records::SUMS_FILE,
    hub::HUB,
];
