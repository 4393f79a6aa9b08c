//! Pictures, prompts, subjects and random streams: the inputs of a run before tensors.
//!
//! - [`random`]: named random streams; a draw depends on its name, never on earlier draws.
//! - [`picture`]: decoding photos with EXIF rotation, square crops, antialiased resizing, PNG files written atomically.
//! - [`mask`]: which part of a photo counts, down to the cells of its latents.
//! - [`augment`]: Custom Diffusion's augmentation.
//! - [`resample`]: Pillow's antialiased resizing.
//! - [`subject`]: a folder of photos as a subject with references.
//! - [`prompts`]: prompt templates and the DreamBench prompt sets.
//! - [`stickerbench`]: an unlimited miniature of DreamBench: 64 x 64 scenes with one Twemoji sticker and an exact caption.

pub mod augment;
pub mod mask;
pub mod picture;
pub mod prompts;
pub mod random;
pub mod resample;
pub mod stickerbench;
pub mod subject;
