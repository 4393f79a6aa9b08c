//! DPM-Solver++(2M).

use candle_core::{Result, Tensor, bail};

use super::level::Level;
use super::plan::{Model, Plan, Step};
use super::spacing::{leading, linspace, trailing, within};
use super::{Options, sigmas};
use crate::schedule::{FinalSigmasType, NoiseSchedule, SolverType, TimestepSpacing};

/// Number of steps from which `lower_order_final` has no effect.
const MANY: usize = 15;

/// Use of the second order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Whether it is used: else every step is first order, which is DDIM.
    pub second: bool,
    /// Weighting of its term.
    pub kind: SolverType,
    /// Whether the last step is first order.
    pub first_at_last: bool,
}

/// `DPMSolverMultistepScheduler`.
pub(super) fn plan(schedule: &NoiseSchedule, n: usize, options: Options) -> Result<Plan> {
    let config = &schedule.config;
    let training = sigmas::of_training(schedule);
    let (timesteps, ratios) = if options.karras {
        let ratios = sigmas::karras(schedule, training[training.len() - 1], training[0], n);
        let timestep = |s: &f64| sigmas::whole_timestep(schedule, &training, *s);
        (ratios.iter().map(timestep).collect(), ratios)
    } else {
        let timesteps = timesteps(schedule, &training, n, options)?;
        let ratio = |t: &f64| training[*t as usize];
        let ratios = timesteps.iter().map(ratio).collect();
        (timesteps, ratios)
    };
    let level = |ratio: f64| Level::preserving(f64::from(ratio as f32));
    let ends = ratios[1..].iter().copied();
    let ends = ends.chain([sigmas::last(schedule, &training)]);
    let steps: Vec<Step> = timesteps
        .into_iter()
        .zip(ratios.iter().zip(ends))
        .map(|(t, (&from, to))| Step {
            t,
            from: level(from),
            to: level(to),
        })
        .collect();
    let order = Order {
        second: config.solver_order != Some(1),
        kind: config.solver_type.unwrap_or_default(),
        first_at_last: config.euler_at_final == Some(true)
            || (config.lower_order_final != Some(false) && steps.len() < MANY)
            || config.final_sigmas_type != Some(FinalSigmasType::SigmaMin),
    };
    Plan::new(schedule, steps, move |x, steps, model| {
        dpmpp_2m(x, steps, order, model)
    })
}

/// Its timesteps: the grid has one node more than steps, the clean end, which is dropped.
fn timesteps(
    schedule: &NoiseSchedule,
    training: &[f64],
    n: usize,
    options: Options,
) -> Result<Vec<f64>> {
    let train = schedule.num_train_timesteps();
    let least = schedule.config.lambda_min_clipped;
    let clipped = |sigma: &&f64| least.is_some_and(|l| -sigma.ln() < l);
    let last = train - training.iter().filter(clipped).count();
    if n >= last {
        bail!(
            "{n} solver steps: DPM-Solver++ needs fewer than there are training timesteps, {last}"
        );
    }
    let spacing = schedule.config.timestep_spacing;
    let mut timesteps = match spacing.unwrap_or(TimestepSpacing::Linspace) {
        TimestepSpacing::Linspace => linspace(last - 1, n + 1),
        TimestepSpacing::Leading => leading(last / (n + 1), n + 1, options.steps_offset),
        TimestepSpacing::Trailing => trailing(last, train as f64 / n as f64),
    };
    timesteps.truncate(n);
    within(
        timesteps.into_iter().map(f64::round_ties_even).collect(),
        train,
    )
}

/// DPM-Solver++(2M) (Lu et al. 2022, Algorithm 2), with `h = lambda' - lambda`:
/// `x' = sigma' / sigma x + alpha' (1 - exp(-h)) x_0 + alpha' w (x_0 - x_0_last)`, where `w` is 0 in the first step
/// and, depending on `order`, in the last.
pub fn dpmpp_2m(
    mut x: Tensor,
    steps: &[Step],
    order: Order,
    model: &mut Model<'_>,
) -> Result<Tensor> {
    let mut last: Option<(Tensor, f64)> = None;
    for (k, step) in steps.iter().enumerate() {
        let x0 = model.predict(&x, step)?.x0()?;
        let h = step.to.lambda() - step.from.lambda();
        let Level { alpha, sigma } = step.to;
        let first_order = !order.second || (order.first_at_last && k + 1 == steps.len());
        let mut gain = -(-h).exp_m1();
        x = (x * (sigma / step.from.sigma))?;
        if let Some((x0_last, h_last)) = last.filter(|(_, h)| !first_order && *h != 0.) {
            let w = order.kind.weight(h) * h / h_last;
            gain += w;
            x = (x - (x0_last * (alpha * w))?)?;
        }
        x = (x + (&x0 * (alpha * gain))?)?;
        last = Some((x0, h));
    }
    Ok(x)
}

impl SolverType {
    /// The weight of the difference quotient of `x_0` in a step of length h.
    fn weight(self, h: f64) -> f64 {
        match self {
            Self::Midpoint => -(-h).exp_m1() / 2.,
            // Its limit.
            Self::Heun if h == 0. => 0.,
            Self::Heun => (-h).exp_m1() / h + 1.,
        }
    }
}
