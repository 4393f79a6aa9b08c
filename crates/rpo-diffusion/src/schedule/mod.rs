//! The noise schedule of a diffusers `scheduler_config.json`.

mod betas;
mod class;
mod config;
mod options;

use std::path::Path;

use candle_core::{Result, Tensor, bail};

use crate::config_check;

pub(crate) use betas::linspace;
pub use class::SchedulerClass;
pub(crate) use class::absent;
pub use config::SchedulerConfig;
pub use options::{
    BetaSchedule, FinalSigmasType, InterpolationType, PredictionType, SolverType, TimestepSpacing,
    TimestepType, VarianceType,
};

/// `x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e`, with `a_t` diffusers' `alphas_cumprod`.
#[derive(Debug, Clone)]
pub struct NoiseSchedule {
    /// `a_t` for t = 0..T, each an f32 value as diffusers computes it; 0 at the end with `rescale_betas_zero_snr`.
    pub alphas_cumprod: Vec<f64>,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// The file, for the solvers.
    pub config: SchedulerConfig,
}

impl NoiseSchedule {
    /// Reads a `scheduler_config.json`. Errors name the file and the key.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_json(&config_check::read(path)?, &path.display().to_string())
    }

    /// Parses the text of a `scheduler_config.json`; `label` names it in errors.
    pub fn from_json(text: &str, label: &str) -> Result<Self> {
        let config = SchedulerConfig::from_json(text, label)?;
        Ok(Self {
            alphas_cumprod: betas::alphas_cumprod(&config, label)?,
            prediction_type: config.prediction_type.unwrap_or_default(),
            config,
        })
    }

    /// The same, as loaded by diffusers' `StableDiffusionPipeline` (not that of SDXL), which changes `steps_offset`.
    pub fn of_stable_diffusion(mut self) -> Self {
        self.config.stable_diffusion = true;
        self
    }

    /// T, the number of training timesteps.
    pub fn num_train_timesteps(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// `(sqrt(a_t), sqrt(1 - a_t))`. Errors when `t >= T`.
    pub fn alpha_sigma(&self, t: usize) -> Result<(f64, f64)> {
        match self.alphas_cumprod.get(t) {
            Some(a) => Ok((a.sqrt(), (1. - a).sqrt())),
            None => bail!(
                "timestep {t} is outside the schedule's 0..{}",
                self.num_train_timesteps()
            ),
        }
    }

    /// `x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e`; tensors `[B, ...]`, one timestep per sample.
    pub fn add_noise(&self, x0: &Tensor, noise: &Tensor, t: &[usize]) -> Result<Tensor> {
        let (alpha, sigma) = self.coefficients(x0, t)?;
        x0.broadcast_mul(&alpha)? + noise.broadcast_mul(&sigma)?
    }

    /// `v = sqrt(a_t) e - sqrt(1 - a_t) x_0`; tensors `[B, ...]`, one timestep per sample.
    pub fn velocity(&self, x0: &Tensor, noise: &Tensor, t: &[usize]) -> Result<Tensor> {
        let (alpha, sigma) = self.coefficients(x0, t)?;
        noise.broadcast_mul(&alpha)? - x0.broadcast_mul(&sigma)?
    }

    /// The target of the network at `x_t`: the noise, the velocity or the clean sample.
    pub fn target(&self, x0: &Tensor, noise: &Tensor, t: &[usize]) -> Result<Tensor> {
        match self.prediction_type {
            PredictionType::Epsilon => Ok(noise.clone()),
            PredictionType::VPrediction => self.velocity(x0, noise, t),
            PredictionType::Sample => Ok(x0.clone()),
        }
    }

    /// Min-SNR weights of the squared error at each timestep (Hang et al. 2023, "Efficient Diffusion Training via Min-SNR
    /// Weighting Strategy"): `min(SNR, γ)` in terms of the clean sample, that is divided by SNR where the network predicts the
    /// noise and by SNR + 1 where it predicts the velocity; `SNR = a_t / (1 - a_t)`. At SNR 0 the noise has weight 1.
    pub fn min_snr_weights(&self, gamma: f64) -> Vec<f64> {
        let times = 0..self.alphas_cumprod.len();
        times.map(|t| self.min_snr_weight(gamma, t)).collect()
    }

    /// That of one timestep of the schedule.
    pub fn min_snr_weight(&self, gamma: f64, t: usize) -> f64 {
        let a = self.alphas_cumprod[t];
        let snr = a / (1. - a);
        match self.prediction_type {
            PredictionType::Epsilon if snr <= gamma => 1.,
            PredictionType::Epsilon => gamma / snr,
            PredictionType::VPrediction => snr.min(gamma) / (snr + 1.),
            PredictionType::Sample => snr.min(gamma),
        }
    }

    /// `sqrt(a_t)` and `sqrt(1 - a_t)` as `[B, 1, ...]`.
    fn coefficients(&self, x0: &Tensor, t: &[usize]) -> Result<(Tensor, Tensor)> {
        let batch = x0.dim(0)?;
        if t.len() != batch {
            bail!(
                "{} timesteps for a batch of {batch}: one a sample is needed",
                t.len()
            );
        }
        let pairs = t
            .iter()
            .map(|&t| self.alpha_sigma(t))
            .collect::<Result<Vec<_>>>()?;
        let mut shape = vec![1; x0.rank()];
        shape[0] = batch;
        let column = |values: Vec<f32>| Tensor::from_vec(values, shape.as_slice(), x0.device());
        Ok((
            column(pairs.iter().map(|p| p.0 as f32).collect())?,
            column(pairs.iter().map(|p| p.1 as f32).collect())?,
        ))
    }
}
