//! One gradient step: pairs, timesteps and noise from the step's own stream, one batched pass, L_sim + L_pref (Eq. 7-9).

use super::prepare::TrainingSet;
use crate::experiment::TrainingArm;
use anyhow::Result;
use candle_core::{Device, Tensor};
use rand_chacha::ChaCha8Rng;
use rpo_data::{picture, random};
use rpo_diffusion::{Conditioning, NoiseSchedule, Pipeline, Posterior, UNet2DConditionModel};
use rpo_nn::ops;
use rpo_pref::loss::{self, Term};
use rpo_pref::recipe::{Latent, ReferencePrompt, Sharing};
use rpo_pref::{Norm, Pair, labels};

/// The losses of a step; `total` carries the graph.
pub struct Losses {
    /// What is minimised.
    pub total: Tensor,
    /// L_sim, Eq. 7.
    pub l_sim: f64,
    /// L_pref, Eq. 8; 0 where the recipe has none.
    pub l_pref: f64,
}

/// A batch of noised latents that predicts its target under a text.
#[derive(Clone)]
struct Rows {
    noised: Tensor,
    target: Tensor,
    timesteps: Vec<usize>,
    text: Conditioning,
}

/// Everything a step reads.
pub struct Step<'a> {
    /// The model's VAE and schedule.
    pub pipeline: &'a Pipeline,
    /// Latents, texts and preferences.
    pub set: &'a TrainingSet,
    /// Recipe and batch size.
    pub arm: &'a TrainingArm,
    /// Side of the pictures in pixels.
    pub size: u32,
}

impl Step<'_> {
    /// The losses of one step. `theta` is trained, `base` is the frozen reference; `rng` is the step's own stream.
    ///
    /// Blocks of `B` rows in one pass: references under c (L_sim, and ℓ in recipe `official`), references under c_mod
    /// with the same x_t (ℓ in recipe `paper`), negatives under c_mod (ℓ), class pictures (prior preservation).
    ///
    /// # Errors
    /// Tensor errors.
    pub fn losses(
        &self,
        theta: &UNet2DConditionModel,
        base: &UNet2DConditionModel,
        rng: &mut ChaCha8Rng,
    ) -> Result<Losses> {
        let recipe = &self.arm.recipe;
        let b = self.arm.training.batch;
        let schedule = &self.pipeline.schedule;
        let times = |rng: &mut ChaCha8Rng| -> Vec<usize> {
            (0..b)
                .map(|_| random::below(rng, schedule.alphas_cumprod.len()))
                .collect()
        };
        // References, times and noise first: arms with and without preferences train on the same draws.
        let references = self.set.references.len();
        let index: Vec<usize> = (0..b).map(|_| random::below(rng, references)).collect();
        let places: Vec<u32> = index.iter().map(|i| *i as u32).collect();
        let latents = self.reference_latents(&index, rng)?;
        let (t_ref, e_ref) = (times(rng), noise_like(&latents, rng)?);
        let c = self.set.c.select(&places)?;
        let under_c = rows(schedule, &latents, &e_ref, &t_ref, c)?;

        // Blocks of b rows each; the variables below are their places.
        let mut blocks: Vec<Rows> = Vec::new();
        let mut push = |rows: Rows| {
            blocks.push(rows);
            blocks.len() - 1
        };
        let plain_pair = recipe.reference_prompt == ReferencePrompt::C;
        let sim;
        let mut pair = None;
        let mut labels = Vec::new();
        if let (Some(preference), Some(negatives)) =
            (&self.set.preference, &self.set.negative_latents)
        {
            let pairs: Vec<Pair> = index.iter().map(|i| preference.draw(*i, rng)).collect();
            let place = |p: &Pair| (p.prompt * self.set.per_prompt + p.picture) as u32;
            let index: Vec<u32> = pairs.iter().map(place).collect();
            let prompts: Vec<u32> = pairs.iter().map(|p| p.prompt as u32).collect();
            let c_mod = self.set.c_mod.select(&prompts)?;
            let latents = take(negatives, &index, recipe.latent, rng)?;
            let t_gen = match recipe.pair_timestep {
                Sharing::Shared => t_ref.clone(),
                Sharing::Independent => times(rng),
            };
            let e_gen = match recipe.pair_noise {
                Sharing::Shared => e_ref.clone(),
                Sharing::Independent => noise_like(&latents, rng)?,
            };
            labels = pairs
                .iter()
                .map(|p| {
                    labels::label(recipe.label, preference.probability(*p, recipe), rng) as f32
                })
                .collect();
            let generated = rows(schedule, &latents, &e_gen, &t_gen, c_mod.clone())?;
            let under_c_mod = Rows {
                text: c_mod,
                ..under_c.clone()
            };
            if recipe.l_sim_weight > 0.0 && !plain_pair {
                sim = Some(push(under_c));
                pair = Some((push(under_c_mod), push(generated)));
            } else {
                let reference = push(if plain_pair { under_c } else { under_c_mod });
                sim = (recipe.l_sim_weight > 0.0).then_some(reference);
                pair = Some((reference, push(generated)));
            }
        } else {
            sim = Some(push(under_c));
        }
        let mut prior = None;
        if let Some(class) = &self.set.class_latents {
            let n = class.mean.dim(0)?;
            let index: Vec<u32> = (0..b).map(|_| random::below(rng, n) as u32).collect();
            let latents = take(class, &index, recipe.latent, rng)?;
            let (t, e) = (times(rng), noise_like(&latents, rng)?);
            prior = Some(push(rows(
                schedule,
                &latents,
                &e,
                &t,
                self.set.class.repeat(b)?,
            )?));
        }

        let error = squared_error(theta, &blocks, recipe.norm)?;
        let block = |errors: &Tensor, i: usize| errors.narrow(0, i * b, b);
        let mean = |i: Option<usize>| i.map(|i| loss::l_sim(&block(&error, i)?)).transpose();
        let (l_sim, l_prior) = (mean(sim)?, mean(prior)?);
        let l_pref = match pair {
            Some((reference, generated)) => {
                // The frozen model sees the pair alone: L_sim and the prior have no part in ℓ.
                let base_error = squared_error(base, &blocks[reference..=generated], recipe.norm)?;
                let ell = loss::ell(
                    &block(&base_error, 0)?,
                    &block(&error, reference)?,
                    &block(&base_error, 1)?,
                    &block(&error, generated)?,
                )?;
                let labels = Tensor::new(labels.as_slice(), &Device::Cpu)?;
                Some(loss::l_pref(&ell, &labels, recipe.beta)?)
            }
            None => None,
        };
        let weighted = [
            (&l_sim, recipe.l_sim_weight),
            (&l_pref, recipe.l_pref_weight),
            (&l_prior, recipe.prior_weight),
        ];
        let terms: Vec<Term> = weighted
            .into_iter()
            .filter_map(|(loss, weight)| loss.as_ref().map(|loss| Term { loss, weight }))
            .collect();
        let number = |loss: &Option<Tensor>| -> Result<f64> {
            loss.as_ref()
                .map_or(Ok(0.0), |l| Ok(f64::from(l.to_scalar::<f32>()?)))
        };
        Ok(Losses {
            total: loss::total(&terms)?,
            l_sim: number(&l_sim)?,
            l_pref: number(&l_pref)?,
        })
    }

    /// x_0 of the drawn references, cropped anew where the recipe and the picture's shape ask for it.
    fn reference_latents(&self, index: &[usize], rng: &mut ChaCha8Rng) -> Result<Tensor> {
        let latent = self.arm.recipe.latent;
        if !self.set.random_crop {
            let index: Vec<u32> = index.iter().map(|i| *i as u32).collect();
            return take(&self.set.reference_latents, &index, latent, rng);
        }
        let crops: Vec<_> = index
            .iter()
            .map(|i| {
                let (x, y) = (random::unit(rng), random::unit(rng));
                picture::square_at(&self.set.references[*i], self.size, x, y)
            })
            .collect();
        let posterior = self.pipeline.encode_pictures(&crops)?;
        let all: Vec<u32> = (0..index.len() as u32).collect();
        take(&posterior, &all, latent, rng)
    }
}

