//! Inputs and targets of the network in a step.

use crate::data::Sample;
use anyhow::Result;
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use rpo_data::random;
use rpo_diffusion::{Conditioning, NoiseSchedule, Pipeline, UNet2DConditionModel};
use rpo_nn::{Tape, ops};

/// The latent of a sample and the states of its text.
pub type Pair<'a> = (&'a [f32], &'a [f32]);

/// Noised latents, their texts, and the target.
pub struct Batch {
    noised: Tensor,
    target: Tensor,
    t: Vec<usize>,
    text: Conditioning,
}

impl Batch {
    /// `noise`: as many values as the latents have; `t`: one timestep per sample.
    ///
    /// # Errors
    /// Shapes that do not fit together.
    pub fn new(
        pipeline: &Pipeline,
        samples: &[Pair],
        t: Vec<usize>,
        noise: Vec<f32>,
    ) -> Result<Self> {
        let n = samples.len();
        let [h, w, c] = pipeline.latent_dims();
        let width = pipeline.unet_config.cross_attention_dim;
        let flat = |f: fn(&Pair) -> Vec<f32>| -> Vec<f32> { samples.iter().flat_map(f).collect() };
        let text = flat(|s| s.1.to_vec());
        let tokens = text.len() / n / width;
        let latents = Tensor::from_vec(flat(|s| s.0.to_vec()), (n, h, w, c), &Device::Cpu)?;
        let noise = Tensor::from_vec(noise, (n, h, w, c), &Device::Cpu)?;
        Ok(Self {
            noised: pipeline.schedule.add_noise(&latents, &noise, &t)?,
            target: pipeline.schedule.target(&latents, &noise, &t)?,
            t,
            text: Tensor::from_vec(text, (n, tokens, width), &Device::Cpu)?.into(),
        })
    }

    fn times(&self) -> Vec<f64> {
        self.t.iter().map(|&t| t as f64).collect()
    }

    /// Squared errors, one per sample, and the gradients of their mean, weighted by `weights` of the timesteps.
    ///
    /// # Errors
    /// Those of the network.
    pub fn gradients(
        &self,
        unet: &UNet2DConditionModel,
        weights: Option<&[f64]>,
    ) -> Result<(Vec<f32>, GradStore)> {
        let tape = Tape::new(false)?;
        let output = unet.forward_on(&tape, &self.noised, &self.times(), &self.text)?;
        let each = ops::mean_squared_per_sample(&output, &self.target)?;
        let errors = each.to_vec1::<f32>()?;
        let loss = match weights {
            Some(weights) => {
                let of: Vec<f32> = self.t.iter().map(|&t| weights[t] as f32).collect();
                (each * Tensor::from_vec(of, self.t.len(), &Device::Cpu)?)?.mean_all()?
            }
            None => each.mean_all()?,
        };
        Ok((errors, tape.backward(&loss)?))
    }
}

/// Pictures that training does not see, with fixed noise and evenly spread timesteps: always the same batch.
pub struct HeldOut(Vec<Batch>);

/// Samples of the held-out set.
pub const HELD_OUT: usize = 256;

const HELD_OUT_SEED: u64 = 77;
const AT_ONCE: usize = 32;

impl HeldOut {
    /// Draws and encodes them; a fraction `looks` of the pictures has its own look.
    ///
    /// # Errors
    /// Those of the encoders.
    pub fn new(pipeline: &Pipeline, looks: f64) -> Result<Self> {
        let pictures = crate::data::pictures(HELD_OUT_SEED, "held out", looks, 0..HELD_OUT as u64);
        let samples: Vec<Sample> = crate::data::encode(pipeline, pictures)?;
        let [h, w, c] = pipeline.latent_dims();
        let steps = pipeline.schedule.num_train_timesteps();
        let mut rng = random::stream(HELD_OUT_SEED, "held out noise", &[]);
        let batches = (0..HELD_OUT).step_by(AT_ONCE).map(|from| {
            let some = &samples[from..from + AT_ONCE];
            let pairs: Vec<Pair> = some.iter().map(|s| (&s.latent[..], &s.text[..])).collect();
            let t = (from..from + AT_ONCE).map(|i| (2 * i + 1) * steps / (2 * HELD_OUT));
            let noise = random::normal(&mut rng, AT_ONCE * h * w * c);
            Batch::new(pipeline, &pairs, t.collect(), noise)
        });
        Ok(Self(batches.collect::<Result<_>>()?))
    }

    /// The mean squared error, and that of each quarter of the timesteps, from little noise to much.
    ///
    /// # Errors
    /// Those of the network.
    pub fn loss(&self, unet: &UNet2DConditionModel) -> Result<Loss> {
        let mut all = Vec::with_capacity(HELD_OUT);
        for batch in &self.0 {
            let output = unet.forward(&batch.noised, &batch.times(), &batch.text)?;
            all.extend(ops::mean_squared_per_sample(&output, &batch.target)?.to_vec1::<f32>()?);
        }
        let mean = |e: &[f32]| e.iter().map(|&e| f64::from(e)).sum::<f64>() / e.len() as f64;
        let mut quarters = [0.; 4];
        for (quarter, errors) in quarters.iter_mut().zip(all.chunks(HELD_OUT / 4)) {
            *quarter = mean(errors);
        }
        Ok(Loss {
            mean: mean(&all),
            quarters,
        })
    }
}

/// A held-out loss.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Loss {
    /// Over all timesteps.
    pub mean: f64,
    /// Over each quarter of the timesteps, from little noise to much.
    pub quarters: [f64; 4],
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d] = self.quarters;
        write!(f, "{:.5} ({a:.4} {b:.4} {c:.4} {d:.4})", self.mean)
    }
}

/// The random draws of a step: timesteps, dropped captions, noise.
pub struct Draws {
    /// One timestep per sample.
    pub t: Vec<usize>,
    /// Whether its caption is dropped.
    pub dropped: Vec<bool>,
    /// Standard normal noise of all latents.
    pub noise: Vec<f32>,
}

/// Fraction of captions that are dropped, so that the model also learns unconditional prediction and can be guided.
const DROPPED: f64 = 0.1;

impl Draws {
    /// Those of step `step`.
    pub fn of(
        seed: u64,
        step: u64,
        batch: usize,
        schedule: &NoiseSchedule,
        latent: [usize; 3],
    ) -> Self {
        let mut rng = random::stream(seed, "pretraining step", &[&step.to_string()]);
        let timesteps = schedule.num_train_timesteps();
        Self {
            t: (0..batch)
                .map(|_| random::below(&mut rng, timesteps))
                .collect(),
            dropped: (0..batch)
                .map(|_| random::chance(&mut rng, DROPPED))
                .collect(),
            noise: random::normal(&mut rng, batch * latent.iter().product::<usize>()),
        }
    }
}
