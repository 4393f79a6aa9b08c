//! The inputs of one gradient step: pairs, timesteps and noise from the step's own stream.

use super::objective::{Batch, Noised};
use super::prepare::TrainingSet;
use anyhow::Result;
use candle_core::{Device, Tensor};
use image::imageops::flip_horizontal_in_place;
use rand_chacha::ChaCha8Rng;
use rpo_data::{picture, random};
use rpo_diffusion::{Pipeline, Posterior};
use rpo_experiment::TrainingArm;
use rpo_pref::recipe::{Latent, Sharing};
use rpo_pref::terms::Rows;
use rpo_pref::{Pair, labels};

/// Everything a step draws from.
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
    /// The batch of one step; `rng` is the step's own stream, `flips` that of its mirrored references: training with and without them
    /// has the same draws otherwise.
    ///
    /// # Errors
    /// Tensor errors.
    pub fn batch(&self, rng: &mut ChaCha8Rng, flips: &mut ChaCha8Rng) -> Result<Batch> {
        let recipe = &self.arm.recipe;
        let b = self.arm.training.batch;
        let schedule = &self.pipeline.schedule;
        let times = |rng: &mut ChaCha8Rng| -> Vec<usize> {
            (0..b)
                .map(|_| random::below(rng, schedule.alphas_cumprod.len()))
                .collect()
        };
        // References, timesteps and noise first: arms with and without preferences train on the same draws.
        let references = self.set.references.len();
        let index: Vec<usize> = (0..b).map(|_| random::below(rng, references)).collect();
        let places: Vec<u32> = index.iter().map(|i| *i as u32).collect();
        let flipped: Vec<bool> = match recipe.flip {
            true => (0..b).map(|_| random::chance(flips, 0.5)).collect(),
            false => vec![false; b],
        };
        let latents = self.reference_latents(&index, &flipped, rng)?;
        let (t_ref, e_ref) = (times(rng), noise_like(&latents, rng)?);
        let mut batch = Batch::default();
        if let Some(gamma) = recipe.min_snr_gamma {
            let weights = t_ref.iter().map(|t| schedule.min_snr_weight(gamma, *t));
            batch.weights.insert(Rows::Reference, weights.collect());
        }
        let c = self.set.c.select(&places)?;
        let under_c = Noised::new(schedule, &latents, &e_ref, &t_ref, c)?;

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
            batch.labels = pairs
                .iter()
                .map(|p| labels::label(recipe.label, preference.probability(*p, recipe), rng))
                .collect();
            let reference = under_c.under(c_mod.clone());
            let generated = Noised::new(schedule, &latents, &e_gen, &t_gen, c_mod)?;
            batch.rows.insert(Rows::ReferenceMod, reference);
            batch.rows.insert(Rows::Generated, generated);
        }
        if let Some(class) = &self.set.class_latents {
            let n = class.mean.dim(0)?;
            let index: Vec<u32> = (0..b).map(|_| random::below(rng, n) as u32).collect();
            let latents = take(class, &index, recipe.latent, rng)?;
            let (t, e) = (times(rng), noise_like(&latents, rng)?);
            let text = self.set.class.select(&vec![0; b])?;
            let class = Noised::new(schedule, &latents, &e, &t, text)?;
            batch.rows.insert(Rows::Class, class);
        }
        if let Some(plain) = &self.set.c_plain {
            let plain = under_c.under(plain.select(&places)?);
            batch.rows.insert(Rows::Plain, plain);
        }
        batch.rows.insert(Rows::Reference, under_c);
        Ok(batch)
    }

    /// x_0 of the drawn references, mirrored where `flipped`, randomly cropped where the recipe and the picture's shape require it.
    fn reference_latents(
        &self,
        index: &[usize],
        flipped: &[bool],
        rng: &mut ChaCha8Rng,
    ) -> Result<Tensor> {
        let latent = self.arm.recipe.latent;
        let drawn = index.iter().zip(flipped);
        if !self.set.random_crop {
            // The mirrored references follow the others.
            let n = self.set.references.len();
            let place = |(i, flipped): (&usize, &bool)| (i + n * usize::from(*flipped)) as u32;
            let index: Vec<u32> = drawn.map(place).collect();
            return take(&self.set.reference_latents, &index, latent, rng);
        }
        let crops: Vec<_> = drawn
            .map(|(i, flipped)| {
                let (x, y) = (random::unit(rng), random::unit(rng));
                let mut crop = picture::square_at(&self.set.references[*i], self.size, x, y);
                if *flipped {
                    flip_horizontal_in_place(&mut crop);
                }
                crop
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
