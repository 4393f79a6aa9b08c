//! Everything that a safetensors file holds, whatever its kind: integers too, which a network has no use for but an adapter's α
//! may be stored in.

use super::header::{self, Header};
use super::precision::{Precision, decode};
use candle_core::{Error, Result, bail};
use rpo_files::printable::printable_name;
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

trait Source: Read + Seek + Send {}
impl<T: Read + Seek + Send> Source for T {}

/// The tensors of one file by name. Opening reads only the header; values are read on demand.
pub struct Contents {
    label: String,
    source: Mutex<Box<dyn Source>>,
    tensors: BTreeMap<String, Location>,
    metadata: BTreeMap<String, String>,
    odd_metadata: Vec<String>,
}

struct Location {
    dtype: Dtype,
    shape: Vec<usize>,
    /// Bytes from the file's start.
    offset: u64,
    length: usize,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Contents({}, {} tensors)",
            self.label,
            self.tensors.len()
        )
    }
}

impl Contents {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, is truncated, is a pickle or otherwise not safetensors; with the file and the tensor.
    pub fn open(path: &Path) -> Result<Self> {
        let label = path.display().to_string();
        let open = || -> std::io::Result<(File, u64)> {
            let file = File::open(path)?;
            let size = file.metadata()?.len();
            Ok((file, size))
        };
        let (file, size) = open().map_err(|e| header::cannot_read(path, &e))?;
        Self::new(file, size, label)
    }

    /// The same from the bytes of a file, called `label` in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(bytes: Vec<u8>, label: &str) -> Result<Self> {
        let size = bytes.len() as u64;
        Self::new(Cursor::new(bytes), size, label.to_owned())
    }

    fn new(mut source: impl Source + 'static, size: u64, label: String) -> Result<Self> {
        let (Header { data, metadata }, odd_metadata) =
            header::read_from(&mut source, size, &label)?;
        let location = |info: &safetensors::tensor::TensorInfo| {
            let (from, to) = info.data_offsets;
            Location {
                dtype: info.dtype,
                shape: info.shape.clone(),
                offset: data + from as u64,
                length: to - from,
            }
        };
        let tensors = metadata.tensors().into_iter();
        Ok(Self {
            label,
            tensors: tensors.map(|(name, info)| (name, location(info))).collect(),
            metadata: metadata
                .metadata()
                .iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            odd_metadata,
            source: Mutex::new(Box::new(source)),
        })
    }

    /// The file, for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The texts under `__metadata__`.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Keys under `__metadata__` whose values are no text in the file, which the format forbids: [`Self::metadata`] has the text of
    /// their JSON. Python's safetensors refuses such a file.
    pub fn odd_metadata(&self) -> &[String] {
        &self.odd_metadata
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = Stored<'_>> {
        self.tensors.iter().map(|(name, location)| Stored {
            contents: self,
            name,
            location,
        })
    }
}

/// A tensor in a file.
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    contents: &'a Contents,
    name: &'a str,
    location: &'a Location,
}

impl std::fmt::Debug for Stored<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stored({} {:?})", self.name, self.location.shape)
    }
}

impl<'a> Stored<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Its shape.
    pub fn shape(&self) -> &'a [usize] {
        &self.location.shape
    }

    /// The narrowest type that holds every value of its dtype that f32 holds.
    pub fn precision(&self) -> Precision {
        match self.location.dtype {
            Dtype::F16 => Precision::F16,
            Dtype::BF16 => Precision::Bf16,
            _ => Precision::F32,
        }
    }

    /// The values as f32, row by row.
    ///
    /// # Errors
    /// If the dtype is not f32, f16, bf16 or f64, or the file cannot be read; with file and tensor.
    pub fn values(&self) -> Result<Vec<f32>> {
        let dtype = self.location.dtype;
        if !matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) {
            bail!(
                "{}: tensor {} is {dtype:?}; f32, f16, bf16 and f64 can be read\n  hint: save the file again as f16 or bf16",
                self.contents.label,
                printable_name(self.name)
            )
        }
        let mut values = Vec::with_capacity(self.location.shape.iter().product());
        decode(dtype, &self.bytes()?, &mut values);
        Ok(values)
    }

    /// The only value, of any dtype of whole or floating-point numbers.
    ///
    /// # Errors
    /// If there is none or more than one, the dtype is another, or the file cannot be read; with file and tensor.
    pub fn number(&self) -> Result<f64> {
        let (label, name) = (&self.contents.label, printable_name(self.name));
        let Location { dtype, shape, .. } = self.location;
        if shape.iter().product::<usize>() != 1 {
            bail!("{label}: tensor {name} of shape {shape:?} should be one number")
        }
        let bytes = self.bytes()?;
        let whole = |bytes: &[u8], signed: bool| {
            // Little-endian: the sign is that of the last byte.
            let sign = signed && bytes.last().is_some_and(|b| *b > 0x7f);
            let mut wide = [if sign { 0xff } else { 0 }; 16];
            wide.iter_mut().zip(bytes).for_each(|(w, b)| *w = *b);
            i128::from_le_bytes(wide) as f64
        };
        Ok(match dtype {
            Dtype::F64 => f64::from_le_bytes(bytes.as_slice().try_into().unwrap_or_default()),
            Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => whole(&bytes, false),
            Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => whole(&bytes, true),
            _ => self.values()?.first().copied().map_or(f64::NAN, f64::from),
        })
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.location.length];
        let mut source = self
            .contents
            .source
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        source
            .seek(SeekFrom::Start(self.location.offset))
            .and_then(|_| source.read_exact(&mut bytes))
            .map_err(|e| {
                let (label, name) = (&self.contents.label, printable_name(self.name));
                Error::msg(format!("{label}: tensor {name} cannot be read: {e}"))
            })?;
        Ok(bytes)
    }
}
