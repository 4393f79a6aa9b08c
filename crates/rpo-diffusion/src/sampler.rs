//! Sampling with batched classifier-free guidance.

use candle_core::{Result, Tensor, bail};

use crate::conditioning::Conditioning;
use crate::schedule::NoiseSchedule;
use crate::solver::Solver;
use crate::unet::UNet2DConditionModel;

/// How to sample.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplerConfig {
    /// The solver.
    pub solver: Solver,
    /// Solver steps, one network evaluation each.
    pub steps: usize,
    /// Guidance scale w in `e_uncond + w (e_cond - e_uncond)` (Ho & Salimans 2022); at 1 the unconditional half is
    /// not computed.
    pub guidance: f64,
    /// Pictures in one U-Net batch; guidance doubles it.
    pub batch: usize,
}

/// From noise `latents` `[N, h, w, C]` (standard normal) to scaled latents of the same shape. `cond`: one row a
/// picture; `uncond`: the one row of the negative prompt.
///
/// A picture depends on its own noise and text only, not on how the pictures are batched. `progress` is told the
/// number of picture steps done, out of `N * steps`, after each network evaluation.
pub fn sample(
    unet: &UNet2DConditionModel,
    schedule: &NoiseSchedule,
    config: &SamplerConfig,
    latents: &Tensor,
    cond: &Conditioning,
    uncond: &Conditioning,
    progress: &mut dyn FnMut(usize),
) -> Result<Tensor> {
    let (pictures, ..) = latents.dims4()?;
    let texts = cond.batch()?;
    if texts != pictures {
        bail!("{texts} texts for {pictures} pictures: one text a picture is needed");
    }
    let guided = config.guidance != 1.;
    if !config.guidance.is_finite() || config.batch == 0 {
        bail!(
            "guidance {} must be finite and the batch {} at least 1",
            config.guidance,
            config.batch
        );
    }
    let steps = config.solver.steps(schedule, config.steps)?;
    let mut done = 0;
    let mut finished = Vec::new();
    for start in (0..pictures).step_by(config.batch) {
        let n = config.batch.min(pictures - start);
        let cond = cond.narrow(start, n)?;
        let text = if guided {
            unet.prepare_text(&Conditioning::cat(&[&uncond.repeat(n)?, &cond])?)?
        } else {
            unet.prepare_text(&cond)?
        };
        let network = |x: &Tensor, t: usize| {
            let t = [t as f64];
            let output = if guided {
                let both = unet
                    .forward_with(&Tensor::cat(&[x, x], 0)?, &t, &text)?
                    .detach();
                let (e_uncond, e_cond) = (both.narrow(0, 0, n)?, both.narrow(0, n, n)?);
                (&e_uncond + ((e_cond - &e_uncond)? * config.guidance)?)?
            } else {
                unet.forward_with(x, &t, &text)?.detach()
            };
            done += n;
            progress(done);
            Ok(output)
        };
        let noise = latents.narrow(0, start, n)?.contiguous()?;
        finished.push(
            config
                .solver
                .solve(noise, &steps, schedule.prediction_type, network)?,
        );
    }
    if finished.is_empty() {
        return Ok(latents.clone());
    }
    Tensor::cat(&finished, 0)
}
