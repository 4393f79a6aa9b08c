//! The set of tensors of one network.

use super::arrangement::Arrangement;
use super::overwrite::Overwrite;
use super::{Archive, Item, Precision, Scope, write};
use crate::kept::Changes;
use crate::lora::Adapters;
use crate::place::{Place, host_values};
use candle_core::{DType, Device, Error, Result, Tensor, Var, bail};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) struct Entry {
    /// Shape in the checkpoint.
    pub(super) stored: Vec<usize>,
    pub(super) arrangement: Arrangement,
    /// A [`Var`]'s tensor if the set is trainable.
    tensor: Tensor,
    /// Whether a layer asked for it; from then on the arrangement is fixed.
    asked: bool,
    /// The values in the dtype of activations, on a GPU.
    #[cfg(feature = "cuda")]
    pub(super) cast: crate::kept::Kept<crate::gpu::Buffer>,
}

impl Entry {
    pub(super) fn new(stored: Vec<usize>, arrangement: Arrangement, tensor: Tensor) -> Self {
        Self {
            stored,
            arrangement,
            tensor,
            asked: false,
            #[cfg(feature = "cuda")]
            cast: Default::default(),
        }
    }

    /// Another one of the same tensor.
    pub(super) fn shared(&self) -> Self {
        Self::new(self.stored.clone(), self.arrangement, self.tensor.clone())
    }

    pub(super) fn values(&self) -> Result<Vec<f32>> {
        let values = host_values(&self.tensor)?;
        Ok(self.arrangement.restore(values, &self.stored))
    }
}

pub(super) struct Shared {
    label: String,
    pub(super) trainable: bool,
    pub(super) place: Place,
    /// Whether tensors are made as layers ask for them.
    blank: bool,
    pub(super) entries: Mutex<BTreeMap<String, Entry>>,
    /// How often values were changed here; an optimizer does not tell.
    pub(super) changes: Changes,
}

/// All tensors of one network by name. Clones share the tensors.
///
/// Convolution kernels are kept as the kernels want them (`[kh, kw, Ci, Co]`) from the moment a layer asks for them, and
/// written in the layout of the checkpoint.
#[derive(Clone)]
pub struct Params {
    pub(super) shared: Arc<Shared>,
    /// Whether tensors handed out are variables.
    tracked: bool,
    /// Whether the values stay as they are while a network built on them lives.
    constant: bool,
    /// Laid over the layers that ask for their tensors here.
    adapters: Option<Arc<Adapters>>,
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Params({}, {} tensors)",
            self.shared.label,
            self.entries().len()
        )
    }
}

impl Shared {
    pub(super) fn tensor(&self, values: Vec<f32>, shape: &[usize]) -> Result<Tensor> {
        let dtype = self.place.weights(shape.len(), self.trainable);
        self.place.tensor(values, shape, dtype, self.trainable)
    }
}

fn on_cpu(values: Vec<f32>, shape: &[usize], trainable: bool) -> Result<Tensor> {
    Place::default().tensor(values, shape, DType::F32, trainable)
}

impl Params {
    /// Reads one safetensors file; f16, bf16 and f64 become f32. Integer tensors (buffers such as `position_ids`) are left out.
    ///
    /// # Errors
    /// If the file cannot be read, is truncated or is not safetensors, or holds a tensor of another dtype. Messages name the file
    /// and the tensor.
    pub fn open(path: &Path, trainable: bool) -> Result<Self> {
        Self::from_archive(&Archive::open(path)?, trainable)
    }

    /// Reads all tensors of an archive.
    ///
    /// # Errors
    /// If a tensor cannot be read; the message names file and tensor.
    pub fn from_archive(archive: &Archive, trainable: bool) -> Result<Self> {
        let names: Vec<&str> = archive.names().collect();
        let entries = names
            .into_par_iter()
            .map(|name| {
                let stored = archive.shape(name).unwrap_or_default().to_vec();
                let tensor = on_cpu(archive.values(name)?, &stored, trainable)?;
                let entry = Entry::new(stored, Arrangement::Stored, tensor);
                Ok((name.to_owned(), entry))
            })
            .collect::<Result<_>>()?;
        let label = archive.label().to_owned();
        Ok(Self::new(label, trainable, Place::default(), entries))
    }

