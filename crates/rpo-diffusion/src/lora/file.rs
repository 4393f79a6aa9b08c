//! A LoRA of a pipeline's networks, independent of its file format.

use std::collections::BTreeMap;

use candle_core::{DType, Error, Result};
use rpo_nn::lora::{Adapters, LoraModule};
use rpo_nn::weights::Params;

use super::base::BaseModel;
use super::text_names::PARTS;

/// The key format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `lora_unet_….lora_down.weight`, `.lora_up.weight`, `.alpha`.
    Kohya,
    /// `unet.….lora_A.weight`, `lora_B`; α in the metadata.
    Peft,
    /// `unet.….lora.down.weight`, `lora.up`: diffusers' training scripts of 2023.
    DiffusersScript,
    /// `unet.….processor.to_q_lora.down.weight`: diffusers' first format.
    DiffusersProcessor,
}

impl Format {
    /// Its name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kohya => "kohya",
            Self::Peft => "PEFT",
            Self::DiffusersScript => "diffusers (lora.down, lora.up)",
            Self::DiffusersProcessor => "diffusers (attention processors)",
        }
    }
}

/// The adapters of one U-Net, and of the text encoders beside it, in the layout of a checkpoint.
#[derive(Clone, Debug)]
pub struct Lora {
    /// A, B and α of every module of the U-Net, by diffusers' name, in f32.
    pub modules: BTreeMap<String, LoraModule>,
    /// The same of each text encoder, in the order of the model's, up to the last one that has adapters; by the names of the released
    /// encoders: `text_model.encoder.layers.0.self_attn.q_proj`.
    pub text: Vec<BTreeMap<String, LoraModule>>,
    /// The text in the file's header.
    pub metadata: BTreeMap<String, String>,
    /// The key format of the file.
    pub format: Format,
    /// The dtype of the stored values.
    pub dtype: DType,
    /// What was left out or taken for granted when the file was read, for its user.
    pub notes: Vec<String>,
}

impl Lora {
    /// The family of its base model, as its shapes, and where these fit several its metadata, tell.
    pub fn base(&self) -> BaseModel {
        BaseModel::guess(&self.modules, self.text.len(), &self.metadata)
    }

    /// The trained adapters of a U-Net, without metadata.
    ///
    /// # Errors
    /// If memory cannot be read back as f32, which does not happen for tensors of this type.
    pub fn of(adapters: &Adapters) -> Result<Self> {
        Ok(Self {
            modules: adapters.modules()?,
            text: Vec::new(),
            metadata: BTreeMap::new(),
            format: Format::Kohya,
            dtype: DType::F32,
            notes: Vec::new(),
        })
    }

    /// The U-Net's modules as adapters of one with the tensors `base`, frozen.
    ///
    /// # Errors
    /// If a module is not in the U-Net or has another size, with its name.
    pub fn adapters(&self, base: &Params) -> Result<Adapters> {
        Adapters::from_modules(base, &self.modules, false).map_err(|e| self.misfit(&e))
    }

    /// The error of a model that the LoRA does not fit, with the family that it is of.
    pub(super) fn misfit(&self, error: &dyn std::fmt::Display) -> Error {
        Error::msg(format!(
            "{error}\n  hint: its modules are those of {}; give it the model that it was trained on",
            self.base().architecture()
        ))
    }

    /// The modules of each network, with the name of its part of a pipeline.
    pub(super) fn networks(
        &self,
    ) -> impl Iterator<Item = (&'static str, &BTreeMap<String, LoraModule>)> {
        std::iter::once(("unet", &self.modules)).chain(PARTS.into_iter().zip(&self.text))
    }

    fn all(&self) -> impl Iterator<Item = &LoraModule> {
        self.networks().flat_map(|(_, modules)| modules.values())
    }

    /// The rank of all modules, if it is the same.
    pub fn rank(&self) -> Option<usize> {
        one(self.all().map(|m| m.a.dims()[0]))
    }

    /// α of all modules, if it is the same.
    pub fn alpha(&self) -> Option<f64> {
        one(self.all().map(|m| m.alpha))
    }
}

fn one<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|v| v == first).then_some(first)
}
