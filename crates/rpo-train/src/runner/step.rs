//! The inputs of one gradient step: pairs, timesteps and noise from the step's own stream.

use super::draws::{Noise, select, take};
use super::masks;
use super::objective::Batch;
use super::prepare::TrainingSet;
use anyhow::Result;
use candle_core::{Device, Tensor};
use image::RgbImage;
use image::imageops::flip_horizontal_in_place;
use rand_chacha::ChaCha8Rng;
use rpo_data::augment::Shown;
use rpo_data::{picture, random};
use rpo_diffusion::Pipeline;
use rpo_experiment::TrainingArm;
use rpo_pref::recipe::Augment;
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
    /// The batch of one step; `rng` is the step's own stream, `flips` that of its mirrored references, `augment` that of how they are
    /// shown: training with and without them has the same draws otherwise.
    ///
    /// # Errors
    /// Tensor errors.
    pub fn batch(
        &self,
        rng: &mut ChaCha8Rng,
        flips: &mut ChaCha8Rng,
        augment: &mut ChaCha8Rng,
    ) -> Result<Batch> {
        let recipe = &self.arm.recipe;
        let b = self.arm.training.batch;
        let schedule = &self.pipeline.schedule;
        // References, timesteps and noise first: arms with and without preferences train on the same draws.
        let references = self.set.references.len();
        let index: Vec<usize> = (0..b).map(|_| random::below(rng, references)).collect();
        let flipped: Vec<bool> = match recipe.flip {
            true => (0..b).map(|_| random::chance(flips, 0.5)).collect(),
            false => vec![false; b],
        };
        let Drawn {
            latents,
            texts,
            mask,
        } = self.drawn_references(&index, &flipped, rng, augment)?;
        let first = Noise::draw(schedule, &latents, rng)?;
        let mut batch = Batch::default();
        if let Some(gamma) = recipe.min_snr_gamma {
            let weights = first.t.iter().map(|t| schedule.min_snr_weight(gamma, *t));
            batch.weights.insert(Rows::Reference, weights.collect());
        }
        let c = self.set.c.select(&texts)?;
        let under_c = first.onto(schedule, &latents, c)?;

        if let (Some(preference), Some(negatives)) =
            (&self.set.preference, &self.set.negative_latents)
        {
            let pairs: Vec<Pair> = index.iter().map(|i| preference.draw(*i, rng)).collect();
            let place = |p: &Pair| (p.prompt * self.set.per_prompt + p.picture) as u32;
            let index: Vec<u32> = pairs.iter().map(place).collect();
            let prompts: Vec<u32> = pairs.iter().map(|p| p.prompt as u32).collect();
            let c_mod = self.set.c_mod.select(&prompts)?;
            let latents = take(negatives, &index, recipe.latent, rng)?;
            let second = first.second(recipe, schedule, &latents, rng)?;
            batch.labels = pairs
                .iter()
                .map(|p| labels::label(recipe.label, preference.probability(*p, recipe), rng))
                .collect();
            let reference = under_c.under(c_mod.clone());
            let generated = second.onto(schedule, &latents, c_mod)?;
            batch.rows.insert(Rows::ReferenceMod, reference);
            batch.rows.insert(Rows::Generated, generated);
        }
        if let Some(class) = &self.set.class_latents {
            let n = class.mean.dim(0)?;
            let index: Vec<u32> = (0..b).map(|_| random::below(rng, n) as u32).collect();
            let latents = take(class, &index, recipe.latent, rng)?;
            let noise = Noise::draw(schedule, &latents, rng)?;
            let texts: Vec<u32> = index
                .iter()
                .map(|i| self.set.class_texts[*i as usize])
                .collect();
            let text = self.set.class.select(&texts)?;
            let class = noise.onto(schedule, &latents, text)?;
            batch.rows.insert(Rows::Class, class);
        }
        if let Some(plain) = &self.set.c_plain {
            let plain = under_c.under(plain.select(&texts)?);
            batch.rows.insert(Rows::Plain, plain);
        }
        let under_c = match mask {
            Some(mask) => under_c.masked(&mask)?,
            None => under_c,
        };
        let under_c = match &self.set.embeddings {
            Some(embeddings) => {
                // The mirrored references follow the others.
                let drawn = index.iter().zip(&flipped);
                let place = |(i, flipped): (&usize, &bool)| i + references * usize::from(*flipped);
                let drawn: Vec<u32> = drawn.map(|row| place(row) as u32).collect();
                batch.rows.insert(Rows::WithoutImage, under_c.clone());
                if let Some(weights) = batch.weights.get(&Rows::Reference).cloned() {
                    batch.weights.insert(Rows::WithoutImage, weights);
                }
                under_c.with_image(select(embeddings, &drawn)?)
            }
            None => under_c,
        };
        batch.rows.insert(Rows::Reference, under_c);
        Ok(batch)
    }

    /// The drawn references, mirrored where `flipped`, randomly cropped where the recipe and the picture's shape require it, and shown
    /// as the recipe's augmentation has it.
    fn drawn_references(
        &self,
        index: &[usize],
        flipped: &[bool],
        rng: &mut ChaCha8Rng,
        augment: &mut ChaCha8Rng,
    ) -> Result<Drawn> {
        let (set, latent) = (self.set, self.arm.recipe.latent);
        let factor = self.pipeline.vae_config.factor();
        let cells = self.size as usize / factor;
        let squares: Vec<(f64, f64)> = match set.random_crop {
            true => (index.iter())
                .map(|_| (random::unit(rng), random::unit(rng)))
                .collect(),
            false => vec![(0.5, 0.5); index.len()],
        };
        let all: Vec<u32> = (0..index.len() as u32).collect();
        let square = |pictures: &[RgbImage], row: usize, size: u32| {
            let (x, y) = squares[row];
            let mut square = picture::square_at(&pictures[index[row]], size, x, y);
            if flipped[row] {
                flip_horizontal_in_place(&mut square);
            }
            square
        };
        let n = set.references.len();
        let mut texts: Vec<usize> = index.to_vec();
        let mut masks = Vec::new();
        let latents = match self.arm.recipe.augment {
            Augment::CustomDiffusion => {
                let draw = |_| Shown::draw(augment, self.size, factor as u32);
                let shown: Vec<Shown> = (0..index.len()).map(draw).collect();
                masks.extend(shown.iter().map(Shown::mask));
                for (text, shown) in texts.iter_mut().zip(&shown) {
                    *text += n * shown.prefix.map_or(0, |prefix| prefix + 1);
                }
                let side = self.size as usize;
                let posterior =
                    (self.pipeline).encode_values(shown.len(), (side, side), |row| {
                        shown[row].values(&square(&set.enlarged, row, shown[row].side))
                    })?;
                take(&posterior, &all, latent, rng)?
            }
            Augment::None if set.random_crop => {
                let crops = (0..index.len()).map(|row| square(&set.references, row, self.size));
                let posterior = self.pipeline.encode_pictures(&crops.collect::<Vec<_>>())?;
                take(&posterior, &all, latent, rng)?
            }
            Augment::None => {
                // The mirrored references follow the others.
                let drawn = index.iter().zip(flipped);
                let place = |(i, flipped): (&usize, &bool)| (i + n * usize::from(*flipped)) as u32;
                let index: Vec<u32> = drawn.map(place).collect();
                take(&set.reference_latents, &index, latent, rng)?
            }
        };
        if !set.masks.is_empty() {
            for (row, i) in index.iter().enumerate() {
                let mask = match set.random_crop {
                    true => masks::in_square(&set.masks[*i], squares[row], cells),
                    false => set.masks[*i].clone(),
                };
                masks.push(match flipped[row] {
                    true => mask.mirrored(),
                    false => mask,
                });
            }
        }
        let weights: Vec<f32> = masks.iter().flat_map(|m| m.values().to_vec()).collect();
        let shape = (masks.len(), cells, cells, 1);
        Ok(Drawn {
            latents,
            texts: texts.iter().map(|text| *text as u32).collect(),
            mask: (!masks.is_empty())
                .then(|| Tensor::from_vec(weights, shape, &Device::Cpu))
                .transpose()?,
        })
    }
}

/// The references of a step.
struct Drawn {
    /// x_0.
    latents: Tensor,
    /// The rows of their texts in [`TrainingSet::c`].
    texts: Vec<u32>,
    /// What L_sim counts of them, `[B, h, w, 1]`; everything without.
    mask: Option<Tensor>,
}
