//! A whole Stable Diffusion model: a diffusers folder with its U-Net, VAE, text encoders, tokenizers and schedule.

mod fits;
mod index;
mod whole;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Error, Result, Tensor, bail};
use image::RgbImage;
use rpo_encoders::folder;
use rpo_nn::Place;
use rpo_nn::weights::Params;

use crate::conditioning::Conditioning;
use crate::part::Part;
use crate::schedule::NoiseSchedule;
use crate::texts::Texts;
use crate::unet::{UNet2DConditionModel, UNetConfig};
use crate::vae::{AutoencoderKL, Posterior, VaeConfig};
use fits::{same_channels, same_width};

use index::Index;
pub use whole::{check_folder, check_unet};

/// Pixels in one batch of the VAE, which holds about a thousand numbers per pixel: one picture of 512 x 512.
pub const PIXEL_BATCH: usize = 512 * 512;

/// The loaded folder. All weights are frozen; a U-Net to be trained is built by [`Pipeline::unet`] on a trainable copy of
/// `unet_params`. [`Pipeline::release`] frees the memory of VAE and text encoders, which are loaded again when needed.
pub struct Pipeline {
    /// The folder it was loaded from.
    pub folder: PathBuf,
    /// The U-Net's configuration.
    pub unet_config: UNetConfig,
    /// The base U-Net's weights.
    pub unet_params: Params,
    /// The same as read, in f32 on the CPU.
    read: Params,
    /// The VAE's configuration.
    pub vae_config: VaeConfig,
    /// The noise schedule.
    pub schedule: NoiseSchedule,
    /// Side of the pictures the model was trained on, in pixels.
    pub sample_size: usize,
    vae: Part<AutoencoderKL>,
    texts: Texts,
    variant: Option<String>,
}

impl Pipeline {
    /// Loads a folder in diffusers layout. Errors name the folder, the file or tensor, and have a hint.
    pub fn load(dir: &Path) -> Result<Self> {
        Self::load_variant(dir, None)
    }

    /// As [`Pipeline::load`], with the weights of a `variant` in the parts that have it; see [`folder::weight_files_of`].
    pub fn load_variant(dir: &Path, variant: Option<&str>) -> Result<Self> {
        let index = Index::load(dir)?;
        let (unet_config, unet_params) = load_unet(&dir.join("unet"), variant)?;
        let vae_dir = dir.join("vae");
        let vae_config = VaeConfig::load(&vae_dir.join("config.json"))?;
        same_channels(dir, &unet_config, &vae_config)?;
        let vae = Part::new({
            let vae_dir = vae_dir.clone();
            let variant = variant.map(String::from);
            move || load_vae(&vae_dir, variant.as_deref(), &Place::default())
        });
        vae.get()?;
        let texts = Texts::load(dir, index.xl, index.zeros_for_empty_prompt, variant)?;
        same_width(dir, texts.width(), index, &unet_config)?;
        let schedule = NoiseSchedule::load(&dir.join("scheduler/scheduler_config.json"))?;
        Ok(Self {
            folder: dir.to_owned(),
            sample_size: unet_config.sample_size.unwrap_or(64) * vae_config.factor(),
            unet_config,
            read: unet_params.clone(),
            unet_params,
            vae_config,
            schedule: if index.xl {
                schedule
            } else {
                schedule.of_stable_diffusion()
            },
            vae,
            texts,
            variant: variant.map(String::from),
        })
    }

    /// The same model at `place`. Text encoders compute in f32 everywhere.
    ///
    /// # Errors
    /// Those of the device.
    pub fn at(mut self, place: &Place) -> Result<Self> {
        if place.is_cpu() {
            return Ok(self);
        }
        self.unet_params = self.unet_params.at(place)?;
        self.vae = Part::new({
            let (dir, variant) = (self.folder.join("vae"), self.variant.clone());
            let place = place.clone();
            move || load_vae(&dir, variant.as_deref(), &place)
        });
        self.texts = self.texts.at(place);
        Ok(self)
    }

