//! Reading a LoRA file in any of the key formats.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Error, Result, Tensor, bail};
use rpo_nn::lora::LoraModule;
use safetensors::SafeTensors;
use serde_json::{Map, Value};

use super::file::{Format, Lora};
use super::names::{KOHYA, from_kohya};
use super::write::ADAPTER_METADATA;

/// Suffixes of keys, after the module's name.
const ENDS: [(&str, Part, Format); 8] = [
    (".lora_down.weight", Part::A, Format::Kohya),
    (".lora_up.weight", Part::B, Format::Kohya),
    (".lora_A.weight", Part::A, Format::Peft),
    (".lora_B.weight", Part::B, Format::Peft),
    (".lora.down.weight", Part::A, Format::DiffusersScript),
    (".lora.up.weight", Part::B, Format::DiffusersScript),
    ("_lora.down.weight", Part::A, Format::DiffusersProcessor),
    ("_lora.up.weight", Part::B, Format::DiffusersProcessor),
];

/// Prefixes of the keys of text encoders.
const TEXT: [&str; 4] = ["lora_te_", "lora_te1_", "lora_te2_", "text_encoder"];

/// Adapters other than plain low-rank products, by a part of their keys.
const OTHERS: [(&str, &str); 7] = [
    ("dora_scale", "DoRA"),
    ("lora_magnitude_vector", "DoRA"),
    (".hada_", "LoHa"),
    (".lokr_", "LoKr"),
    (".lora_mid.", "a LoRA in Tucker form"),
    (".diff", "weight differences"),
    (".lora_B.bias", "a LoRA with biases"),
];

#[derive(Clone, Copy, PartialEq)]
enum Part {
    A,
    B,
}

#[derive(Default)]
struct Found {
    a: Option<Tensor>,
    b: Option<Tensor>,
    alpha: Option<f64>,
}

impl Lora {
    /// Reads a safetensors file, or the only one in a folder; f16, bf16 and f32 become f32. `layers_per_block` is the U-Net's, for
    /// SDXL's numbering in kohya files: 2 in every released model.
    ///
    /// # Errors
    /// If the file cannot be read, is not safetensors, is not a plain LoRA, or has an incomplete module; with the file and the
    /// key.
    pub fn read(path: &Path, layers_per_block: usize) -> Result<Self> {
        let path = &lora_file(path)?;
        let label = path.display().to_string();
        let bytes =
            std::fs::read(path).map_err(|e| Error::msg(format!("{label}: cannot be read: {e}")))?;
        if bytes.starts_with(b"PK\x03\x04") {
            bail!(
                "{label}: a pickle, which can run any program when it is opened; convert it to safetensors where you trust it"
            )
        }
        Self::from_bytes(&bytes, &label, layers_per_block)
    }

    /// As [`Self::read`], from the bytes of a file; `label` is its name in messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_bytes(bytes: &[u8], label: &str, layers_per_block: usize) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| {
            Error::msg(format!(
                "{label}: not a complete safetensors file ({} bytes): {e}; copy or download it again",
                bytes.len()
            ))
        })?;
        let metadata: BTreeMap<String, String> = header
            .metadata()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
            .map_err(|e| e.context(format!("reading {label}")))?;
        let config = adapter_config(&metadata, label)?;
        collect(tensors, &config, label, layers_per_block).map(|lora| Self { metadata, ..lora })
    }
}

/// The file itself, or the only safetensors file of a folder.
fn lora_file(path: &Path) -> Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let label = path.display();
    let entries =
        std::fs::read_dir(path).map_err(|e| Error::msg(format!("{label}: cannot be read: {e}")))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|file| file.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    match (files.pop(), files.len()) {
        (Some(file), 0) => Ok(file),
        (None, _) => bail!("{label}: a folder without a LoRA file; name the .safetensors file"),
        (Some(_), more) => bail!(
            "{label}: a folder of {} safetensors files; name the one that is meant",
            more + 1
        ),
    }
}

