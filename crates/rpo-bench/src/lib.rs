//! The work that benches and side-by-side runs time: one U-Net forward, one training step, one sampling, one decoding, one
//! encoding of texts, one scoring. What goes in is made at the first call and kept: it is not what is timed.

pub mod peers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use image::RgbImage;
use rpo_data::random;
use rpo_data::stickerbench;
use rpo_diffusion::lora::{Adapters, LoraConfig};
use rpo_diffusion::{
    Conditioning, PIXEL_BATCH, Pipeline, SamplerConfig, Solver, UNet2DConditionModel, sample,
};
use rpo_eval::reward::{RefFeatures, Rewarder};
use rpo_nn::optim::{self, AdamW, AdamWConfig};
use rpo_nn::weights::Params;
use rpo_nn::{Place, Tape, ops};

/// The embedded model.
pub fn micro() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/micro")
}

/// A model with a trainable copy of its U-Net.
pub struct Work {
    pipeline: Pipeline,
    params: Params,
    trained: UNet2DConditionModel,
    frozen: UNet2DConditionModel,
    optimizer: AdamW,
    /// Whether the step computes blocks again.
    recompute: bool,
    reward: Option<Reward>,
    inputs: BTreeMap<usize, Inputs>,
    uncond: Conditioning,
}

/// What the networks are given.
#[derive(Clone)]
struct Inputs {
    x: Tensor,
    e: Tensor,
    t: Vec<f64>,
    text: Conditioning,
}

/// The reward's encoder with the references of a subject.
struct Reward {
    rewarder: Rewarder,
    pictures: Vec<RgbImage>,
    references: RefFeatures,
}

impl Reward {
    fn load(folder: &Path, place: &Place) -> Result<Self> {
        let rewarder = Rewarder::load(folder, place)?;
        let subject = stickerbench::subjects(0, 1, 64).swap_remove(0);
        let pictures = subject.references.into_iter().map(|r| r.picture);
        let pictures: Vec<RgbImage> = pictures.collect();
        Ok(Self {
            references: rewarder.references(&pictures)?,
            rewarder,
            pictures,
        })
    }
}

impl Work {
    /// Loads a diffusers folder, and its `reward` folder if it has one. With `lora`, a rank, the step trains adapters of the
    /// attention projections over the frozen tensors, with blocks computed again (else on request), in place of a copy of the
    /// whole U-Net.
    ///
    /// # Errors
    /// Those of loading.
    pub fn load(
        folder: &Path,
        lora: Option<usize>,
        place: &Place,
        recompute: bool,
    ) -> Result<Self> {
        let pipeline = Pipeline::load(folder)?.at(place)?;
        let base = &pipeline.unet_params;
        let (network, params) = match lora {
            None => {
                let copy = pipeline.trainable_unet()?;
                (copy.clone(), copy)
            }
            Some(rank) => {
                let config = LoraConfig {
                    rank,
                    alpha: rank as f64,
                    targets: LoraConfig::ATTENTION.map(str::to_owned).to_vec(),
                    dropout: 0.0,
                    init: Default::default(),
                };
                let mut unit = |module: &str, n: usize| {
                    let mut stream = random::stream(0, "lora", &[module]);
                    (0..n).map(|_| random::unit(&mut stream)).collect()
                };
                let adapters = Adapters::new(base, &config, &mut unit)?;
                (base.with_adapters(&adapters), adapters.params().clone())
            }
        };
        // The variables are known once the network has asked for them.
        let trained = pipeline.unet(&network)?;
        let optimizer = AdamW::new(
            AdamWConfig {
                lr: 1e-5,
                ..AdamWConfig::default()
            },
            params.vars(),
        )?;
        let reward = folder.join("reward");
        Ok(Self {
            trained,
            frozen: pipeline.unet(&pipeline.unet_params)?,
            reward: reward
                .exists()
                .then(|| Reward::load(&reward, place))
                .transpose()?,
            inputs: BTreeMap::new(),
            uncond: pipeline.unconditional(pipeline.sample_size)?,
            pipeline,
            params,
            optimizer,
            recompute: recompute || lora.is_some(),
        })
    }

