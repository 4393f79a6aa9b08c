//! A whole Stable Diffusion model: a diffusers folder with its U-Net, VAE, text encoder, tokenizer and schedule.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Error, Result, Tensor, bail};
use image::RgbImage;
use rpo_encoders::clip::{ClipTextConfig, ClipTextModel};
use rpo_encoders::folder;
use rpo_encoders::tokenizer::ClipTokenizer;
use rpo_nn::weights::Params;
use serde_json::Value;

use crate::config_check;
use crate::schedule::{self, NoiseSchedule};
use crate::unet::{UNet2DConditionModel, UNetConfig};
use crate::vae::{AutoencoderKL, Posterior, VaeConfig};

/// The parts of a `StableDiffusionPipeline` that are needed, with the classes that are supported.
const PARTS: [(&str, &[&str]); 5] = [
    ("unet", &["UNet2DConditionModel"]),
    ("vae", &["AutoencoderKL"]),
    ("text_encoder", &["CLIPTextModel"]),
    ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
    ("scheduler", schedule::CLASSES),
];

/// Texts in one batch of the text encoder.
const TEXT_BATCH: usize = 64;

/// Pixels in one batch of the VAE's encoder: eight pictures of 512 x 512.
const PIXEL_BATCH: usize = 8 * 512 * 512;

/// The loaded folder. All weights are frozen; a U-Net to be trained is built by [`Pipeline::unet`] on a trainable
/// copy of `unet_params`.
pub struct Pipeline {
    /// Where it was loaded from.
    pub folder: PathBuf,
    /// The U-Net's configuration.
    pub unet_config: UNetConfig,
    /// The base U-Net's weights.
    pub unet_params: Params,
    /// The VAE.
    pub vae: AutoencoderKL,
    /// The text encoder.
    pub text_encoder: ClipTextModel,
    /// The tokenizer.
    pub tokenizer: ClipTokenizer,
    /// The noise schedule.
    pub schedule: NoiseSchedule,
    /// Side of the pictures the model was trained on, in pixels.
    pub sample_size: usize,
}

impl Pipeline {
    /// Loads a folder in diffusers layout. Errors name the folder, the file or tensor, and what to do.
    pub fn load(dir: &Path) -> Result<Self> {
        check_index(dir)?;
        let unet_dir = dir.join("unet");
        let unet_config = UNetConfig::load(&unet_dir.join("config.json"))?;
        let unet_params = folder::open_params(&unet_dir, false)?;
        // Built once now, so that a mismatch is told before anything is computed.
        UNet2DConditionModel::new(&unet_config, &unet_params.root())?;
        all_used(&unet_dir, &unet_params)?;

        let vae_dir = dir.join("vae");
        let vae_config = VaeConfig::load(&vae_dir.join("config.json"))?;
        let vae_params = folder::open_params(&vae_dir, false)?;
        let vae = AutoencoderKL::new(&vae_config, &vae_params.root())?;
        all_used(&vae_dir, &vae_params)?;
        if vae_config.latent_channels != unet_config.in_channels
            || unet_config.in_channels != unet_config.out_channels
        {
            bail!(
                "{}: the U-Net takes {} channels and returns {}, the VAE has {} latent channels; the three must be equal (an inpainting or depth model cannot be used)",
                dir.display(),
                unet_config.in_channels,
                unet_config.out_channels,
                vae_config.latent_channels
            );
        }

        let text_dir = dir.join("text_encoder");
        let text_config = ClipTextConfig::load(&text_dir)?;
        let text_params = folder::open_params(&text_dir, false)?;
        let text_encoder = ClipTextModel::new(&text_config, &text_params.root())?;

        Ok(Self {
            folder: dir.to_owned(),
            sample_size: unet_config.sample_size.unwrap_or(64) * vae_config.factor(),
            unet_config,
            unet_params,
            vae,
            text_encoder,
            tokenizer: ClipTokenizer::load(&dir.join("tokenizer"))?,
            schedule: NoiseSchedule::load(&dir.join("scheduler/scheduler_config.json"))?
                .of_stable_diffusion(),
        })
    }

    /// A U-Net of this pipeline's configuration on any weights of its names and shapes.
    pub fn unet(&self, params: &Params) -> Result<UNet2DConditionModel> {
        UNet2DConditionModel::new(&self.unet_config, &params.root())
    }

    /// `[h, w, channels]` of the latents of a picture of `sample_size`.
    pub fn latent_dims(&self) -> [usize; 3] {
        let side = self.sample_size / self.vae.config.factor();
        [side, side, self.vae.config.latent_channels]
    }