fn collect(
    tensors: HashMap<String, Tensor>,
    config: &Map<String, Value>,
    label: &str,
    layers_per_block: usize,
) -> Result<Lora> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut text_encoder = BTreeSet::new();
    let mut format = None;
    let mut dtype = DType::F32;
    let sorted: BTreeMap<_, _> = tensors.into_iter().collect();
    for (key, tensor) in sorted {
        if let Some((_, kind)) = OTHERS.iter().find(|(mark, _)| key.contains(mark)) {
            bail!("{label}: {key} is part of {kind}; only plain LoRA (A and B, α) can be read")
        }
        let end = ENDS.iter().find(|(end, ..)| key.ends_with(end));
        let (place, part) = match end {
            Some((end, part, kind)) => {
                dtype = tensor.dtype();
                format = format.or(Some(*kind));
                (&key[..key.len() - end.len()], Some(*part))
            }
            None => match key.strip_suffix(".alpha") {
                Some(place) => (place, None),
                None => bail!("{label}: {key} is no key of a LoRA file"),
            },
        };
        if TEXT.iter().any(|start| place.starts_with(start)) {
            text_encoder.insert(place.to_owned());
            continue;
        }
        let module = found
            .entry(module_name(place, layers_per_block)?)
            .or_default();
        let tensor = tensor.to_dtype(DType::F32)?;
        match part {
            Some(Part::A) => module.a = Some(tensor),
            Some(Part::B) => module.b = Some(tensor),
            None => {
                module.alpha = tensor
                    .flatten_all()?
                    .to_vec1::<f32>()?
                    .first()
                    .copied()
                    .map(f64::from)
            }
        }
    }
    let Some(format) = format.filter(|_| !found.is_empty()) else {
        bail!(
            "{label}: no LoRA of a U-Net in it ({} modules of text encoders)",
            text_encoder.len()
        )
    };
    let modules = found
        .into_iter()
        .map(|(name, found)| Ok((name.clone(), module(&name, found, config, label)?)))
        .collect::<Result<_>>()?;
    Ok(Lora {
        modules,
        metadata: BTreeMap::new(),
        format,
        dtype,
        text_encoder: text_encoder.into_iter().collect(),
    })
}

/// The diffusers name of the module `place`, a key without its suffix.
fn module_name(place: &str, layers_per_block: usize) -> Result<String> {
    if place.starts_with(KOHYA) {
        return from_kohya(place, layers_per_block);
    }
    let place = ["base_model.model.", "unet."]
        .iter()
        .fold(place, |place, start| {
            place.strip_prefix(start).unwrap_or(place)
        });
    Ok(match place.split_once(".processor.") {
        Some((attention, "to_out")) => format!("{attention}.to_out.0"),
        Some((attention, layer)) => format!("{attention}.{layer}"),
        None => place.to_owned(),
    })
}

fn module(
    name: &str,
    found: Found,
    config: &Map<String, Value>,
    label: &str,
) -> Result<LoraModule> {
    let (Some(a), Some(b)) = (found.a, found.b) else {
        bail!(
            "{label}: module {name} has only one of its two matrices (down and up, A and B); the file is damaged"
        )
    };
    let (&[rank, ref a_rest @ ..], &[_, b_rank, ref b_rest @ ..]) = (a.dims(), b.dims()) else {
        bail!(
            "{label}: module {name} has matrices {:?} and {:?}",
            a.dims(),
            b.dims()
        )
    };
    if rank == 0
        || rank != b_rank
        || a_rest.len() != b_rest.len() + 1
        || b_rest.iter().any(|k| *k != 1)
    {
        bail!(
            "{label}: module {name}: down {:?} and up {:?} do not fit each other ([r, input, ..] and [output, r, 1..])",
            a.dims(),
            b.dims()
        )
    }
    let rank = rank as f64;
    let alpha = found.alpha.unwrap_or_else(|| {
        let plain = config
            .get("lora_alpha")
            .and_then(Value::as_f64)
            .unwrap_or(rank);
        let alpha = pattern(config, "alpha_pattern", name).unwrap_or(plain);
        match config.get("use_rslora") {
            // Rank-stabilised: the product is scaled by α / √r.
            Some(Value::Bool(true)) => alpha * rank.sqrt(),
            _ => alpha,
        }
    });
    if !alpha.is_finite() {
        bail!("{label}: module {name}: alpha = {alpha}")
    }
    Ok(LoraModule { a, b, alpha })
}

/// The value for `name` in a peft table, which is keyed by suffixes of names.
fn pattern(config: &Map<String, Value>, table: &str, name: &str) -> Option<f64> {
    let table = config.get(table)?.as_object()?;
    let fits = |key: &str| {
        let key = key.trim_start_matches('^');
        name.strip_suffix(key)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    table
        .iter()
        .find(|(key, _)| fits(key))
        .and_then(|(_, value)| value.as_f64())
}

/// peft's configuration of the U-Net in the metadata that diffusers writes; empty if there is none.
fn adapter_config(metadata: &BTreeMap<String, String>, label: &str) -> Result<Map<String, Value>> {
    let Some(text) = metadata.get(ADAPTER_METADATA) else {
        return Ok(Map::new());
    };
    let all: Map<String, Value> = serde_json::from_str(text)
        .map_err(|e| Error::msg(format!("{label}: metadata {ADAPTER_METADATA}: {e}")))?;
    let unet = |(key, value): (String, Value)| Some((key.strip_prefix("unet.")?.to_owned(), value));
    let config: Map<String, Value> = all.into_iter().filter_map(unet).collect();
    if config.get("use_dora") == Some(&Value::Bool(true)) {
        bail!("{label}: DoRA; only plain LoRA (A and B, α) can be read")
    }
    Ok(config)
}
