//! A part of the U-Net, or none, trained together with parts of the text encoders.

use super::adapters::{is_a, write_lora};
use super::contract::{Base, Shapes, Trainable, Trained, Unit};
use super::reading::{Reading, TOKEN, TrainedReading};
use anyhow::{Result, bail};
use rpo_data::subject::Subject;
use rpo_diffusion::lora::{About, Lora};
use rpo_diffusion::{Texts, UNet2DConditionModel, Word};
use rpo_experiment::TrainedPart;
use rpo_nn::weights::Params;
use std::path::Path;

/// Prefix of the U-Net's tensors among all trained ones.
const UNET: &str = "unet";

pub(super) struct Joint {
    pub(super) unet: Option<Box<dyn Trainable>>,
    pub(super) reading: Reading,
}

impl Trainable for Joint {
    fn folder(&self) -> &'static str {
        match &self.unet {
            Some(unet) => unet.folder(),
            None => self.reading.folder(),
        }
    }

    fn files(&self, name: &str) -> Vec<String> {
        let unet = self.unet.iter().flat_map(|unet| unet.files(name));
        unet.chain(self.reading.files()).collect()
    }

    fn file(&self, name: &str) -> Option<String> {
        match &self.unet {
            // The word or the encoders beside it are needed too.
            Some(_) if !self.reading.files().is_empty() => None,
            Some(unet) => unet.file(name),
            None => self.reading.file(),
        }
    }

    fn parameters(&self, model: Shapes) -> Result<usize> {
        let unet = self.unet.iter().map(|unet| unet.parameters(model));
        Ok(unet.sum::<Result<usize>>()? + self.reading.parameters(model)?)
    }

    fn stored(&self, model: Shapes) -> Result<usize> {
        let unet = self.unet.iter().map(|unet| unet.stored(model));
        Ok(unet.sum::<Result<usize>>()? + self.reading.stored(model)?)
    }

    fn forms(&self) -> usize {
        self.unet.as_ref().map_or(1, |unet| unet.forms())
    }

    fn start(&self, base: Base, subject: &Subject, unit: Unit) -> Result<Box<dyn Trained>> {
        let unet = self.unet.iter().map(|unet| unet.start(base, subject, unit));
        let unet = unet.collect::<Result<Vec<_>>>()?.pop();
        join(base, unet, self.reading.start(base, subject, unit)?)
    }

    fn read(&self, base: Base, place: &Path, scale: f64) -> Result<Box<dyn Trained>> {
        if self.unet.is_none() && scale != 1.0 {
            bail!("only text encoders were trained: there is nothing to count {scale} times")
        }
        let unet = self.unet.iter().map(|unet| unet.read(base, place, scale));
        let unet = unet.collect::<Result<Vec<_>>>()?.pop();
        join(base, unet, self.reading.read(base, place, scale)?)
    }
}

fn join(
    base: Base,
    unet: Option<Box<dyn Trained>>,
    reading: TrainedReading,
) -> Result<Box<dyn Trained>> {
    let own = unet.as_ref().map(|unet| (UNET, unet.params()));
    let parts: Vec<(&str, &Params)> = own.into_iter().chain(reading.params()).collect();
    let params = Params::join(&parts);
    let unet = match unet {
        Some(unet) => OfUnet::Trained(unet),
        None => OfUnet::Base(Box::new(base.pipeline.unet(&base.pipeline.unet_params)?)),
    };
    Ok(Box::new(Both {
        params,
        unet,
        reading,
        base_weights: base.weights.to_owned(),
    }))
}

enum OfUnet {
    Trained(Box<dyn Trained>),
    /// None of it is trained.
    Base(Box<UNet2DConditionModel>),
}

struct Both {
    params: Params,
    unet: OfUnet,
    reading: TrainedReading,
    base_weights: String,
}

/// A tensor's name in the U-Net, if it is one of it.
fn of_unet(tensor: &str) -> Option<&str> {
    tensor.strip_prefix(UNET)?.strip_prefix('.')
}

