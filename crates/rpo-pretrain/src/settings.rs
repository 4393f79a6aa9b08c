//! Settings that identify a run: fixed when its state folder is created.

use anyhow::Result;
use rpo_files::failure::BadInput;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The settings of a training, or of the decay of a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Seed of all random streams.
    pub seed: u64,
    /// Samples per step; divides the window.
    pub batch: usize,
    /// The constant learning rate.
    pub learning_rate: f64,
    /// Steps of the warm-up.
    pub warmup: u64,
    /// Decay of the averages.
    pub ema: f64,
    /// Fraction of pictures whose sticker has its own look.
    pub looks: f64,
    /// Pictures in a window.
    pub window: usize,
    /// Number of times each picture is used.
    pub uses: usize,
    /// γ of min-SNR weights; 0: unweighted.
    pub min_snr: f64,
    /// Hash of VAE, text encoder, tokenizer, schedule and the U-Net's configuration.
    pub encoders: String,
    /// Hash of the U-Net's initial weights.
    pub first_weights: String,
    /// First step and number of steps of the decay of a release.
    pub decay: Option<(u64, u64)>,
}

impl Settings {
    /// Checks every value.
    ///
    /// # Errors
    /// [`BadInput`] with the option, its value and its range.
    pub fn check(&self) -> Result<()> {
        let numbers = [
            (
                "learning-rate",
                self.learning_rate,
                0.0..1.0,
                "above 0, below 1",
            ),
            ("ema", self.ema, -1.0..1.0, "from 0, below 1"),
            ("looks", self.looks, -1.0..1.0 + f64::EPSILON, "from 0 to 1"),
            (
                "min-snr",
                self.min_snr,
                -1.0..1e6,
                "from 0 (plain weights); 5 is usual",
            ),
        ];
        for (option, value, range, words) in numbers {
            // A range that includes 0 has a lower end below 0.
            let low = range.start < 0.0 && value == 0.0 || value > range.start.max(0.0);
            if !(low && value < range.end) {
                return Err(BadInput::new(format!(
                    "--{option} {value} is out of range\n  hint: {words}"
                )));
            }
        }
        if self.batch == 0 || self.window < self.batch || !self.window.is_multiple_of(self.batch) {
            return Err(BadInput::new(format!(
                "--window {}, --batch {}: the batch must divide the window\n  hint: --window 1024 --batch 16",
                self.window, self.batch
            )));
        }
        if self.uses == 0 {
            return Err(BadInput::new(
                "--uses 0: a picture must be used at least once",
            ));
        }
        Ok(())
    }

    /// Checks that a state folder has these settings.
    ///
    /// # Errors
    /// [`BadInput`] with the folder and the setting that differs.
    pub fn check_same(&self, kept: &Self, folder: &Path) -> Result<()> {
        let (kept, asked) = (serde_json::to_value(kept)?, serde_json::to_value(self)?);
        let (Some(kept), Some(asked)) = (kept.as_object(), asked.as_object()) else {
            return Ok(());
        };
        let Some((key, value)) = kept
            .iter()
            .find(|(key, value)| asked.get(*key) != Some(value))
        else {
            return Ok(());
        };
        let (folder, now) = (folder.display(), asked.get(key).unwrap_or(value));
        let hint = match key.as_str() {
            "encoders" => {
                "the VAE, text encoder, tokenizer, schedule or U-Net configuration of --model has changed since; give the model that the training began with"
            }
            "first_weights" => "leave --from away to resume, or begin with another --state folder",
            _ => {
                "leave the option as it was, or begin with another --state folder; --from STATE/step-…/averages takes over what was learned"
            }
        };
        Err(BadInput::new(format!(
            "{folder}: `{key}` is {value} there and {now} here\n  hint: {hint}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            seed: 0,
            batch: 16,
            learning_rate: 1e-3,
            warmup: 0,
            ema: 0.,
            looks: 1.,
            window: 1024,
            uses: 1,
            min_snr: 0.,
            encoders: String::new(),
            first_weights: String::new(),
            decay: None,
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        settings().check().unwrap();
        type Change = fn(&mut Settings);
        let wrong: [(&str, Change); 8] = [
            ("--learning-rate 0", |s| s.learning_rate = 0.),
            ("--learning-rate NaN", |s| s.learning_rate = f64::NAN),
            ("--ema 1", |s| s.ema = 1.),
            ("--looks 3", |s| s.looks = 3.),
            ("--min-snr -5", |s| s.min_snr = -5.),
            ("--window 0", |s| s.window = 0),
            ("--batch 5", |s| s.batch = 5),
            ("--uses 0", |s| s.uses = 0),
        ];
        for (named, change) in wrong {
            let mut s = settings();
            change(&mut s);
            let error = s.check().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn other_settings_are_named() {
        let mut kept = settings();
        kept.learning_rate = 2e-3;
        let error = settings().check_same(&kept, Path::new("folder"));
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("folder: `learning_rate` is 0.002 there and 0.001 here"));
        settings()
            .check_same(&settings(), Path::new("folder"))
            .unwrap();
    }
}
