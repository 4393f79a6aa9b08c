//! Copies of a set of tensors, and their place.

use super::arrangement::Arrangement;
use super::params::Params;
use super::tensors::Entry;
use crate::place::Place;
use candle_core::{Result, bail};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

impl Params {
    /// A copy with separate storage, at the same place.
    ///
    /// # Errors
    /// Those of the device.
    pub fn deep_copy(&self, trainable: bool) -> Result<Self> {
        self.copy_to(&self.tensors.shared.place, trainable)
    }

    /// These tensors at `place`: themselves if already there, else a copy of the own tensors, without adapters and part.
    ///
    /// # Errors
    /// Those of the device.
    pub fn at(&self, place: &Place) -> Result<Self> {
        self.below_at("", place)
    }

    /// As [`Self::at`]; a copy has only the tensors whose names begin with `prefix`.
    pub(super) fn below_at(&self, prefix: &str, place: &Place) -> Result<Self> {
        let here = &self.tensors.shared.place;
        if here.device().same_device(place.device()) && here.dtype() == place.dtype() {
            return Ok(self.clone());
        }
        let copy = self.copy_below(prefix, place, self.tensors.shared.trainable)?;
        let own = self.tensors.entries();
        for (name, entry) in copy.tensors.entries().iter_mut() {
            if let Some(of) = own.get(name) {
                entry.used = Arc::clone(&of.used);
            }
        }
        drop(own);
        Ok(copy)
    }

    /// A copy at `place`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn copy_to(&self, place: &Place, trainable: bool) -> Result<Self> {
        self.copy_below("", place, trainable)
    }

    /// A copy of the tensors whose names begin with `prefix`.
    fn copy_below(&self, prefix: &str, place: &Place, trainable: bool) -> Result<Self> {
        self.copy_where(|name| name.starts_with(prefix), place, trainable)
    }

    /// A copy of the tensors with these names.
    pub(super) fn copy_where(
        &self,
        chosen: impl Fn(&str) -> bool,
        place: &Place,
        trainable: bool,
    ) -> Result<Self> {
        let label = self.label().to_owned();
        let mut copy = Self::new(label, trainable, place.clone(), BTreeMap::new());
        let Some(shared) = Arc::get_mut(&mut copy.tensors.shared) else {
            bail!("{}: a new set of tensors is shared", self.label())
        };
        let same = place.is_cpu() == self.tensors.shared.place.is_cpu();
        // Not under the lock: a thread waiting for others may run work that needs it.
        let sources: Vec<(String, Entry)> = self
            .tensors
            .entries()
            .iter()
            .filter(|(name, _)| chosen(name))
            .map(|(name, e)| (name.clone(), e.shared()))
            .collect();
        let entries = sources.into_par_iter().map(|(name, e)| {
            let arrangement = match e.stored.len() {
                _ if same => e.arrangement,
                // Most are convolutions: in the arrangement in which layers will request them.
                4 if !place.is_cpu() => Arrangement::ConvLast,
                _ => Arrangement::Stored,
            };
            let values = arrangement.arrange(e.values()?, &e.stored);
            let tensor = shared.tensor(values, &arrangement.shape(&e.stored))?;
            Ok((name, Entry::new(e.stored, arrangement, tensor)))
        });
        let entries = entries.collect::<Result<_>>()?;
        shared.entries = Mutex::new(entries);
        Ok(copy)
    }

    /// The place of the tensors, where networks built on them compute.
    pub fn place(&self) -> &Place {
        &self.tensors.shared.place
    }
}
