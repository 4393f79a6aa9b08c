//! The tensors that a file holds of one network: the U-Net, or a text encoder.

use std::collections::BTreeMap;

use candle_core::{Result, bail};
use rpo_files::printable::printable_name;
use rpo_nn::lora::LoraModule;
use rpo_nn::weights::{Precision, Stored};

use super::file::Format;
use super::keys::{Key, Part, WRAPPED};
use super::module::Found;
use super::peft::PeftConfig;

/// What was found of one network.
#[derive(Debug, Default)]
pub(super) struct Network<'a> {
    found: BTreeMap<String, Found<'a>>,
    /// peft's name of the adapter, where keys have it.
    adapter: Option<&'a str>,
    /// The format of the first matrix.
    pub(super) format: Option<Format>,
    /// Of all matrices.
    pub(super) precisions: Vec<Precision>,
    /// Whether peft's configuration may hold an α.
    pub(super) of_peft: bool,
    /// A key of a model that peft wrapped.
    pub(super) wrapped: Option<&'a str>,
}

impl<'a> Network<'a> {
    /// Adds a tensor of `module`; `part` precedes the name in messages.
    ///
    /// # Errors
    /// If there is one of the same module and part already, or one of an adapter of another name.
    pub(super) fn add(
        &mut self,
        key: &Key<'a>,
        tensor: Stored<'a>,
        (part, module): (&str, String),
        label: &str,
    ) -> Result<()> {
        if let (Some(first), Some(second)) = (self.adapter, key.adapter)
            && first != second
        {
            bail!(
                "{label}: it holds two adapters, `{}` and `{}`\n  hint: save each by itself: save_pretrained(..., selected_adapters=[...])",
                printable_name(first),
                printable_name(second)
            )
        }
        self.adapter = self.adapter.or(key.adapter);
        self.format = self.format.or(key.format);
        if key.part != Part::Alpha {
            self.precisions.push(tensor.precision());
        }
        if key.format == Some(Format::Peft) {
            self.of_peft = true;
            let wrapped = key.place.contains(WRAPPED).then_some(tensor.name());
            self.wrapped = self.wrapped.or(wrapped);
        }
        let named = format!("{part}{module}");
        self.found
            .entry(module)
            .or_default()
            .add(key, tensor, &named, label)
    }

    /// Leaves out what was found of a module.
    pub(super) fn remove(&mut self, module: &str) {
        self.found.remove(module);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Number of modules.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// The adapters; `configs` are the configurations that may hold their α, `part` precedes names in messages.
    ///
    /// # Errors
    /// If a module is incomplete, has values that are not finite, or no α that all programs agree on; with its name.
    pub(super) fn build(
        self,
        configs: &[&PeftConfig],
        part: &str,
        label: &str,
    ) -> Result<BTreeMap<String, LoraModule>> {
        let build = |(name, found): (String, Found)| {
            let module = found.build(&format!("{part}{name}"), configs, label)?;
            Ok((name, module))
        };
        self.found.into_iter().map(build).collect()
    }
}
