//! Single-file checkpoints: names and shapes against those of the published models, values there and back.

mod common;
mod names;
mod others;
mod values;
