//! Euler's method with fresh noise in every step.

use candle_core::{Result, Tensor, bail};

use super::plan::{Model, Plan, Step};
use super::{Options, euler, sigmas, spacing};
use crate::schedule::{NoiseSchedule, PredictionType, TimestepSpacing};

/// `EulerAncestralDiscreteScheduler`: it reads no key about sigmas.
pub(super) fn plan(schedule: &NoiseSchedule, n: usize, options: Options) -> Result<Plan> {
    if schedule.prediction_type == PredictionType::Sample {
        bail!(
            "EulerAncestralDiscreteScheduler knows no prediction_type \"sample\"; use euler or ddpm"
        );
    }
    let training = sigmas::of_training(schedule);
    let timesteps = spacing::timesteps(schedule, n, TimestepSpacing::Linspace, options)?;
    let ratio = |t: &f64| sigmas::interpolate(&training, f64::from(*t as f32));
    let mut ratios: Vec<f64> = timesteps.iter().map(ratio).collect();
    ratios.push(0.);
    euler::exploding(schedule, &timesteps, &ratios, euler_ancestral)
}

/// Euler ancestral: a step to less noise than `sigma'`, then noise is added up to it (k-diffusion's
/// `sample_euler_ancestral`), `sigma_up² = sigma'² (sigma² - sigma'²) / sigma²`, `sigma_down² = sigma'² - sigma_up²`:
/// `x' = x + (sigma_down - sigma) d + sigma_up z`, where `d = (x - x_0) / sigma = e`.
pub fn euler_ancestral(mut x: Tensor, steps: &[Step], model: &mut Model<'_>) -> Result<Tensor> {
    for (k, step) in steps.iter().enumerate() {
        let (from, to) = (step.from.sigma, step.to.sigma);
        let down = to * to / from;
        let up = (to * to - down * down).max(0.).sqrt();
        let d = model.predict(&x, step)?.e()?;
        x = model.add_noise((x + (d * (down - from))?)?, up, k)?;
    }
    Ok(x)
}
