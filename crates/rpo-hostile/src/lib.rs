//! Hostile input for every reader of the project.
//!
//! A [`Case`] is a small folder of files. [`mutate`] changes one at random, knowing what JSON, TOML, safetensors and pictures are
//! made of; a [`Target`] reads it through the same functions as the program; [`judge`] says what must hold of any input. The program
//! `rpo-hostile` repeats this in processes of their own, so that an abort or a hang is found as well (`docs/hostile.md`).

pub mod allocator;
pub mod campaign;
mod case;
mod judge;
pub mod mutate;
mod shrink;
mod target;
pub mod targets;
pub mod worker;

pub use case::Case;
pub use judge::{Fault, Verdict, judge, listen};
pub use target::{Target, ensure_fault, wrong};
