//! The noise schedule of a diffusers `scheduler_config.json`.

use std::path::Path;

use candle_core::{Error, Result, Tensor, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config_check::{self, Neutral};

/// What the network was trained to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise `e`.
    Epsilon,
    /// The velocity `v = sqrt(a_t) e - sqrt(1 - a_t) x_0` (Salimans & Ho 2022).
    VPrediction,
}

/// How a solver spreads its steps over the training timesteps (Lin et al. 2024, Table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestepSpacing {
    /// Counted from the start, every `T / steps`.
    Leading,
    /// Counted back from `T`.
    Trailing,
    /// Both ends included.
    Linspace,
}

/// The part of `scheduler_config.json` that matters here; the rest is checked to be neutral.
#[derive(Debug, Deserialize)]
struct SchedulerConfig {
    #[serde(rename = "_class_name", default)]
    class_name: Option<String>,
    #[serde(default = "default_timesteps")]
    num_train_timesteps: usize,
    #[serde(default = "default_beta_start")]
    beta_start: f64,
    #[serde(default = "default_beta_end")]
    beta_end: f64,
    #[serde(default = "default_beta_schedule")]
    beta_schedule: String,
    #[serde(default)]
    trained_betas: Option<Vec<f32>>,
    #[serde(default = "default_prediction")]
    prediction_type: String,
    #[serde(default = "default_true")]
    set_alpha_to_one: bool,
    #[serde(default)]
    steps_offset: usize,
    #[serde(default)]
    timestep_spacing: Option<TimestepSpacing>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn default_timesteps() -> usize {
    1000
}
fn default_beta_start() -> f64 {
    0.0001
}
fn default_beta_end() -> f64 {
    0.02
}
fn default_beta_schedule() -> String {
    "linear".into()
}
fn default_prediction() -> String {
    "epsilon".into()
}
fn default_true() -> bool {
    true
}

const CLASSES: [&str; 4] = [
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "DPMSolverMultistepScheduler",
];

/// Keys that other values would give another trajectory or schedule; with these values they say nothing.
const NEUTRAL: &[Neutral] = &[
    Neutral::only("thresholding", &["false"]),
    Neutral::only("rescale_betas_zero_snr", &["false"]),
    Neutral::only("algorithm_type", &["\"dpmsolver++\""]),
    Neutral::only("solver_order", &["2"]),
    Neutral::only("solver_type", &["\"midpoint\""]),
    Neutral::only("final_sigmas_type", &["\"zero\""]),
    Neutral::only("euler_at_final", &["false"]),
    Neutral::only("use_karras_sigmas", &["false", "null"]),
    Neutral::only("use_exponential_sigmas", &["false", "null"]),
    Neutral::only("use_beta_sigmas", &["false", "null"]),
    Neutral::only("use_lu_lambdas", &["false", "null"]),
    Neutral::only("use_flow_sigmas", &["false", "null"]),
    Neutral::only("use_dynamic_shifting", &["false", "null"]),
    Neutral::only("lambda_min_clipped", &["null"]),
    Neutral::only(
        "variance_type",
        &["null", "\"fixed_small\"", "\"fixed_large\""],
    ),
    // Latents are never clipped: diffusers' Stable Diffusion pipeline switches this off, whatever the file says.
    Neutral::any("clip_sample"),
    Neutral::any("clip_sample_range"),
    Neutral::any("dynamic_thresholding_ratio"),
    Neutral::any("sample_max_value"),
    Neutral::any("skip_prk_steps"),
    Neutral::any("lower_order_final"),
    Neutral::any("flow_shift"),
    Neutral::any("time_shift_type"),
];

/// `x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e`, with `a_t` diffusers' `alphas_cumprod`.
#[derive(Debug, Clone)]
pub struct NoiseSchedule {
    /// `a_t` for t = 0..T, each an f32 value as diffusers computes it.
    pub alphas_cumprod: Vec<f64>,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// Whether DDIM's last step ends at `a = 1` (else at `a_0`).
    pub set_alpha_to_one: bool,
    /// Added to the timesteps of `leading` spacing.
    pub steps_offset: usize,
    /// The spacing the file names; `None` leaves each solver its own default, as diffusers does.
    pub timestep_spacing: Option<TimestepSpacing>,
}

impl NoiseSchedule {
    /// Reads a `scheduler_config.json`. Errors name the file and the key.
    pub fn load(path: &Path) -> Result<Self> {
        Self::from_json(&config_check::read(path)?, &path.display().to_string())
    }

