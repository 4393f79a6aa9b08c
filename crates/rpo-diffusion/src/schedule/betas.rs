//! From betas to `alphas_cumprod`, in f32 with PyTorch's rounding.

use candle_core::{Result, bail};

use super::config::SchedulerConfig;
use super::options::BetaSchedule;

/// `a_t` for t = 0..T, each an f32 value.
pub(super) fn alphas_cumprod(c: &SchedulerConfig, label: &str) -> Result<Vec<f64>> {
    let betas = betas(c, label)?;
    let alphas = betas.iter().map(|b| 1. - b);
    let alphas_cumprod = match c.rescale_betas_zero_snr {
        Some(true) if betas.len() < 2 => {
            bail!("{label}: rescale_betas_zero_snr needs two betas or more")
        }
        Some(true) => cumulative_product(zero_terminal_snr(&cumulative_product(alphas))),
        _ => cumulative_product(alphas),
    };
    // Zero is meant with `rescale_betas_zero_snr`, and there in the end alone.
    let signal = &alphas_cumprod
        [..alphas_cumprod.len() - usize::from(c.rescale_betas_zero_snr == Some(true))];
    if let Some(t) = signal.iter().position(|a| !(*a > 0. && *a < 1.)) {
        bail!(
            "{label}: the betas leave a share of {} of the picture after {t} timesteps; it must be between 0 and 1",
            alphas_cumprod[t]
        );
    }
    Ok(alphas_cumprod.into_iter().map(f64::from).collect())
}

/// `beta_t` for t = 0..T, each in (0, 1).
fn betas(c: &SchedulerConfig, label: &str) -> Result<Vec<f32>> {
    if let Some(betas) = &c.trained_betas {
        return Ok(betas.clone());
    }
    let n = c.num_train_timesteps.unwrap_or(1000);
    let (start, end) = (c.beta_start.unwrap_or(0.0001), c.beta_end.unwrap_or(0.02));
    let schedule = c.beta_schedule.unwrap_or_default();
    if schedule != BetaSchedule::SquaredcosCapV2 {
        for (key, beta) in [("beta_start", start), ("beta_end", end)] {
            if !(beta as f32 > 0. && (beta as f32) < 1.) {
                bail!("{label}: {key} = {beta}: a number between 0 and 1 is needed");
            }
        }
        if start > end {
            bail!("{label}: beta_start = {start} must not be above beta_end = {end}");
        }
    }
    Ok(match schedule {
        BetaSchedule::Linear => linspace(start, end, n),
        BetaSchedule::ScaledLinear => linspace(start.sqrt(), end.sqrt(), n)
            .into_iter()
            .map(|b| b * b)
            .collect(),
        BetaSchedule::SquaredcosCapV2 => {
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
    })
}

/// `torch.linspace(..., dtype=float32)`: steps from both ends in f32.
pub(crate) fn linspace(start: f64, end: f64, n: usize) -> Vec<f32> {
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

/// `torch.cumprod`: accumulated in f64, every value stored as f32.
fn cumulative_product(alphas: impl IntoIterator<Item = f32>) -> Vec<f32> {
    let product = |a: &mut f64, alpha: f32| {
        *a *= f64::from(alpha);
        Some(*a as f32)
    };
    alphas.into_iter().scan(1f64, product).collect()
}

/// `1 - beta` of Lin et al. 2024, Algorithm 1: `sqrt(a_t)` is shifted to end at 0 and scaled to start where it did.
fn zero_terminal_snr(alphas_cumprod: &[f32]) -> Vec<f32> {
    let roots: Vec<f32> = alphas_cumprod.iter().map(|a| a.sqrt()).collect();
    let (first, last) = (roots[0], roots[roots.len() - 1]);
    let scale = first / (first - last);
    let bars: Vec<f32> = roots.iter().map(|r| ((r - last) * scale).powi(2)).collect();
    let ratios = bars.windows(2).map(|pair| pair[1] / pair[0]);
    let alphas = std::iter::once(bars[0]).chain(ratios);
    // Via the betas, as diffusers does: this rounds once more.
    alphas.map(|alpha| 1. - (1. - alpha)).collect()
}
