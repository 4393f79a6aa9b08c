//! The header of a safetensors file, and errors about invalid ones.

use candle_core::{Error, Result};
use rpo_files::printable::printable_name;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// The longest header that the format allows.
const LONGEST: u64 = 100_000_000;

/// Bytes of the header's length.
const LENGTH: u64 = 8;

/// The entry that is no tensor.
const METADATA: &str = "__metadata__";

/// A checked header.
pub(super) struct Header {
    /// Offset of the tensors in bytes from the file's start.
    pub(super) data: u64,
    pub(super) metadata: Metadata,
}

/// Reads and checks the header at the file's start.
pub(super) fn read(file: &mut File, path: &Path) -> Result<Header> {
    let size = file.metadata().map_err(|e| cannot_read(path, &e))?.len();
    let (header, _) = read_from(file, size, &path.display().to_string())?;
    Ok(header)
}

/// Reads and checks the header of a file of `size` bytes, called `label` in messages. Also returns the keys under `__metadata__`
/// whose values were not text, as the format asks, and were read as the text of their JSON: that changes no tensor.
pub(super) fn read_from(
    file: &mut impl Read,
    size: u64,
    label: &str,
) -> Result<(Header, Vec<String>)> {
    let cannot_read = |e| Error::msg(format!("{label}: cannot be read: {e}"));
    let refuse = |detail: &str| {
        Err(Error::msg(format!(
            "{label}: not a complete safetensors file ({size} bytes): {detail}"
        )))
    };
    let mut start = [0; 64];
    let count = read_up_to(file, &mut start).map_err(cannot_read)?;
    if let Some(other) = other_kind(&start[..count]) {
        return refuse(other);
    }
    let again = "copy or download it again";
    if size < LENGTH {
        return refuse(&format!("it is too short for a header; {again}"));
    }
    let length = u64::from_le_bytes(start[..8].try_into().unwrap_or_default());
    if length > LONGEST || LENGTH + length > size {
        return refuse(&format!("its header would be {length} bytes long; {again}"));
    }
    let mut header = vec![0; length as usize];
    let have = (count - LENGTH as usize).min(header.len());
    header[..have].copy_from_slice(&start[8..8 + have]);
    file.read_exact(&mut header[have..]).map_err(cannot_read)?;
    let room = size - LENGTH - length;
    let (metadata, odd) = match serde_json::from_slice::<Metadata>(&header) {
        Ok(metadata) => (metadata, Vec::new()),
        Err(e) => match with_text(&header) {
            Some(read) => read,
            None => {
                let detail = fault(&header, room).unwrap_or_else(|| e.to_string());
                return refuse(&format!("{detail}; {again}"));
            }
        },
    };
    if metadata.data_len() as u64 != room {
        let detail = fault(&header, room).unwrap_or_else(|| {
            format!(
                "its tensors take {} bytes, the file has {room} for them",
                metadata.data_len()
            )
        });
        return refuse(&format!("{detail}; {again}"));
    }
    let data = LENGTH + length;
    Ok((Header { data, metadata }, odd))
}

/// The header with numbers, lists and tables under `__metadata__` as text, and their keys; `None` if it is wrong elsewhere too.
fn with_text(header: &[u8]) -> Option<(Metadata, Vec<String>)> {
    let mut entries: Map<String, Value> = serde_json::from_slice(header).ok()?;
    let mut odd = Vec::new();
    for (key, value) in entries.get_mut(METADATA)?.as_object_mut()? {
        if !value.is_string() {
            *value = Value::String(value.to_string());
            odd.push(key.clone());
        }
    }
    Some((serde_json::from_value(Value::Object(entries)).ok()?, odd))
}

pub(super) fn cannot_read(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::msg(format!("{}: cannot be read: {error}", path.display()))
}

fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(n) => count += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(count)
}

