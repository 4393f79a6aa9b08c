//! A part of the U-Net trained beside an image adapter, as DisenBooth has it. Pictures are drawn without the image adapter: it takes up
//! in training what belongs to single references, so that the U-Net's part need not.

use super::contract::{Base, Shapes, Trainable, Trained, Unit};
use anyhow::{Context, Result};
use rpo_data::subject::Subject;
use rpo_diffusion::image_adapter::FILE;
use rpo_diffusion::lora::{About, Adapters};
use rpo_diffusion::{ImageAdapter, UNet2DConditionModel};
use rpo_experiment::TrainedPart;
use rpo_nn::weights::Params;
use std::path::Path;

/// Prefixes of the tensors' names among all trained ones.
const UNET: &str = "unet";
const ADAPTER: &str = "image_adapter";

pub(super) struct BesideImageAdapter {
    pub(super) unet: Box<dyn Trainable>,
}

/// Numbers of a token that the U-Net reads, its cross_attention_dim.
fn width(unet: &[(String, Vec<usize>)]) -> Result<usize> {
    let keys = unet.iter().find(|(n, _)| n.ends_with("attn2.to_k.weight"));
    let shape = keys.map(|(_, shape)| shape.as_slice());
    match shape {
        Some([_, width]) => Ok(*width),
        _ => anyhow::bail!("the U-Net reads no text"),
    }
}

/// Numbers of an image adapter.
fn parameters(model: Shapes) -> Result<usize> {
    let shapes = ImageAdapter::shapes(width(model.unet)?).into_iter();
    Ok(shapes.map(|(_, s)| s.iter().product::<usize>()).sum())
}

impl Trainable for BesideImageAdapter {
    fn folder(&self) -> &'static str {
        self.unet.folder()
    }

    fn files(&self, name: &str) -> Vec<String> {
        let mut files = self.unet.files(name);
        files.push(FILE.to_owned());
        files
    }

    fn file(&self, name: &str) -> Option<String> {
        self.unet.file(name)
    }

    fn parameters(&self, model: Shapes) -> Result<usize> {
        Ok(self.unet.parameters(model)? + parameters(model)?)
    }

    fn stored(&self, model: Shapes) -> Result<usize> {
        Ok(self.unet.stored(model)? + parameters(model)?)
    }

    fn forms(&self) -> usize {
        self.unet.forms()
    }

    fn start(&self, base: Base, subject: &Subject, unit: Unit) -> Result<Box<dyn Trained>> {
        let of_unet = self.unet.start(base, subject, unit)?;
        let width = width(&base.pipeline.unet_params.shapes())?;
        let own = ImageAdapter::start(width, |tensor, n| unit(&format!("{ADAPTER}.{tensor}"), n))?;
        let adapter = ImageAdapter::new(&own, width).context(ADAPTER)?;
        let params = Params::join(&[(UNET, of_unet.params()), (ADAPTER, &own)]);
        Ok(Box::new(Beside {
            unet: of_unet,
            own,
            adapter,
            params,
        }))
    }

    /// The part of the U-Net alone: what is drawn, exported and merged is without the image adapter.
    fn read(&self, base: Base, place: &Path, scale: f64) -> Result<Box<dyn Trained>> {
        self.unet.read(base, place, scale)
    }
}

struct Beside {
    unet: Box<dyn Trained>,
    /// The image adapter's tensors.
    own: Params,
    adapter: ImageAdapter,
    params: Params,
}

/// A tensor's name in the U-Net, if it is one of it.
fn of_unet(tensor: &str) -> Option<&str> {
    tensor.strip_prefix(UNET)?.strip_prefix('.')
}

impl Trained for Beside {
    fn params(&self) -> &Params {
        &self.params
    }

    fn part(&self, tensor: &str) -> Option<TrainedPart> {
        match of_unet(tensor) {
            Some(tensor) => self.unet.part(tensor),
            None => Some(TrainedPart::ImageAdapter),
        }
    }

    fn rate(&self, tensor: &str) -> f64 {
        of_unet(tensor).map_or(1.0, |tensor| self.unet.rate(tensor))
    }

    fn learns_by(&self, tensor: &str) -> usize {
        of_unet(tensor).map_or(1, |tensor| self.unet.learns_by(tensor))
    }

    /// Nothing of the image adapter, which is not drawn with.
    fn scales(&self, tensor: &str) -> bool {
        of_unet(tensor).is_some_and(|tensor| self.unet.scales(tensor))
    }

    fn unet(&self) -> &UNet2DConditionModel {
        self.unet.unet()
    }

    fn image_adapter(&self) -> Option<&ImageAdapter> {
        Some(&self.adapter)
    }

    fn frozen(&self, base: Base) -> Result<UNet2DConditionModel> {
        self.unet.frozen(base)
    }

    fn adapters(&self) -> Option<(&Adapters, Option<&[String]>)> {
        self.unet.adapters()
    }

    fn merged(&self, base: Base) -> Result<Params> {
        self.unet.merged(base)
    }

    /// Of what pictures are drawn with.
    fn fingerprint(&self) -> Result<String> {
        self.unet.fingerprint()
    }

    fn begin_step(&self, key: u64) {
        self.unet.begin_step(key);
    }

    fn end_step(&self) {
        self.unet.end_step();
    }

    fn after_step(&self) -> Result<()> {
        self.unet.after_step()
    }

    fn save(&self, base: Base, place: &Path, about: &About) -> Result<Vec<String>> {
        let mut files = self.unet.save(base, place, about)?;
        self.own.save(&place.join(FILE))?;
        files.push(FILE.to_owned());
        Ok(files)
    }
}
