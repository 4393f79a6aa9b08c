//! One text encoder whose weights are trained, or that has adapters.

use super::contract::Unit;
use crate::runner::settings;
use anyhow::{Context, Result};
use rpo_diffusion::lora::{Adapters, LoraModule, as_in_encoder, as_released};
use rpo_encoders::clip::{ClipTextConfig, ClipTextModel};
use rpo_experiment::TextEncoder;
use rpo_nn::Place;
use rpo_nn::weights::Params;
use std::collections::BTreeMap;

/// The folders of the text encoders in a model and in a checkpoint, and the prefixes of their tensors.
pub(super) const ENCODERS: [&str; 2] = ["text_encoder", "text_encoder_2"];

/// Whether the U-Net's conditioning depends on a tensor of an encoder, so that it can be trained: SDXL takes the penultimate states
/// of its first one, and the projection of its second one alone.
pub(super) fn is_trained(name: &str, encoder: usize, config: &ClipTextConfig, xl: bool) -> bool {
    let last = format!(
        "encoder.layers.{}.",
        config.num_hidden_layers.saturating_sub(1)
    );
    let unread = name.contains(&last) || name.contains("final_layer_norm");
    let second = xl && encoder == 1;
    match name.contains("text_projection") {
        true => second,
        false => second || !xl || !unread,
    }
}

/// One encoder whose weights are trained.
pub(super) struct Encoder {
    config: ClipTextConfig,
    /// All tensors, those that are trained in place of the base's.
    pub(super) tensors: Params,
    trained: Over,
    /// How often adapters count.
    scale: f64,
    /// Whether `tensors` are those of a checkpoint: then the adapters are in them.
    merged: bool,
}

/// What is trained of it.
enum Over {
    Weights(Params),
    Adapters(Adapters),
}

impl Encoder {
    pub(super) fn new(
        keys: &TextEncoder,
        (config, frozen): (ClipTextConfig, Params),
        number: usize,
        xl: bool,
        unit: Unit,
    ) -> Result<Self> {
        // Built once on the frozen tensors, which tells those that no layer reads.
        ClipTextModel::new(&config, &frozen.root(), &Place::default())?;
        let unread = frozen.unused();
        let can = |name: &str| {
            !unread.iter().any(|other| other == name) && is_trained(name, number, &config, xl)
        };
        let own = frozen.part(can, &Place::default())?;
        let (tensors, trained) = match keys.rank {
            0 => (frozen.with_part(&own), Over::Weights(own)),
            _ => {
                let mut of_encoder =
                    |module: &str, n: usize| unit(&format!("{}.{module}", ENCODERS[number]), n);
                let adapters = Adapters::new(&own, &settings::text_lora(keys), &mut of_encoder)
                    .context("text_encoder.targets")?;
                (frozen.with_adapters(&adapters), Over::Adapters(adapters))
            }
        };
        Ok(Self {
            config,
            tensors,
            trained,
            scale: 1.0,
            merged: false,
        })
    }

    /// One with given adapters, by the names of released encoders, frozen; they count `scale` times.
    pub(super) fn adapted(
        (config, frozen): (ClipTextConfig, Params),
        modules: &BTreeMap<String, LoraModule>,
        scale: f64,
    ) -> Result<Self> {
        let modules = as_in_encoder(modules, &frozen);
        let adapters = Adapters::from_modules(&frozen, &modules, false)?;
        adapters.set_scale(scale);
        Ok(Self {
            config,
            tensors: frozen.with_adapters(&adapters),
            trained: Over::Adapters(adapters),
            scale,
            merged: false,
        })
    }

    /// Its adapters by the names of released encoders; none if its weights are trained.
    pub(super) fn modules(&self) -> Result<BTreeMap<String, LoraModule>> {
        Ok(match &self.trained {
            Over::Weights(_) => BTreeMap::new(),
            Over::Adapters(adapters) => as_released(adapters.modules()?),
        })
    }

    /// The tensors that tell this encoder from others of its arm.
    pub(super) fn shown(&self) -> &Params {
        match self.merged {
            true => &self.tensors,
            false => self.params(),
        }
    }

    pub(super) fn model(&self, tensors: &Params) -> Result<ClipTextModel> {
        Ok(ClipTextModel::new(
            &self.config,
            &tensors.root(),
            &Place::default(),
        )?)
    }

    pub(super) fn params(&self) -> &Params {
        match &self.trained {
            Over::Weights(params) => params,
            Over::Adapters(adapters) => adapters.params(),
        }
    }

    /// All tensors of an ordinary encoder with the same states.
    pub(super) fn merged(&self) -> Result<Params> {
        let params = self.tensors.deep_copy(false)?;
        match &self.trained {
            Over::Weights(own) => params.interpolate(own, 1.0)?,
            Over::Adapters(adapters) => adapters.merge_into(&params, self.scale)?,
        }
        Ok(params)
    }

    /// Takes the values of a checkpoint, as [`Self::merged`] made them.
    pub(super) fn set(&mut self, merged: &Params) -> Result<()> {
        self.tensors.interpolate(merged, 1.0)?;
        self.merged = matches!(self.trained, Over::Adapters(_));
        if let Over::Weights(own) = &self.trained {
            let of = merged.part(
                |name| own.shapes().iter().any(|(n, _)| n == name),
                &Place::default(),
            )?;
            own.interpolate(&of, 1.0)?;
        }
        Ok(())
    }
}