impl Both {
    fn trained(&self) -> Option<&dyn Trained> {
        match &self.unet {
            OfUnet::Trained(unet) => Some(&**unet),
            OfUnet::Base(_) => None,
        }
    }

    /// The U-Net that a tensor belongs to, and the tensor's name there.
    fn owner<'a>(&self, tensor: &'a str) -> Option<(&dyn Trained, &'a str)> {
        Some((self.trained()?, of_unet(tensor)?))
    }
}

impl Trained for Both {
    fn params(&self) -> &Params {
        &self.params
    }

    fn part(&self, tensor: &str) -> Option<TrainedPart> {
        match tensor.split('.').next() {
            Some(UNET) => None,
            Some(TOKEN) => Some(TrainedPart::Token),
            _ => Some(TrainedPart::TextEncoder),
        }
    }

    fn rate(&self, tensor: &str) -> f64 {
        let owner = self.owner(tensor);
        owner.map_or(1.0, |(unet, name)| unet.rate(name))
    }

    fn learns_by(&self, tensor: &str) -> usize {
        match self.owner(tensor) {
            Some((unet, name)) => unet.learns_by(name),
            // The softmax of attention does not see it: its gradient is 0.
            None if tensor.ends_with("k_proj.bias") => 0,
            // As in the U-Net's adapters.
            None if is_a(tensor) => 2,
            None => 1,
        }
    }

    fn scales(&self, tensor: &str) -> bool {
        match self.owner(tensor) {
            Some((unet, name)) => unet.scales(name),
            None => !is_a(tensor),
        }
    }

    fn unet(&self) -> &UNet2DConditionModel {
        match &self.unet {
            OfUnet::Trained(unet) => unet.unet(),
            OfUnet::Base(unet) => unet,
        }
    }

    fn texts(&self) -> Option<&Texts> {
        Some(self.reading.texts())
    }

    fn frozen(&self, base: Base) -> Result<UNet2DConditionModel> {
        match self.trained() {
            Some(unet) => unet.frozen(base),
            None => Ok(base.pipeline.unet(&base.pipeline.unet_params)?),
        }
    }

    fn frozen_texts(&self, _base: Base) -> Result<Option<Texts>> {
        self.reading.frozen().map(Some)
    }

    fn merged(&self, base: Base) -> Result<Params> {
        match self.trained() {
            Some(unet) => unet.merged(base),
            None => Ok(base.pipeline.unet_params.clone()),
        }
    }

    fn words(&self) -> Result<Vec<Word>> {
        self.reading.words()
    }

    fn text_encoders(&self) -> Result<Vec<Params>> {
        self.reading.merged()
    }

    fn fingerprint(&self) -> Result<String> {
        let unet = match self.trained() {
            Some(unet) => unet.fingerprint()?,
            None => self.base_weights.clone(),
        };
        let hash = blake3::hash(format!("{unet}|{}", self.reading.fingerprint()?).as_bytes());
        Ok(hash.to_hex()[..32].to_owned())
    }

    fn begin_step(&self, key: u64) {
        self.trained().iter().for_each(|unet| unet.begin_step(key));
    }

    fn end_step(&self) {
        self.trained().iter().for_each(|unet| unet.end_step());
    }

    fn after_step(&self) -> Result<()> {
        self.trained()
            .iter()
            .try_for_each(|unet| unet.after_step())?;
        self.reading.after_step()
    }

    fn save(&self, base: Base, place: &Path, about: &About) -> Result<Vec<String>> {
        let unet = self.trained();
        let text = self.reading.modules()?;
        let mut files = match (unet, unet.and_then(Trained::adapters)) {
            (Some(_), Some((adapters, targets))) if !text.is_empty() => {
                let lora = Lora {
                    text,
                    ..Lora::of(adapters)?
                };
                write_lora(lora, targets, base, place, about)?
            }
            (Some(unet), _) => unet.save(base, place, about)?,
            (None, _) => Vec::new(),
        };
        files.extend(self.reading.save(base, place)?);
        Ok(files)
    }
}
