//! The set of tensors of one network.

use super::archive::Archive;
use super::arrangement::Arrangement;
use super::overlay::Overlay;
use super::precision::Precision;
use super::tensors::{Content, Entry, Tensors};
use super::write::{Item, pt, write};
use crate::place::Place;
use candle_core::{DType, Result, Tensor, Var, bail};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// All tensors of one network by name. Clones share the tensors.
///
/// Convolution weights are kept in the kernels' layout (`[kh, kw, Ci, Co]`) once a layer has requested them, and written in the
/// layout of the checkpoint.
#[derive(Clone)]
pub struct Params {
    pub(crate) tensors: Tensors,
    /// Adapters of the layers that request their tensors here.
    pub(super) adapters: Option<Arc<Overlay>>,
    /// Tensors that layers get instead of those of the same names.
    pub(super) part: Option<Tensors>,
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Params({:?})", self.tensors)
    }
}

/// Without adapters and parts.
impl From<Tensors> for Params {
    fn from(tensors: Tensors) -> Self {
        Self {
            tensors,
            adapters: None,
            part: None,
        }
    }
}

fn on_cpu(values: Vec<f32>, shape: &[usize], trainable: bool) -> Result<Tensor> {
    Place::default().tensor(values, shape, DType::F32, trainable)
}

impl Params {
    /// Reads one safetensors file; f16, bf16 and f64 become f32. Integer tensors (buffers such as `position_ids`) are left out.
    ///
    /// # Errors
    /// If the file cannot be read, is truncated or not safetensors, or has a tensor of another dtype; with the file and the tensor.
    pub fn open(path: &Path, trainable: bool) -> Result<Self> {
        Self::from_archive(&Archive::open(path)?, trainable)
    }

