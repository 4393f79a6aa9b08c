//! Reading safetensors files, tensor by tensor.

use super::header::{self, Header, cannot_read};
use super::precision::{CHUNK, Precision, decode};
use super::write::Item;
use crate::finite::{first_not_finite, index};
use candle_core::{Error, Result, bail};
use safetensors::Dtype;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Location of a tensor.
struct Location {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes from the file's start.
    offset: u64,
}

struct Source {
    path: PathBuf,
    file: Mutex<File>,
}

/// The floating-point tensors of one or several safetensors files. Opening reads only the headers; values are read on demand, so
/// that no file is ever in memory as a whole. Integer and boolean tensors are skipped: they are buffers such as `position_ids`,
/// which follow from the configuration.
pub struct Archive {
    label: String,
    sources: Vec<Source>,
    tensors: BTreeMap<String, Location>,
    /// The skipped tensors.
    buffers: BTreeMap<String, Dtype>,
    metadata: BTreeMap<String, String>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archive({}, {} tensors)", self.label, self.tensors.len())
    }
}

impl Archive {
    /// Opens one file.
    ///
    /// # Errors
    /// If it cannot be read, is truncated, is a pickle or otherwise not safetensors, or has a tensor of a dtype other than f32, f16,
    /// bf16 and f64; with the file and the tensor.
    pub fn open(path: &Path) -> Result<Self> {
        let mut archive = Self::empty(path.display().to_string());
        archive.add(path)?;
        Ok(archive)
    }

    /// Opens the files that `weight_map` (tensor -> file name) of the index file `index` lists, in the same folder.
    ///
    /// # Errors
    /// As [`Self::open`] for each file; also if a file is missing, a tensor is in two files, or not in the file that the index lists
    /// for it.
    pub fn open_shards(index: &Path, weight_map: &BTreeMap<String, String>) -> Result<Self> {
        let label = index.display();
        let mut archive = Self::empty(label.to_string());
        let names: BTreeSet<&String> = weight_map.values().collect();
        if names.is_empty() {
            bail!("{label}, key `weight_map`: it lists no tensor")
        }
        for name in &names {
            if name.contains(['/', '\\']) || !name.ends_with(".safetensors") {
                bail!("{label}: `{name}` is not the name of a safetensors file beside the index")
            }
            let path = index.with_file_name(name);
            if !path.is_file() {
                bail!(
                    "{label} lists the shard {}, which is not there: copy the folder as a whole",
                    path.display()
                )
            }
            archive.add(&path)?;
        }
        for (tensor, name) in weight_map {
            let path = index.with_file_name(name);
            let there = match archive.tensors.get(tensor) {
                Some(location) => archive.sources[location.file].path == path,
                None => archive.buffers.contains_key(tensor),
            };
            if !there {
                bail!(
                    "{label}: tensor {tensor} should be in the shard {}, which lacks it: copy the folder as a whole",
                    path.display()
                )
            }
        }
        Ok(archive)
    }

    fn empty(label: String) -> Self {
        Self {
            label,
            sources: vec![],
            tensors: BTreeMap::new(),
            buffers: BTreeMap::new(),
            metadata: BTreeMap::new(),
        }
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path).map_err(|e| cannot_read(path, &e))?;
        let Header { data, metadata } = header::read(&mut file, path)?;
        let shown = path.display();
        for (name, info) in metadata.tensors() {
            if is_buffer(info.dtype) {
                self.buffers.insert(name, info.dtype);
                continue;
            }
            if !matches!(
                info.dtype,
                Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64
            ) {
                bail!(
                    "{shown}: tensor {name} is {:?}; f32, f16, bf16 and f64 can be read",
                    info.dtype
                )
            }
            if let Some(before) = self.tensors.get(&name) {
                bail!(
                    "{shown}: tensor {name} is in {} too: copy the folder as a whole",
                    self.sources[before.file].path.display()
                )
            }
            let location = Location {
                file: self.sources.len(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                offset: data + info.data_offsets.0 as u64,
            };
            self.tensors.insert(name, location);
        }
        self.metadata.extend(
            metadata
                .metadata()
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        self.sources.push(Source {
            path: path.to_path_buf(),
            file: Mutex::new(file),
        });
        Ok(())
    }

    /// The file or the index file, for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The strings under `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The names of the floating-point tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The names of the integer and boolean tensors, sorted.
    pub fn buffers(&self) -> impl Iterator<Item = &str> {
        self.buffers.keys().map(String::as_str)
    }

    /// The shape of a tensor, if it exists.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors
            .get(name)
            .map(|location| location.shape.as_slice())
    }

