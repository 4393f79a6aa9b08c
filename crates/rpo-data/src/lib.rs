//! Pictures and words: everything a run reads before a tensor exists.
//!
//! - [`random`]: named random streams; a draw depends on its name, never on what was drawn before it.
//! - [`picture`]: decoding photos as a person sees them, square crops, antialiased resizing, PNG files that are whole or absent.
//! - [`resample`]: Pillow's antialiased resizing.
//! - [`subject`]: a folder of photos as a subject with references.
//! - [`prompts`]: prompt templates and the DreamBench prompt sets.
//! - [`stickerbench`]: an endless miniature of DreamBench: 64 x 64 scenes with one Twemoji sticker and an exact caption.

mod jpeg;
pub mod picture;
pub mod prompts;
pub mod random;
pub mod resample;
pub mod stickerbench;
pub mod subject;
