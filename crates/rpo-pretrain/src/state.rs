//! The state folder: everything that training goes on from, always whole.
//!
//! Each save is a folder of its own, `step-0000123`, made under another name and renamed; the newest one counts and older
//! ones are removed after it. A kill at any moment leaves the last save.

use crate::batch::Loss;
use crate::failure::BadInput;
use anyhow::{Context, Result};
use rpo_diffusion::UNetConfig;
use rpo_nn::optim::{AdamW, AdamWConfig, Ema};
use rpo_nn::weights::{Params, Precision, pt, write};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// What a run means; fixed when its state folder is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Names every random stream.
    pub seed: u64,
    /// Samples a step.
    pub batch: usize,
    /// The constant learning rate.
    pub learning_rate: f64,
    /// Steps of the warm-up.
    pub warmup: u64,
    /// Decay of the averages.
    pub ema: f64,
    /// Part of the pictures whose sticker has a look of its own.
    pub looks: f64,
    /// Pictures in a window.
    pub window: usize,
    /// How often a picture is used.
    pub uses: usize,
    /// γ of min-SNR weights; 0 for plain ones.
    pub min_snr: f64,
    /// Hash of the weights that it began with and of the encoders.
    pub began_with: String,
    /// First step and number of steps of the decay of a release.
    pub decay: Option<(u64, u64)>,
}

/// A point of the curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Steps made.
    pub step: u64,
    /// Samples seen.
    pub samples: u64,
    /// Seconds of steps and of their data, all starts together; without held-out losses, sheets and saves.
    pub seconds: f64,
    /// Mean error of the training samples since the last point.
    pub training: f64,
    /// Held-out loss of the averaged weights.
    pub held_out: Loss,
}

/// Settings and curve, `record.json` of a save.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What the run means.
    pub settings: Settings,
    /// Steps made.
    pub step: u64,
    /// Seconds of steps and of their data, all starts together; without held-out losses, sheets and saves.
    pub seconds: f64,
    /// Held-out losses so far.
    pub curve: Vec<Point>,
}

/// What is trained.
pub struct State {
    /// Settings, steps and curve.
    pub record: Record,
    /// The weights, as variables.
    pub weights: Params,
    /// Their averages.
    pub averages: Params,
    /// The optimiser.
    pub optimizer: AdamW,
    /// Keeps the averages.
    pub ema: Ema,
}

const RECORD: &str = "record.json";
const WEIGHTS: &str = "weights.safetensors";
const AVERAGES: &str = "averages.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

impl State {
    /// A state whose weights are those of `start`; networks must be built on `weights` and `averages` by `build` before their
    /// variables are known.
    ///
    /// # Errors
    /// Settings out of range.
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
                step: 0,
                seconds: 0.,
                curve: Vec::new(),
            },
        })
    }

    /// Takes over what `save` holds.
    ///
    /// # Errors
    /// Files that are missing, broken or of another network.
    pub fn load(&mut self, save: &Path) -> Result<()> {
        self.weights.load_values(&save.join(WEIGHTS))?;
        self.averages.load_values(&save.join(AVERAGES))?;
        self.optimizer.load_state(&save.join(OPTIMIZER))?;
        self.record = read_record(save)?;
        self.ema = Ema::new(
            self.record.settings.ema,
            self.averages.vars(),
            &self.weights.vars(),
            self.record.step,
        )?;
        Ok(())
    }

    /// Writes a new save into `folder` and removes the older ones.
    ///
    /// # Errors
    /// I/O errors; the older saves are untouched then.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let inner = || -> Result<()> {
            fs::create_dir_all(folder)?;
            let new = tempfile::Builder::new()
                .prefix(".new-")
                .tempdir_in(folder)?;
            self.weights.save(&new.path().join(WEIGHTS))?;
            self.averages.save(&new.path().join(AVERAGES))?;
            self.optimizer.save_state(&new.path().join(OPTIMIZER))?;
            let record = serde_json::to_vec_pretty(&self.record)?;
            fs::write(new.path().join(RECORD), record)?;
            fs::File::open(new.path().join(RECORD))?.sync_all()?;
            let whole = folder.join(format!("{SAVE}{:09}", self.record.step));
            if whole.exists() {
                return Ok(());
            }
            fs::rename(new.keep(), &whole)?;
            for older in saves(folder) {
                if older != whole {
                    fs::remove_dir_all(older)?;
                }
            }
            Ok(())
        };
        let hint =
            "hint: free some space and run the same command again; it resumes from the last save";
        inner().with_context(|| format!("{}: cannot save\n  {hint}", folder.display()))
    }
}

const SAVE: &str = "step-";

fn saves(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|e| e.file_name().to_string_lossy().starts_with(SAVE))
        .map(|e| e.path())
        .filter(|p| p.join(RECORD).is_file())
        .collect();
    found.sort();
    found
}

/// The newest save in `folder`, if there is one. What a kill left half-written is removed.
pub fn newest(folder: &Path) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".new-") {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    saves(folder).pop()
}

/// The record of a save.
///
/// # Errors
/// [`BadInput`] naming the file.
pub fn read_record(save: &Path) -> Result<Record> {
    let path = save.join(RECORD);
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text)
        .map_err(|e| BadInput::new(format!("{}: {e}", path.display())).into())
}

/// Tells which setting of a state folder differs from what is asked.
///
/// # Errors
/// [`BadInput`] naming the folder and the setting.
pub fn check_same(folder: &Path, kept: &Settings, asked: &Settings) -> Result<()> {
    let (kept, asked) = (serde_json::to_value(kept)?, serde_json::to_value(asked)?);
    let (Some(kept), Some(asked)) = (kept.as_object(), asked.as_object()) else {
        return Ok(());
    };
    for (key, value) in kept {
        if asked.get(key) != Some(value) {
            return Err(BadInput::new(format!(
                "{}: `{key}` is {value} there and {} here\n  hint: leave the option as it was, or start with another --state folder (--from takes over the weights)",
                folder.display(),
                asked.get(key).unwrap_or(&serde_json::Value::Null)
            ))
            .into());
        }
    }
    Ok(())
}

/// Writes weights as a `unet` folder in diffusers layout, in f16: `config.json` and one safetensors file, each whole or
/// untouched.
///
/// # Errors
/// I/O errors naming the file.
pub fn write_unet(weights: &Params, config: &Path, to: &Path) -> Result<()> {
    // A folder that cannot be read back is not worth writing.
    UNetConfig::load(config)?;
    fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    let file = to.join("diffusion_pytorch_model.safetensors");
    write(&file, &weights.items(), Precision::F16, &pt())?;
    let copy = to.join("config.json");
    if fs::canonicalize(config).ok() != fs::canonicalize(&copy).ok() {
        fs::copy(config, &copy).with_context(|| copy.display().to_string())?;
    }
    Ok(())
}
