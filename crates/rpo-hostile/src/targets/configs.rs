//! Configurations of U-Net and VAE: read, and the network's names, shapes and counts made from them, without weights.

use super::made::{file, model, named};
use crate::case::Case;
use crate::target::{Target, ensure_fault};
use anyhow::Result;
use rpo_diffusion::{AutoencoderKL, UNetConfig, VaeConfig};
use rpo_nn::weights::Params;

const NAME: &str = "config.json";

fn of_families(part: &str, golden: &[&str]) -> Result<Vec<Case>> {
    let mut all = Vec::new();
    for family in ["sd15", "sd21", "sdxl"] {
        all.extend(model(family)?.files.remove(&format!("{part}/{NAME}")));
    }
    all.push(file(&format!("assets/micro/{part}/{NAME}"))?);
    for name in golden {
        all.push(file(&format!(
            "crates/rpo-diffusion/tests/golden/{name}.json"
        ))?);
    }
    Ok(named(NAME, all))
}

pub(super) const UNET: Target = Target::new(
    "unet",
    "a U-Net's configuration: names, shapes, parameters, multiplications",
    || of_families("unet", &["tiny_conv", "tiny_linear", "tiny_xl"]),
    |folder| {
        let config = UNetConfig::load(&folder.join(NAME))?;
        let counted = config.parameters();
        let shapes = config
            .shapes()
            .map_err(|e| e.context(folder.join(NAME).display().to_string()))?;
        let sum = shapes
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum::<usize>();
        ensure_fault(sum == counted, || {
            format!("{counted} parameters counted, {sum} in its tensors")
        })?;
        config.multiplications(64, 64, 77);
        config.activations(64, 64);
        Ok(())
    },
);

pub(super) const VAE: Target = Target::new(
    "vae",
    "a VAE's configuration: names and shapes",
    || of_families("vae", &["vae_attention", "vae_plain"]),
    |folder| {
        let config = VaeConfig::load(&folder.join(NAME))?;
        ensure_fault(config.factor() < 1 << 20, || {
            format!("{} pixels a latent", config.factor())
        })?;
        let blank = Params::blank("vae");
        AutoencoderKL::new(&config, &blank.root())?;
        Ok(())
    },
);
