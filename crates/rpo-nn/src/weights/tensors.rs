//! A set of tensors, and how layers get them.

use super::arrangement::Arrangement;
use super::overwrite::Overwrite;
use crate::kept::Changes;
use crate::place::{Place, host_values};
use candle_core::{DType, Device, Error, Result, Tensor, bail};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One tensor.
pub(super) struct Entry {
    /// Shape in the checkpoint.
    pub(super) stored: Vec<usize>,
    pub(super) arrangement: Arrangement,
    /// A [`Var`]'s tensor if the set is trainable.
    pub(super) tensor: Tensor,
    /// Whether a layer has requested it; then the arrangement is fixed.
    pub(super) asked: bool,
    /// Whether a layer has requested it here or, of a copy at another place, there.
    pub(super) used: Arc<AtomicBool>,
    /// The values in the dtype of activations, on a GPU.
    #[cfg(feature = "cuda")]
    cast: crate::kept::Kept<crate::gpu::Buffer>,
}

impl Entry {
    pub(super) fn new(stored: Vec<usize>, arrangement: Arrangement, tensor: Tensor) -> Self {
        Self {
            stored,
            arrangement,
            tensor,
            asked: false,
            used: Arc::default(),
            #[cfg(feature = "cuda")]
            cast: Default::default(),
        }
    }

    /// Zeros that are one number in memory.
    pub(super) fn without_values(stored: Vec<usize>, arrangement: Arrangement) -> Result<Self> {
        let zero = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        let zeros = zero.broadcast_as(arrangement.shape(&stored))?;
        Ok(Self::new(stored, arrangement, zeros))
    }

    /// Another entry for the same tensor.
    pub(super) fn shared(&self) -> Self {
        Self::new(self.stored.clone(), self.arrangement, self.tensor.clone())
    }

    pub(super) fn values(&self) -> Result<Vec<f32>> {
        let values = host_values(&self.tensor)?;
        Ok(self.arrangement.restore(values, &self.stored))
    }
}

/// What a set holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Values.
    Values,
    /// Names and shapes; instead of values broadcast zeros, which take no memory.
    Shapes,
    /// As [`Self::Shapes`], made when layers request them.
    Anything,
}

/// The tensors of a set by name, and their place.
pub(super) struct Shared {
    pub(super) label: String,
    pub(super) trainable: bool,
    pub(super) place: Place,
    pub(super) content: Content,
    /// Integer and boolean tensors of the files, which are not here, with their dtypes.
    pub(super) buffers: BTreeMap<String, String>,
    pub(super) entries: Mutex<BTreeMap<String, Entry>>,
    /// Counts changes of values through this set; optimiser steps are not included.
    pub(super) changes: Changes,
    /// Of the sets whose tensors this one shares.
    pub(super) of_parts: Vec<Changes>,
}

impl Shared {
    pub(super) fn tensor(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        let dtype = self.place.weights(shape.len(), self.trainable);
        self.place.tensor(values, shape, dtype, self.trainable)
    }
}

/// A set of tensors. Clones share them.
#[derive(Clone)]
pub(crate) struct Tensors {
    pub(super) shared: Arc<Shared>,
    /// Whether requested tensors are variables.
    pub(super) tracked: bool,
    /// Whether the values do not change while a network built on them exists.
    pub(super) constant: bool,
}

impl std::fmt::Debug for Tensors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} tensors", self.shared.label, self.entries().len())
    }
}

