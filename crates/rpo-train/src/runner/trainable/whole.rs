//! Trains the whole U-Net: a copy of its tensors, saved as a diffusers folder.

use super::contract::{Base, Shapes, Trainable, Trained, Unit};
use crate::files;
use anyhow::{Result, bail};
use rpo_data::subject::Subject;
use rpo_diffusion::UNet2DConditionModel;
use rpo_diffusion::lora::About;
use rpo_files::failure::OrBadInput;
use rpo_nn::weights::Params;
use std::path::Path;

/// The weights in a U-Net's folder, as diffusers names them.
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// Its configuration.
const CONFIG: &str = "config.json";

pub(super) struct WholeUnet;

impl Trainable for WholeUnet {
    fn folder(&self) -> &'static str {
        "unet"
    }

    fn files(&self, _name: &str) -> Vec<String> {
        vec![CONFIG.to_owned(), WEIGHTS.to_owned()]
    }

    fn parameters(&self, model: Shapes) -> Result<usize> {
        Ok(model
            .unet
            .iter()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum())
    }

    fn start(&self, base: Base, _subject: &Subject, _unit: Unit) -> Result<Box<dyn Trained>> {
        copy(base, base.pipeline.trainable_unet()?)
    }

    fn read(&self, base: Base, place: &Path, scale: f64) -> Result<Box<dyn Trained>> {
        if scale != 1.0 {
            bail!("a whole U-Net was trained: there is nothing to count {scale} times")
        }
        let params = base.pipeline.unet_params.deep_copy(false)?;
        params
            .load_values(&place.join(WEIGHTS))
            .or_bad_input("checkpoint")?;
        copy(base, params)
    }
}

fn copy(base: Base, params: Params) -> Result<Box<dyn Trained>> {
    let unet = base.pipeline.unet(&params)?;
    Ok(Box::new(Copied { params, unet }))
}

struct Copied {
    params: Params,
    unet: UNet2DConditionModel,
}

impl Trained for Copied {
    fn params(&self) -> &Params {
        &self.params
    }

    fn unet(&self) -> &UNet2DConditionModel {
        &self.unet
    }

    fn frozen(&self, base: Base) -> Result<UNet2DConditionModel> {
        Ok(base.pipeline.unet(&self.params.constant())?)
    }

    fn merged(&self, _base: Base) -> Result<Params> {
        Ok(self.params.detached())
    }

    fn fingerprint(&self) -> Result<String> {
        files::fingerprint(&self.params.detached())
    }

    fn save(&self, base: Base, place: &Path, _about: &About) -> Result<Vec<String>> {
        // The unchanged configuration, so that the folder opens wherever the base model's does.
        let config = std::fs::read(base.pipeline.folder.join("unet").join(CONFIG))?;
        files::write(&place.join(CONFIG), &config)?;
        let path = place.join(WEIGHTS);
        self.params.save(&path)?;
        Ok(WholeUnet.files(""))
    }
}
