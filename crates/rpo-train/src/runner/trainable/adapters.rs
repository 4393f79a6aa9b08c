//! Low-rank adapters on the base's own tensors, saved in both LoRA formats.

use super::contract::{Base, Shapes, Trainable, Trained, Unit};
use crate::files;
use crate::runner::settings;
use anyhow::{Context, Result};
use rpo_data::subject::Subject;
use rpo_diffusion::lora::{About, Adapters, Lora, LoraConfig, LoraModule};
use rpo_diffusion::{Texts, UNet2DConditionModel};
use rpo_files::failure::OrBadInput;
use rpo_files::tell;
use rpo_nn::weights::Params;
use std::collections::BTreeMap;
use std::path::Path;

/// The adapters for diffusers: the file that this program reads back.
const PEFT_FILE: &str = "diffusers/pytorch_lora_weights.safetensors";

/// The model card.
pub const CARD: &str = "README.md";
/// The preview that the model card shows.
pub const PREVIEW: &str = "preview.png";

/// The adapters for all other programs, with a distinctive file name, because A1111 names a LoRA after its file.
pub fn kohya_file(name: &str) -> String {
    format!("{name}.safetensors")
}

pub(super) struct Adapted {
    config: LoraConfig,
}

impl Adapted {
    pub(super) fn new(keys: &rpo_experiment::Adapters) -> Self {
        Self {
            config: settings::lora(keys),
        }
    }
}

impl Trainable for Adapted {
    fn folder(&self) -> &'static str {
        "lora"
    }

    fn files(&self, name: &str) -> Vec<String> {
        let others = [PEFT_FILE, CARD, PREVIEW].map(String::from);
        [kohya_file(name)].into_iter().chain(others).collect()
    }

    fn file(&self, name: &str) -> Option<String> {
        Some(kohya_file(name))
    }

    fn parameters(&self, model: Shapes) -> Result<usize> {
        Ok(self.config.parameters(model.unet)?)
    }

    /// kohya's and PEFT's.
    fn forms(&self) -> usize {
        2
    }

    fn start(&self, base: Base, _subject: &Subject, unit: Unit) -> Result<Box<dyn Trained>> {
        let tensors = &base.pipeline.unet_params;
        let adapters = Adapters::new(tensors, &self.config, unit).context("adapters")?;
        Ok(Box::new(Over {
            targets: Some(self.config.targets.clone()),
            ..Over::new(base, adapters)?
        }))
    }

    fn read(&self, base: Base, place: &Path, scale: f64) -> Result<Box<dyn Trained>> {
        let lora = read_lora(base, place)?;
        let path = place.join(PEFT_FILE);
        Ok(Box::new(Over::of(base, &lora, &path, scale)?))
    }
}

/// The base with the adapters of a LoRA file on its U-Net and its text encoders, scaled by `scale`.
///
/// # Errors
/// If the file is missing, damaged or for another model, by path.
pub fn load_lora(base: Base, path: &Path, scale: f64) -> Result<Box<dyn Trained>> {
    let layers = base.pipeline.unet_config.layers(0);
    let lora = Lora::read(path, layers).or_bad_input("LoRA")?;
    for note in &lora.notes {
        tell!("{}: {note}", path.display());
    }
    let over = Over::of(base, &lora, path, scale)?;
    let texts = lora.texts(base.pipeline.texts(), scale);
    let texts = texts.or_bad_input(path.display())?;
    Ok(Box::new(Over {
        texts: lora.has_text().then_some(texts),
        text: lora.text,
        ..over
    }))
}

/// The adapters of a checkpoint.
///
/// # Errors
/// If the file is missing or damaged, by path.
pub(super) fn read_lora(base: Base, place: &Path) -> Result<Lora> {
    let layers = base.pipeline.unet_config.layers(0);
    Lora::read(&place.join(PEFT_FILE), layers).or_bad_input("LoRA")
}

/// Whether a tensor is an adapter's A.
pub(super) fn is_a(tensor: &str) -> bool {
    tensor.ends_with("lora_A.weight")
}

