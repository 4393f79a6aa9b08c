//! Sigmas, the ratios of noise to signal in the steps of the Euler types and DPM-Solver++.

use crate::schedule::{BetaSchedule, FinalSigmasType, NoiseSchedule};

/// Signal at T with `rescale_betas_zero_snr`, so that sigma stays finite: diffusers uses f16's smallest number.
const LEAST_ALPHA: f64 = 1. / (1 << 24) as f64;

/// The sigmas of training, `sqrt((1 - a_t) / a_t)`, in f32 as diffusers has them.
pub(super) fn of_training(schedule: &NoiseSchedule) -> Vec<f64> {
    let sigma = |a: &f64| {
        let a = if *a == 0. { LEAST_ALPHA } else { *a } as f32;
        f64::from(((1. - a) / a).sqrt())
    };
    schedule.alphas_cumprod.iter().map(sigma).collect()
}

/// The sigma at a fractional timestep.
pub(super) fn interpolate(training: &[f64], t: f64) -> f64 {
    let low = (t as usize).min(training.len() - 1);
    let high = (low + 1).min(training.len() - 1);
    training[low] + (training[high] - training[low]) * (t - low as f64)
}

/// The end of the last step.
pub(super) fn last(schedule: &NoiseSchedule, training: &[f64]) -> f64 {
    match schedule.config.final_sigmas_type.unwrap_or_default() {
        FinalSigmasType::Zero => 0.,
        FinalSigmasType::SigmaMin => training[0],
    }
}

/// `n` sigmas from `max` to `min`, or the file's limits (Karras et al. 2022, Eq. 5 with rho = 7).
pub(super) fn karras(schedule: &NoiseSchedule, max: f64, min: f64, n: usize) -> Vec<f64> {
    const RHO: f64 = 7.;
    let max = schedule.config.sigma_max.unwrap_or(max).powf(1. / RHO);
    let min = schedule.config.sigma_min.unwrap_or(min).powf(1. / RHO);
    let ramp = |i| i as f64 / (n.max(2) - 1) as f64;
    (0..n)
        .map(|i| (max + ramp(i) * (min - max)).powf(RHO))
        .collect()
}

/// The fractional timestep of a sigma, between those of training in `ln sigma`.
pub(super) fn timestep(training: &[f64], sigma: f64) -> f64 {
    let ln = |i: usize| f64::from(training[i].ln() as f32);
    let at = sigma.max(1e-10).ln();
    let above = training.partition_point(|s| f64::from(s.ln() as f32) <= at);
    let low = above
        .saturating_sub(1)
        .min(training.len().saturating_sub(2));
    let high = (low + 1).min(training.len() - 1);
    let width = f64::from((ln(low) - ln(high)) as f32);
    let w = ((ln(low) - at) / width).clamp(0., 1.);
    (1. - w) * low as f64 + w * high as f64
}

/// The same as DPM-Solver++ passes it to the network: rounded, or truncated for a cosine schedule.
pub(super) fn whole_timestep(schedule: &NoiseSchedule, training: &[f64], sigma: f64) -> f64 {
    let t = timestep(training, sigma);
    match schedule.config.beta_schedule {
        Some(BetaSchedule::SquaredcosCapV2) => t.trunc(),
        _ => t.round_ties_even(),
    }
}
