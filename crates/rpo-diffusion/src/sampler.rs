//! Sampling, batch by batch, with what guides it.

use candle_core::{Result, Tensor, bail};
use rpo_nn::all_finite;

use crate::conditioning::Conditioning;
use crate::guidance::Guided;
use crate::schedule::NoiseSchedule;
use crate::solver::{Plan, Solver};
use crate::unet::UNet2DConditionModel;

/// What helps where a U-Net whose weights are finite gives what is not.
const HINT: &str = "the U-Net's weights are damaged or its training broke (a lower training.learning_rate), or its activations are beyond the half type (model.dtype = \"f32\")";

/// Settings of sampling.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerConfig {
    /// The solver.
    pub solver: Solver,
    /// DDIM's eta in \[0, 1\]: how much of DDPM's noise each step adds. 0 for other solvers.
    pub eta: f64,
    /// Solver steps, one network evaluation each; PNDM needs one more.
    pub steps: usize,
    /// Guidance scale w in `e_uncond + w (e_cond - e_uncond)` (Ho & Salimans 2022); at 1 the unconditional half is
    /// not computed.
    pub guidance: f64,
    /// The part of the trajectory that is guided, from the noise (0) to the picture (1): evaluation k of n is where
    /// `from <= k / n < to`. Elsewhere the unconditional half is not computed (Kynkäänniemi et al. 2024, "Applying Guidance in a
    /// Limited Interval"). `None` is \[0, 1\].
    pub guidance_interval: Option<[f64; 2]>,
    /// Pictures in one U-Net batch; guidance doubles it.
    pub batch: usize,
}

impl SamplerConfig {
    /// The solver's plan on a model's schedule. Errors as [`Solver::plan`].
    pub fn plan(&self, schedule: &NoiseSchedule) -> Result<Plan> {
        self.solver.plan(schedule, self.steps, self.eta)
    }

    /// Whether evaluation `k` of `n` is guided.
    pub fn is_guided(&self, k: usize, n: usize) -> bool {
        self.guidance != 1. && self.is_within(k, n)
    }

    /// Whether evaluation `k` of `n` is in the guided part of the trajectory.
    pub(crate) fn is_within(&self, k: usize, n: usize) -> bool {
        let place = k as f64 / n as f64;
        let interval = self.guidance_interval;
        interval.is_none_or(|[from, to]| (from..to).contains(&place))
    }

    /// Network passes over one picture in `n` evaluations: two where it is guided, else one. `reward`: with reward guidance, whose
    /// guided evaluations have one more.
    pub fn passes(&self, n: usize, reward: bool) -> usize {
        let more =
            |k| usize::from(self.is_guided(k, n)) + usize::from(reward && self.is_within(k, n));
        (0..n).map(|k| 1 + more(k)).sum()
    }
}

/// From noise `latents` `[N, h, w, C]` (standard normal) to scaled latents of the same shape. `cond`: one row per
/// picture; `uncond`: the single row of the negative prompt.
///
/// `noise(i, k)` returns the standard normal noise that a stochastic solver adds to picture `i` of the N at step `k`
/// of its plan, `h w C` values in this order; other solvers do not call it. A picture depends on its own noise and text
/// only, not on the batches. `progress` is called after each network evaluation with the number of picture steps done, out
/// of N times the length of the plan.
///
/// # Errors
/// Settings and shapes that do not fit; the first step in which latents or the U-Net's output are not finite.
pub fn sample(
    unet: &UNet2DConditionModel,
    schedule: &NoiseSchedule,
    config: &SamplerConfig,
    latents: &Tensor,
    cond: &Conditioning,
    uncond: &Conditioning,
    noise: &mut dyn FnMut(usize, usize) -> Vec<f32>,
    progress: &mut dyn FnMut(usize),
) -> Result<Tensor> {
    let guided = Guided {
        unet,
        cond,
        uncond,
        reward: None,
    };
    sample_guided(&guided, schedule, config, latents, noise, progress)
}

/// [`sample`] of a network that another one may lead to.
///
/// # Errors
/// Those of [`sample`].
pub fn sample_guided(
    guided: &Guided,
    schedule: &NoiseSchedule,
    config: &SamplerConfig,
    latents: &Tensor,
    noise: &mut dyn FnMut(usize, usize) -> Vec<f32>,
    progress: &mut dyn FnMut(usize),
) -> Result<Tensor> {
    let (pictures, h, w, c) = latents.dims4()?;
    let reward = guided.reward.as_ref();
    for texts in [Some(guided.cond), reward.map(|reward| reward.plain)] {
        let texts = texts.map_or(Ok(pictures), Conditioning::batch)?;
        if texts != pictures {
            bail!("{texts} texts for {pictures} pictures: one text a picture is needed");
        }
    }
    if !config.guidance.is_finite() || config.batch == 0 {
        bail!(
            "guidance {} must be finite and the batch {} at least 1",
            config.guidance,
            config.batch
        );
    }
    if let Some(reward) = reward
        && !reward.scale.is_finite()
    {
        bail!("reward guidance {} must be finite", reward.scale);
    }
    if let Some([from, to]) = config.guidance_interval
        && !(0. <= from && from < to && to <= 1.)
    {
        bail!("guidance on {from} to {to} of the trajectory: 0 <= from < to <= 1 is needed");
    }
    let plan = config.plan(schedule)?;
    let evaluations = plan.steps.len();
    let led: Vec<bool> = (0..evaluations)
        .map(|k| {
            config.is_guided(k, evaluations) || reward.is_some() && config.is_within(k, evaluations)
        })
        .collect();
    let mut done = 0;
    let mut finished = Vec::new();
    for start in (0..pictures).step_by(config.batch) {
        let n = config.batch.min(pictures - start);
        let batch = guided.of_batch(config.guidance, (start, n), &led)?;
        let mut evaluation = 0;
        let mut network = |x: &Tensor, t: f64| {
            let during = |what: &str| {
                let step = evaluation + 1;
                format!("{what} in step {step} of {evaluations}, at timestep {t}")
            };
            all_finite(x.clone(), || during("the sampler's latents"), HINT)?;
            let output = batch.predict(x, t, led[evaluation])?;
            let output = all_finite(output, || during("the U-Net's output"), HINT)?;
            evaluation += 1;
            done += n;
            progress(done);
            Ok(output)
        };
        let mut step_noise = |k: usize| {
            let values: Vec<f32> = (start..start + n).flat_map(|i| noise(i, k)).collect();
            Tensor::from_vec(values, (n, h, w, c), latents.device())
        };
        let start = latents.narrow(0, start, n)?.contiguous()?;
        let end = plan.solve(start, &mut network, &mut step_noise)?;
        finished.push(all_finite(end, || "the latents of a picture".into(), HINT)?);
    }
    if finished.is_empty() {
        return Ok(latents.clone());
    }
    Tensor::cat(&finished, 0)
}
