//! Solvers of the probability-flow ODE, from noise to latents.

mod ddim;
mod dpmpp_2m;

use candle_core::{Result, Tensor, bail};

use crate::schedule::{NoiseSchedule, PredictionType, TimestepSpacing};

pub use ddim::ddim;
pub use dpmpp_2m::dpmpp_2m;

/// Which solver to sample with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// DDIM with eta = 0: first order.
    Ddim,
    /// DPM-Solver++(2M): second order, one network evaluation a step.
    #[serde(rename = "dpmpp_2m")]
    DpmSolverPp2m,
}

/// A point of the forward process: `x = alpha x_0 + sigma e`, `alpha² + sigma² = 1`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    /// `sqrt(a_t)`.
    pub alpha: f64,
    /// `sqrt(1 - a_t)`.
    pub sigma: f64,
}

impl Level {
    fn of(alpha_cumprod: f64) -> Self {
        Self {
            alpha: alpha_cumprod.sqrt(),
            sigma: (1. - alpha_cumprod).sqrt(),
        }
    }

    /// Half the log signal-to-noise ratio, `ln(alpha / sigma)`; infinite without noise.
    pub fn lambda(self) -> f64 {
        (self.alpha / self.sigma).ln()
    }
}

/// One solver step: the network is asked at `t`, the sample moves between two levels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The timestep given to the network.
    pub t: usize,
    /// Where the sample stands.
    pub from: Level,
    /// Where it goes.
    pub to: Level,
}

/// Splits a network output at level `at` into its estimates `(x_0, e)`.
pub fn estimates(
    prediction: PredictionType,
    x: &Tensor,
    output: &Tensor,
    at: Level,
) -> Result<(Tensor, Tensor)> {
    let Level { alpha, sigma } = at;
    match prediction {
        PredictionType::Epsilon => {
            let x0 = ((x - (output * sigma)?)? / alpha)?;
            Ok((x0, output.clone()))
        }
        PredictionType::VPrediction => {
            let x0 = ((x * alpha)? - (output * sigma)?)?;
            let e = ((output * alpha)? + (x * sigma)?)?;
            Ok((x0, e))
        }
    }
}

impl Solver {
    /// The steps of this solver, noisiest first, spaced as diffusers' `DDIMScheduler` or
    /// `DPMSolverMultistepScheduler` built `from_config` of the same file. Errors unless `1 <= steps < T`.
    pub fn steps(self, schedule: &NoiseSchedule, steps: usize) -> Result<Vec<Step>> {
        let train = schedule.num_train_timesteps();
        if steps == 0 || steps >= train {
            bail!(
                "{steps} solver steps: at least 1 and fewer than the {train} training timesteps are needed"
            );
        }
        let timesteps = self.timesteps(schedule, steps);
        let level = |t: usize| {
            schedule
                .alpha_sigma(t)
                .map(|(alpha, sigma)| Level { alpha, sigma })
        };
        let clean = match self {
            Self::Ddim if !schedule.set_alpha_to_one => Level::of(schedule.alphas_cumprod[0]),
            _ => Level::of(1.),
        };
        timesteps
            .iter()
            .enumerate()
            .map(|(i, &t)| {
                // DDIM goes back a fixed stride, DPM-Solver to the next timestep of the list.
                let next = match self {
                    Self::Ddim => t.checked_sub(train / steps),
                    Self::DpmSolverPp2m => timesteps.get(i + 1).copied(),
                };
                let to = next.map_or(Ok(clean), level)?;
                Ok(Step {
                    t,
                    from: level(t)?,
                    to,
                })
            })
            .collect()
    }

    fn timesteps(self, schedule: &NoiseSchedule, steps: usize) -> Vec<usize> {
        let train = schedule.num_train_timesteps();
        let (spacing, nodes) = match self {
            Self::Ddim => (TimestepSpacing::Leading, steps),
            // The grid has one node more, the clean end, which is dropped.
            Self::DpmSolverPp2m => (TimestepSpacing::Linspace, steps + 1),
        };
        let round = |x: f64| x.round_ties_even() as usize;
        let ascending: Vec<usize> = match schedule.timestep_spacing.unwrap_or(spacing) {
            TimestepSpacing::Leading => (0..nodes)
                .map(|i| i * (train / nodes) + schedule.steps_offset)
                .collect(),
            TimestepSpacing::Linspace => {
                let stride = (train - 1) as f64 / (nodes.max(2) - 1) as f64;
                (0..nodes).map(|i| round(i as f64 * stride)).collect()
            }
            TimestepSpacing::Trailing => {
                let stride = train as f64 / steps as f64;
                return (0..steps)
                    .map(|i| round(train as f64 - i as f64 * stride).saturating_sub(1))
                    .collect();
            }
        };
        ascending.into_iter().rev().take(steps).collect()
    }

    /// Integrates from `x`, noise at the first step's level, to the end of `steps`.
    /// `network(x, t)` returns the raw, already guided prediction.
    pub fn solve(
        self,
        x: Tensor,
        steps: &[Step],
        prediction: PredictionType,
        network: impl FnMut(&Tensor, usize) -> Result<Tensor>,
    ) -> Result<Tensor> {
        match self {
            Self::Ddim => ddim(x, steps, prediction, network),
            Self::DpmSolverPp2m => dpmpp_2m(x, steps, prediction, network),
        }
    }
}
