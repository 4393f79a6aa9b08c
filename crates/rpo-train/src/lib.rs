//! Experiment files, plan, runner, checkpoints, selection and report of RPO runs.
//!
//! Data flows one way: [`rpo_experiment`] (file -> resolved) -> [`rpo_experiment::plan`] -> [`runner`] (negatives, training,
//! validation, selection, test pictures) -> [`rpo_report`] (statistics, tables, page). Only this crate reads the clock, the arguments and the
//! environment, and knows what a [`run_folder`] looks like.

pub mod cli;
pub mod device;
pub mod disk;
pub mod embedded;
pub mod export;
pub mod files;
pub mod hub;
pub mod memory;
pub mod paths;
pub mod pool;
pub mod progress;
pub mod run_folder;
pub mod runner;
pub mod speed;
pub mod texts;
