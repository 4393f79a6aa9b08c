//! Trains the keys and values of the text in every cross-attention, as Custom Diffusion does, over the base's other tensors.

use super::contract::{Base, Shapes, Trainable, Trained, Unit};
use crate::files;
use anyhow::{Context, Result};
use rpo_data::subject::Subject;
use rpo_diffusion::UNet2DConditionModel;
use rpo_diffusion::custom_diffusion::{self, FILE};
use rpo_diffusion::lora::About;
use rpo_files::failure::OrBadInput;
use rpo_nn::weights::Params;
use std::path::Path;

pub(super) struct KeysValues;

impl Trainable for KeysValues {
    fn folder(&self) -> &'static str {
        "custom_diffusion"
    }

    fn files(&self, _name: &str) -> Vec<String> {
        vec![FILE.to_owned()]
    }

    fn file(&self, _name: &str) -> Option<String> {
        Some(FILE.to_owned())
    }

    fn parameters(&self, model: Shapes) -> Result<usize> {
        let own = model
            .unet
            .iter()
            .filter(|(name, _)| custom_diffusion::is_key_or_value(name));
        Ok(own.map(|(_, shape)| shape.iter().product::<usize>()).sum())
    }

    fn start(&self, base: Base, _subject: &Subject, _unit: Unit) -> Result<Box<dyn Trained>> {
        over(
            base,
            base.pipeline
                .trainable_part(custom_diffusion::is_key_or_value)?,
        )
    }

    fn read(&self, base: Base, place: &Path, scale: f64) -> Result<Box<dyn Trained>> {
        let path = place.join(FILE);
        let part = base
            .pipeline
            .trainable_part(custom_diffusion::is_key_or_value)?;
        custom_diffusion::read(&path, &part, scale).or_bad_input("checkpoint")?;
        over(base, part)
    }
}

fn over(base: Base, part: Params) -> Result<Box<dyn Trained>> {
    let tensors = base.pipeline.unet_params.with_part(&part);
    Ok(Box::new(Over {
        unet: base.pipeline.unet(&tensors).context("keys and values")?,
        part,
        tensors,
        base_weights: base.weights.to_owned(),
    }))
}

/// The base with other keys and values. Its other tensors are not copied.
struct Over {
    part: Params,
    tensors: Params,
    unet: UNet2DConditionModel,
    base_weights: String,
}

impl Trained for Over {
    fn params(&self) -> &Params {
        &self.part
    }

    fn unet(&self) -> &UNet2DConditionModel {
        &self.unet
    }

    fn frozen(&self, base: Base) -> Result<UNet2DConditionModel> {
        Ok(base.pipeline.unet(&self.tensors.constant())?)
    }

    fn merged(&self, base: Base) -> Result<Params> {
        let params = base.pipeline.unet_params.deep_copy(false)?;
        params.interpolate(&self.part, 1.0)?;
        Ok(params)
    }

    fn fingerprint(&self) -> Result<String> {
        let own = files::fingerprint(&self.part.detached())?;
        let hash = blake3::hash(format!("{}|{own}", self.base_weights).as_bytes());
        Ok(hash.to_hex()[..32].to_owned())
    }

    fn save(&self, _base: Base, place: &Path, _about: &About) -> Result<Vec<String>> {
        files::write(&place.join(FILE), &custom_diffusion::to_bytes(&self.part)?)?;
        Ok(KeysValues.files(""))
    }
}
