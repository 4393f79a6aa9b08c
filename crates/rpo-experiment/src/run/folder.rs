//! The folder of one trajectory: its record, the state to resume from, and its checkpoints and results.
//!
//! `state/latest.json` names the saved weights and moments and the length of `metrics.jsonl` at that time; later lines are removed
//! on resume.

use super::record::{Latest, Record};
use super::step_folders;
use super::times::Times;
use anyhow::{Context, Result, bail};
use rpo_files::{AtPath, SUMS, input, output};
use rpo_reward::Candidate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// The file of trained tensors in a state: those of the U-Net, or A and B of its adapters.
pub const WEIGHTS: &str = "weights.safetensors";

/// The file of the optimiser's moments in a state.
pub const MOMENTS: &str = "adamw.safetensors";

/// The file of the moving averages of the trained tensors in a state, if they are candidates.
pub const AVERAGES: &str = "ema.safetensors";
/// The file of the same tensors as they were at the start of a round, in a state within it: the round's frozen model.
pub const FROZEN: &str = "frozen.safetensors";

/// The folder of the state to resume from.
const STATE: &str = "state";

/// What is trained.
const TRAINED: &str = "trained.json";

/// What a trajectory trains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrainedInfo {
    /// Number of trained parameters.
    pub parameters: usize,
    /// Bytes of a checkpoint's weights, in one form.
    pub bytes: usize,
}

