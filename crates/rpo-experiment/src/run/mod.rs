//! A run folder as it lies on the disk: typed records that need no model to be read.

mod choice;
mod folder;
mod record;
mod step_folders;
mod test;
mod times;

use crate::plan::{Cell, Plan};
use crate::source::Source;
use anyhow::Result;
use rpo_files::{input, output};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use choice::{Choices, choices, chosen_steps, is_trained};
pub use folder::{Folder, MOMENTS, WEIGHTS};
pub use record::{Latest, Record, validations};
pub use test::{PictureResult, StepResult, result_path};
pub use times::{Phase, Times, duration};

/// `run.json`: what the resolved file does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Version of the program that began the run.
    pub version: String,
    /// Hash of model, encoders, subjects, arms and kernels.
    pub inputs: String,
    /// Threads, SIMD level and kernels' version: bits are the same where these are.
    pub machine: String,
    /// Folder of the experiment file, absolute: relative paths of the resolved file are looked for from here.
    pub experiment_folder: PathBuf,
    /// By key of the experiment file, the repositories and commits that weights were read from; empty where all were folders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Source>,
    /// What the solver is called on the model; runs of earlier versions do not say.
    #[serde(default)]
    pub solver: String,
    /// The cells in order.
    pub cells: Vec<Cell>,
}

/// A run's folder, to be read.
#[derive(Clone, Debug)]
pub struct Run {
    /// Where it is.
    pub path: PathBuf,
}

impl Run {
    /// `plan.json`
    pub fn plan_path(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    /// The plan that it was begun with.
    ///
    /// # Errors
    /// A file that is missing or damaged, by path.
    pub fn plan(&self) -> Result<Plan> {
        input::read_json(&self.plan_path())
    }

    /// `run.json`
    ///
    /// # Errors
    /// A file that is missing or damaged, by path.
    pub fn info(&self) -> Result<RunInfo> {
        input::read_json(&self.path.join("run.json"))
    }

    /// Folder of one trajectory.
    pub fn trajectory(&self, cell: &Cell) -> Folder {
        Folder(self.path.join("trajectories").join(&cell.id))
    }

    /// Time spent so far.
    pub fn times(&self) -> Times {
        input::read_json(&self.path.join("times.json")).unwrap_or_default()
    }

    /// Keeps the time spent so far.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_times(&self, times: &Times) -> Result<()> {
        output::write_json(&self.path.join("times.json"), times)
    }
}
