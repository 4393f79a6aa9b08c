//! The layout of a run folder: typed records, readable without a model.

mod choice;
mod folder;
mod life;
mod record;
mod so_far;
mod step_folders;
mod test;
mod tested;
mod times;

use crate::layer::Source;
use crate::plan::{Cell, Plan};
use anyhow::{Context, Result};
use rpo_files::failure::BadInput;
use rpo_files::input;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

pub use choice::{Choices, choices, chosen_candidates, is_trained};
pub use folder::{AVERAGES, FROZEN, Folder, MOMENTS, TrainedInfo, WEIGHTS};
pub use life::{Ended, Failure, Life, MOST_FAILURES};
pub use record::{Latest, Record, steps_without_pairs, validations};
pub use so_far::SoFar;
pub use test::{PictureResult, StepResult};
pub use tested::Tested;
pub use times::{Phase, Times, duration};

/// Version of the records of a run: all files except the plan, which has its own version. 1 was that of rpo-train 0.1.0,
/// without terms by name, columns and checksums; it can still be read.
pub const RECORDS: u32 = 2;

/// `run.json`: what the resolved file does not contain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Version of the records.
    #[serde(default = "first")]
    pub records: u32,
    /// Version of the program that began the run.
    pub version: String,
    /// Hash of model, encoders, subjects and arms.
    pub inputs: String,
    /// Threads, SIMD level and version of the kernels: where these are equal, so are the bits.
    pub machine: String,
    /// Folder of the experiment file, absolute: relative paths of the resolved file are searched from here.
    pub experiment_folder: PathBuf,
    /// By key of the experiment file, the repositories and commits that weights were read from; empty if all were folders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Source>,
    /// Settings that may change its last bits; empty in runs of earlier versions.
    #[serde(default)]
    pub computed: String,
    /// Name of the solver on the model; empty in runs of earlier versions.
    #[serde(default)]
    pub solver: String,
    /// Hash of the encoders of reward and evaluation; empty in runs of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub judges: String,
    /// By subject, the hash of its photos; empty in runs of earlier versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub references: BTreeMap<String, String>,
    /// Side of the pictures in pixels; 0 in runs of earlier versions.
    #[serde(default)]
    pub size: u32,
    /// The cells in order.
    pub cells: Vec<Cell>,
}

/// The keys of `run.json` in every version.
#[derive(Deserialize)]
struct Versions {
    #[serde(default = "first")]
    records: u32,
    version: String,
}

/// Version of records that do not state one.
fn first() -> u32 {
    1
}

/// A run's folder.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its path.
    pub path: PathBuf,
}

impl Run {
    /// `plan.json`
    pub fn plan_path(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    /// The plan that it began with.
    ///
    /// # Errors
    /// If the file is missing, damaged, changed or of another version, by path.
    pub fn plan(&self) -> Result<Plan> {
        let path = self.plan_path();
        let plan: Plan = input::read_json(&path)?;
        plan.check().with_context(|| path.display().to_string())?;
        Ok(plan)
    }

    /// `run.json`
    ///
    /// # Errors
    /// If the file is missing or damaged, or the version of the records is unknown, by path.
    pub fn info(&self) -> Result<RunInfo> {
        let path = self.path.join("run.json");
        // Checked before keys that another version may have changed.
        let written: Versions = input::read_json(&path)?;
        if written.records > RECORDS {
            return Err(BadInput::new(format!(
                "{}: records of version {}, this program knows {RECORDS}\n  hint: use rpo-train {}, which wrote them",
                path.display(),
                written.records,
                written.version
            )));
        }
        input::read_json(&path)
    }

    /// Folder of one trajectory.
    pub fn trajectory(&self, cell: &Cell) -> Folder {
        Folder(self.path.join("trajectories").join(&cell.id))
    }

    /// Folder of a trajectory's TensorBoard event files. They hold times, and no result depends on them.
    pub fn events(&self, cell: &Cell) -> PathBuf {
        self.path.join("tensorboard").join(&cell.id)
    }

    /// Whether a cell is trained and its chosen checkpoints are tested.
    ///
    /// # Errors
    /// If a record is damaged, with its file.
    pub fn is_finished(&self, plan: &Plan, cell: &Cell) -> Result<bool> {
        Ok(self.tested(plan, cell)?.is_some())
    }

    /// The contents of a cell's files, each read once, if the cell is finished.
    ///
    /// # Errors
    /// If a record is damaged, with its file.
    pub fn tested(&self, plan: &Plan, cell: &Cell) -> Result<Option<Tested>> {
        Tested::read(&plan.rules, &self.trajectory(cell))
    }

    /// What is saved of a cell that may be unfinished; `None` before its first validation is.
    ///
    /// # Errors
    /// If a record is damaged, with its file.
    pub fn so_far(&self, plan: &Plan, cell: &Cell) -> Result<Option<SoFar>> {
        SoFar::read(&plan.rules, &self.trajectory(cell))
    }

    /// Time spent on all cells so far, over all starts and processes.
    pub fn times(&self, cells: &[Cell]) -> Times {
        // Versions before cells kept the times here.
        let mut times: Times = input::read_json(&self.path.join("times.json")).unwrap_or_default();
        for cell in cells {
            times += self.trajectory(cell).times();
        }
        times
    }
}