/// Writes both files of a checkpoint; returns their names. `targets` selected the U-Net's modules, where known.
///
/// # Errors
/// I/O errors, by path.
pub(super) fn write_lora(
    mut lora: Lora,
    targets: Option<&[String]>,
    base: Base,
    place: &Path,
    about: &About,
) -> Result<Vec<String>> {
    lora.describe(about);
    let peft = lora.to_peft(targets)?;
    files::write(&place.join(PEFT_FILE), &peft)?;
    let layers = base.pipeline.unet_config.layers(0);
    let kohya = lora.to_kohya(about.base, layers)?;
    let name = kohya_file(&about.name);
    files::write(&place.join(&name), &kohya)?;
    Ok(vec![name, PEFT_FILE.to_owned()])
}

/// The base with adapters. Base tensors are not copied: this network, the frozen one and the reference share them.
struct Over {
    adapters: Adapters,
    /// The targets that the experiment file asked for, where known.
    targets: Option<Vec<String>>,
    scale: f64,
    tensors: Params,
    unet: UNet2DConditionModel,
    /// The text encoders, if the file has adapters for them.
    texts: Option<Texts>,
    /// These adapters.
    text: Vec<BTreeMap<String, LoraModule>>,
    base_weights: String,
}

impl Over {
    fn new(base: Base, adapters: Adapters) -> Result<Self> {
        let tensors = base.pipeline.unet_params.with_adapters(&adapters);
        Ok(Self {
            adapters,
            targets: None,
            scale: 1.0,
            unet: base.pipeline.unet(&tensors)?,
            tensors,
            texts: None,
            text: Vec::new(),
            base_weights: base.weights.to_owned(),
        })
    }

    /// The U-Net with the adapters of a file, frozen.
    fn of(base: Base, lora: &Lora, path: &Path, scale: f64) -> Result<Self> {
        let adapters = lora.adapters(&base.pipeline.unet_params);
        let adapters = adapters.or_bad_input(path.display())?;
        adapters.set_scale(scale);
        Ok(Self {
            scale,
            ..Self::new(base, adapters)?
        })
    }
}

impl Trained for Over {
    fn params(&self) -> &Params {
        self.adapters.params()
    }

    /// A cannot learn at the first step, while B is 0.
    fn learns_by(&self, tensor: &str) -> usize {
        if is_a(tensor) { 2 } else { 1 }
    }

    /// B A is scaled by B alone.
    fn scales(&self, tensor: &str) -> bool {
        !is_a(tensor)
    }

    fn unet(&self) -> &UNet2DConditionModel {
        &self.unet
    }

    fn frozen(&self, base: Base) -> Result<UNet2DConditionModel> {
        Ok(base.pipeline.unet(&self.tensors.constant())?)
    }

    fn frozen_texts(&self, _base: Base) -> Result<Option<Texts>> {
        Ok(self.texts.clone())
    }

    fn adapters(&self) -> Option<(&Adapters, Option<&[String]>)> {
        Some((&self.adapters, self.targets.as_deref()))
    }

    fn merged(&self, base: Base) -> Result<Params> {
        let params = base.pipeline.unet_params.deep_copy(false)?;
        self.adapters.merge_into(&params, self.scale)?;
        Ok(params)
    }

    fn fingerprint(&self) -> Result<String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.base_weights.as_bytes());
        let mut hash = |part: &str, modules: &BTreeMap<String, LoraModule>| {
            hasher.update(part.as_bytes());
            for (name, module) in modules {
                hasher.update(&module.alpha.to_le_bytes());
                files::hash_tensor(&mut hasher, name, &module.a)?;
                files::hash_tensor(&mut hasher, name, &module.b)?;
            }
            Ok::<_, anyhow::Error>(())
        };
        hash("", &self.adapters.modules()?)?;
        for (encoder, modules) in self.text.iter().enumerate() {
            hash(&format!("text encoder {encoder}"), modules)?;
        }
        let hash = hasher.finalize().to_hex()[..32].to_owned();
        Ok(match self.scale {
            1.0 => hash,
            scale => format!("{hash} x {scale}"),
        })
    }

    /// Sets the dropout masks.
    fn begin_step(&self, key: u64) {
        self.adapters.set_dropout_key(Some(key));
    }

    fn end_step(&self) {
        self.adapters.set_dropout_key(None);
    }

    fn save(&self, base: Base, place: &Path, about: &About) -> Result<Vec<String>> {
        let lora = Lora::of(&self.adapters)?;
        write_lora(lora, self.targets.as_deref(), base, place, about)
    }
}
