//! `life.json`: the last sign of life of a cell's process, and how its last start ended.
//!
//! For people and schedulers only: no result depends on it, and a missing or damaged file counts as none.

use super::Folder;
use anyhow::Result;
use rpo_files::{input, output};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How often a cell may fail with the same message before a worker refuses to try it again.
pub const MOST_FAILURES: usize = 3;

/// The contents of `life.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Life {
    /// Name of the machine.
    pub host: String,
    /// Number of the process there.
    pub process: u32,
    /// Job of a scheduler, as it names it: `17_4`.
    pub job: Option<String>,
    /// File of the process's messages, if they go to one.
    pub log: Option<PathBuf>,
    /// Device, threads, SIMD level and version of the kernels; empty before the inputs are loaded.
    pub machine: String,
    /// The GPUs that were given to the process, as `CUDA_VISIBLE_DEVICES` names them.
    pub gpus: Option<String>,
    /// Starts of this cell so far.
    pub starts: usize,
    /// Starts in a row that were interrupted before anything was computed.
    pub fruitless: usize,
    /// Seconds since 1970 of the last start.
    pub began: u64,
    /// Seconds since 1970 of the last sign of life.
    pub seen: u64,
    /// What it was doing then: `step 12/240`.
    pub doing: String,
    /// Work of this cell that is done, in U-Net forwards.
    pub done: f64,
    /// Work of this cell in all, at most.
    pub all: f64,
    /// U-Net forwards per second of this start; 0 if not yet known.
    pub rate: f64,
    /// How the last start ended; `None`: it did not, or it was killed.
    pub ended: Option<Ended>,
    /// The last failure, until the cell goes on.
    pub failure: Option<Failure>,
}

/// How a start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The cell is finished.
    Finished,
    /// It was asked to end, and saved what was done.
    Interrupted,
    /// It failed: see [`Life::failure`].
    Failed,
}

/// A failure and how often it came in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The message.
    pub message: String,
    /// Failures with this message, none with another between.
    pub times: usize,
}

impl Life {
    /// The cell failed with this message.
    pub fn fail(&mut self, message: String) {
        let before = self.failure.take().filter(|f| f.message == message);
        self.failure = Some(Failure {
            times: before.map_or(0, |f| f.times) + 1,
            message,
        });
        self.ended = Some(Ended::Failed);
    }

    /// The failure that came too often to try the cell again unasked.
    pub fn given_up(&self) -> Option<&Failure> {
        let failure = self.failure.as_ref();
        failure.filter(|f| self.ended == Some(Ended::Failed) && f.times >= MOST_FAILURES)
    }
}

impl Folder {
    fn life_path(&self) -> PathBuf {
        self.0.join("life.json")
    }

    /// The last sign of life, if there is one.
    pub fn life(&self) -> Option<Life> {
        input::read_json(&self.life_path()).ok()
    }

    /// Forgets failures, so that workers try the cell again.
    pub fn forget_failures(&self) {
        if let Some(mut life) = self.life() {
            life.failure = None;
            // Not written, the worker refuses it once more, and says so.
            let _ = self.write_life(&life);
        }
    }

    /// Writes a sign of life.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_life(&self, life: &Life) -> Result<()> {
        output::write_json(&self.life_path(), life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_failure_counts_up() {
        let mut life = Life::default();
        for message in ["a", "a", "b", "b"] {
            life.fail(message.into());
            assert_eq!(life.given_up(), None);
        }
        life.fail("b".into());
        assert_eq!(life.given_up().map(|f| f.times), Some(3));
        // A start of any kind is another try.
        life.ended = None;
        assert_eq!(life.given_up(), None);
    }

    #[test]
    fn it_comes_back_and_may_be_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let cell = Folder(folder.path().join("a"));
        assert_eq!(cell.life(), None);
        let mut life = Life {
            host: "node3".into(),
            seen: 7,
            ..Life::default()
        };
        life.fail("no space".into());
        cell.write_life(&life).unwrap();
        assert_eq!(cell.life(), Some(life));
        std::fs::write(cell.life_path(), "{\"host\": 3").unwrap();
        assert_eq!(cell.life(), None);
    }
}