    /// Reads all tensors of an archive.
    ///
    /// # Errors
    /// If a tensor cannot be read, or a value is not finite; the message names file and tensor.
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
        let read = Self::new(label, trainable, Place::default(), entries);
        Ok(read.with(Content::Values, archive.dtypes_of_buffers()))
    }

    /// The names and shapes of an archive, without reading a value: a network built on them tells whether its tensors are there and
    /// have their shapes. They take no memory, whatever the shapes.
    ///
    /// # Errors
    /// If a shape is beyond what a tensor can have.
    pub fn outline(archive: &Archive) -> Result<Self> {
        let entry = |name: &str| {
            let stored = archive.shape(name).unwrap_or_default().to_vec();
            let entry = Entry::without_values(stored, Arrangement::Stored)?;
            Ok((name.to_owned(), entry))
        };
        let entries = archive.names().map(entry).collect::<Result<_>>()?;
        let label = archive.label().to_owned();
        let outline = Self::new(label, false, Place::default(), entries);
        Ok(outline.with(Content::Shapes, archive.dtypes_of_buffers()))
    }

    /// From tensors in the layout of a checkpoint; `label` replaces the file name in messages. Values are copied and converted to
    /// f32.
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

    /// A set without a file, in which layers find every requested tensor, all zeros: for names, shapes and numbers of parameters of
    /// a network without its weights. The tensors take no memory.
    pub fn blank(label: &str) -> Self {
        let blank = Self::new(label.to_string(), false, Place::default(), BTreeMap::new());
        blank.with(Content::Anything, BTreeMap::new())
    }

    /// A new set with this content, beside which the files have these integer tensors.
    fn with(mut self, content: Content, buffers: BTreeMap<String, String>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.tensors.shared) {
            (shared.content, shared.buffers) = (content, buffers);
        }
        self
    }

    pub(super) fn new(
        label: String,
        trainable: bool,
        place: Place,
        entries: BTreeMap<String, Entry>,
    ) -> Self {
        Tensors::new(label, trainable, place, entries).into()
    }

    /// The file, or the given label, for messages.
    pub fn label(&self) -> &str {
        &self.tensors.shared.label
    }

    /// The same tensors, not tracked: a model built on them computes no gradients and follows every optimiser step.
    pub fn detached(&self) -> Self {
        Self {
            tensors: self.tensors.detached(),
            adapters: self.adapters.as_deref().map(|a| Arc::new(a.detached())),
            part: self.part.as_ref().map(Tensors::detached),
        }
    }

    /// [`Self::detached`]; the caller guarantees that the values do not change while a network built on the result exists, so its
    /// layers may cache what they derive from them.
    pub fn constant(&self) -> Self {
        let mut detached = self.detached();
        detached.tensors.constant = true;
        if let Some(part) = &mut detached.part {
            part.constant = true;
        }
        detached
    }

    /// The same tensors with adapters.
    pub(crate) fn overlaid(&self, adapters: Overlay) -> Self {
        Self {
            adapters: Some(Arc::new(adapters)),
            ..self.clone()
        }
    }

    /// The variables that layers have requested, sorted by name; none if the set is frozen or detached. Build the model first.
    pub fn vars(&self) -> Vec<(String, Var)> {
        if !self.tensors.tracked {
            return vec![];
        }
        self.tensors
            .entries()
            .iter()
            .filter(|(_, e)| e.asked)
            .filter_map(|(name, e)| Some((name.clone(), Var::from_tensor(&e.tensor).ok()?)))
            .collect()
    }

    /// Total number of parameters.
    pub fn parameters(&self) -> usize {
        self.tensors
            .entries()
            .values()
            .map(|e| e.tensor.elem_count())
            .sum()
    }

    /// Names of tensors that no layer has requested, here or of a copy that [`Self::at`] made at another place, sorted.
    pub fn unused(&self) -> Vec<String> {
        self.tensors
            .entries()
            .iter()
            .filter(|(_, e)| !e.used.load(Ordering::Relaxed))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Names and shapes of all tensors as the checkpoint has them, sorted by name.
    pub fn shapes(&self) -> Vec<(String, Vec<usize>)> {
        let entries = self.tensors.entries();
        let named = entries.iter();
        named
            .map(|(name, e)| (name.clone(), e.stored.clone()))
            .collect()
    }

    /// Adds values in the layout of the checkpoint to the tensor `name`, in place.
    pub(crate) fn add_values(&self, name: &str, delta: Vec<f32>) -> Result<()> {
        self.change_values(name, delta, |delta, own| {
            delta.iter_mut().zip(own).for_each(|(d, w)| *d += w);
        })
    }

    /// Overwrites the tensor `name` with what `change` makes of `values` and the present ones.
    pub(super) fn change_values(
        &self,
        name: &str,
        mut values: Vec<f32>,
        change: impl Fn(&mut [f32], &[f32]),
    ) -> Result<()> {
        let entries = self.tensors.entries();
        let Some(entry) = entries
            .get(name)
            .filter(|e| e.tensor.elem_count() == values.len())
        else {
            bail!(
                "{}: no tensor {name} of {} values",
                self.tensors.shared.label,
                values.len()
            )
        };
        change(&mut values, &entry.values()?);
        let values = entry.arrangement.arrange(values, &entry.stored);
        self.tensors.overwrite(entry, values)
    }

    /// Copies of all tensors in the layout of the checkpoint, sorted by name.
    ///
    /// # Errors
    /// If memory cannot be read back as f32, which does not happen for tensors of this type.
    pub fn tensors_sorted(&self) -> Result<Vec<(String, Tensor)>> {
        self.tensors
            .entries()
            .iter()
            .map(|(name, e)| Ok((name.clone(), on_cpu(e.values()?, &e.stored, false)?)))
            .collect()
    }

    /// Writes all tensors as f32 safetensors in the layout of the checkpoint. The file appears whole or not at all.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write(path, &self.items(), Precision::F32, &pt())
    }

    /// All tensors for [`write()`], in the layout of the checkpoint, sorted by name, with their values at the time of writing.
    pub fn items(&self) -> Vec<Item<'static>> {
        self.tensors
            .entries()
            .iter()
            .map(|(name, e)| {
                let entry = e.shared();
                Item::new(name, e.stored.clone(), move || entry.values())
            })
            .collect()
    }

    /// Copies the values of a file from [`Self::save`] into the existing tensors, also for models built on them.
    ///
    /// # Errors
    /// If the file cannot be read, or a tensor is missing, superfluous or of another shape. Nothing is changed then, unless the disk
    /// fails in the middle, or a value there is not finite.
    pub fn load_values(&self, path: &Path) -> Result<()> {
        let file = Archive::open(path)?;
        let entries = self.tensors.entries();
        for (name, e) in entries.iter() {
            match file.shape(name) {
                None => bail!("{}: tensor {name} is missing", path.display()),
                Some(shape) if shape != e.stored => bail!(
                    "{}: tensor {name} has shape {shape:?}, {} has {:?}",
                    path.display(),
                    self.tensors.shared.label,
                    e.stored
                ),
                Some(_) => {}
            }
        }
        if let Some(name) = file.names().find(|name| !entries.contains_key(*name)) {
            bail!(
                "{}: tensor {name} is not one of {}",
                path.display(),
                self.tensors.shared.label
            )
        }
        for (name, e) in entries.iter() {
            let values = e.arrangement.arrange(file.values(name)?, &e.stored);
            self.tensors.overwrite(e, values)?;
        }
        Ok(())
    }
}