    /// A trainable copy of the base U-Net's weights, in f32 on the base's device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn trainable_unet(&self) -> Result<Params> {
        self.read.copy_to(self.unet_params.place(), true)
    }

    /// Trainable copies of some of the base U-Net's weights, in f32 on the base's device, for
    /// [`Params::with_part`](rpo_nn::weights::Params::with_part).
    ///
    /// # Errors
    /// Those of the device.
    pub fn trainable_part(&self, chosen: impl Fn(&str) -> bool) -> Result<Params> {
        self.read.part(chosen, self.unet_params.place())
    }

    /// The VAE, loaded if it is not in memory.
    ///
    /// # Errors
    /// Those of loading.
    pub fn vae(&self) -> Result<Arc<AutoencoderKL>> {
        self.vae.get()
    }

    /// Frees the memory of VAE and text encoders. They are loaded again when needed.
    pub fn release(&self) {
        self.vae.release();
        self.texts.release();
    }

    /// A U-Net of this pipeline's configuration on any weights with its names and shapes.
    pub fn unet(&self, params: &Params) -> Result<UNet2DConditionModel> {
        UNet2DConditionModel::new(&self.unet_config, &params.root())
    }

    /// `[h, w, channels]` of the latents of a picture of `sample_size`.
    pub fn latent_dims(&self) -> [usize; 3] {
        let side = self.sample_size / self.vae_config.factor();
        [side, side, self.vae_config.latent_channels]
    }

    /// The model's own tokenizers and text encoders.
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// One row per prompt; equal prompts are computed once. `size`: side of the pictures in pixels, an input of SDXL.
    ///
    /// # Errors
    /// No prompt; those of the text encoders.
    pub fn encode_prompts<S: AsRef<str>>(
        &self,
        prompts: &[S],
        size: usize,
    ) -> Result<Conditioning> {
        self.texts.encode(prompts, size)
    }

    /// Number of tokens of a text, including start and end, and how many of them the text encoder reads: the rest is truncated.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn tokens(&self, text: &str) -> Result<(usize, usize)> {
        self.texts.tokens(text)
    }

    /// The unconditional row of guidance: the empty prompt, or zeros with SDXL's `force_zeros_for_empty_prompt`.
    ///
    /// # Errors
    /// Those of the text encoders.
    pub fn unconditional(&self, size: usize) -> Result<Conditioning> {
        self.texts.unconditional(size)
    }

    /// Pictures of scaled latents `[N, h, w, C]`, decoded `batch` at a time, rounded as diffusers does:
    /// `round(255 clamp(x / 2 + 0.5, 0, 1))`.
    pub fn decode(&self, latents: &Tensor, batch: usize) -> Result<Vec<RgbImage>> {
        let (n, ..) = latents.dims4()?;
        if batch == 0 {
            bail!("cannot decode in batches of 0 pictures");
        }
        let vae = self.vae()?;
        let mut pictures = Vec::with_capacity(n);
        for start in (0..n).step_by(batch) {
            let scaled = latents.narrow(0, start, batch.min(n - start))?;
            let z = (scaled.contiguous()? / self.vae_config.scaling_factor)?;
            pictures.extend(to_pictures(&vae.decode(&z)?)?);
        }
        Ok(pictures)
    }

    /// The posterior of the *scaled* latents of pictures, all of one size, a multiple of the VAE's factor: its mean and its
    /// samples are the U-Net's latents.
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
        self.encode_values(pictures.len(), (w as usize, h as usize), |i| {
            let bytes = pictures[i].as_raw().iter();
            bytes.map(|&b| f32::from(b) / 127.5 - 1.).collect()
        })
    }

    /// [`Self::encode_pictures`] of `count` pictures whose values, `of` each of them, are in [-1, 1], also between those of 8 bits.
    ///
    /// # Errors
    /// Sides that are not multiples of the VAE's factor, values of another number, tensor errors.
    pub fn encode_values(
        &self,
        count: usize,
        (width, height): (usize, usize),
        of: impl Fn(usize) -> Vec<f32>,
    ) -> Result<Posterior> {
        let factor = self.vae_config.factor();
        if width == 0 || height == 0 || width % factor != 0 || height % factor != 0 {
            bail!("a picture of {width} x {height}: both sides must be multiples of {factor}");
        }
        let batch = (PIXEL_BATCH / (width * height)).max(1);
        let vae = self.vae()?;
        let (mut means, mut logvars) = (Vec::new(), Vec::new());
        for start in (0..count).step_by(batch) {
            let n = batch.min(count - start);
            let values: Vec<f32> = (start..start + n).flat_map(&of).collect();
            let x = Tensor::from_vec(values, (n, height, width, 3), &Device::Cpu)?;
            let posterior = vae.encode(&x)?;
            means.push(posterior.mean);
            logvars.push(posterior.logvar);
        }
        let scale = self.vae_config.scaling_factor;
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

/// Configuration and weights, or their `variant`, of a `unet` folder, checked against each other.
///
/// # Errors
/// Names the file, key or tensor.
pub fn load_unet(dir: &Path, variant: Option<&str>) -> Result<(UNetConfig, Params)> {
    let config = UNetConfig::load(&dir.join("config.json"))?;
    let params = folder::open_fitting(dir, variant, |outline| {
        UNet2DConditionModel::new(&config, &outline.root())?;
        all_used(dir, outline)
    })?;
    // Built once now, so that kernels are arranged once.
    UNet2DConditionModel::new(&config, &params.root())?;
    Ok((config, params))
}

/// The VAE of a `vae` folder, or its `variant`, at `place`.
///
/// # Errors
/// Names the file, key or tensor.
pub fn load_vae(dir: &Path, variant: Option<&str>, place: &Place) -> Result<AutoencoderKL> {
    let config = VaeConfig::load(&dir.join("config.json"))?;
    let params = folder::open_fitting(dir, variant, |outline| {
        AutoencoderKL::new(&config, &outline.root())?;
        all_used(dir, outline)
    })?;
    AutoencoderKL::new(&config, &params.at(place)?.root())
}

/// Errors if a tensor is not used by any layer: weights and configuration then do not match.
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