    /// Text states `[n, S, D]`, one a prompt; equal prompts are computed once.
    pub fn encode_prompts<S: AsRef<str>>(&self, prompts: &[S]) -> Result<Tensor> {
        let mut rows = HashMap::new();
        let mut unique = Vec::new();
        let mut order = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let prompt = prompt.as_ref();
            let row = *rows.entry(prompt).or_insert_with(|| {
                unique.push(prompt);
                unique.len() - 1
            });
            order.push(row as u32);
        }
        if unique.is_empty() {
            bail!("no prompts to encode");
        }
        let mut states = Vec::new();
        for chunk in unique.chunks(TEXT_BATCH) {
            let ids = self.tokenizer.encode_batch(chunk)?;
            states.push(self.text_encoder.forward(&ids)?.last_hidden_state);
        }
        let states = Tensor::cat(&states, 0)?;
        states.index_select(&Tensor::new(order, states.device())?, 0)
    }

    /// Pictures of scaled latents `[N, h, w, C]`, decoded `batch` at a time, rounded as diffusers does:
    /// `round(255 clamp(x / 2 + 0.5, 0, 1))`.
    pub fn decode(&self, latents: &Tensor, batch: usize) -> Result<Vec<RgbImage>> {
        let (n, ..) = latents.dims4()?;
        if batch == 0 {
            bail!("cannot decode in batches of 0 pictures");
        }
        let mut pictures = Vec::with_capacity(n);
        for start in (0..n).step_by(batch) {
            let scaled = latents.narrow(0, start, batch.min(n - start))?;
            let z = (scaled.contiguous()? / self.vae.config.scaling_factor)?;
            pictures.extend(to_pictures(&self.vae.decode(&z)?)?);
        }
        Ok(pictures)
    }

    /// The posterior of the *scaled* latents of pictures, all of one size, a multiple of the VAE's factor: its mean
    /// and its samples are what the U-Net works on.
    pub fn encode_pictures(&self, pictures: &[RgbImage]) -> Result<Posterior> {
        let Some(first) = pictures.first() else {
            bail!("no pictures to encode")
        };
        let (w, h) = first.dimensions();
        if let Some(other) = pictures.iter().find(|p| p.dimensions() != (w, h)) {
            bail!(
                "pictures of {w} x {h} and of {:?} in one batch: bring them to one size first",
                other.dimensions()
            );
        }
        let (width, height, factor) = (w as usize, h as usize, self.vae.config.factor());
        if width == 0 || height == 0 || width % factor != 0 || height % factor != 0 {
            bail!("a picture of {width} x {height}: both sides must be multiples of {factor}");
        }
        let batch = (PIXEL_BATCH / (width * height)).max(1);
        let (mut means, mut logvars) = (Vec::new(), Vec::new());
        for chunk in pictures.chunks(batch) {
            let bytes = chunk.iter().flat_map(|p| p.as_raw());
            let values: Vec<f32> = bytes.map(|&b| f32::from(b) / 127.5 - 1.).collect();
            let x = Tensor::from_vec(values, (chunk.len(), height, width, 3), &Device::Cpu)?;
            let posterior = self.vae.encode(&x)?;
            means.push(posterior.mean);
            logvars.push(posterior.logvar);
        }
        let scale = self.vae.config.scaling_factor;
        Ok(Posterior {
            mean: (Tensor::cat(&means, 0)? * scale)?,
            logvar: (Tensor::cat(&logvars, 0)? + 2. * scale.ln())?,
        })
    }
}

/// `[N, H, W, 3]` in about [-1, 1] to 8-bit pictures.
fn to_pictures(x: &Tensor) -> Result<Vec<RgbImage>> {
    let (n, h, w, c) = x.dims4()?;
    if c != 3 {
        bail!("pictures of {c} channels: only RGB is supported");
    }
    let values = x.flatten_all()?.to_vec1::<f32>()?;
    let to_byte = |v: &f32| ((v / 2. + 0.5).clamp(0., 1.) * 255.).round_ties_even() as u8;
    let size = h * w * c;
    (0..n)
        .map(|i| {
            let bytes = values[i * size..(i + 1) * size]
                .iter()
                .map(to_byte)
                .collect();
            RgbImage::from_raw(w as u32, h as u32, bytes)
                .ok_or_else(|| Error::msg(format!("a picture of {w} x {h} does not fit its data")))
        })
        .collect()
}

/// Refuses a folder that is not a Stable Diffusion pipeline, or lacks a part.
fn check_index(dir: &Path) -> Result<()> {
    let path = dir.join("model_index.json");
    if !dir.is_dir() {
        bail!(
            "there is no folder {}: give a model folder in diffusers layout",
            dir.display()
        );
    }
    let label = path.display();
    let index: Value = serde_json::from_str(&config_check::read(&path)?)
        .map_err(|e| Error::msg(format!("{label}: {e}")))?;
    let class = index["_class_name"].as_str().unwrap_or("none");
    if class != "StableDiffusionPipeline" {
        bail!(
            "{label}: pipeline class {class} is not supported, only StableDiffusionPipeline (Stable Diffusion 1.x and 2.x)"
        );
    }
    for (part, classes) in PARTS {
        match index[part][1].as_str() {
            Some(class) if classes.contains(&class) => {}
            Some(class) => bail!(
                "{label}: {part} is a {class}, only {} is supported",
                classes.join(" or ")
            ),
            None => bail!("{label}: {part} is not listed; a Stable Diffusion folder has one"),
        }
        let folder = dir.join(part);
        if !folder.is_dir() {
            bail!(
                "the folder {} is missing: copy the model folder as a whole",
                folder.display()
            );
        }
    }
    Ok(())
}

/// A tensor that no layer took means that weights and configuration do not belong together.
fn all_used(dir: &Path, params: &Params) -> Result<()> {
    let unused = params.unused();
    if let Some(name) = unused.first() {
        bail!(
            "{}: {} tensors of the weights file have no place in config.json, {name} among them; the two files must come from one model",
            dir.display(),
            unused.len()
        );
    }
    Ok(())
}
