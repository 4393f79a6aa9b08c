//! What a step draws from its own stream beside rows: timesteps and noise, of a pair too, and samples of posteriors.

use super::objective::Noised;
use super::prompted::Prompted;
use anyhow::Result;
use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rpo_data::random;
use rpo_diffusion::{NoiseSchedule, Posterior};
use rpo_pref::Recipe;
use rpo_pref::recipe::{Latent, Sharing};

/// Timesteps and noise of a batch.
pub(super) struct Noise {
    /// t, of each row.
    pub(super) t: Vec<usize>,
    /// ε, of the latents' shape.
    e: Tensor,
}

impl Noise {
    /// For the latents `x0`.
    pub(super) fn draw(
        schedule: &NoiseSchedule,
        x0: &Tensor,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let t = times(schedule, x0, rng)?;
        let e = noise_like(x0, rng)?;
        Ok(Self { t, e })
    }

    /// Of the second rows of pairs, whose latents are `x0`; this is that of the first.
    pub(super) fn second(
        &self,
        recipe: &Recipe,
        schedule: &NoiseSchedule,
        x0: &Tensor,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let t = match recipe.pair_timestep {
            Sharing::Shared => self.t.clone(),
            Sharing::Independent => times(schedule, x0, rng)?,
        };
        let e = match recipe.pair_noise {
            Sharing::Shared => self.e.clone(),
            Sharing::Independent => noise_like(x0, rng)?,
        };
        Ok(Self { t, e })
    }

    /// The rows `x0` with this noise, under these texts.
    pub(super) fn onto(
        &self,
        schedule: &NoiseSchedule,
        x0: &Tensor,
        texts: impl Into<Prompted>,
    ) -> Result<Noised> {
        Noised::new(schedule, x0, &self.e, &self.t, texts)
    }
}

/// A timestep for each row of `x`.
fn times(schedule: &NoiseSchedule, x: &Tensor, rng: &mut ChaCha8Rng) -> Result<Vec<usize>> {
    let n = schedule.alphas_cumprod.len();
    Ok((0..x.dim(0)?).map(|_| random::below(rng, n)).collect())
}

/// Noise of the shape of `x`.
fn noise_like(x: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    Ok(Tensor::from_vec(
        random::normal(rng, x.elem_count()),
        x.shape(),
        &Device::Cpu,
    )?)
}

/// Some rows of `x`.
pub(super) fn select(x: &Tensor, index: &[u32]) -> Result<Tensor> {
    Ok(x.index_select(&Tensor::new(index, &Device::Cpu)?, 0)?)
}

/// Latents of some pictures: the posterior's mean, or a sample of it.
pub(super) fn take(
    posterior: &Posterior,
    index: &[u32],
    latent: Latent,
    rng: &mut ChaCha8Rng,
) -> Result<Tensor> {
    let mean = select(&posterior.mean, index)?;
    match latent {
        Latent::Mean => Ok(mean),
        Latent::Sample => {
            let std = (select(&posterior.logvar, index)? * 0.5)?.exp()?;
            Ok((&mean + (std * noise_like(&mean, rng)?)?)?)
        }
    }
}