    /// The tensors that are skipped, with their dtypes, sorted by name.
    pub(super) fn dtypes_of_buffers(&self) -> BTreeMap<String, String> {
        let dtype = |(name, dtype): (&String, &Dtype)| (name.clone(), format!("{dtype:?}"));
        self.buffers.iter().map(dtype).collect()
    }

    /// All tensors for [`super::write()`], sorted by name; read when written.
    pub fn items(&self) -> Vec<Item<'_>> {
        let tensors = self.tensors.iter();
        tensors
            .map(|(name, location)| {
                Item::new(name, location.shape.clone(), move || self.values(name))
            })
            .collect()
    }

    /// The type of all tensors, if it is the same for all of them.
    pub fn stored(&self) -> Option<Precision> {
        let all = |dtype| {
            self.tensors
                .values()
                .all(|location| location.dtype == dtype)
        };
        [
            (Dtype::F32, Precision::F32),
            (Dtype::F16, Precision::F16),
            (Dtype::BF16, Precision::Bf16),
        ]
        .into_iter()
        .find_map(|(dtype, precision)| all(dtype).then_some(precision))
    }

    /// The narrowest type that holds every tensor exactly; f32 if that is f64.
    pub fn precision(&self) -> Precision {
        self.stored().unwrap_or(Precision::F32)
    }

    /// The values of a tensor as f32, row by row, all of them finite.
    ///
    /// # Errors
    /// If it is missing or cannot be read, with file and tensor; if a value is NaN or infinite, or beyond f32, with its index.
    pub fn values(&self, name: &str) -> Result<Vec<f32>> {
        let Some(location) = self.tensors.get(name) else {
            bail!("{}: tensor {name} is missing", self.label)
        };
        let source = &self.sources[location.file];
        let width = location.dtype.bitsize() / 8;
        let count: usize = location.shape.iter().product();
        let mut values = Vec::with_capacity(count);
        let mut buffer = vec![0; (count * width).min(CHUNK)];
        let mut offset = location.offset;
        while values.len() < count {
            let bytes = &mut buffer[..((count - values.len()) * width).min(CHUNK)];
            let read = {
                let mut file = source.file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(offset))
                    .and_then(|_| file.read_exact(bytes))
            };
            read.map_err(|e| {
                let path = source.path.display();
                Error::msg(format!("{path}: tensor {name} cannot be read: {e}"))
            })?;
            offset += bytes.len() as u64;
            let start = values.len();
            decode(location.dtype, bytes, &mut values);
            // While the values are still in the cache.
            if let Some(place) = first_not_finite(&values[start..]) {
                let value = match location.dtype {
                    Dtype::F64 => wide(bytes, place),
                    _ => f64::from(values[start + place]),
                };
                bail!(
                    "{}",
                    broken(source, name, index(start + place, &location.shape), value)
                )
            }
        }
        Ok(values)
    }
}

/// The f64 at `place`.
fn wide(bytes: &[u8], place: usize) -> f64 {
    let all = bytes.as_chunks().0;
    all.get(place).map_or(f64::NAN, |b| f64::from_le_bytes(*b))
}

fn broken(source: &Source, name: &str, index: Vec<usize>, value: f64) -> String {
    let path = source.path.display();
    if value.is_finite() {
        return format!(
            "{path}: tensor {name}, value {index:?}, is {value:e}, which f32 cannot hold\n  hint: a network with such a weight is damaged; take another copy, or an earlier checkpoint"
        );
    }
    format!(
        "{path}: tensor {name}, value {index:?}, is {value}: the training that made these weights broke, or the file is damaged\n  hint: take an earlier checkpoint of that training, or another copy of the file"
    )
}

fn is_buffer(dtype: Dtype) -> bool {
    use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, BOOL | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
}
