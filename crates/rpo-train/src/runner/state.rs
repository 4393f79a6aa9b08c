//! What a trajectory needs to go on after an interruption, and the record of what it did.
//!
//! `metrics.jsonl` has one line a step and one a validation and never holds a clock, so that an interrupted run ends with the same bytes.
//! `state/latest.json` names the saved weights and moments and how long `metrics.jsonl` was then; lines beyond that are cut off on resume.

use super::step_folders;
use crate::files;
use anyhow::{Context, Result, bail};
use rpo_nn::optim::AdamW;
use rpo_nn::weights::Params;
use rpo_reward::Score;
use rpo_reward::select::Validation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// One line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", from = "Line")]
pub enum Record {
    /// A gradient step.
    Step {
        /// Steps taken, from 1.
        step: usize,
        /// The terms of the loss without their weights, by name: `sim` (Eq. 7), `pref` (Eq. 8), `prior`.
        terms: BTreeMap<String, f64>,
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

/// A line as this version writes it, or as 0.1.0 did, which knew two terms.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    Step {
        step: usize,
        #[serde(default)]
        terms: BTreeMap<String, f64>,
        l_sim: Option<f64>,
        l_pref: Option<f64>,
        loss: f64,
        grad_norm: f64,
    },
    Validation {
        step: usize,
        scores: Vec<Score>,
    },
}

impl From<Line> for Record {
    fn from(line: Line) -> Self {
        match line {
            Line::Step {
                step,
                mut terms,
                l_sim,
                l_pref,
                loss,
                grad_norm,
            } => {
                terms.extend(l_sim.map(|value| ("sim".to_owned(), value)));
                terms.extend(l_pref.map(|value| ("pref".to_owned(), value)));
                Self::Step {
                    step,
                    terms,
                    loss,
                    grad_norm,
                }
            }
            Line::Validation { step, scores } => Self::Validation { step, scores },
        }
    }
}

/// `state/latest.json`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latest {
    /// Steps taken.
    pub step: usize,
    /// Bytes of `metrics.jsonl` that belong to it.
    pub metrics_bytes: u64,
    /// Their hash; states of earlier versions have none.
    #[serde(default)]
    pub metrics_blake3: Option<String>,
    /// Training is over: every rule has stopped, or the limit is reached.
    pub done: bool,
}

/// The trained tensors within a state: those of the U-Net, or A and B of its adapters.
const WEIGHTS: &str = "weights.safetensors";

/// The optimizer's moments within a state.
const MOMENTS: &str = "adamw.safetensors";

/// Folders of kept checkpoints.
const KEPT: [&str; 2] = ["unet", "lora"];