    /// Takes tensors in the layout of a checkpoint; `label` stands for the file name in messages. Values are copied and
    /// converted to f32.
    ///
    /// # Errors
    /// If a tensor cannot be converted to f32.
    pub fn from_tensors(
        tensors: impl IntoIterator<Item = (String, Tensor)>,
        label: &str,
        trainable: bool,
    ) -> Result<Self> {
        let mut entries = BTreeMap::new();
        for (name, t) in tensors {
            let values = t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            let tensor = on_cpu(values, t.dims(), trainable)?;
            let stored = t.dims().to_vec();
            entries.insert(name, Entry::new(stored, Arrangement::Stored, tensor));
        }
        let label = label.to_string();
        Ok(Self::new(label, trainable, Place::default(), entries))
    }

    /// A set without a file, in which layers find every tensor they ask for, all zeros: for names, shapes and numbers of
    /// parameters of a network that is not here. They take no memory.
    pub fn blank(label: &str) -> Self {
        let mut blank = Self::new(label.to_string(), false, Place::default(), BTreeMap::new());
        if let Some(shared) = Arc::get_mut(&mut blank.shared) {
            shared.blank = true;
        }
        blank
    }

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
            blank: false,
            entries: Mutex::new(entries),
            changes: Changes::default(),
        };
        Self {
            shared: Arc::new(shared),
            tracked: trainable,
            constant: !trainable,
            adapters: None,
        }
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        // Every change of the map is one assignment, so that a panic elsewhere leaves it whole.
        self.shared
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, or the label given, for messages.
    pub fn label(&self) -> &str {
        &self.shared.label
    }

    /// Where layers ask for their tensors.
    pub fn root(&self) -> Scope {
        Scope::root(self.clone())
    }

    /// The same tensors, not tracked: a model built on it computes no gradients and sees every step of the optimiser.
    pub fn detached(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            tracked: false,
            constant: self.constant,
            adapters: self.adapters.as_deref().map(|a| Arc::new(a.detached())),
        }
    }

    /// [`Self::detached`], with the caller's word that the values stay as they are while a network built on the result lives:
    /// its layers may keep what they derive from them.
    pub fn constant(&self) -> Self {
        Self {
            constant: true,
            ..self.detached()
        }
    }

    /// The count of changes, if nothing changes the values without counting.
    pub(crate) fn changes(&self) -> Option<Changes> {
        self.constant.then(|| self.shared.changes.clone())
    }

    /// The same tensors with adapters laid over them: a model built on the result is the adapted one. [`Self::vars`],
    /// [`Self::save`] and the like are still about the tensors below; those of the adapters are [`Adapters::params`].
    pub fn with_adapters(&self, adapters: &Adapters) -> Self {
        Self {
            adapters: Some(Arc::new(adapters.clone())),
            ..self.clone()
        }
    }

    pub(crate) fn adapters(&self) -> Option<&Adapters> {
        self.adapters.as_deref()
    }

    /// The variables that layers asked for, sorted by name; none if the set is frozen or detached. Build the model first.
    pub fn vars(&self) -> Vec<(String, Var)> {
        if !self.tracked {
            return vec![];
        }
        self.entries()
            .iter()
            .filter(|(_, e)| e.asked)
            .filter_map(|(name, e)| Some((name.clone(), Var::from_tensor(&e.tensor).ok()?)))
            .collect()
    }

    /// The numbers in all tensors together.
    pub fn parameters(&self) -> usize {
        self.entries().values().map(|e| e.tensor.elem_count()).sum()
    }

    /// Names of tensors that no layer asked for, sorted.
    pub fn unused(&self) -> Vec<String> {
        self.entries()
            .iter()
            .filter(|(_, e)| !e.asked)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Names and shapes of all tensors as the checkpoint has them, sorted by name.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let entries = self.entries();
        let named = entries.iter();
        named
            .map(|(name, e)| (name.clone(), e.stored.clone()))
            .collect()
    }

    /// The shape of one tensor as the checkpoint has it.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.entries().get(name).map(|e| e.stored.clone())
    }

    /// Adds values in the layout of the checkpoint to the tensor `name`, in place.
    pub(crate) fn add_values(&self, name: &str, mut delta: Vec<f32>) -> Result<()> {
        let entries = self.entries();
        let Some(entry) = entries
            .get(name)
            .filter(|e| e.tensor.elem_count() == delta.len())
        else {
            bail!(
                "{}: no tensor {name} of {} values",
                self.shared.label,
                delta.len()
            )
        };
        delta
            .iter_mut()
            .zip(entry.values()?)
            .for_each(|(d, w)| *d += w);
        let values = entry.arrangement.arrange(delta, &entry.stored);
        self.overwrite(entry, values)
    }

    /// Every change of values goes through here.
    fn overwrite(&self, entry: &Entry, values: Vec<f32>) -> Result<()> {
        let done = entry.tensor.inplace_op1(&Overwrite(values));
        self.shared.changes.count();
        done
    }

    /// Copies of all tensors in the layout of the checkpoint, sorted by name.
    ///
    /// # Errors
    /// If memory cannot be read back as f32, which does not happen for tensors of this type.
    pub fn tensors_sorted(&self) -> Result<Vec<(String, Tensor)>> {
        self.entries()
            .iter()
            .map(|(name, e)| Ok((name.clone(), on_cpu(e.values()?, &e.stored, false)?)))
            .collect()
    }

    /// Writes all tensors as f32 safetensors in the layout of the checkpoint. The file appears whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write(path, &self.items(), Precision::F32, &super::pt())
    }

    /// All tensors as [`write()`] takes them, in the layout of the checkpoint, sorted by name. They see the values of the moment
    /// in which they are written.
    pub fn items(&self) -> Vec<Item<'static>> {
        self.entries()
            .iter()
            .map(|(name, e)| {
                let entry = e.shared();
                Item::new(name, e.stored.clone(), move || entry.values())
            })
            .collect()
    }

    /// Copies the values of a file that [`Self::save`] wrote into the existing tensors: models built on them see the values.
    ///
    /// # Errors
    /// If the file cannot be read, lacks a tensor, has one too many, or one of another shape. Then nothing has been changed,
    /// unless the disk fails in the middle.
    pub fn load_values(&self, path: &Path) -> Result<()> {
        let file = Archive::open(path)?;
        let entries = self.entries();
        for (name, e) in entries.iter() {
            match file.shape(name) {
                None => bail!("{}: tensor {name} is missing", path.display()),
                Some(shape) if shape != e.stored => bail!(
                    "{}: tensor {name} has shape {shape:?}, {} has {:?}",
                    path.display(),
                    self.shared.label,
                    e.stored
                ),
                Some(_) => {}
            }
        }
        if let Some(name) = file.names().find(|name| !entries.contains_key(*name)) {
            bail!(
                "{}: tensor {name} is not one of {}",
                path.display(),
                self.shared.label
            )
        }
        for (name, e) in entries.iter() {
            let values = e.arrangement.arrange(file.values(name)?, &e.stored);
            self.overwrite(e, values)?;
        }
        Ok(())
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
        if self.shared.blank && !entries.contains_key(name) {
            // One number seen from everywhere: SDXL's names and shapes take no 10 GB.
            let zero = Tensor::zeros((), DType::F32, &Device::Cpu)?;
            let zeros = zero.broadcast_as(arrangement.shape(shape))?;
            let entry = Entry::new(shape.to_vec(), arrangement, zeros);
            entries.insert(name.to_owned(), entry);
        }
        let Some(entry) = entries.get_mut(name) else {
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
            let values = arrangement.arrange(entry.values()?, shape);
            entry.tensor = self.shared.tensor(values, &arrangement.shape(shape))?;
            entry.arrangement = arrangement;
        }
        entry.asked = true;
        Ok(if self.tracked {
            entry.tensor.clone()
        } else {
            entry.tensor.detach()
        })
    }
}

/// Length of the common start, if it reaches beyond the first dot.
fn closeness(a: &str, b: &str) -> usize {
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    if a.as_bytes()[..common].contains(&b'.') {
        common
    } else {
        0
    }
}
