//! A run folder: everything that a run read, did and found, in files of its own.

use crate::failure::BadInput;
use crate::files;
use crate::plan::Cell;
use crate::progress::Times;
use crate::runner::setup::Setup;
use crate::runner::state::Folder;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `run.json`: what the resolved file does not say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Version of the program that began the run.
    pub version: String,
    /// Hash of model, encoders and references.
    pub inputs: String,
    /// Threads, SIMD level and kernels' version: bits are the same where these are.
    pub machine: String,
    /// The cells in order.
    pub cells: Vec<Cell>,
}

/// One run's folder.
pub struct RunFolder {
    /// Where it is.
    pub path: PathBuf,
}

impl RunFolder {
    /// Makes the folder of an experiment, or finds the one an earlier start of the same experiment made.
    ///
    /// Without `out` its name ends in a hash of the resolved file and its inputs, so another setting is another folder.
    ///
    /// # Errors
    /// [`BadInput`] if `out` holds another run; I/O errors.
    pub fn open(setup: &Setup, out: Option<&Path>, cells: &[Cell]) -> Result<Self> {
        let resolved = toml::to_string_pretty(&setup.experiment).context("the resolved experiment")?;
        let path = match out {
            Some(path) => path.to_path_buf(),
            None => {
                let hash = blake3::hash(format!("{resolved}|{}", setup.inputs_hash).as_bytes());
                let name = format!("{}-{}", setup.experiment.name, &hash.to_hex()[..8]);
                Path::new(&setup.experiment.output).join(name)
            }
        };
        let folder = Self { path };
        let written = folder.path.join("resolved.toml");
        if let Ok(before) = std::fs::read_to_string(&written) {
            let info: RunInfo = files::read_json(&folder.path.join("run.json"))?;
            if before != resolved || info.inputs != setup.inputs_hash {
                return Err(BadInput::new(format!(
                    "{}: holds another run (its settings or its inputs differ)\n  mend: name another folder with --out, or leave --out away",
                    folder.path.display()
                )));
            }
            return Ok(folder);
        }
        let info = RunInfo {
            version: env!("CARGO_PKG_VERSION").into(),
            inputs: setup.inputs_hash.clone(),
            machine: machine(),
            cells: cells.to_vec(),
        };
        files::write_json(&folder.path.join("run.json"), &info)?;
        files::write(&written, resolved.as_bytes())?;
        Ok(folder)
    }

    /// Folder of one trajectory.
    pub fn trajectory(&self, cell: &Cell) -> Folder {
        Folder(self.path.join("trajectories").join(&cell.id))
    }

    /// Time spent so far.
    pub fn times(&self) -> Times {
        files::read_json(&self.path.join("times.json")).unwrap_or_default()
    }

    /// Keeps the time spent so far.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_times(&self, times: &Times) -> Result<()> {
        files::write_json(&self.path.join("times.json"), times)
    }
}

/// The device line of reports: `cpu, 2 threads, avx512f`.
pub fn machine() -> String {
    format!("cpu, {} threads, {}", rayon::current_num_threads(), rpo_nn::simd_level())
}