fn noise_like(x: &Tensor, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    Ok(Tensor::from_vec(
        random::normal(rng, x.elem_count()),
        x.shape(),
        &Device::Cpu,
    )?)
}

fn select(x: &Tensor, index: &[u32]) -> Result<Tensor> {
    Ok(x.index_select(&Tensor::new(index, &Device::Cpu)?, 0)?)
}

/// Latents of some pictures: the posterior's mean, or a sample of it.
fn take(
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

fn rows(
    schedule: &NoiseSchedule,
    x0: &Tensor,
    e: &Tensor,
    t: &[usize],
    text: Conditioning,
) -> Result<Rows> {
    Ok(Rows {
        noised: schedule.add_noise(x0, e, t)?,
        target: schedule.target(x0, e, t)?,
        timesteps: t.to_vec(),
        text,
    })
}

/// ||target - prediction||² of every row in one pass: the sum over C, H, W or their mean.
fn squared_error(unet: &UNet2DConditionModel, rows: &[Rows], norm: Norm) -> Result<Tensor> {
    let cat = |f: fn(&Rows) -> &Tensor| Tensor::cat(&rows.iter().map(f).collect::<Vec<_>>(), 0);
    let (noised, target) = (cat(|r| &r.noised)?, cat(|r| &r.target)?);
    let text = Conditioning::cat(&rows.iter().map(|r| &r.text).collect::<Vec<_>>())?;
    let t: Vec<f64> = rows
        .iter()
        .flat_map(|r| r.timesteps.iter().map(|t| *t as f64))
        .collect();
    let prediction = unet.forward(&noised, &t, &text)?;
    let mean = ops::mean_squared_per_sample(&prediction, &target)?;
    Ok(norm.of_mean_squares(&mean, target.elem_count() / target.dim(0)?)?)
}
