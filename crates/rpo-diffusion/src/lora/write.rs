//! The bytes of LoRA files. The same adapters and metadata give the same bytes.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Error, Result, Tensor};
use serde_json::{Map, Value, json};

use super::base::BaseModel;
use super::file::Lora;
use super::metadata::with_hashes;
use super::names::to_kohya;

/// Where diffusers keeps peft's configuration. It must never stand in a kohya file: diffusers would take it for the α of the
/// whole file and refuse the file's own.
pub(super) const ADAPTER_METADATA: &str = "lora_adapter_metadata";

impl Lora {
    /// The main file: kohya's keys, with `metadata` and the hashes of the values in its header.
    ///
    /// # Errors
    /// If SDXL's checkpoint has no such module, or the values cannot be converted to the file's type.
    pub fn to_kohya(&self, base: BaseModel, layers_per_block: usize) -> Result<Vec<u8>> {
        let numbering = base.numbering(layers_per_block);
        let mut tensors = BTreeMap::new();
        for (name, module) in &self.modules {
            let key = to_kohya(name, numbering)?;
            tensors.insert(format!("{key}.lora_down.weight"), module.a.clone());
            tensors.insert(format!("{key}.lora_up.weight"), module.b.clone());
            tensors.insert(
                format!("{key}.alpha"),
                Tensor::new(module.alpha as f32, &Device::Cpu)?,
            );
        }
        let tensors = self.stored(tensors)?;
        let mut metadata = self.metadata.clone();
        metadata.remove(ADAPTER_METADATA);
        with_hashes(&tensors, metadata)
    }

    /// The file for diffusers: PEFT's keys and peft's configuration. `targets`, if given, are the ends of names that the modules
    /// were chosen by; else each module is named whole.
    ///
    /// # Errors
    /// If the values cannot be converted to the file's type.
    pub fn to_peft(&self, targets: Option<&[String]>) -> Result<Vec<u8>> {
        let mut tensors = BTreeMap::new();
        for (name, module) in &self.modules {
            tensors.insert(format!("unet.{name}.lora_A.weight"), module.a.clone());
            tensors.insert(format!("unet.{name}.lora_B.weight"), module.b.clone());
        }
        let mut metadata = self.metadata.clone();
        metadata.insert("format".into(), "pt".into());
        metadata.insert(
            ADAPTER_METADATA.into(),
            self.adapter_config(targets).to_string(),
        );
        with_hashes(&self.stored(tensors)?, metadata)
    }

    /// What peft's `LoraConfig` is made of: an unknown key would be refused, so there are the needed ones alone.
    fn adapter_config(&self, targets: Option<&[String]>) -> Value {
        let rank = |m: &rpo_nn::lora::LoraModule| m.a.dims()[0];
        let first = self.modules.values().next();
        let (r, alpha) = first.map_or((1, 1.0), |m| (rank(m), m.alpha));
        let mut config = Map::new();
        config.insert("unet.r".into(), json!(r));
        config.insert("unet.lora_alpha".into(), number(alpha));
        let names: Vec<&String> = match targets {
            Some(targets) => targets.iter().collect(),
            None => self.modules.keys().collect(),
        };
        config.insert("unet.target_modules".into(), json!(names));
        let others =
            |value: &dyn Fn(&rpo_nn::lora::LoraModule) -> Option<Value>| -> Map<String, Value> {
                let each = self.modules.iter();
                each.filter_map(|(name, m)| Some((format!("^{name}"), value(m)?)))
                    .collect()
            };
        let ranks = others(&|m| (rank(m) != r).then(|| json!(rank(m))));
        let alphas = others(&|m| (m.alpha != alpha).then(|| number(m.alpha)));
        for (key, table) in [("unet.rank_pattern", ranks), ("unet.alpha_pattern", alphas)] {
            if !table.is_empty() {
                config.insert(key.into(), Value::Object(table));
            }
        }
        Value::Object(config)
    }

    fn stored(&self, tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
        let dtype = match self.dtype {
            half @ (DType::F16 | DType::BF16) => half,
            _ => DType::F32,
        };
        let each = tensors.into_iter();
        each.map(|(name, t)| Ok((name, t.to_dtype(dtype)?.contiguous()?)))
            .collect()
    }
}

/// A whole number without a point, as peft writes it.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

/// A safetensors file with its metadata in the order of their keys: the crate's own writer keeps them in the order of a hash
/// table, another in every process.
pub(super) fn serialize(
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let plain = safetensors::serialize(tensors.iter().map(|(k, t)| (k.as_str(), t)), None)
        .map_err(|e| Error::msg(format!("a LoRA file: {e}")))?;
    let Some((length, rest)) = plain.split_first_chunk::<8>() else {
        candle_core::bail!("a LoRA file without a header")
    };
    let (entries, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let text = serde_json::to_string(metadata).map_err(Error::wrap)?;
    let mut header = format!("{{\"__metadata__\":{text}").into_bytes();
    let entries = entries
        .strip_prefix(b"{")
        .unwrap_or(entries)
        .trim_ascii_end();
    if entries != b"}" {
        header.push(b',');
    }
    header.extend_from_slice(entries);
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header);
    out.extend(data);
    Ok(out)
}
