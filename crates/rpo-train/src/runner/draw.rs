//! Draws pictures, each from its own named noise, and keeps them by content: what was drawn once is never drawn again.

use crate::files;
use crate::progress::Progress;
use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use image::RgbImage;
use rpo_data::random;
use rpo_diffusion::{PIXEL_BATCH, Pipeline, SamplerConfig, UNet2DConditionModel, sample};
use rpo_experiment::plan::{Plan, Shot};
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    /// `n` values of the noise that it starts from, or that a stochastic solver adds in a step.
    fn noise(&self, step: Option<usize>, n: usize) -> Vec<f32> {
        let step = step.map(|k| format!("step {k}"));
        let names: Vec<&str> = self.names.iter().chain(&step).map(String::as_str).collect();
        random::normal(&mut random::stream(self.seed, self.purpose, &names), n)
    }
}

/// Draws with one model's VAE, text encoder and schedule; the U-Net is given with each call.
pub struct Drawer<'a> {
    /// What a picture costs.
    pub plan: &'a Plan,
    /// The model.
    pub pipeline: &'a Pipeline,
    /// Hash of everything in the model but the U-Net's weights.
    pub model: String,
    /// Solver, eta, steps, guidance, batch.
    pub sampler: SamplerConfig,
    /// The device in words; `None` is the CPU.
    pub device: Option<String>,
    /// Side of the pictures in pixels.
    pub size: u32,
    /// Folder of the cache.
    pub cache: PathBuf,
}

impl Drawer<'_> {
    /// Draws one picture a request with the U-Net whose weights hash to `weights`.
    ///
    /// Every picture has its own noise, at the start and in each step, so it does not depend on what else is drawn.
    ///
    /// # Errors
    /// Sampling and I/O errors.
    pub fn draw(
        &self,
        unet: &UNet2DConditionModel,
        weights: &str,
        requests: &[Request],
        progress: &mut Progress,
        message: &str,
    ) -> Result<Vec<RgbImage>> {
        let forwards = self.cost(requests.len());
        let path = self
            .cache
            .join(format!("{}.safetensors", self.key(weights, requests)));
        if path.exists() {
            match files::read_tensors(&path).and_then(|(t, _)| to_pictures(&t["pictures"])) {
                Ok(pictures) => {
                    progress.advance(forwards, true, message);
                    return Ok(pictures);
                }
                Err(e) => progress.line(&format!(
                    "drawing again what a damaged cache file held ({e:#})"
                )),
            }
        }
        let side = self.size as usize / self.pipeline.vae_config.factor();
        let channels = self.pipeline.vae_config.latent_channels;
        let size = side * side * channels;
        let noise = requests.iter().flat_map(|r| r.noise(None, size)).collect();
        let latents =
            Tensor::from_vec(noise, (requests.len(), side, side, channels), &Device::Cpu)?;
        let prompts: Vec<String> = requests.iter().map(|r| r.prompt.clone()).collect();
        let pixels = self.size as usize;
        let cond = self.pipeline.encode_prompts(&prompts, pixels)?;
        let uncond = self.pipeline.unconditional(pixels)?;
        self.pipeline.release();
        let each = self.plan.passes();
        let mut before = 0;
        let latents = sample(
            unet,
            &self.pipeline.schedule,
            &self.sampler,
            &latents,
            &cond,
            &uncond,
            &mut |picture, step| requests[picture].noise(Some(step), size),
            &mut |done| {
                progress.advance(each * (done - before) as f64, false, message);
                before = done;
            },
        )?;
        let at_once = (PIXEL_BATCH / (pixels * pixels)).clamp(1, self.sampler.batch);
        let pictures = self.pipeline.decode(&latents, at_once)?;
        self.pipeline.release();
        let tensors = BTreeMap::from([("pictures".to_owned(), to_tensor(&pictures)?)]);
        let text = serde_json::to_string(&prompts)?;
        files::write_tensors(&path, &tensors, &text).context("keeping drawn pictures")?;
        Ok(pictures)
    }

    /// U-Net forwards that `pictures` pictures cost.
    pub fn cost(&self, pictures: usize) -> f64 {
        self.plan.cost(pictures)
    }

    /// Hash of everything that the bits of the pictures depend on.
    fn key(&self, weights: &str, requests: &[Request]) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(
            format!("{weights}|{}|{:?}|{}|", self.model, self.sampler, self.size).as_bytes(),
        );
        let device = match &self.device {
            None => format!(
                "f32|kernels {}|{}|",
                rpo_nn::KERNELS_VERSION,
                rpo_nn::simd_level()
            ),
            Some(device) => format!("{device}|kernels {}|", rpo_nn::KERNELS_VERSION),
        };
        hasher.update(device.as_bytes());
        for request in requests {
            hasher.update(format!("{request:?}\n").as_bytes());
        }
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

fn to_tensor(pictures: &[RgbImage]) -> Result<Tensor> {
    let (w, h) = pictures.first().map_or((0, 0), RgbImage::dimensions);
    let bytes: Vec<u8> = pictures
        .iter()
        .flat_map(|p| p.as_raw().iter().copied())
        .collect();
    Ok(Tensor::from_vec(
        bytes,
        (pictures.len(), h as usize, w as usize, 3),
        &Device::Cpu,
    )?)
}

fn to_pictures(tensor: &Tensor) -> Result<Vec<RgbImage>> {
    let (n, h, w, _) = tensor.dims4()?;
    (0..n)
        .map(|i| {
            let bytes = tensor.get(i)?.flatten_all()?.to_vec1::<u8>()?;
            RgbImage::from_raw(w as u32, h as u32, bytes).context("picture of another size")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
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
            drawer.key("weights", std::slice::from_ref(&request))
        };
        let keys = [
            key(&|_| {}),
            key(&|s| s.solver = rpo_diffusion::Solver::Ddim),
            key(&|s| s.eta = 0.5),
            key(&|s| s.steps += 1),
            key(&|s| s.guidance += 1.0),
            key(&|s| s.guidance_interval = Some([0.0, 0.6])),
            key(&|s| s.guidance_interval = Some([0.0, 0.5])),
        ];
        let different: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_eq!(keys[0], key(&|_| {}));
    }
}
