//! diffusers' `AutoencoderKL`.

mod coders;
mod config;

use candle_core::{Result, Tensor, bail};
use rpo_nn::layers::Conv2d;
use rpo_nn::weights::Scope;
use rpo_nn::{Place, all_finite};

use crate::resnet::conv1x1;
use coders::{Decoder, Encoder};

pub use config::VaeConfig;

/// What helps where a VAE whose weights are finite gives what is not.
const HINT: &str = "the VAE's weights are damaged, or its activations are beyond the half type: model.dtype = \"f32\"";

/// Pictures to latents and back.
#[derive(Debug, Clone)]
pub struct AutoencoderKL {
    /// The configuration; the caller applies `scaling_factor`.
    pub config: VaeConfig,
    place: Place,
    encoder: Encoder,
    quant_conv: Option<Conv2d>,
    post_quant_conv: Option<Conv2d>,
    decoder: Decoder,
}

/// A diagonal Gaussian over latents, `[B, h, w, L]` each.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// Means.
    pub mean: Tensor,
    /// Log variances, clamped to -30..20.
    pub logvar: Tensor,
}

impl Posterior {
    /// Splits moments `[B, h, w, 2 L]`.
    pub fn from_moments(moments: &Tensor) -> Result<Self> {
        let mut halves = moments.chunk(2, moments.rank() - 1)?.into_iter();
        let (Some(mean), Some(logvar)) = (halves.next(), halves.next()) else {
            bail!(
                "moments {:?} do not split into mean and log variance",
                moments.shape()
            );
        };
        Ok(Self {
            mean: mean.contiguous()?,
            logvar: logvar.clamp(-30., 20.)?.contiguous()?,
        })
    }

    /// `mean + exp(logvar / 2) noise`.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        &self.mean + ((&self.logvar * 0.5)?.exp()? * noise)?
    }
}

impl AutoencoderKL {
    /// Reads every tensor by its diffusers name. Errors name the missing or misshapen one.
    pub fn new(config: &VaeConfig, scope: &Scope) -> Result<Self> {
        let latents = config.latent_channels;
        Ok(Self {
            config: config.clone(),
            place: scope.params().place().clone(),
            encoder: Encoder::new(&scope.sub("encoder"), config)?,
            quant_conv: config
                .use_quant_conv
                .then(|| conv1x1(&scope.sub("quant_conv"), 2 * latents, 2 * latents))
                .transpose()?,
            post_quant_conv: config
                .use_post_quant_conv
                .then(|| conv1x1(&scope.sub("post_quant_conv"), latents, latents))
                .transpose()?,
            decoder: Decoder::new(&scope.sub("decoder"), config)?,
        })
    }

    /// Pictures `[B, H, W, 3]` in [-1, 1] to the (unscaled) posterior of their latents.
    ///
    /// # Errors
    /// Shapes that do not fit; a latent that is not finite.
    pub fn encode(&self, x: &Tensor) -> Result<Posterior> {
        let mut moments = self.encoder.forward(&self.place.enter(x)?)?;
        if let Some(conv) = &self.quant_conv {
            moments = conv.forward(&moments)?;
        }
        let moments = self.place.leave(&moments)?;
        let what = || "the VAE's encoder, latents of pictures".into();
        Posterior::from_moments(&all_finite(moments, what, HINT)?)
    }

    /// Unscaled latents `[B, h, w, L]` to pictures `[B, f h, f w, 3]`, about [-1, 1], not clamped.
    ///
    /// # Errors
    /// Shapes that do not fit; a pixel that is not finite.
    pub fn decode(&self, z: &Tensor) -> Result<Tensor> {
        let mut z = self.place.enter(z)?;
        if let Some(conv) = &self.post_quant_conv {
            z = conv.forward(&z)?;
        }
        let pictures = self.place.leave(&self.decoder.forward(&z)?)?;
        let what = || "the VAE's decoder, pixels of pictures".into();
        all_finite(pictures, what, HINT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn posterior_clamps_and_samples() -> Result<()> {
        let moments = Tensor::new(&[[[[1f32, 2., -99., 99.]]]], &Device::Cpu)?;
        let posterior = Posterior::from_moments(&moments)?;
        assert_eq!(
            posterior.logvar.flatten_all()?.to_vec1::<f32>()?,
            [-30., 20.]
        );
        let noise = Tensor::new(&[[[[1f32, -1.]]]], &Device::Cpu)?;
        let z = posterior.sample(&noise)?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(z[0], 1. + (-15f32).exp());
        assert!((z[1] - (2. - 10f32.exp())).abs() < 1e-2);
        Ok(())
    }
}
