//! Cells as elements of Slurm's job arrays.

pub mod array;
pub mod commands;
pub mod options;
pub mod script;
