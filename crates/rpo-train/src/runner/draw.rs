//! Draws pictures, each from its own named noise, and caches each under a hash of everything its bits depend on.

use super::conditioned::Conditioned;
use super::network::Network;
use super::store::{KEY, Store};
use super::turns::{self, Turn};
use crate::interrupt;
use crate::progress::Progress;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use image::RgbImage;
use rpo_data::random;
use rpo_diffusion::{PIXEL_BATCH, Pipeline, SamplerConfig, sample_guided};
use rpo_experiment::plan::{Plan, Shot};
use std::collections::{BTreeSet, VecDeque};

/// One picture to draw.
#[derive(Clone, Debug)]
pub struct Request {
    /// The prompt as the text encoder reads it.
    pub prompt: String,
    /// Names of its noise: seed, purpose and what is drawn.
    pub seed: u64,
    /// Purpose of the noise stream.
    pub purpose: &'static str,
    /// What is drawn.
    pub names: Vec<String>,
}

impl From<Shot> for Request {
    fn from(shot: Shot) -> Self {
        Self {
            prompt: shot.prompt,
            seed: shot.seed,
            purpose: shot.purpose.name(),
            names: shot.names,
        }
    }
}

impl Request {
    /// `n` values of the initial noise, or of the noise that a stochastic solver adds in a step.
    fn noise(&self, step: Option<usize>, n: usize) -> Vec<f32> {
        let step = step.map(|k| format!("step {k}"));
        let names: Vec<&str> = self.names.iter().chain(&step).map(String::as_str).collect();
        random::normal(&mut random::stream(self.seed, self.purpose, &names), n)
    }
}

/// Draws with one model's VAE and schedule; each call brings its network.
pub struct Drawer<'a> {
    /// The plan, for the cost of a picture.
    pub plan: &'a Plan,
    /// The model.
    pub pipeline: &'a Pipeline,
    /// Hash of everything in the model except the U-Net's weights.
    pub model: String,
    /// Solver, eta, steps, guidance, batch.
    pub sampler: SamplerConfig,
    /// Description of the device; `None` is the CPU.
    pub device: Option<String>,
    /// Side of the pictures in pixels.
    pub size: u32,
    /// What guidance leads away from; `None` is the model's unconditional input.
    pub negative: Option<String>,
    /// The cache of pictures.
    pub store: Store,
}

