//! The program: verbs, runner, run folders, and where weights are found.
//!
//! Data flows one way: [`rpo_experiment`] (file -> resolved) -> [`rpo_experiment::plan`] -> [`runner`] (negatives, training,
//! validation, selection, test pictures) -> [`rpo_report`] (statistics, tables, page). Of these, only this crate reads the clock,
//! the arguments and the environment.

#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod about_photos;
pub mod best;
pub mod cli;
pub mod conclude;
pub mod device;
pub mod disk;
pub mod embedded;
pub mod export;
pub mod files;
pub mod hub;
pub mod interrupt;
pub mod life;
pub mod memory;
pub mod paths;
pub mod pool;
pub mod progress;
pub mod run_folder;
pub mod runner;
pub mod shell;
pub mod slurm;
pub mod speed;
pub mod standing;
pub mod status;
pub mod texts;
pub mod thing;