impl Tensors {
    pub(super) fn new(
        label: String,
        trainable: bool,
        place: Place,
        entries: BTreeMap<String, Entry>,
    ) -> Self {
        let shared = Shared {
            label,
            trainable,
            place,
            content: Content::Values,
            buffers: BTreeMap::new(),
            entries: Mutex::new(entries),
            changes: Changes::default(),
            of_parts: Vec::new(),
        };
        Self {
            shared: Arc::new(shared),
            tracked: trainable,
            constant: !trainable,
        }
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Every change of the map is one assignment, so that a panic elsewhere leaves it whole.
        self.shared
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The same tensors, not tracked.
    pub(super) fn detached(&self) -> Self {
        Self {
            tracked: false,
            ..self.clone()
        }
    }

    /// The counter of changes, if all changes are counted.
    pub(super) fn changes(&self) -> Option<Changes> {
        self.constant.then(|| self.shared.changes.clone())
    }

    /// The shape of one tensor as the checkpoint has it.
    pub(super) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.entries().get(name).map(|e| e.stored.clone())
    }

    /// All changes of values go through this function.
    pub(super) fn overwrite(&self, entry: &Entry, values: Vec<f32>) -> Result<()> {
        let done = entry.tensor.inplace_op1(&Overwrite(values));
        self.shared.changes.count();
        self.shared.of_parts.iter().for_each(Changes::count);
        done
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.entries().contains_key(name)
    }

    /// The tensor `name`, which must be stored in `shape`, in `arrangement`.
    pub(super) fn get(
        &self,
        name: &str,
        shape: &[usize],
        arrangement: Arrangement,
    ) -> Result<Tensor> {
        let arrangement = match arrangement {
            Arrangement::Conv if !self.shared.place.is_cpu() => Arrangement::ConvLast,
            other => other,
        };
        let mut entries = self.entries();
        let label = &self.shared.label;
        if self.shared.content == Content::Anything && !entries.contains_key(name) {
            let entry = Entry::without_values(shape.to_vec(), arrangement)?;
            entries.insert(name.to_owned(), entry);
        }
        let Some(entry) = entries.get_mut(name) else {
            if let Some(dtype) = self.shared.buffers.get(name) {
                bail!("{label}: tensor {name} is {dtype}; f32, f16, bf16 or f64 is needed")
            }
            let near = entries
                .keys()
                .filter(|k| closeness(k, name) > 0)
                .max_by_key(|k| closeness(k, name));
            let hint = near.map(|n| format!(" (there is {n})")).unwrap_or_default();
            return Err(Error::msg(format!(
                "{label}: tensor {name} {shape:?} is missing{hint}"
            )));
        };
        if entry.stored != shape {
            bail!(
                "{label}: tensor {name} has shape {:?}, the configuration asks for {shape:?}",
                entry.stored
            )
        }
        if entry.arrangement != arrangement {
            if entry.asked {
                bail!(
                    "{label}: tensor {name} is asked for as {arrangement:?} and as {:?}",
                    entry.arrangement
                )
            }
            if self.shared.content == Content::Values {
                let values = arrangement.arrange(entry.values()?, shape);
                entry.tensor = self.shared.tensor(values, &arrangement.shape(shape))?;
                entry.arrangement = arrangement;
            } else {
                *entry = Entry::without_values(shape.to_vec(), arrangement)?;
            }
        }
        entry.asked = true;
        entry.used.store(true, Ordering::Relaxed);
        Ok(if self.tracked {
            entry.tensor.clone()
        } else {
            entry.tensor.detach()
        })
    }

    /// The cache for the cast of one tensor, the same for every layer.
    #[cfg(feature = "cuda")]
    pub(super) fn cast(&self, name: &str) -> crate::kept::Kept<crate::gpu::Buffer> {
        let mut entries = self.entries();
        let Some(entry) = entries
            .get_mut(name)
            .filter(|_| !self.shared.place.is_cpu())
        else {
            return Default::default();
        };
        if !entry.cast.is_place() {
            let changes = match self.shared.trainable {
                true => self.shared.changes.and_steps(),
                false => self.shared.changes.clone(),
            };
            entry.cast = crate::kept::Kept::when(Some(changes));
        }
        entry.cast.clone()
    }
}

/// Length of the common prefix, if it extends beyond the first dot.
fn closeness(a: &str, b: &str) -> usize {
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    if a.as_bytes()[..common].contains(&b'.') {
        common
    } else {
        0
    }
}
