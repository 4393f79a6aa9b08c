//! Whether neighbouring parts of a pipeline fit each other.

use std::path::Path;

use candle_core::{Result, bail};

use super::index::Index;
use crate::unet::UNetConfig;
use crate::vae::VaeConfig;

/// The VAE's latents are what the U-Net takes and returns.
pub(super) fn same_channels(dir: &Path, unet: &UNetConfig, vae: &VaeConfig) -> Result<()> {
    if vae.latent_channels != unet.in_channels || unet.in_channels != unet.out_channels {
        bail!(
            "{}: the U-Net takes {} channels and returns {}, the VAE has {} latent channels; the three must be equal (an inpainting or depth model cannot be used)",
            dir.display(),
            unet.in_channels,
            unet.out_channels,
            vae.latent_channels
        );
    }
    Ok(())
}

/// The text encoders' states, `width` numbers a token, are what the U-Net takes.
pub(super) fn same_width(dir: &Path, width: usize, index: Index, unet: &UNetConfig) -> Result<()> {
    if width != unet.cross_attention_dim || index.xl != unet.takes_added() {
        let pooled = |yes: bool| if yes { " and pooled text" } else { "" };
        bail!(
            "{}: the text encoders give {width} numbers a token{}, the U-Net takes {}{}; the parts must come from one model",
            dir.display(),
            pooled(index.xl),
            unet.cross_attention_dim,
            pooled(unet.takes_added())
        );
    }
    Ok(())
}