/// Recognises other files that are often found instead of weights; returns a description and a hint.
fn other_kind(start: &[u8]) -> Option<&'static str> {
    const PICKLE: &str = "it is a pickle of PyTorch, which runs code when it is read and is therefore not read here. \
         Convert it: load the model in Python and call save_pretrained(..., safe_serialization=True)";
    if start.starts_with(b"version https://git-lfs") {
        return Some(
            "it is the pointer of a Git LFS file, not the file. Fetch the weights: run `git lfs pull` in that repository, \
             or download the file itself",
        );
    }
    if start.is_empty() {
        return Some("it is empty. Copy or download it again");
    }
    // A zip archive (torch.save), or protocols 2 to 5 of pickle itself: no header of a real file has such a length.
    if start.starts_with(b"PK\x03\x04")
        || (start.first() == Some(&0x80) && matches!(start.get(1), Some(2..=5)))
            && start.get(7) != Some(&0)
    {
        return Some(PICKLE);
    }
    let begins = |magic: &[u8]| start.starts_with(magic);
    let kind = [
        (
            &b"GGUF"[..],
            "it is a GGUF file, whose weights are quantised. Use the safetensors file in f16, bf16 or f32 that it was made from",
        ),
        (
            b"\x89HDF\r\n",
            "it is an HDF5 file of Keras. Use the safetensors file of the same model",
        ),
        (b"\x1f\x8b", "it is packed with gzip. Unpack it first"),
        (b"7z\xbc\xaf", "it is a 7z archive. Unpack it first"),
        (b"Rar!", "it is a RAR archive. Unpack it first"),
    ];
    // A header is an object of JSON.
    let object = start.get(8) == Some(&b'{');
    if let Some((_, what)) = kind.iter().find(|(magic, _)| begins(magic) && !object) {
        return Some(what);
    }
    // ONNX: the version of the format, then a text that names the program that wrote it.
    if begins(b"\x08") && start.get(2) == Some(&0x12) && start.get(7).is_some_and(|&b| b != 0) {
        return Some("it is an ONNX file. Use the safetensors file of the same model");
    }
    if start.starts_with(b"<") && start.get(7).is_some_and(|&b| b != 0) {
        return Some("it is a web page. Download the file itself, not the page that shows it");
    }
    None
}

/// The first tensor with an invalid entry for a file with `room` bytes of tensors, and why.
fn fault(header: &[u8], room: u64) -> Option<String> {
    let entries: Map<String, Value> = serde_json::from_slice(header).ok()?;
    let mut tensors = Vec::new();
    for (name, entry) in entries {
        if name == METADATA {
            if !(entry.is_object() || entry.is_null()) {
                return Some(format!("`{METADATA}` is no table of texts"));
            }
            continue;
        }
        let name = printable_name(&name).into_owned();
        if let Some(dtype) = entry.get("dtype")
            && serde_json::from_value::<Dtype>(dtype.clone()).is_err()
        {
            let dtype = dtype.to_string();
            let dtype = printable_name(&dtype);
            return Some(format!("tensor {name} has the unknown dtype {dtype}"));
        }
        match serde_json::from_value::<TensorInfo>(entry) {
            Ok(info) => tensors.push((name, info)),
            Err(e) => return Some(format!("tensor {name}: {e}")),
        }
    }
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let (mut end, mut before) = (0, String::new());
    for (name, info) in tensors {
        let (from, to) = info.data_offsets;
        if from < end {
            return Some(format!("tensors {before} and {name} overlap"));
        }
        if from > end || to < from {
            return Some(format!(
                "tensor {name} should begin at byte {end}, its data_offsets are [{from}, {to}]"
            ));
        }
        let bits = info
            .shape
            .iter()
            .try_fold(info.dtype.bitsize(), |bits, &n| bits.checked_mul(n));
        if bits != (to - from).checked_mul(8) {
            return Some(format!(
                "tensor {name} of shape {:?} and dtype {:?} does not take the {} bytes it is given",
                info.shape,
                info.dtype,
                to - from
            ));
        }
        if to as u64 > room {
            return Some(format!(
                "it ends within tensor {name} ({to} bytes of tensors should be there, {room} are)"
            ));
        }
        (end, before) = (to, name);
    }
    None
}
