//! The state of a training, and how it is saved.

use crate::batch::Loss;
use crate::saves::{self, RECORD, Saves};
use crate::settings::Settings;
use anyhow::{Context, Result};
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::say;
use rpo_nn::optim::{AdamW, AdamWConfig, Ema};
use rpo_nn::weights::{Params, Precision, pt, write};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// A point of the curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// Steps done.
    pub step: u64,
    /// Samples seen.
    pub samples: u64,
    /// Seconds of steps and of their data over all starts, without held-out losses, sheets and saves.
    pub seconds: f64,
    /// Mean error of the training samples since the last point.
    pub training: f64,
    /// Held-out loss of the averaged weights.
    pub held_out: Loss,
}

/// Settings and curve, `record.json` of a save.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The settings that identify the run.
    pub settings: Settings,
    /// Version of the kernels and instruction set, on which the last bits depend.
    pub computed_with: String,
    /// Steps done.
    pub step: u64,
    /// Seconds of steps and of their data over all starts.
    pub seconds: f64,
    /// Held-out losses so far.
    pub curve: Vec<Point>,
}

impl Record {
    /// Reads the record of a save.
    ///
    /// # Errors
    /// [`BadInput`] with the file.
    pub fn read(save: &Path) -> Result<Self> {
        let path = save.join(RECORD);
        let text = fs::read(&path).or_bad_input(path.display())?;
        serde_json::from_slice(&text).map_err(|e| {
            BadInput::new(format!(
                "{}: {e}\n  hint: it was written by another version of this program; begin with another --state folder, --from takes over what was learned",
                path.display()
            ))
        })
    }
}

/// The state of a training.
pub struct State {
    /// Settings, steps and curve.
    pub record: Record,
    /// The trained weights, as variables.
    pub weights: Params,
    /// Their moving averages.
    pub averages: Params,
    /// The optimiser.
    pub optimizer: AdamW,
    /// Updates the averages.
    pub ema: Ema,
}

/// Folders of a save in diffusers layout, which `--from` and `score --unet` accept.
const WEIGHTS: &str = "weights";
const AVERAGES: &str = "averages";
/// Moments of the optimiser.
const OPTIMIZER: &str = "optimizer.safetensors";
/// The file of weights in a `unet` folder.
const FILE: &str = "diffusion_pytorch_model.safetensors";

impl State {
    /// A state with the weights of `start`. `build` builds a network on them, after which the variables are known.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn new(
        settings: Settings,
        start: &Params,
        build: impl Fn(&Params) -> Result<()>,
    ) -> Result<Self> {
        let (weights, averages) = (start.deep_copy(true)?, start.deep_copy(true)?);
        build(&weights)?;
        build(&averages)?;
        let config = AdamWConfig {
            lr: settings.learning_rate,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.01,
        };
        Ok(Self {
            optimizer: AdamW::new(config, weights.vars())?,
            ema: Ema::new(settings.ema, averages.vars(), &weights.vars(), 0)?,
            weights,
            averages,
            record: Record {
                settings,
                computed_with: computed_with(),
                step: 0,
                seconds: 0.,
                curve: Vec::new(),
            },
        })
    }

    /// Loads `save`. Prints a note if its last bits were computed with other kernels or instructions.
    ///
    /// # Errors
    /// [`BadInput`] if files are missing, broken or of another network.
    pub fn load(&mut self, save: &Path) -> Result<()> {
        let mut load = || -> candle_core::Result<()> {
            self.weights.load_values(&save.join(WEIGHTS).join(FILE))?;
            self.averages.load_values(&save.join(AVERAGES).join(FILE))?;
            self.optimizer.load_state(&save.join(OPTIMIZER))
        };
        load().or_bad_input("a save that cannot be read")?;
        self.record = Record::read(save)?;
        let now = computed_with();
        if self.record.computed_with != now {
            say!(
                "the last bits so far were computed with {}, from here on with {now}",
                self.record.computed_with
            );
            self.record.computed_with = now;
        }
        let (averages, weights) = (self.averages.vars(), self.weights.vars());
        let record = &self.record;
        self.ema = Ema::new(record.settings.ema, averages, &weights, record.step)?;
        Ok(())
    }

    /// Adds a save; `config` is the `config.json` of the U-Net.
    ///
    /// # Errors
    /// I/O errors; the older saves are then untouched.
    pub fn save(&self, lock: &Saves, config: &Path) -> Result<()> {
        lock.add(self.record.step, |to| {
            write_unet(&self.weights, Precision::F32, config, &to.join(WEIGHTS))?;
            write_unet(&self.averages, Precision::F32, config, &to.join(AVERAGES))?;
            self.optimizer.save_state(&to.join(OPTIMIZER))?;
            saves::write(&to.join(RECORD), &serde_json::to_vec_pretty(&self.record)?)
        })
    }
}

/// Begins the state folder of a release with the contents of `save` and another record.
///
/// # Errors
/// I/O errors; the training may have written a newer save and removed this one.
pub fn copy(save: &Path, record: &Record, lock: &Saves) -> Result<()> {
    lock.add(record.step, |to| {
        for part in [WEIGHTS, AVERAGES] {
            fs::create_dir(to.join(part))?;
            for file in [FILE, "config.json"] {
                copy_file(&save.join(part).join(file), &to.join(part).join(file))?;
            }
        }
        copy_file(&save.join(OPTIMIZER), &to.join(OPTIMIZER))?;
        saves::write(&to.join(RECORD), &serde_json::to_vec_pretty(record)?)
    })
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| from.display().to_string())?;
    let file = fs::File::options().write(true).open(to);
    file.and_then(|f| f.sync_all())
        .with_context(|| to.display().to_string())
}

/// Writes weights as a `unet` folder in diffusers layout: `config.json` and one safetensors file, each whole or untouched.
///
/// # Errors
/// I/O errors, by path.
pub fn write_unet(weights: &Params, precision: Precision, config: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    write(&to.join(FILE), &weights.items(), precision, &pt())?;
    let text = fs::read(config).with_context(|| config.display().to_string())?;
    saves::write(&to.join("config.json"), &text)
}

fn computed_with() -> String {
    let (version, level) = (rpo_nn::KERNELS_VERSION, rpo_nn::simd_level());
    format!("kernels {version}, {level}")
}
