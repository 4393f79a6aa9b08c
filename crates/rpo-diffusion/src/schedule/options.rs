//! Choices in a `scheduler_config.json`.

use serde::Deserialize;

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
