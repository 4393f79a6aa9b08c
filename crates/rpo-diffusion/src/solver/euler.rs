//! Euler's method.

use candle_core::{Result, Tensor};

use super::level::Level;
use super::plan::{Model, Plan, Step};
use super::{Options, sigmas, spacing};
use crate::schedule::{
    InterpolationType, NoiseSchedule, PredictionType, TimestepSpacing, TimestepType, linspace,
};

/// `EulerDiscreteScheduler`.
pub(super) fn plan(schedule: &NoiseSchedule, n: usize, options: Options) -> Result<Plan> {
    let config = &schedule.config;
    let training = sigmas::of_training(schedule);
    let mut timesteps = spacing::timesteps(schedule, n, TimestepSpacing::Linspace, options)?;
    let mut ratios: Vec<f64> = match config.interpolation_type.unwrap_or_default() {
        InterpolationType::Linear => timesteps
            .iter()
            .map(|t| sigmas::interpolate(&training, f64::from(*t as f32)))
            .collect(),
        // One more than the timesteps: diffusers ends at the last of these and not at 0.
        InterpolationType::LogLinear => {
            let (last, first) = (training[training.len() - 1], training[0]);
            linspace(last.ln(), first.ln(), n + 1)
                .into_iter()
                .map(|s| f64::from(s.exp()))
                .collect()
        }
    };
    if options.karras {
        ratios = sigmas::karras(schedule, ratios[0], ratios[ratios.len() - 1], n);
        let timestep = |s: &f64| sigmas::timestep(&training, *s);
        timesteps = ratios.iter().map(timestep).collect();
    }
    if config.timestep_type == Some(TimestepType::Continuous)
        && schedule.prediction_type == PredictionType::VPrediction
    {
        timesteps = ratios.iter().map(|s| 0.25 * s.ln()).collect();
    }
    ratios.push(sigmas::last(schedule, &training));
    exploding(schedule, &timesteps, &ratios, euler)
}

/// A plan of variance exploding steps between `ratios`. Ratios beyond the one after the last timestep are not used.
pub(super) fn exploding(
    schedule: &NoiseSchedule,
    timesteps: &[f64],
    ratios: &[f64],
    run: impl Fn(Tensor, &[Step], &mut Model<'_>) -> Result<Tensor> + 'static,
) -> Result<Plan> {
    let level = |ratio: f64| Level::exploding(f64::from(ratio as f32));
    let pairs = timesteps.iter().zip(ratios.windows(2));
    let steps: Vec<Step> = pairs
        .map(|(&t, pair)| Step {
            t: f64::from(t as f32),
            from: level(pair[0]),
            to: level(pair[1]),
        })
        .collect();
    let max = ratios.iter().copied().fold(0., f64::max);
    let spacing = schedule.config.timestep_spacing;
    // Leading spacing starts below the highest noise: from a sample of variance 1, as in training.
    let init = match spacing.unwrap_or(TimestepSpacing::Linspace) {
        TimestepSpacing::Linspace | TimestepSpacing::Trailing => max,
        TimestepSpacing::Leading => Level::exploding(max).norm(),
    };
    Ok(Plan::new(schedule, steps, run)?.with_init_noise_sigma(init))
}

/// Euler (Karras et al. 2022, Algorithm 1 without its second order correction): `x' = x + (sigma' - sigma) d`, where
/// `d = (x - x_0) / sigma = e`.
pub fn euler(mut x: Tensor, steps: &[Step], model: &mut Model<'_>) -> Result<Tensor> {
    for step in steps {
        let d = model.predict(&x, step)?.e()?;
        x = (x + (d * (step.to.sigma - step.from.sigma))?)?;
    }
    Ok(x)
}