impl Drawer<'_> {
    /// Draws one picture per request.
    ///
    /// Every picture has its own noise, initially and in each step, so it does not depend on what else is drawn.
    ///
    /// # Errors
    /// Sampling and I/O errors.
    pub fn draw(
        &self,
        network: &Network,
        requests: &[Request],
        progress: &mut Progress,
        message: &str,
    ) -> Result<Vec<RgbImage>> {
        let keys = self.keys(network, requests);
        let mut pictures: Vec<Option<RgbImage>> = Vec::with_capacity(keys.len());
        for key in &keys {
            pictures.push(self.store.get(key).unwrap_or_else(|e| {
                progress.line(&format!("drawing again a picture that was damaged: {e:#}"));
                None
            }));
        }
        let missing = pictures.iter().filter(|p| p.is_none()).count();
        progress.advance(self.cost(network, keys.len() - missing), true, message);
        if missing > 0 {
            self.draw_missing(network, requests, &keys, &mut pictures, progress, message)?;
        }
        pictures
            .into_iter()
            .map(|p| p.context("a picture was not drawn"))
            .collect()
    }

    /// Draws what `pictures` lacks, batch by batch, so that a kill loses one batch, sharing the work with other processes.
    fn draw_missing(
        &self,
        network: &Network,
        requests: &[Request],
        keys: &[String],
        pictures: &mut [Option<RgbImage>],
        progress: &mut Progress,
        message: &str,
    ) -> Result<()> {
        let pixels = self.size as usize;
        let all = self.batches(pictures);
        let prompts: Vec<&str> = all
            .iter()
            .flatten()
            .map(|i| &*requests[*i].prompt)
            .collect();
        let (own, negative) = (self.pipeline.texts(), self.negative.as_deref());
        let texts = Conditioned::of(network, own, &prompts, negative, pixels)?;
        self.pipeline.release();
        let first = |n: usize| all[..n].iter().map(Vec::len).sum::<usize>();
        let mut todo: VecDeque<usize> = (0..all.len()).collect();
        let mut waited = BTreeSet::new();
        let (mut turns, mut forbidden) = (self.store.turns(), false);
        let (mut in_vain, mut pause) = (0, turns::POLL[0]);
        let counted = |pictures: &[Option<RgbImage>]| {
            let done = pictures.iter().flatten().count();
            format!("{message} · {done} of {} pictures", pictures.len())
        };
        while let Some(n) = todo.pop_front() {
            interrupt::check()?;
            let batch = &all[n];
            let Turn::Ours(mut turn) = turns.ask(&keys[batch[0]]) else {
                todo.push_back(n);
                waited.insert(n);
                in_vain += 1;
                if in_vain >= todo.len() {
                    in_vain = 0;
                    let waits = format!("{message} · waiting for what other cells draw");
                    progress.advance(0.0, false, &waits);
                    std::thread::sleep(pause);
                    pause = (2 * pause).min(turns::POLL[1]);
                }
                continue;
            };
            (in_vain, pause) = (0, turns::POLL[0]);
            if waited.remove(&n) {
                self.store
                    .look_again(batch.iter().map(|i| keys[*i].as_str()));
            }
            if self.drawn_meanwhile(keys, batch, pictures) {
                progress.advance(self.cost(network, batch.len()), true, message);
                continue;
            }
            let texts = texts.narrow(first(n), batch.len())?;
            let asked: Vec<(usize, &Request)> = batch.iter().map(|i| (*i, &requests[*i])).collect();
            let counted = counted(pictures);
            let drawn = self.draw_batch(network, &asked, &texts, &mut |forwards| {
                turn.alive();
                progress.advance(forwards, false, &counted);
            })?;
            for (i, picture) in batch.iter().zip(drawn) {
                match self.store.put(&keys[*i], &picture) {
                    // Only time is lost.
                    Err(e) if e.is_forbidden() => {
                        if !forbidden {
                            progress.line(&format!("pictures are drawn without the cache: {e}"));
                        }
                        forbidden = true;
                    }
                    put => put.context("keeping a drawn picture")?,
                }
                pictures[*i] = Some(picture);
            }
        }
        Ok(())
    }

    /// The requests without a picture, by batch. Every process cuts the batches alike, whatever is drawn already.
    fn batches(&self, pictures: &[Option<RgbImage>]) -> Vec<Vec<usize>> {
        let all: Vec<usize> = (0..pictures.len()).collect();
        let lacks = |i: &usize| pictures[*i].is_none();
        let batches = all
            .chunks(self.sampler.batch)
            .filter(|b| b.iter().any(lacks));
        batches
            .map(|batch| match self.device {
                None => batch.iter().copied().filter(lacks).collect(),
                // On a GPU a picture's bits depend on the others of its batch.
                Some(_) => batch.to_vec(),
            })
            .collect()
    }

    /// Whether another process has drawn a whole batch since it was looked for; its pictures are then read.
    fn drawn_meanwhile(
        &self,
        keys: &[String],
        batch: &[usize],
        pictures: &mut [Option<RgbImage>],
    ) -> bool {
        let read = |i: &usize| self.store.get(&keys[*i]).ok().flatten();
        let Some(found) = batch.iter().map(read).collect::<Option<Vec<_>>>() else {
            return false;
        };
        for (i, picture) in batch.iter().zip(found) {
            pictures[*i] = Some(picture);
        }
        true
    }

    fn draw_batch(
        &self,
        network: &Network,
        batch: &[(usize, &Request)],
        texts: &Conditioned,
        advance: &mut dyn FnMut(f64),
    ) -> Result<Vec<RgbImage>> {
        let side = self.size as usize / self.pipeline.vae_config.factor();
        let channels = self.pipeline.vae_config.latent_channels;
        let size = side * side * channels;
        let noise = batch.iter().flat_map(|(_, r)| r.noise(None, size));
        let latents = Tensor::from_vec(
            noise.collect(),
            (batch.len(), side, side, channels),
            &Device::Cpu,
        )?;
        let each = self.plan.passes(network.reward.is_some());
        let mut before = 0;
        let latents = sample_guided(
            &texts.guided(network),
            &self.pipeline.schedule,
            &self.sampler,
            &latents,
            &mut |picture, step| batch[picture].1.noise(Some(step), size),
            &mut |done| {
                advance(each * (done - before) as f64);
                before = done;
            },
        )?;
        let pixels = self.size as usize;
        let at_once = (PIXEL_BATCH / (pixels * pixels)).clamp(1, self.sampler.batch);
        let pictures = self.pipeline.decode(&latents, at_once)?;
        self.pipeline.release();
        Ok(pictures)
    }

    /// U-Net forwards that `pictures` pictures cost.
    fn cost(&self, network: &Network, pictures: usize) -> f64 {
        self.plan.drawing_cost(pictures, network.reward.is_some())
    }

    /// A key for each picture. On the CPU its bits depend on its own request alone; on a GPU, where libraries choose algorithms by
    /// the batch, on the others of its batch too.
    fn keys(&self, network: &Network, requests: &[Request]) -> Vec<String> {
        let reward = |r: &Request| Some(network.reward.as_ref()?.key(&r.prompt));
        let own = requests
            .iter()
            .map(|r| self.key(&network.weights, r, reward(r)));
        let own: Vec<String> = own.collect();
        if self.device.is_none() {
            return own;
        }
        let batches = own.chunks(self.sampler.batch);
        batches
            .flat_map(|batch| {
                let together = batch.concat();
                batch.iter().map(move |key| {
                    let hash = blake3::hash(format!("{key}|{together}").as_bytes());
                    hash.to_hex()[..KEY].to_owned()
                })
            })
            .collect()
    }

    /// Hash of everything that the bits of a picture depend on, except its batch; `reward`: that of its reward guidance.
    fn key(&self, weights: &str, request: &Request, reward: Option<String>) -> String {
        let mut hasher = blake3::Hasher::new();
        let sampler = SamplerConfig {
            batch: 1,
            ..self.sampler.clone()
        };
        hasher.update(format!("{weights}|{}|{sampler:?}|{}|", self.model, self.size).as_bytes());
        let device = match &self.device {
            None => format!(
                "f32|kernels {}|{}|",
                rpo_nn::KERNELS_VERSION,
                rpo_nn::simd_level()
            ),
            Some(device) => format!("{device}|kernels {}|", rpo_nn::KERNELS_VERSION),
        };
        hasher.update(device.as_bytes());
        hasher.update(format!("{request:?}").as_bytes());
        // Keys of before negative prompts stay.
        if let Some(negative) = &self.negative {
            hasher.update(format!("|negative {negative:?}").as_bytes());
        }
        // Likewise before reward guidance.
        if let Some(reward) = reward {
            hasher.update(format!("|reward {reward}").as_bytes());
        }
        hasher.finalize().to_hex()[..KEY].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::network::Reward;
    use crate::runner::setup::Setup;
    use rpo_experiment::read;

    #[test]
    fn pictures_are_kept_by_everything_they_are_drawn_with() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.toml");
        std::fs::write(&file, "[subjects]\ncount = 1\n").unwrap();
        let (experiment, layers) = read(&file, &[], &[]).unwrap();
        let setup = Setup::load(experiment, &layers).unwrap();
        let request = Request {
            prompt: "a dog".into(),
            seed: 0,
            purpose: "test",
            names: vec!["0".into()],
        };
        let key = |change: &dyn Fn(&mut SamplerConfig)| {
            let mut drawer = setup.drawer();
            change(&mut drawer.sampler);
            drawer.key("weights", &request, None)
        };
        let led = |change: &dyn Fn(&mut Reward)| {
            let mut reward = Reward {
                scale: 3.0,
                base: setup.pipeline.unet(&setup.pipeline.unet_params).unwrap(),
                texts: None,
                weights: "base".into(),
                token: "[v]".into(),
            };
            change(&mut reward);
            let reward = reward.key(&request.prompt);
            setup.drawer().key("weights", &request, Some(reward))
        };
        let keys = [
            key(&|_| {}),
            key(&|s| s.solver = rpo_diffusion::Solver::Ddim),
            key(&|s| s.eta = 0.5),
            key(&|s| s.steps += 1),
            key(&|s| s.guidance += 1.0),
            key(&|s| s.guidance_interval = Some([0.0, 0.6])),
            key(&|s| s.guidance_interval = Some([0.0, 0.5])),
            led(&|_| {}),
            led(&|r| r.scale = 5.0),
            led(&|r| r.weights = "another".into()),
            led(&|r| r.token = "a".into()),
        ];
        assert_eq!(keys[0], key(&|s| s.batch += 1), "its batch is not its own");
        let mut negative = setup.drawer();
        negative.negative = Some("blurry".into());
        assert_ne!(keys[0], negative.key("weights", &request, None));
        let different: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_eq!(keys[0], key(&|_| {}));
    }
}
