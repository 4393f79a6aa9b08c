//! Some tensors of a network apart from the others: trained copies over frozen originals that stay shared.

use super::params::Params;
use super::scope::Scope;
use super::tensors::Tensors;
use crate::parallel::GRAIN;
use crate::place::Place;
use candle_core::Result;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Params {
    /// Trainable copies at `place` of the tensors that `chosen` names, as a set of its own.
    ///
    /// # Errors
    /// Those of the device.
    pub fn part(&self, chosen: impl Fn(&str) -> bool, place: &Place) -> Result<Self> {
        self.copy_where(chosen, place, true)
    }

    /// The same tensors, those of `part` in place of the ones with their names: a network built on the result computes gradients of
    /// `part` alone. [`Self::vars`], [`Self::save`] and the like still refer to the own tensors.
    #[must_use]
    pub fn with_part(&self, part: &Self) -> Self {
        Self {
            part: Some(part.tensors.clone()),
            ..self.clone()
        }
    }

    /// Several sets as one, with the same tensors under `PREFIX.NAME`, for an optimiser and a saved state. Networks are built on the
    /// sets themselves, before: their layers choose the arrangement of the tensors.
    #[must_use]
    pub fn join(parts: &[(&str, &Self)]) -> Self {
        let mut entries = BTreeMap::new();
        for (prefix, part) in parts {
            for (name, entry) in part.tensors.entries().iter() {
                let mut shared = entry.shared();
                shared.asked = entry.asked;
                entries.insert(format!("{prefix}.{name}"), shared);
            }
        }
        let labels: Vec<&str> = parts.iter().map(|(_, part)| part.label()).collect();
        let place = parts.first().map(|(_, part)| part.place().clone());
        let tracked = parts.iter().any(|(_, part)| part.tensors.tracked);
        let joint = Self::new(
            labels.join(" and "),
            tracked,
            place.unwrap_or_default(),
            entries,
        );
        let mut tensors = joint.tensors;
        if let Some(shared) = Arc::get_mut(&mut tensors.shared) {
            let of = parts.iter().map(|(_, part)| &part.tensors.shared.changes);
            shared.of_parts = of.cloned().collect();
        }
        tensors.into()
    }

    /// Moves every tensor that `other` has too from here to there: `w + scale (other - w)`, in place. Scale 1 copies.
    ///
    /// # Errors
    /// If a tensor is missing here or has another size; those before it are changed then.
    pub fn interpolate(&self, other: &Self, scale: f64) -> Result<()> {
        for (name, tensor) in other.tensors_sorted()? {
            self.change_values(&name, tensor.flatten_all()?.to_vec1()?, |values, own| {
                if scale == 1.0 {
                    return;
                }
                let both = values.par_iter_mut().zip(own).with_min_len(GRAIN);
                both.for_each(|(value, own)| {
                    let (to, from) = (f64::from(*value), f64::from(*own));
                    *value = (from + scale * (to - from)) as f32;
                });
            })?;
        }
        Ok(())
    }
}

impl Scope {
    /// The set that has the tensor `name` of this scope.
    pub(super) fn set(&self, name: &str) -> &Tensors {
        let params = self.params();
        let part = params.part.as_ref();
        part.filter(|part| part.has(&self.path(name)))
            .unwrap_or(&params.tensors)
    }
}
