//! A round of preferences between the trained model's own pictures: the frozen model of its start, the pictures that this drew, and
//! the pairs of them that are kept.

use super::checkpoint;
use super::draw::{Drawer, Request};
use super::draws::{Noise, take};
use super::network::Network;
use super::objective::Batch;
use super::prompted::Prompted;
use super::setup::Setup;
use super::trainable::Trained;
use crate::progress::Progress;
use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rpo_data::random;
use rpo_diffusion::{NoiseSchedule, Posterior, UNet2DConditionModel};
use rpo_eval::reward::RefFeatures;
use rpo_experiment::TrainingArm;
use rpo_experiment::plan::{Cell, Purpose};
use rpo_nn::weights::Params;
use rpo_pref::preferred::{Preferred, possible, preferred};
use rpo_pref::terms::Rows;

/// One round.
pub struct Round {
    /// A copy of what was trained at its start.
    start: Box<dyn Trained>,
    /// The network of this copy.
    network: Network,
    /// Pairs of pictures of one prompt.
    possible: usize,
    kept: Option<Kept>,
}

/// Pairs to train on: at least one.
struct Kept {
    pairs: Vec<Preferred>,
    /// Of all pictures, prompt by prompt.
    latents: Posterior,
    /// The training prompts as the frozen model reads them.
    c_mod: Prompted,
}

impl Round {
    /// The round that begins after `step` steps, at which `start` has the trained weights: draws (or reads from the cache) and scores
    /// its pictures. The same weights give the same round.
    ///
    /// # Errors
    /// Sampling, scoring and I/O errors.
    pub fn of(
        setup: &Setup,
        cell: &Cell,
        start: Box<dyn Trained>,
        step: usize,
        features: &RefFeatures,
        drawer: &Drawer,
        progress: &mut Progress,
    ) -> Result<Self> {
        let network = checkpoint::network(setup, Some(&*start))?;
        let recipe = &setup.arm(cell).recipe;
        let shots = setup.shots(cell, Purpose::Own, step);
        let texts: Vec<String> = shots.iter().map(|s| s.reward_text.clone()).collect();
        let requests: Vec<Request> = shots.into_iter().map(Request::from).collect();
        let note = format!("{} · pictures of the round after step {step}", cell.id);
        let pictures = drawer.draw(&network, &requests, progress, &note)?;
        let scores = setup.rewarder.score(features, &pictures, &texts)?;
        let each = setup.each(cell, Purpose::Own);
        let pairs = preferred(&scores, each, recipe.angle);
        let prompts = setup.prompts(cell, Purpose::Own);
        let possible = possible(prompts.len(), each);
        let kept = match pairs.is_empty() {
            true => None,
            false => {
                let reads = network.texts.as_ref().unwrap_or(setup.pipeline.texts());
                Some(Kept {
                    c_mod: Prompted::encode(reads, prompts, setup.size as usize)?,
                    latents: setup.pipeline.encode_pictures(&pictures)?,
                    pairs,
                })
            }
        };
        setup.pipeline.release();
        Ok(Self {
            start,
            network,
            possible,
            kept,
        })
    }

    /// The trained tensors at its start.
    pub fn params(&self) -> &Params {
        self.start.params()
    }

    /// Pairs that there are, and those that are kept.
    pub fn pairs(&self) -> (usize, usize) {
        let kept = self.kept.as_ref().map_or(0, |kept| kept.pairs.len());
        (self.possible, kept)
    }

    /// The batch of one step and the frozen U-Net of its loss; `None` without pairs. `rng` is the step's own stream.
    ///
    /// # Errors
    /// Tensor errors.
    pub fn batch(
        &self,
        arm: &TrainingArm,
        schedule: &NoiseSchedule,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<(Batch, &UNet2DConditionModel)>> {
        let Some(kept) = &self.kept else {
            return Ok(None);
        };
        let (recipe, b) = (&arm.recipe, arm.training.batch);
        let pairs: Vec<Preferred> = (0..b).map(|_| *random::choose(rng, &kept.pairs)).collect();
        let mut latents = |of: fn(&Preferred) -> usize| {
            let places: Vec<u32> = pairs.iter().map(|pair| of(pair) as u32).collect();
            take(&kept.latents, &places, recipe.latent, rng)
        };
        let (winners, losers) = (latents(|p| p.winner)?, latents(|p| p.loser)?);
        let first = Noise::draw(schedule, &winners, rng)?;
        let second = first.second(recipe, schedule, &losers, rng)?;
        let prompts: Vec<u32> = pairs.iter().map(|pair| pair.prompt as u32).collect();
        let c_mod = kept.c_mod.select(&prompts)?;
        let mut batch = Batch {
            labels: vec![1.0; b],
            ..Batch::default()
        };
        for (rows, noise, x0) in [
            (Rows::Preferred, first, winners),
            (Rows::Generated, second, losers),
        ] {
            let noised = noise.onto(schedule, &x0, c_mod.clone())?;
            batch.rows.insert(rows, noised);
        }
        Ok(Some((batch, &self.network.unet)))
    }
}
