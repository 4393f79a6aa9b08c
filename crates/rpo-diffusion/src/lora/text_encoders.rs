//! The adapters of a LoRA on the text encoders of a pipeline.

use std::collections::BTreeMap;

use candle_core::Result;
use rpo_encoders::clip::ClipTextModel;
use rpo_nn::Place;
use rpo_nn::lora::{Adapters, LoraModule};
use rpo_nn::weights::Params;

use super::file::Lora;
use super::text_names::MODEL;
use crate::texts::Texts;

/// What an encoder whose names begin with [`MODEL`] has.
const PREFIXED: &str = "text_model.final_layer_norm.weight";

impl Lora {
    /// Whether it has adapters of a text encoder.
    pub fn has_text(&self) -> bool {
        self.text.iter().any(|modules| !modules.is_empty())
    }

    /// The tensors `base` of the text encoder number `encoder`, from 0, with the adapters for it, frozen: a tower built on them has
    /// layers y = W x + b + `scale` · α/r · B A x. Names may have the prefix `text_model` or not.
    ///
    /// # Errors
    /// If a module is not in the encoder or has another size, with its name.
    pub fn text_encoder(&self, encoder: usize, base: &Params, scale: f64) -> Result<Params> {
        let Some(modules) = self.text.get(encoder).filter(|m| !m.is_empty()) else {
            return Ok(base.clone());
        };
        let modules = as_in_encoder(modules, base);
        let adapters =
            Adapters::from_modules(base, &modules, false).map_err(|e| self.misfit(&e))?;
        adapters.set_scale(scale);
        Ok(base.with_adapters(&adapters))
    }

    /// `own` with the adapters of this LoRA on its encoders, computed on the CPU; `own` itself, where it has none.
    ///
    /// # Errors
    /// Those of reading the encoders; if there are more encoders in the LoRA than in the model, or as [`Self::text_encoder`].
    pub fn texts(&self, own: &Texts, scale: f64) -> Result<Texts> {
        if !self.has_text() {
            return Ok(own.clone());
        }
        let encoders = own.open()?;
        self.check_encoders(encoders.len())?;
        let adapted = encoders.iter().enumerate().map(|(i, (config, params))| {
            let params = self.text_encoder(i, params, scale)?;
            ClipTextModel::new(config, &params.root(), &Place::default())
        });
        own.with_encoders(&adapted.collect::<Result<Vec<_>>>()?)
    }

    /// Refuses a model with fewer text encoders than the LoRA has adapters for.
    ///
    /// # Errors
    /// If it has.
    pub fn check_encoders(&self, of_model: usize) -> Result<()> {
        if self.text.len() <= of_model {
            return Ok(());
        }
        Err(self.misfit(&format!(
            "the LoRA has adapters for {} text encoders, the model has {of_model}",
            self.text.len()
        )))
    }
}

/// The modules of a text encoder in a [`Lora`] under the names that the encoder `base` has.
pub fn as_in_encoder(
    modules: &BTreeMap<String, LoraModule>,
    base: &Params,
) -> BTreeMap<String, LoraModule> {
    let prefixed = base.shapes().iter().any(|(name, _)| name == PREFIXED);
    let name = |name: &String| match prefixed {
        true => name.clone(),
        false => name.strip_prefix(MODEL).unwrap_or(name).to_owned(),
    };
    modules.iter().map(|(n, m)| (name(n), m.clone())).collect()
}

/// The modules of trained adapters of an encoder under the names of released ones, as [`Lora::text`] has them.
pub fn as_released(modules: BTreeMap<String, LoraModule>) -> BTreeMap<String, LoraModule> {
    let name = |name: String| match name.starts_with(MODEL) {
        true => name,
        false => format!("{MODEL}{name}"),
    };
    modules.into_iter().map(|(n, m)| (name(n), m)).collect()
}
