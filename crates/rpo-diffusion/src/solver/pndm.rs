//! PNDM: pseudo linear multistep, with or without a Runge-Kutta start.

use candle_core::{Result, Tensor, bail};

use super::level::Level;
use super::plan::{Model, Plan, Step};
use super::{Options, spacing};
use crate::schedule::{NoiseSchedule, PredictionType};

/// Evaluations of the Runge-Kutta start: three steps of four each.
const RUNGE_KUTTA: usize = 12;

/// `PNDMScheduler`: `n + 1` evaluations with `skip_prk_steps`, as in Stable Diffusion's folders, else `n + 9`.
pub(super) fn plan(schedule: &NoiseSchedule, n: usize, options: Options) -> Result<Plan> {
    if schedule.prediction_type == PredictionType::Sample {
        bail!("PNDMScheduler knows no prediction_type \"sample\"; use ddim or dpmpp_2m");
    }
    if schedule.config.rescale_betas_zero_snr == Some(true) {
        bail!(
            "PNDMScheduler knows no rescale_betas_zero_snr and would sample from another schedule than the model's; use ddim or dpmpp_2m"
        );
    }
    let timesteps = spacing::whole_timesteps(schedule, n, options)?;
    let stride = schedule.num_train_timesteps() / n;
    let clean = spacing::clean(schedule, false);
    let level = |t| spacing::level(schedule, t, clean);
    let step = |t: usize, from: usize, to: Option<usize>| {
        Ok(Step {
            t: t as f64,
            from: level(Some(from))?,
            to: level(to)?,
        })
    };
    let plain = |&t: &usize| step(t, t, t.checked_sub(stride));
    if schedule.config.skip_prk_steps == Some(true) {
        let mut steps = timesteps.iter().map(plain).collect::<Result<Vec<_>>>()?;
        if let Some(&second) = timesteps.get(1) {
            // The first step again, with the mean of the outputs at both ends.
            steps.insert(1, step(second, second + stride, Some(second))?);
        }
        return Plan::new(schedule, steps, |x, steps, model| {
            plms(x, steps, Vec::new(), model)
        });
    }
    if n < 4 {
        bail!(
            "PNDMScheduler without skip_prk_steps needs 4 steps or more, {n} are asked for; use more, or ddim"
        );
    }
    let half = stride / 2;
    let mut steps = Vec::new();
    for (&t, &next) in timesteps.iter().zip(&timesteps[1..4]) {
        let middle = next + half;
        steps.push(step(t, t, t.checked_sub(half))?);
        steps.push(step(middle, t, Some(middle))?);
        steps.push(step(middle, t, middle.checked_sub(half))?);
        steps.push(step(next, t, Some(next))?);
    }
    for t in &timesteps[3..] {
        steps.push(plain(t)?);
    }
    Plan::new(schedule, steps, |x, steps, model| {
        let (start, rest) = steps.split_at(RUNGE_KUTTA);
        let (x, outputs) = prk(x, start, model)?;
        plms(x, rest, outputs, model)
    })
}

/// Pseudo Runge-Kutta (Liu et al. 2022, Eq. 13): four outputs, weighted 1, 2, 2, 1, per DDIM step. Returns the sample and
/// the first output of every step.
pub fn prk(mut x: Tensor, steps: &[Step], model: &mut Model<'_>) -> Result<(Tensor, Vec<Tensor>)> {
    let mut outputs = Vec::new();
    for four in steps.chunks_exact(4) {
        let first = model.predict(&x, &four[0])?.output;
        let mut sum = (&first * (1. / 6.))?;
        let mut stage = transfer(&x, first.clone(), &four[0], model)?;
        outputs.push(first);
        for step in &four[1..3] {
            let output = model.predict(&stage, step)?.output;
            sum = (sum + (&output * (1. / 3.))?)?;
            stage = transfer(&x, output, step, model)?;
        }
        let output = model.predict(&stage, &four[3])?.output;
        sum = (sum + (output * (1. / 6.))?)?;
        x = transfer(&x, sum, &four[3], model)?;
    }
    Ok((x, outputs))
}

/// Pseudo linear multistep (Liu et al. 2022, Eq. 12): an Adams-Bashforth sum of up to four outputs, latest first, per DDIM
/// step. Without `past` outputs the first step is done twice, by Euler and by Heun.
pub fn plms(
    mut x: Tensor,
    steps: &[Step],
    mut past: Vec<Tensor>,
    model: &mut Model<'_>,
) -> Result<Tensor> {
    let twice = past.is_empty();
    let start = x.clone();
    for (k, step) in steps.iter().enumerate() {
        let output = model.predict(&x, step)?.output;
        if twice && k == 1 {
            let mean = ((output + &past[0])? * 0.5)?;
            x = transfer(&start, mean, step, model)?;
            continue;
        }
        past.push(output);
        let weights: &[f64] = match past.len() {
            1 => &[1.],
            2 => &[3. / 2., -1. / 2.],
            3 => &[23. / 12., -16. / 12., 5. / 12.],
            _ => &[55. / 24., -59. / 24., 37. / 24., -9. / 24.],
        };
        let mut newest_first = past.iter().rev().zip(weights).map(|(e, w)| e * *w);
        let first = newest_first.next().expect("one was pushed")?;
        let sum = newest_first.try_fold(first, |sum, e| sum + e?)?;
        x = transfer(&x, sum, step, model)?;
        if past.len() == 4 {
            past.remove(0);
        }
    }
    Ok(x)
}

/// φ of Eq. 11: a DDIM step from `x` with `output`.
fn transfer(x: &Tensor, output: Tensor, step: &Step, model: &Model<'_>) -> Result<Tensor> {
    let Level { alpha, sigma } = step.to;
    model.read(x, output, step.from).mix(alpha, sigma)
}