/// Folder of one trajectory.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// `metrics.jsonl`
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// The folder of a checkpoint; `kind` is what is trained: `unet`, `lora`.
    pub fn checkpoint(&self, kind: &str, of: impl Into<Candidate>) -> PathBuf {
        self.0.join(kind).join(of.into().folder())
    }

    /// The folder of pictures that a checkpoint drew for `purpose`.
    pub fn samples(&self, purpose: &str, of: impl Into<Candidate>) -> PathBuf {
        self.0
            .join("samples")
            .join(purpose)
            .join(of.into().folder())
    }

    /// The folder of the state of `step`: [`WEIGHTS`] and [`MOMENTS`], [`AVERAGES`] where there are, within a round [`FROZEN`].
    pub fn state(&self, step: usize) -> PathBuf {
        self.0.join(STATE).join(Candidate::from(step).folder())
    }

    /// The state to resume from, if one was saved.
    ///
    /// # Errors
    /// A damaged file, by name.
    pub fn latest(&self) -> Result<Option<Latest>> {
        let path = self.0.join("state/latest.json");
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            _ => input::read_json(&path)
                .with_context(|| self.again())
                .map(Some),
        }
    }

    /// The state to resume from, checked against the record. Changes nothing.
    ///
    /// # Errors
    /// If the state or the record is damaged, unreadable, or lacks what the other one refers to: with the file, and how to
    /// train this trajectory again.
    pub fn checked(&self) -> Result<Option<Latest>> {
        Ok(self.checked_record()?.0)
    }

    /// All records in order, checked against the state, from a single read of the file.
    ///
    /// # Errors
    /// Those of [`Folder::checked`] and of [`Folder::records`].
    pub fn checked_records(&self) -> Result<Vec<Record>> {
        self.parse(self.checked_record()?.1)
    }

    /// The saved state and the records that belong to it; before the first state, the whole lines. What was appended since is not
    /// covered by a state, and its last line may be cut: this is for readers while another process trains.
    ///
    /// # Errors
    /// Those of [`Folder::checked`] and of [`Folder::records`].
    pub fn saved(&self) -> Result<(Option<Latest>, Vec<Record>)> {
        // The first state may be saved between the reading of state and record.
        let read = self.checked_record().or_else(|_| self.checked_record());
        let (latest, mut record) = read?;
        let whole = match &latest {
            Some(latest) => latest.metrics_bytes as usize,
            None => record
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1),
        };
        record.truncate(whole);
        Ok((latest, self.parse(record)?))
    }

    fn checked_record(&self) -> Result<(Option<Latest>, Vec<u8>)> {
        let (latest, record) = (self.latest()?, self.record()?);
        let path = self.metrics();
        let path = path.display();
        match &latest {
            // A kill before the first save leaves at most the scores of step 0.
            None if record.iter().filter(|b| **b == b'\n').count() > 1 => bail!(
                "{path} has the record of a training, but state/latest.json beside it is gone\n  hint: put it back, or {}",
                self.again()
            ),
            None => {}
            Some(Latest {
                metrics_bytes,
                metrics_blake3,
                ..
            }) => {
                let (there, wanted) = (record.len(), *metrics_bytes as usize);
                let Some(record) = record.get(..wanted) else {
                    bail!(
                        "{path} has {there} of {wanted} bytes: it was cut\n  hint: put the whole file back, or {}",
                        self.again()
                    )
                };
                let hash = hash(record);
                if metrics_blake3
                    .as_ref()
                    .is_some_and(|before| *before != hash)
                {
                    bail!(
                        "{path} is not as it was written: its {wanted} bytes have another hash\n  hint: put the file back, or {}",
                        self.again()
                    )
                }
            }
        }
        Ok((latest, record))
    }

    /// The hint about a damaged file of this trajectory.
    pub fn again(&self) -> String {
        format!("delete {} to train this trajectory again", self.0.display())
    }

    /// The bytes of `metrics.jsonl`; empty if it does not exist.
    fn record(&self) -> Result<Vec<u8>> {
        match fs::read(self.metrics()) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            read => Ok(read.reading(&self.metrics())?),
        }
    }

    /// The folder of the test results.
    pub fn results(&self) -> PathBuf {
        self.0.join("test")
    }

    /// `times.json`
    pub fn times_path(&self) -> PathBuf {
        self.0.join("times.json")
    }

    /// Time spent so far.
    pub fn times(&self) -> Times {
        input::read_json(&self.times_path()).unwrap_or_default()
    }

    /// Writes the time spent so far.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_times(&self, times: &Times) -> Result<()> {
        output::write_json(&self.times_path(), times)
    }

    /// What is trained, if it was recorded: earlier runs have none.
    pub fn trained(&self) -> Option<TrainedInfo> {
        input::read_json(&self.0.join(TRAINED)).ok()
    }

    /// Records what is trained.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_trained(&self, trained: &TrainedInfo) -> Result<()> {
        output::write_json(&self.0.join(TRAINED), trained)
    }

    /// Points `latest.json` at the saved state of `step`, then removes older states.
    ///
    /// # Errors
    /// I/O errors; the older state then stays valid.
    pub fn point_to(&self, step: usize, done: bool) -> Result<()> {
        let record = self.record()?;
        output::write_json(
            &self.0.join("state/latest.json"),
            &Latest {
                step,
                metrics_bytes: record.len() as u64,
                metrics_blake3: Some(hash(&record)),
                done,
            },
        )?;
        self.keep_state((!done).then_some(step))
    }

    /// Removes what a kill left behind: unfinished files and states other than `latest`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn sweep(&self, latest: Option<&Latest>) -> Result<()> {
        rpo_files::sweep(&self.0)?;
        self.keep_state(latest.filter(|l| !l.done).map(|l| l.step))
    }

    fn keep_state(&self, step: Option<usize>) -> Result<()> {
        let keep = step.into_iter().map(Candidate::from).collect();
        let files = [WEIGHTS, MOMENTS, AVERAGES, FROZEN, SUMS];
        step_folders::keep(&self.0.join(STATE), &keep, &files)
    }

    /// Truncates `metrics.jsonl` to `bytes`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn cut(&self, bytes: u64) -> Result<()> {
        let path = self.metrics();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        Ok(file.and_then(|f| f.set_len(bytes)).writing(&path)?)
    }

    /// Appends lines to `metrics.jsonl`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn append(&self, records: &[Record]) -> Result<()> {
        let mut text = String::new();
        for record in records {
            text += &serde_json::to_string(record)?;
            text.push('\n');
        }
        let path = self.metrics();
        let append = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        Ok(append().writing(&path)?)
    }

    /// All records of `metrics.jsonl` in order.
    ///
    /// # Errors
    /// If a line is not a record, with file and line number.
    pub fn records(&self) -> Result<Vec<Record>> {
        self.parse(self.record()?)
    }

    fn parse(&self, record: Vec<u8>) -> Result<Vec<Record>> {
        let path = self.metrics();
        let text = String::from_utf8(record).with_context(|| path.display().to_string())?;
        text.lines()
            .enumerate()
            .map(|(i, line)| {
                serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1))
            })
            .collect()
    }

    /// Removes the checkpoints that are not in `keep`. `files`: the files of a checkpoint.
    ///
    /// # Errors
    /// I/O errors.
    pub fn keep_checkpoints(
        &self,
        kind: &str,
        keep: &BTreeSet<Candidate>,
        files: &[String],
    ) -> Result<()> {
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        step_folders::keep(&self.0.join(kind), keep, &files)
    }

    /// Checkpoints of this kind on disk, in order.
    pub fn kept(&self, kind: &str) -> Vec<Candidate> {
        step_folders::found(&self.0.join(kind))
    }

    /// As [`Self::kept`], for checkpoints of any kind.
    pub fn all_kept(&self) -> Vec<Candidate> {
        let folders = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let own = |f: &fs::DirEntry| f.file_type().is_ok_and(|t| t.is_dir());
        let folders = folders.filter(|f| own(f) && f.file_name() != STATE);
        let found: BTreeSet<Candidate> = folders
            .flat_map(|folder| step_folders::found(&folder.path()))
            .collect();
        found.into_iter().collect()
    }
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
