//! The arguments that select an experiment, the same for every verb that takes one.

use super::given;
use crate::run_folder::RunFolder;
use anyhow::Result;
use clap::Args;
use rpo_experiment::{Experiment, Layers};
use rpo_files::tell;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct ExperimentArgs {
    /// Experiment file, or the name of a built-in one, for example quickstart (`rpo-train experiments` lists them)
    pub(super) experiment: PathBuf,
    /// TOML files whose keys replace those of the experiment, or names of built-in sizes, for example paper
    #[arg(long = "with", value_name = "FILE")]
    pub(super) overlays: Vec<PathBuf>,
    /// Replace one key: --set training.steps=40
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl ExperimentArgs {
    /// For a run in `out`, or where its name says: tells what overlays change, and keeps to the commits that the run read.
    pub(super) fn read_for(&self, out: Option<&Path>) -> Result<(Experiment, Layers)> {
        let (experiment, mut layers) = self.read()?;
        for change in &layers.changes {
            tell!("changed: {change}");
        }
        if let Some(out) = out {
            layers.sources = RunFolder::sources(out);
        }
        Ok((experiment, layers))
    }

    pub(super) fn read(&self) -> Result<(Experiment, Layers)> {
        given::want_experiment(&self.experiment)?;
        rpo_experiment::read(&self.experiment, &self.overlays, &self.sets)
    }
}
