//! DDIM.

use candle_core::{Result, Tensor};

use super::level::Level;
use super::plan::{Model, Plan, Step};
use super::{Options, spacing};
use crate::schedule::NoiseSchedule;

/// `DDIMScheduler`: each step goes back `T / n` timesteps, whatever the next one is.
pub(super) fn plan(schedule: &NoiseSchedule, n: usize, options: Options) -> Result<Plan> {
    let stride = schedule.num_train_timesteps() / n;
    let clean = spacing::clean(schedule, true);
    let level = |t| spacing::level(schedule, t, clean);
    let step = |t: usize| {
        Ok(Step {
            t: t as f64,
            from: level(Some(t))?,
            to: level(t.checked_sub(stride))?,
        })
    };
    let timesteps = spacing::whole_timesteps(schedule, n, options)?;
    let steps = timesteps.into_iter().map(step).collect::<Result<_>>()?;
    let eta = options.eta;
    Plan::new(schedule, steps, move |x, steps, model| {
        ddim(x, steps, eta, model)
    })
}

/// DDIM (Song et al. 2021, Eq. 12): `x' = alpha' x_0 + sqrt(sigma'² - std²) e + std z`, where std is `eta` times
/// that of DDPM's posterior. At eta = 0 it is deterministic.
pub fn ddim(mut x: Tensor, steps: &[Step], eta: f64, model: &mut Model<'_>) -> Result<Tensor> {
    for (k, step) in steps.iter().enumerate() {
        let std = eta * posterior_std(step);
        let sigma = step.to.sigma;
        let direction = (sigma * sigma - std * std).max(0.).sqrt();
        let next = model.predict(&x, step)?.mix(step.to.alpha, direction)?;
        x = model.add_noise(next, std, k)?;
    }
    Ok(x)
}

/// `sqrt((1 - a') / (1 - a) (1 - a / a'))` (Song et al. 2021, Eq. 16; Ho et al. 2020, Eq. 7).
pub(super) fn posterior_std(step: &Step) -> f64 {
    let Level { alpha, sigma } = step.from;
    let kept = alpha / step.to.alpha;
    step.to.sigma / sigma * (1. - kept * kept).max(0.).sqrt()
}