/// The files of a checkpoint of a whole U-Net.
const OF_UNET: [&str; 2] = ["config.json", UNET_WEIGHTS];
const UNET_WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

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
        self.0.join("lora").join(step_folders::name(step))
    }

    /// The U-Net's folder after `step` steps, as diffusers lays it out.
    pub fn unet(&self, step: usize) -> PathBuf {
        self.0.join("unet").join(step_folders::name(step))
    }

    /// Weights within [`Folder::unet`].
    pub fn weights(&self, step: usize) -> PathBuf {
        self.unet(step).join(UNET_WEIGHTS)
    }

    /// Pictures drawn by the checkpoint of `step` for `purpose`.
    pub fn samples(&self, purpose: &str, step: usize) -> PathBuf {
        self.0
            .join("samples")
            .join(purpose)
            .join(step_folders::name(step))
    }

    fn state(&self, step: usize) -> PathBuf {
        self.0.join("state").join(step_folders::name(step))
    }

    /// The state to go on from, if one was saved.
    ///
    /// # Errors
    /// A damaged file, by name.
    pub fn latest(&self) -> Result<Option<Latest>> {
        let path = self.0.join("state/latest.json");
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            _ => files::read_json(&path)
                .with_context(|| self.again())
                .map(Some),
        }
    }

    /// The state to go on from, once the record agrees with it. Nothing is changed.
    ///
    /// # Errors
    /// A state or a record that is damaged, cannot be read, or lacks what the other one names: by file, with the way to train
    /// this trajectory again.
    pub fn checked(&self) -> Result<Option<Latest>> {
        let (latest, record) = (self.latest()?, self.record()?);
        let path = self.metrics();
        let path = path.display();
        match &latest {
            // A kill before the first save leaves no more than the scores of step 0.
            None if record.iter().filter(|b| **b == b'\n').count() > 1 => bail!(
                "{path} has the record of a training, but state/latest.json beside it is gone\n  mend: put it back, or {}",
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
                        "{path} has {there} of {wanted} bytes: it was cut\n  mend: put the whole file back, or {}",
                        self.again()
                    )
                };
                let hash = hash(record);
                if metrics_blake3
                    .as_ref()
                    .is_some_and(|before| *before != hash)
                {
                    bail!(
                        "{path} is not as it was written: its {wanted} bytes have another hash\n  mend: put the file back, or {}",
                        self.again()
                    )
                }
            }
        }
        Ok(latest)
    }

    fn again(&self) -> String {
        format!("delete {} to train this trajectory again", self.0.display())
    }

    /// The bytes of `metrics.jsonl`; none where there is no such file.
    fn record(&self) -> Result<Vec<u8>> {
        match fs::read(self.metrics()) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            read => read.with_context(|| self.metrics().display().to_string()),
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
                .save_state(&folder.join(MOMENTS))
                .with_context(|| files::cannot_write(&folder))?;
        }
        let record = self.record()?;
        files::write_json(
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

    /// Removes what a kill left behind: files that are not whole and states that are not `latest`.
    ///
    /// # Errors
    /// I/O errors.
    pub fn sweep(&self, latest: Option<&Latest>) -> Result<()> {
        rpo_files::sweep(&self.0)?;
        self.keep_state(latest.filter(|l| !l.done).map(|l| l.step))
    }

    fn keep_state(&self, step: Option<usize>) -> Result<()> {
        let keep = step.into_iter().collect();
        step_folders::keep(&self.0.join("state"), &keep, &[WEIGHTS, MOMENTS])
    }

    /// Loads what [`Folder::save`] saved and cuts `metrics.jsonl` back to it.
    ///
    /// # Errors
    /// Damaged or missing files, by name.
    pub fn load(&self, latest: &Latest, params: &Params, optimizer: &mut AdamW) -> Result<()> {
        let folder = self.state(latest.step);
        params.load_values(&folder.join(WEIGHTS))?;
        optimizer.load_state(&folder.join(MOMENTS))?;
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
        let text = String::from_utf8(self.record()?).with_context(|| path.display().to_string())?;
        text.lines()
            .enumerate()
            .map(|(i, line)| {
                serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1))
            })
            .collect()
    }

    /// Removes the weights of every step that `keep` does not hold. `of_lora`: the files of a LoRA's checkpoint.
    ///
    /// # Errors
    /// I/O errors.
    pub fn keep_weights(&self, keep: &BTreeSet<usize>, of_lora: &[&str]) -> Result<()> {
        let [unet, lora] = KEPT.map(|folder| self.0.join(folder));
        step_folders::keep(&unet, keep, &OF_UNET)?;
        step_folders::keep(&lora, keep, of_lora)
    }

    /// Steps whose weights are on disk, in order.
    pub fn kept_steps(&self) -> Vec<usize> {
        let folders = KEPT.map(|folder| step_folders::steps(&self.0.join(folder)));
        let mut steps: Vec<usize> = folders.into_iter().flatten().collect();
        steps.sort_unstable();
        steps
    }
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
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

#[cfg(test)]
mod tests {
    use super::Record;

    #[test]
    fn lines_of_0_1_0_are_read() {
        let old =
            r#"{"kind":"step","step":3,"l_sim":0.5,"l_pref":0.25,"loss":0.75,"grad_norm":2.0}"#;
        let new = r#"{"kind":"step","step":3,"terms":{"pref":0.25,"sim":0.5},"loss":0.75,"grad_norm":2.0}"#;
        let read = |line| serde_json::from_str::<Record>(line).unwrap();
        assert_eq!(read(old), read(new));
        assert_eq!(serde_json::to_string(&read(old)).unwrap(), new);
    }
}
