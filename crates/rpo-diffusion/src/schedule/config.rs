//! A diffusers `scheduler_config.json`.

use candle_core::{Error, Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config_check::{self, Neutral};

/// A scheduler class of diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[allow(missing_docs, reason = "diffusers' names say it")]
pub enum SchedulerClass {
    DDPMScheduler,
    DDIMScheduler,
    PNDMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    DPMSolverMultistepScheduler,
}

/// What the network was trained to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PredictionType {
    /// The noise `e`.
    #[default]
    Epsilon,
    /// The velocity `v = sqrt(a_t) e - sqrt(1 - a_t) x_0` (Salimans & Ho 2022).
    VPrediction,
    /// The clean sample `x_0`.
    Sample,
}

/// How the betas follow from `beta_start` and `beta_end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Linear between the two.
    #[default]
    Linear,
    /// Linear between their square roots, then squared: Stable Diffusion's.
    ScaledLinear,
    /// From Nichol & Dhariwal's cosine `a_t`, capped at 0.999; ignores the two.
    SquaredcosCapV2,
}

/// How a solver spreads its steps over the training timesteps (Lin et al. 2024, Table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestepSpacing {
    /// Counted from the start, every `T / steps`, plus `steps_offset`.
    Leading,
    /// Counted back from `T`.
    Trailing,
    /// Both ends included.
    Linspace,
}

/// Sigmas without a Karras schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterpolationType {
    /// Interpolated at the timesteps between those of training.
    #[default]
    Linear,
    /// Evenly in `ln sigma`, whatever the timesteps.
    LogLinear,
}

/// The timestep input of the network in Euler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestepType {
    /// The timestep.
    #[default]
    Discrete,
    /// `ln(sigma) / 4`, if the network predicts the velocity.
    Continuous,
}

/// Where the last step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalSigmasType {
    /// At zero noise.
    #[default]
    Zero,
    /// At the lowest noise of training.
    SigmaMin,
}

/// The variance of DDPM's steps (Ho et al. 2020, section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VarianceType {
    /// That of the posterior: the lower bound.
    #[default]
    #[serde(alias = "fixed_small_log")]
    FixedSmall,
    /// `beta_t`: the upper bound.
    FixedLarge,
}

/// How DPM-Solver++'s second order term is weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SolverType {
    /// As Algorithm 2 of the paper. diffusers also maps other classes' values of this key to it.
    #[default]
    #[serde(alias = "logrho", alias = "bh1", alias = "bh2")]
    Midpoint,
    /// As its appendix's Heun form.
    Heun,
}

/// The relevant keys of a `scheduler_config.json`. For an absent or null key each solver uses its own default, as diffusers'
/// `from_config` does, and a solver reads only the keys of its class.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// The class that the model was published with.
    #[serde(rename = "_class_name")]
    pub class: Option<SchedulerClass>,
    /// T; by default 1000.
    pub num_train_timesteps: Option<usize>,
    /// By default 0.0001.
    pub beta_start: Option<f64>,
    /// By default 0.02.
    pub beta_end: Option<f64>,
    /// By default linear.
    pub beta_schedule: Option<BetaSchedule>,
    /// The betas themselves, instead of the above.
    pub trained_betas: Option<Vec<f32>>,
    /// Rescales the betas so that no signal is left at T (Lin et al. 2024, Algorithm 1).
    pub rescale_betas_zero_snr: Option<bool>,
    /// By default the noise.
    pub prediction_type: Option<PredictionType>,
    /// By default leading for DDPM, DDIM and PNDM, else linspace.
    pub timestep_spacing: Option<TimestepSpacing>,
    /// Added to the timesteps of leading spacing; by default 0.
    pub steps_offset: Option<usize>,
    /// DDIM, PNDM: whether the last step ends at `a = 1`, else at `a_0`; by default DDIM yes, PNDM no.
    pub set_alpha_to_one: Option<bool>,
    /// PNDM: omits its Runge-Kutta start; by default no.
    pub skip_prk_steps: Option<bool>,
    /// DDPM: by default that of the posterior.
    pub variance_type: Option<VarianceType>,
    /// Euler, DPM-Solver++: the sigmas of Karras et al. 2022, Eq. 5; by default no.
    pub use_karras_sigmas: Option<bool>,
    /// The lowest Karras sigma before the last one; by default that of the steps or of training.
    pub sigma_min: Option<f64>,
    /// The highest Karras sigma.
    pub sigma_max: Option<f64>,
    /// Euler, DPM-Solver++: by default zero.
    pub final_sigmas_type: Option<FinalSigmasType>,
    /// Euler: by default linear.
    pub interpolation_type: Option<InterpolationType>,
    /// Euler: by default discrete.
    pub timestep_type: Option<TimestepType>,
    /// DPM-Solver++: 1 or 2; by default 2.
    pub solver_order: Option<usize>,
    /// DPM-Solver++: by default midpoint.
    pub solver_type: Option<SolverType>,
    /// DPM-Solver++: first order in the last step if there are fewer than 15 steps; by default yes.
    pub lower_order_final: Option<bool>,
    /// DPM-Solver++: first order in the last step always; by default no.
    pub euler_at_final: Option<bool>,
    /// DPM-Solver++: timesteps with a smaller `ln(alpha / sigma)` are omitted; by default none.
    pub lambda_min_clipped: Option<f64>,
    /// Whether the file belongs to a `StableDiffusionPipeline`: see `docs/schedulers.md` on `steps_offset`.
    #[serde(skip)]
    pub stable_diffusion: bool,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Keys whose other values would give another trajectory or schedule; these values have no effect.