    /// Waits until the device has done all that was asked of it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn synchronize(&self) -> Result<()> {
        Ok(self.pipeline.unet_params.place().device().synchronize()?)
    }

    /// The most bytes of a GPU used at once; 0 on the CPU.
    ///
    /// # Errors
    /// Those of the device.
    pub fn peak_memory(&self) -> Result<u64> {
        #[cfg(feature = "cuda")]
        if let Some(memory) = rpo_nn::gpu::memory(self.pipeline.unet_params.place().device())? {
            return Ok(memory.peak);
        }
        Ok(0)
    }

    fn inputs(&mut self, batch: usize) -> Result<Inputs> {
        if let Some(inputs) = self.inputs.get(&batch) {
            return Ok(inputs.clone());
        }
        let [h, w, c] = self.pipeline.latent_dims();
        let noise = |name: &str| -> Result<Tensor> {
            let values =
                random::normal(&mut random::stream(0, "bench", &[name]), batch * h * w * c);
            Ok(Tensor::from_vec(values, (batch, h, w, c), &Device::Cpu)?)
        };
        let prompts = vec!["a [v] dog in the snow"; batch];
        let inputs = Inputs {
            x: noise("x")?,
            e: noise("e")?,
            t: (0..batch).map(|i| (i * 997 % 1000) as f64).collect(),
            text: self
                .pipeline
                .encode_prompts(&prompts, self.pipeline.sample_size)?,
        };
        self.inputs.insert(batch, inputs.clone());
        Ok(inputs)
    }

    /// One U-Net forward without a graph.
    ///
    /// # Errors
    /// Those of tensors.
    pub fn forward(&mut self, batch: usize) -> Result<()> {
        let Inputs { x, t, text, .. } = self.inputs(batch)?;
        self.frozen.forward(&x, &t, &text)?;
        Ok(())
    }

    /// One step of recipe `official` on `pairs` pairs: a trained and a frozen pass over `2 * pairs` pictures, L_sim + L_pref,
    /// backward, clipping, AdamW.
    ///
    /// # Errors
    /// Those of tensors.
    pub fn step(&mut self, pairs: usize) -> Result<()> {
        let Inputs { x, e, t, text } = self.inputs(2 * pairs)?;
        let base = ops::mean_squared_per_sample(&self.frozen.forward(&x, &t, &text)?, &e)?;
        let tape = Tape::new(self.recompute)?;
        let prediction = self.trained.forward_on(&tape, &x, &t, &text)?;
        let theta = ops::mean_squared_per_sample(&prediction, &e)?;
        let half = |e: &Tensor, i: usize| e.narrow(0, i * pairs, pairs);
        let ell = ((half(&base, 0)? - half(&theta, 0)?)? - (half(&base, 1)? - half(&theta, 1)?)?)?;
        let l_pref = ((ell.neg()?.exp()? + 1.0)?.log()?).mean_all()?;
        let loss = (half(&theta, 0)?.mean_all()? + l_pref)?;
        let grads = tape.backward(&loss)?;
        let norm = optim::global_norm(&grads, &self.params.vars())?;
        self.optimizer.step(&grads, optim::clip_scale(norm, 1.0))?;
        Ok(())
    }

    /// `pictures` pictures in one batch with guidance, decoded.
    ///
    /// # Errors
    /// Those of sampling.
    pub fn sample(
        &mut self,
        pictures: usize,
        solver: Solver,
        steps: usize,
    ) -> Result<Vec<RgbImage>> {
        let Inputs { x, text, .. } = self.inputs(pictures)?;
        let config = SamplerConfig {
            solver,
            eta: 0.0,
            steps,
            guidance: 3.0,
            guidance_interval: None,
            batch: pictures,
        };
        let z = sample(
            &self.frozen,
            &self.pipeline.schedule,
            &config,
            &x,
            &text,
            &self.uncond,
            &mut |_, _| Vec::new(),
            &mut |_| {},
        )?;
        Ok(self.pipeline.decode(&z, self.decoded_at_once(pictures))?)
    }

    /// `pictures` latents to pictures.
    ///
    /// # Errors
    /// Those of the VAE.
    pub fn decode(&mut self, pictures: usize) -> Result<Vec<RgbImage>> {
        let z = self.inputs(pictures)?.x;
        Ok(self.pipeline.decode(&z, self.decoded_at_once(pictures))?)
    }

    /// As the runner has it.
    fn decoded_at_once(&self, pictures: usize) -> usize {
        (PIXEL_BATCH / self.pipeline.sample_size.pow(2)).clamp(1, pictures.max(1))
    }

    /// The states of `prompts` different prompts.
    ///
    /// # Errors
    /// Those of the text encoders.
    pub fn text(&self, prompts: usize) -> Result<Conditioning> {
        let prompts: Vec<String> = (0..prompts)
            .map(|i| format!("a [v] dog in the snow, number {i}"))
            .collect();
        Ok(self
            .pipeline
            .encode_prompts(&prompts, self.pipeline.sample_size)?)
    }

    /// Scores `pictures` stickers with the reward's encoder, their preprocessing included.
    ///
    /// # Errors
    /// A model without a `reward` folder; those of scoring.
    pub fn score(&self, pictures: usize) -> Result<()> {
        let reward = self
            .reward
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("the model has no `reward` folder"))?;
        let all = reward.pictures.iter().cycle().take(pictures).cloned();
        let texts = vec!["a dog in the snow".to_owned(); pictures];
        let all: Vec<RgbImage> = all.collect();
        reward.rewarder.score(&reward.references, &all, &texts)?;
        Ok(())
    }
}

/// The place that the variable `RPO_BENCH_DEVICE` names: `cpu`, `cuda:bf16` or `cuda:f32`.
///
/// # Errors
/// Another name, or no GPU.
pub fn place() -> Result<Place> {
    match std::env::var("RPO_BENCH_DEVICE").as_deref() {
        #[cfg(feature = "cuda")]
        Ok(device @ ("cuda:bf16" | "cuda:f32")) => {
            let dtype = match device {
                "cuda:f32" => candle_core::DType::F32,
                _ => candle_core::DType::BF16,
            };
            Ok(Place::new(rpo_nn::gpu::open(0)?, dtype)?)
        }
        Ok(other) if other != "cpu" => bail!("RPO_BENCH_DEVICE={other} is not known to this build"),
        _ => Ok(Place::default()),
    }
}
