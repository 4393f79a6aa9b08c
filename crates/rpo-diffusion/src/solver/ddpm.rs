//! DDPM's ancestral sampling.

use candle_core::{Result, Tensor};

use super::ddim::posterior_std;
use super::level::Level;
use super::plan::{Model, Plan, Step};
use super::{Options, spacing};
use crate::schedule::{NoiseSchedule, VarianceType};

/// `DDPMScheduler`: each step goes to the next timestep, the last to `a = 1`.
pub(super) fn plan(schedule: &NoiseSchedule, n: usize, options: Options) -> Result<Plan> {
    let timesteps = spacing::whole_timesteps(schedule, n, options)?;
    let level = |t| spacing::level(schedule, t, Level::of(1.));
    let step = |(i, &t): (usize, &usize)| {
        Ok(Step {
            t: t as f64,
            from: level(Some(t))?,
            to: level(timesteps.get(i + 1).copied())?,
        })
    };
    let steps = timesteps.iter().enumerate().map(step);
    let variance = schedule.config.variance_type.unwrap_or_default();
    Plan::new(
        schedule,
        steps.collect::<Result<_>>()?,
        move |x, steps, model| ddpm(x, steps, variance, model),
    )
}

/// DDPM (Ho et al. 2020, Eq. 7 and Algorithm 2), with `beta = 1 - a / a'` of the step:
/// `x' = (sqrt(a') beta x_0 + sqrt(a / a') (1 - a') x) / (1 - a) + std z`. At t = 0 there is no noise.
pub fn ddpm(
    mut x: Tensor,
    steps: &[Step],
    variance: VarianceType,
    model: &mut Model<'_>,
) -> Result<Tensor> {
    for (k, step) in steps.iter().enumerate() {
        let Level { alpha, sigma } = step.from;
        let kept = alpha / step.to.alpha;
        let beta = 1. - kept * kept;
        let std = match variance {
            _ if step.t == 0. => 0.,
            VarianceType::FixedSmall => posterior_std(step),
            VarianceType::FixedLarge => beta.max(0.).sqrt(),
        };
        let x0 = model.predict(&x, step)?.x0()?;
        let of_x0 = step.to.alpha * beta / (sigma * sigma);
        let of_x = kept * (step.to.sigma / sigma).powi(2);
        x = model.add_noise(((x0 * of_x0)? + (x * of_x)?)?, std, k)?;
    }
    Ok(x)
}
