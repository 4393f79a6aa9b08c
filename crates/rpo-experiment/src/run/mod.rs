//! A run folder as it lies on the disk: typed records that need no model to be read.

mod choice;
mod folder;
mod record;
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

pub use choice::{Choices, choices, chosen_steps, is_trained};
pub use folder::{Folder, MOMENTS, WEIGHTS};
pub use record::{Latest, Record, validations};
pub use test::{PictureResult, StepResult};
pub use tested::Tested;
pub use times::{Phase, Times, duration};

/// Version of the records of a run: all files but the plan, which has its own. 1 was that of rpo-train 0.1.0, without terms
/// by name, columns and checksums; it can still be read.
pub const RECORDS: u32 = 2;

/// `run.json`: what the resolved file does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Version of the records.
    #[serde(default = "first")]
    pub records: u32,
    /// Version of the program that began the run.
    pub version: String,
    /// Hash of model, encoders, subjects and arms.
    pub inputs: String,
    /// Threads, SIMD level and kernels' version: bits are the same where these are.
    pub machine: String,
    /// Folder of the experiment file, absolute: relative paths of the resolved file are looked for from here.
    pub experiment_folder: PathBuf,
    /// By key of the experiment file, the repositories and commits that weights were read from; empty where all were folders.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Source>,
    /// How it is computed, where that may change its last bits; runs of earlier versions do not say.
    #[serde(default)]
    pub computed: String,
    /// What the solver is called on the model; runs of earlier versions do not say.
    #[serde(default)]
    pub solver: String,
    /// The cells in order.
    pub cells: Vec<Cell>,
}

/// What `run.json` says in every version.
#[derive(Deserialize)]
struct Versions {
    #[serde(default = "first")]
    records: u32,
    version: String,
}

/// Records that do not say their version.
fn first() -> u32 {
    1
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
    /// A file that is missing, damaged or changed, or of another version, by path.
    pub fn plan(&self) -> Result<Plan> {
        let path = self.plan_path();
        let plan: Plan = input::read_json(&path)?;
        plan.check().with_context(|| path.display().to_string())?;
        Ok(plan)
    }

    /// `run.json`
    ///
    /// # Errors
    /// A file that is missing or damaged, or of records that this program does not know, by path.
    pub fn info(&self) -> Result<RunInfo> {
        let path = self.path.join("run.json");
        // Before what another version may have changed.
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

    /// Whether a cell is trained, its checkpoints chosen and tested.
    ///
    /// # Errors
    /// A record that is damaged, by file.
    pub fn is_finished(&self, plan: &Plan, cell: &Cell) -> Result<bool> {
        Ok(self.tested(plan, cell)?.is_some())
    }

    /// What the files of a cell say, each read once, if it is finished.
    ///
    /// # Errors
    /// A record that is damaged, by file.
    pub fn tested(&self, plan: &Plan, cell: &Cell) -> Result<Option<Tested>> {
        Tested::read(&plan.rules, &self.trajectory(cell))
    }

    /// Time spent on all cells so far, over all starts and processes.
    pub fn times(&self, cells: &[Cell]) -> Times {
        // Where versions before cells kept it.
        let mut times: Times = input::read_json(&self.path.join("times.json")).unwrap_or_default();
        for cell in cells {
            times += self.trajectory(cell).times();
        }
        times
    }
}