const NEUTRAL: &[Neutral] = &[
    Neutral::only("thresholding", &["false", "null"]),
    Neutral::only("algorithm_type", &["\"dpmsolver++\"", "\"deis\""]),
    Neutral::only("use_exponential_sigmas", &["false", "null"]),
    Neutral::only("use_beta_sigmas", &["false", "null"]),
    Neutral::only("use_lu_lambdas", &["false", "null"]),
    Neutral::only("use_flow_sigmas", &["false", "null"]),
    Neutral::only("use_dynamic_shifting", &["false", "null"]),
    // Latents are never clipped: diffusers' Stable Diffusion pipeline disables this regardless of the file.
    Neutral::any("clip_sample"),
    Neutral::any("clip_sample_range"),
    Neutral::any("dynamic_thresholding_ratio"),
    Neutral::any("sample_max_value"),
    Neutral::any("flow_shift"),
    Neutral::any("time_shift_type"),
];

impl SchedulerConfig {
    /// Parses the text of a `scheduler_config.json`; `label` names it in errors.
    pub(super) fn from_json(text: &str, label: &str) -> Result<Self> {
        // Python writes infinities, which are not valid JSON.
        let text = text.replace("-Infinity", "null");
        let config: Self =
            serde_json::from_str(&text).map_err(|e| Error::msg(format!("{label}: {e}")))?;
        config_check::refuse_others(label, &config.rest, NEUTRAL)?;
        if let Some(order) = config.solver_order.filter(|o| !(1..=2).contains(o)) {
            bail!("{label}: solver_order = {order} is not supported, only 1 or 2");
        }
        for (key, sigma) in [
            ("sigma_min", config.sigma_min),
            ("sigma_max", config.sigma_max),
        ] {
            if let Some(sigma) = sigma.filter(|s| *s <= 0.) {
                bail!("{label}: {key} = {sigma} must be above 0, or null");
            }
        }
        if let (Some(n), Some(betas)) = (config.num_train_timesteps, &config.trained_betas)
            && n != betas.len()
        {
            bail!(
                "{label}: num_train_timesteps = {n}, but trained_betas has {} numbers; the two must agree",
                betas.len()
            );
        }
        Ok(config)
    }

    /// `steps_offset` for a solver of the file's own class (`native`) or another.
    ///
    /// diffusers' `StableDiffusionPipeline` (not that of SDXL) sets it to 1 on loading; if the file does not have the key, this
    /// applies to the file's own class only, since `from_config` skips defaults.
    pub(crate) fn steps_offset(&self, native: bool) -> usize {
        match (self.steps_offset, self.stable_diffusion) {
            (Some(_), true) => 1,
            (None, true) if native => 1,
            (offset, _) => offset.unwrap_or(0),
        }
    }
}
