//! What a trajectory needs to go on after an interruption, and the record of what it did.
//!
//! `metrics.jsonl` has one line a step and one a validation and never holds a clock, so that an interrupted run ends with the same bytes.
//! `state/latest.json` names the saved weights and moments and how long `metrics.jsonl` was then; lines beyond that are cut off on resume.

use crate::files;
use anyhow::{Context, Result};
use rpo_nn::optim::AdamW;
use rpo_nn::weights::Params;
use rpo_reward::Score;
use rpo_reward::select::Validation;
use serde::{Deserialize, Serialize};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// A gradient step.
    Step {
        /// Steps taken, from 1.
        step: usize,
        /// L_sim (Eq. 7).
        l_sim: f64,
        /// L_pref (Eq. 8).
        l_pref: f64,
        /// What was minimised.
        loss: f64,
        /// Global gradient norm before clipping.
        grad_norm: f64,
    },
    /// The scores of a checkpoint on the validation prompts.
    Validation {
        /// Steps taken.
        step: usize,
        /// One score a picture, prompt by prompt.
        scores: Vec<Score>,
    },
}

/// `state/latest.json`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latest {
    /// Steps taken.
    pub step: usize,
    /// Bytes of `metrics.jsonl` that belong to it.
    pub metrics_bytes: u64,
    /// Training is over: every rule has stopped, or the limit is reached.
    pub done: bool,
}

/// The trained tensors within a state: those of the U-Net, or A and B of its adapters.
const WEIGHTS: &str = "weights.safetensors";

/// Folders of kept checkpoints.
const KEPT: [&str; 2] = ["unet", "lora"];

/// Folder of one trajectory.
#[derive(Clone, Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    /// `metrics.jsonl`
    pub fn metrics(&self) -> PathBuf {
        self.0.join("metrics.jsonl")
    }

    /// The folder of the adapters after `step` steps, where these are what is trained.
    pub fn lora(&self, step: usize) -> PathBuf {
        self.0.join(format!("lora/step-{step:06}"))
    }

    /// The U-Net's folder after `step` steps, as diffusers lays it out.
    pub fn unet(&self, step: usize) -> PathBuf {
        self.0.join(format!("unet/step-{step:06}"))
    }

    /// Weights within [`Folder::unet`].
    pub fn weights(&self, step: usize) -> PathBuf {
        self.unet(step).join("diffusion_pytorch_model.safetensors")
    }

    /// Pictures drawn by the checkpoint of `step` for `purpose`.
    pub fn samples(&self, purpose: &str, step: usize) -> PathBuf {
        self.0.join(format!("samples/{purpose}/step-{step:06}"))
    }

    fn state(&self, step: usize) -> PathBuf {
        self.0.join(format!("state/step-{step:06}"))
    }

    /// The state to go on from, if one was saved.
    ///
    /// # Errors
    /// A damaged file, by name.
    pub fn latest(&self) -> Result<Option<Latest>> {
        let path = self.0.join("state/latest.json");
        if path.exists() {
            files::read_json(&path).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Saves weights and moments, then points `latest.json` at them, then removes older ones.
    ///
    /// # Errors
    /// I/O errors; the older state then still stands.
    pub fn save(&self, step: usize, params: &Params, optimizer: &AdamW, done: bool) -> Result<()> {
        let folder = self.state(step);
        if !done {
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            params
                .save(&folder.join(WEIGHTS))
                .with_context(|| files::cannot_write(&folder))?;
            optimizer
                .save_state(&folder.join("adamw.safetensors"))
                .with_context(|| files::cannot_write(&folder))?;
        }
        let metrics_bytes = fs::metadata(self.metrics()).map_or(0, |m| m.len());
        files::write_json(
            &self.0.join("state/latest.json"),
            &Latest {
                step,
                metrics_bytes,
                done,
            },
        )?;
        let keep = (!done).then_some(folder);
        remove_others(&self.0.join("state"), |path| keep.as_deref() == Some(path))
    }

    /// Removes what a kill left behind: files that are not whole and states that nothing points to.
    ///
    /// # Errors
    /// I/O errors; a damaged `latest.json`.
    pub fn sweep(&self) -> Result<()> {
        files::sweep(&self.0)?;
        let keep = self
            .latest()?
            .filter(|l| !l.done)
            .map(|l| self.state(l.step));
        remove_others(&self.0.join("state"), |path| keep.as_deref() == Some(path))
    }

    /// Loads what [`Folder::save`] saved and cuts `metrics.jsonl` back to it.
    ///
    /// # Errors
    /// Damaged or missing files, by name.
    pub fn load(&self, latest: &Latest, params: &Params, optimizer: &mut AdamW) -> Result<()> {
        let folder = self.state(latest.step);
        params.load_values(&folder.join(WEIGHTS))?;
        optimizer.load_state(&folder.join("adamw.safetensors"))?;
        self.cut(latest.metrics_bytes)
    }

    /// Cuts `metrics.jsonl` back to `bytes`.
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
        file.and_then(|f| f.set_len(bytes))
            .with_context(|| path.display().to_string())
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
        append().with_context(|| files::cannot_write(&path))
    }

    /// All records of `metrics.jsonl` in order.
    ///
    /// # Errors
    /// A line that is no record, by file and number.
    pub fn records(&self) -> Result<Vec<Record>> {
        let path = self.metrics();
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(Vec::new());
        };
        text.lines()
            .enumerate()
            .map(|(i, line)| {
                serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1))
            })
            .collect()
    }

    /// Removes the weights of every step that `keep` does not hold.
    ///
    /// # Errors
    /// I/O errors.
    pub fn keep_weights(&self, keep: &std::collections::BTreeSet<usize>) -> Result<()> {
        let kept: Vec<PathBuf> = keep
            .iter()
            .flat_map(|s| [self.unet(*s), self.lora(*s)])
            .collect();
        for folder in KEPT {
            remove_others(&self.0.join(folder), |path| kept.iter().any(|k| k == path))?;
        }
        Ok(())
    }

    /// Steps whose weights are on disk, in order.
    pub fn kept_steps(&self) -> Vec<usize> {
        let name = |e: fs::DirEntry| e.file_name().to_str()?.strip_prefix("step-")?.parse().ok();
        let folders = KEPT
            .iter()
            .filter_map(|f| fs::read_dir(self.0.join(f)).ok());
        let mut steps: Vec<usize> = folders.flatten().flatten().filter_map(name).collect();
        steps.sort_unstable();
        steps
    }
}

/// The validations among `records`.
pub fn validations(records: &[Record]) -> Vec<Validation> {
    records
        .iter()
        .filter_map(|r| match r {
            Record::Validation { step, scores } => Some(Validation {
                step: *step,
                scores: scores.clone(),
            }),
            Record::Step { .. } => None,
        })
        .collect()
}

/// Removes the folders in `parent` that `keep` does not want.
fn remove_others(parent: &Path, keep: impl Fn(&Path) -> bool) -> Result<()> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && !keep(&path) {
            fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