    /// Parses the text of a `scheduler_config.json`; `label` names it in errors.
    pub fn from_json(text: &str, label: &str) -> Result<Self> {
        // Python writes infinities that JSON does not know.
        let text = text.replace("-Infinity", "null");
        let c: SchedulerConfig =
            serde_json::from_str(&text).map_err(|e| Error::msg(format!("{label}: {e}")))?;
        if let Some(class) = c.class_name.as_deref().filter(|x| !CLASSES.contains(x)) {
            bail!("{label}: scheduler class {class:?} is not supported, use one of {CLASSES:?}");
        }
        config_check::refuse_others(label, &c.rest, NEUTRAL)?;
        let prediction_type = match c.prediction_type.as_str() {
            "epsilon" => PredictionType::Epsilon,
            "v_prediction" => PredictionType::VPrediction,
            other => bail!(
                "{label}: prediction_type {other:?} is not supported, only \"epsilon\" and \"v_prediction\" are"
            ),
        };
        let betas = betas(&c, label)?;
        Ok(Self {
            alphas_cumprod: cumulative_product(&betas),
            prediction_type,
            set_alpha_to_one: c.set_alpha_to_one,
            steps_offset: c.steps_offset,
            timestep_spacing: c.timestep_spacing,
        })
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

    /// `x_t = sqrt(a_t) x_0 + sqrt(1 - a_t) e`; tensors `[B, ...]`, one timestep a sample.
    pub fn add_noise(&self, x0: &Tensor, noise: &Tensor, t: &[usize]) -> Result<Tensor> {
        let (alpha, sigma) = self.coefficients(x0, t)?;
        x0.broadcast_mul(&alpha)? + noise.broadcast_mul(&sigma)?
    }

    /// `v = sqrt(a_t) e - sqrt(1 - a_t) x_0`; tensors `[B, ...]`, one timestep a sample.
    pub fn velocity(&self, x0: &Tensor, noise: &Tensor, t: &[usize]) -> Result<Tensor> {
        let (alpha, sigma) = self.coefficients(x0, t)?;
        noise.broadcast_mul(&alpha)? - x0.broadcast_mul(&sigma)?
    }

    /// What the network should predict at `x_t`: the noise, or the velocity.
    pub fn target(&self, x0: &Tensor, noise: &Tensor, t: &[usize]) -> Result<Tensor> {
        match self.prediction_type {
            PredictionType::Epsilon => Ok(noise.clone()),
            PredictionType::VPrediction => self.velocity(x0, noise, t),
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

/// The betas in f32, rounded where PyTorch rounds.
fn betas(c: &SchedulerConfig, label: &str) -> Result<Vec<f32>> {
    let n = c.num_train_timesteps;
    let betas = match (&c.trained_betas, c.beta_schedule.as_str()) {
        (Some(betas), _) => betas.clone(),
        (None, "linear") => linspace(c.beta_start, c.beta_end, n),
        (None, "scaled_linear") => linspace(c.beta_start.sqrt(), c.beta_end.sqrt(), n)
            .into_iter()
            .map(|b| b * b)
            .collect(),
        (None, "squaredcos_cap_v2") => {
            // Nichol & Dhariwal 2021, Eq. 17, with betas capped at 0.999.
            let alpha_bar = |t: f64| {
                ((t + 0.008) / 1.008 * std::f64::consts::FRAC_PI_2)
                    .cos()
                    .powi(2)
            };
            (0..n)
                .map(|i| {
                    let (t1, t2) = (i as f64 / n as f64, (i + 1) as f64 / n as f64);
                    (1. - alpha_bar(t2) / alpha_bar(t1)).min(0.999) as f32
                })
                .collect()
        }
        (None, other) => bail!(
            "{label}: beta_schedule {other:?} is not supported, only \"linear\", \"scaled_linear\" and \"squaredcos_cap_v2\" are"
        ),
    };
    if betas.is_empty() || betas.iter().any(|b| !(*b > 0. && *b < 1.)) {
        bail!("{label}: betas must be at least one number, all in (0, 1)");
    }
    Ok(betas)
}

/// `torch.linspace(..., dtype=float32)`: steps from both ends in f32.
fn linspace(start: f64, end: f64, n: usize) -> Vec<f32> {
    let (start, end) = (start as f32, end as f32);
    let step = (end - start) / (n.max(2) - 1) as f32;
    (0..n)
        .map(|i| {
            if i < n / 2 {
                step.mul_add(i as f32, start)
            } else {
                (-step).mul_add((n - 1 - i) as f32, end)
            }
        })
        .collect()
}

/// `torch.cumprod(1 - betas)`: accumulated in f64, every value stored as f32.
fn cumulative_product(betas: &[f32]) -> Vec<f64> {
    betas
        .iter()
        .scan(1f64, |a, beta| {
            *a *= f64::from(1f32 - beta);
            Some(f64::from(*a as f32))
        })
        .collect()
}
