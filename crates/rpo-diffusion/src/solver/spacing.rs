//! Timesteps, noisiest first, as numpy computes them for diffusers.

use candle_core::{Result, bail};

use super::Options;
use super::level::Level;
use crate::schedule::{NoiseSchedule, TimestepSpacing};

/// `nodes` numbers from `last` to 0.
pub(super) fn linspace(last: usize, nodes: usize) -> Vec<f64> {
    let stride = last as f64 / (nodes.max(2) - 1) as f64;
    (0..nodes).rev().map(|i| i as f64 * stride).collect()
}

/// Multiples of `stride` below `nodes * stride`, plus an offset.
pub(super) fn leading(stride: usize, nodes: usize, offset: usize) -> Vec<f64> {
    let node = |i| (i * stride) as f64 + offset as f64;
    (0..nodes).rev().map(node).collect()
}

/// Back from `start` by `stride` while above 0, minus 1; rounded.
///
/// For some numbers of steps (61, 103, 121 … of 1000) numpy's rounding gives an additional timestep -1, which is omitted here.
pub(super) fn trailing(start: usize, stride: f64) -> Vec<f64> {
    let start = start as f64;
    // numpy.arange uses the rounded difference of its first two values.
    let back = start - (start - stride);
    let count = (start / stride - 1e-9).ceil() as usize;
    let node = |i| (start - i as f64 * back).round_ties_even() - 1.;
    (0..count).map(node).collect()
}

/// The `n` timesteps of DDPM, DDIM, PNDM and the Euler types; those of `Linspace` are not rounded.
pub(super) fn timesteps(
    schedule: &NoiseSchedule,
    n: usize,
    default: TimestepSpacing,
    options: Options,
) -> Result<Vec<f64>> {
    let train = schedule.num_train_timesteps();
    let spacing = schedule.config.timestep_spacing.unwrap_or(default);
    let timesteps = match spacing {
        TimestepSpacing::Linspace => linspace(train - 1, n),
        TimestepSpacing::Leading => leading(train / n, n, options.steps_offset),
        TimestepSpacing::Trailing => trailing(train, train as f64 / n as f64),
    };
    within(timesteps, train)
}

/// The same as indices.
pub(super) fn whole_timesteps(
    schedule: &NoiseSchedule,
    n: usize,
    options: Options,
) -> Result<Vec<usize>> {
    let timesteps = timesteps(schedule, n, TimestepSpacing::Leading, options)?;
    let round = |t: f64| t.round_ties_even() as usize;
    Ok(timesteps.into_iter().map(round).collect())
}

/// Errors if a timestep exceeds those of training.
pub(super) fn within(timesteps: Vec<f64>, train: usize) -> Result<Vec<f64>> {
    match timesteps.iter().find(|t| **t > (train - 1) as f64) {
        Some(t) => bail!(
            "{} solver steps: the first timestep {t} is outside the schedule's 0..{train}; fewer steps leave room for steps_offset",
            timesteps.len()
        ),
        None => Ok(timesteps),
    }
}

/// The level at `t`, or `clean` before the start.
pub(super) fn level(schedule: &NoiseSchedule, t: Option<usize>, clean: Level) -> Result<Level> {
    match t {
        Some(t) => schedule
            .alpha_sigma(t)
            .map(|(alpha, sigma)| Level { alpha, sigma }),
        None => Ok(clean),
    }
}

/// Where DDIM and PNDM end: at `a = 1`, or at `a_0`.
pub(super) fn clean(schedule: &NoiseSchedule, set_alpha_to_one: bool) -> Level {
    match schedule.config.set_alpha_to_one.unwrap_or(set_alpha_to_one) {
        true => Level::of(1.),
        false => Level::of(schedule.alphas_cumprod[0]),
    }
}
