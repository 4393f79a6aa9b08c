//! What a file holds of text encoders.

use std::collections::BTreeMap;

use candle_core::Result;
use rpo_nn::lora::LoraModule;
use rpo_nn::weights::{Precision, Stored};

use super::keys::Key;
use super::left_out::LeftOut;
use super::network::Network;
use super::peft::PeftConfig;
use super::text_names::{PARTS, module, place_in};

/// The tensors found of each text encoder.
#[derive(Default)]
pub(super) struct TextNetworks<'a> {
    networks: [Network<'a>; PARTS.len()],
    /// Modules with keys of another kind of adapter, by the encoder and the file's name of the module. Without these keys the module
    /// would do something else, so none of it is read.
    other: BTreeMap<(usize, String), &'a str>,
}

impl<'a> TextNetworks<'a> {
    /// Adds a tensor of a text encoder, or what it belongs to, to what is left out.
    ///
    /// # Errors
    /// As [`Network::add`].
    pub(super) fn add(
        &mut self,
        tensor: Stored<'a>,
        left_out: &mut LeftOut<'a>,
        label: &str,
    ) -> Result<()> {
        let name = tensor.name();
        let Some(key) = Key::parse(name) else {
            let place = place_in(name);
            if let Some((place, of)) = place.and_then(|place| Some((place, module(place)?))) {
                self.other.insert(of, place);
            }
            left_out.text.insert(place.unwrap_or(name));
            return Ok(());
        };
        let Some((encoder, module)) = module(key.place) else {
            left_out.text.insert(key.place);
            return Ok(());
        };
        let part = format!("{}.", PARTS[encoder]);
        self.networks[encoder].add(&key, tensor, (&part, module), label)
    }

    /// Leaves out the modules with keys of another kind of adapter.
    pub(super) fn plain(mut self) -> Self {
        for (encoder, module) in self.other.keys() {
            self.networks[*encoder].remove(module);
        }
        self
    }

    /// Number of modules.
    pub(super) fn len(&self) -> usize {
        self.networks.iter().map(Network::len).sum()
    }

    /// Whether peft's configuration beside the file may hold an α.
    pub(super) fn of_peft(&self) -> bool {
        self.networks.iter().any(|network| network.of_peft)
    }

    /// Of all matrices.
    pub(super) fn precisions(&self) -> impl Iterator<Item = Precision> {
        let read = self.networks.iter().filter(|network| !network.is_empty());
        read.flat_map(|network| network.precisions.iter().copied())
    }

    /// The adapters of each encoder, up to the last one that has some. `config` gives the configuration of a part of the pipeline in
    /// the header, `beside` is that beside the file.
    ///
    /// # Errors
    /// As [`Network::build`]; those of the configurations.
    pub(super) fn build(
        self,
        config: impl Fn(&str) -> Result<Option<PeftConfig>>,
        beside: Option<&PeftConfig>,
        label: &str,
    ) -> Result<Vec<BTreeMap<String, LoraModule>>> {
        let mut all = Vec::with_capacity(PARTS.len());
        for (network, part) in self.networks.into_iter().zip(PARTS) {
            if network.is_empty() {
                all.push(BTreeMap::new());
                continue;
            }
            let own = config(part)?;
            let beside = beside.filter(|_| network.of_peft);
            let configs: Vec<&PeftConfig> = own.iter().chain(beside).collect();
            all.push(network.build(&configs, &format!("{part}."), label)?);
        }
        while all.last().is_some_and(BTreeMap::is_empty) {
            all.pop();
        }
        Ok(all)
    }
}
