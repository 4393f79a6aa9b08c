//! Writing safetensors files, tensor by tensor.

use super::precision::{CHUNK, Precision};
use crate::finite::not_finite;
use candle_core::{Error, Result};
use rpo_files::FileError;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The largest file that diffusers writes before it splits the weights (`max_shard_size`), in bytes.
pub const MAX_SHARD_SIZE: u64 = 10_000_000_000;

/// A tensor to be written. Its values are read only when written, so that a network is never in memory twice.
pub struct Item<'a> {
    /// Name in the file.
    pub name: String,
    /// Shape in the file.
    pub shape: Vec<usize>,
    values: Box<dyn Fn() -> Result<Vec<f32>> + 'a>,
}

impl std::fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Item({} {:?})", self.name, self.shape)
    }
}

impl<'a> Item<'a> {
    /// A tensor whose values, row by row, `values` will return.
    pub fn new(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        values: impl Fn() -> Result<Vec<f32>> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            shape: shape.into(),
            values: Box::new(values),
        }
    }

    /// The values, row by row.
    ///
    /// # Errors
    /// Those of reading them.
    pub fn values(&self) -> Result<Vec<f32>> {
        (self.values)()
    }

    /// The same tensor under another name.
    #[must_use]
    pub fn renamed(self, name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..self
        }
    }

    fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The `__metadata__` that diffusers and transformers expect.
pub fn pt() -> BTreeMap<String, String> {
    BTreeMap::from([("format".into(), "pt".into())])
}

/// Writes one safetensors file and creates its folder, with `metadata` under `__metadata__`. A reader sees the old file or the whole
/// new one. The same tensors in any order give the same bytes.
///
/// # Errors
/// If the file cannot be written, two tensors have the same name, a tensor's values do not fill its shape, or a value is not finite
/// or would not be in `precision`; an older file at `path` is then untouched.
pub fn write(
    path: &Path,
    items: &[Item],
    precision: Precision,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let items = sorted(items).map_err(|e| cannot_write(path, &e))?;
    rpo_files::write_with(path, |file| fill(file, &items, precision, metadata)).map_err(
        |e: Error| match e {
            // The system's errors have hints.
            Error::Io(e) => Error::msg(FileError::writing(path, e)),
            e => cannot_write(path, &e),
        },
    )
}

/// The bytes that [`write()`] writes, for small files.
///
/// # Errors
/// As [`write()`], except disk errors.
pub fn to_bytes(
    items: &[Item],
    precision: Precision,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fill(&mut bytes, &sorted(items)?, precision, metadata)?;
    Ok(bytes)
}

/// Sorted by name; names must be distinct.
fn sorted<'a, 'b>(items: &'a [Item<'b>]) -> Result<Vec<&'a Item<'b>>> {
    let mut items: Vec<&Item> = items.iter().collect();
    items.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = items.windows(2).find(|pair| pair[0].name == pair[1].name) {
        candle_core::bail!("tensor {} is there twice", pair[0].name)
    }
    Ok(items)
}

fn cannot_write(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::msg(format!("{}: cannot be written: {error}", path.display()))
}

fn fill(
    file: &mut impl Write,
    items: &[&Item],
    precision: Precision,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    file.write_all(&header(items, precision, metadata)?)?;
    let mut bytes = Vec::with_capacity(CHUNK);
    for item in items {
        let values = item.values()?;
        if values.len() != item.count() {
            candle_core::bail!(
                "tensor {} of shape {:?} has {} values",
                item.name,
                item.shape,
                values.len()
            )
        }
        if let Some(broken) = not_finite(&values, &item.shape) {
            candle_core::bail!(
                "tensor {}: {broken}, and only finite values are kept",
                item.name
            )
        }
        if let Some(value) = values.iter().find(|v| precision.overflows(**v)) {
            candle_core::bail!(
                "tensor {} holds {value}, which {} cannot hold: write {}",
                item.name,
                precision.name(),
                match precision {
                    Precision::F16 => "BF16 or F32",
                    _ => "F32",
                }
            )
        }
        for chunk in values.chunks(CHUNK / 4) {
            precision.encode(chunk, &mut bytes);
            file.write_all(&bytes)?;
        }
    }
    Ok(())
}

/// The header with its length in front, padded to a multiple of 8 bytes as the format asks.
fn header(
    items: &[&Item],
    precision: Precision,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let quoted = |text: &str| serde_json::to_string(text).map_err(Error::wrap);
    let mut entries = Vec::with_capacity(items.len() + 1);
    if !metadata.is_empty() {
        let strings = serde_json::to_string(metadata).map_err(Error::wrap)?;
        entries.push(format!("\"__metadata__\":{strings}"));
    }
    let mut from = 0;
    for item in items {
        let to = from + item.count() * precision.width();
        entries.push(format!(
            "{}:{{\"dtype\":\"{}\",\"shape\":{},\"data_offsets\":[{from},{to}]}}",
            quoted(&item.name)?,
            precision.name(),
            serde_json::to_string(&item.shape).map_err(Error::wrap)?,
        ));
        from = to;
    }
    let mut text = format!("{{{}}}", entries.join(",")).into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    Ok(bytes)
}

/// Writes `<stem>.safetensors` into `dir`, or, if that would exceed `max_shard_size` bytes of tensors,
/// `<stem>-00001-of-0000n.safetensors` and, last, `<stem>.safetensors.index.json`: the names that diffusers and transformers
/// write and read. Returns the files.
///
/// # Errors
/// As [`write()`].
pub fn write_sharded(
    dir: &Path,
    stem: &str,
    mut items: Vec<Item>,
    precision: Precision,
    metadata: &BTreeMap<String, String>,
    max_shard_size: u64,
) -> Result<Vec<PathBuf>> {
    items.sort_by(|a, b| a.name.cmp(&b.name));
    let bytes = |item: &Item| (item.count() * precision.width()) as u64;
    let total: u64 = items.iter().map(bytes).sum();
    let whole = dir.join(format!("{stem}.safetensors"));
    if total <= max_shard_size {
        write(&whole, &items, precision, metadata)?;
        return Ok(vec![whole]);
    }
    let mut shards: Vec<Vec<Item>> = Vec::new();
    let mut room = 0;
    for item in items {
        let size = bytes(&item);
        match shards.last_mut() {
            Some(shard) if size <= room => {
                room -= size;
                shard.push(item);
            }
            _ => {
                room = max_shard_size.saturating_sub(size);
                shards.push(vec![item]);
            }
        }
    }
    let (mut files, mut weight_map) = (Vec::new(), BTreeMap::new());
    for (i, shard) in shards.iter().enumerate() {
        let name = format!("{stem}-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write(&dir.join(&name), shard, precision, metadata)?;
        files.push(dir.join(&name));
        weight_map.extend(shard.iter().map(|item| (item.name.clone(), name.clone())));
    }
    let index =
        serde_json::json!({ "metadata": { "total_size": total }, "weight_map": weight_map });
    let path = dir.join(format!("{stem}.safetensors.index.json"));
    let text = serde_json::to_string_pretty(&index).map_err(Error::wrap)? + "\n";
    rpo_files::write(&path, text.as_bytes())
        .map_err(|e| Error::msg(FileError::writing(&path, e)))?;
    files.push(path);
    Ok(files)
}
