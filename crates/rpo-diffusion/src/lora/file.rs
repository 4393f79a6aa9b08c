//! A LoRA of a U-Net, apart from the file it stands in.

use std::collections::BTreeMap;

use candle_core::{DType, Result};
use rpo_nn::lora::{Adapters, LoraModule};
use rpo_nn::weights::Params;

/// The names that a file's keys have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `lora_unet_….lora_down.weight`, `.lora_up.weight`, `.alpha`.
    Kohya,
    /// `unet.….lora_A.weight`, `lora_B`; α in the metadata.
    Peft,
    /// `unet.….lora.down.weight`, `lora.up`: diffusers' training scripts of 2023.
    DiffusersScript,
    /// `unet.….processor.to_q_lora.down.weight`: diffusers' first form.
    DiffusersProcessor,
}

impl Format {
    /// A name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kohya => "kohya",
            Self::Peft => "PEFT",
            Self::DiffusersScript => "diffusers (lora.down, lora.up)",
            Self::DiffusersProcessor => "diffusers (attention processors)",
        }
    }
}

/// The adapters of one U-Net by diffusers module, in the layout of a checkpoint.
#[derive(Clone, Debug)]
pub struct Lora {
    /// A, B and α of every module, in f32.
    pub modules: BTreeMap<String, LoraModule>,
    /// The text in the file's header.
    pub metadata: BTreeMap<String, String>,
    /// The names its keys had.
    pub format: Format,
    /// The type its values were stored in.
    pub dtype: DType,
    /// Modules of text encoders, which are left out: only U-Nets are adapted here.
    pub text_encoder: Vec<String>,
}

impl Lora {
    /// The adapters of a trained set, with its metadata still to be given.
    ///
    /// # Errors
    /// If memory cannot be read back as f32, which does not happen for tensors of this type.
    pub fn of(adapters: &Adapters) -> Result<Self> {
        Ok(Self {
            modules: adapters.modules()?,
            metadata: BTreeMap::new(),
            format: Format::Kohya,
            dtype: DType::F32,
            text_encoder: Vec::new(),
        })
    }

    /// The modules as adapters of a U-Net with the tensors `base`, frozen.
    ///
    /// # Errors
    /// If a module is not one of the U-Net's, or of another size; the message names it.
    pub fn adapters(&self, base: &Params) -> Result<Adapters> {
        Adapters::from_modules(base, &self.modules, false)
    }

    /// The rank of all modules, if they have the same.
    pub fn rank(&self) -> Option<usize> {
        one(self.modules.values().map(|m| m.a.dims()[0]))
    }

    /// α of all modules, if they have the same.
    pub fn alpha(&self) -> Option<f64> {
        one(self.modules.values().map(|m| m.alpha))
    }

    /// What to say of the parts that are left out, if there are any.
    pub fn left_out(&self) -> Option<String> {
        let first = self.text_encoder.first()?;
        Some(format!(
            "{} modules of a text encoder ({first}, …) are not applied: only the U-Net's are",
            self.text_encoder.len()
        ))
    }
}

fn one<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|v| v == first).then_some(first)
}
