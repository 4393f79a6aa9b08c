//! Single-file checkpoints: names and shapes against those of the published models, values in both directions.

mod common;
mod marks;
mod names;
mod others;
mod spellings;
mod values;
