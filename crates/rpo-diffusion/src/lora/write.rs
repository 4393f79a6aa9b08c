//! The bytes of LoRA files. The same adapters and metadata give the same bytes.

use candle_core::{DType, Device, Result, Tensor, bail};
use rpo_nn::lora::LoraModule;
use rpo_nn::weights::{Item, Precision};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

use super::base::BaseModel;
use super::file::Lora;
use super::metadata::with_hashes;
use super::names::to_kohya;
use super::text_names;

/// Key of peft's configuration in diffusers' files. It must never be in a kohya file: diffusers would take α from it and refuse
/// the file's own α.
pub(super) const ADAPTER_METADATA: &str = "lora_adapter_metadata";

impl Lora {
    /// The main file: kohya's keys, with `metadata` and the hashes of the values in its header.
    ///
    /// # Errors
    /// If SDXL's checkpoint has no such module, the family has fewer text encoders, or a value or α is too large or too small for the
    /// file's dtype.
    pub fn to_kohya(&self, base: BaseModel, layers_per_block: usize) -> Result<Vec<u8>> {
        let numbering = base.numbering(layers_per_block);
        self.check_written()?;
        let mut items = Vec::with_capacity(3 * self.modules.len());
        for (name, module) in &self.modules {
            items.extend(self.kohya(&to_kohya(name, numbering)?, name, module)?);
        }
        for (encoder, modules) in self.text.iter().enumerate() {
            for (name, module) in modules {
                let key = text_names::to_kohya(name, encoder, base)?;
                items.extend(self.kohya(&key, name, module)?);
            }
        }
        let mut metadata = self.metadata.clone();
        metadata.remove(ADAPTER_METADATA);
        with_hashes(&items, self.precision(), metadata)
    }

    /// Both matrices and α of a module.
    fn kohya<'a>(&self, key: &str, name: &str, module: &'a LoraModule) -> Result<[Item<'a>; 3]> {
        let alpha = vec![self.stored_alpha(name, module.alpha)?];
        let alpha = move || Ok(alpha.clone());
        Ok([
            item(format!("{key}.lora_down.weight"), &module.a),
            item(format!("{key}.lora_up.weight"), &module.b),
            Item::new(format!("{key}.alpha"), [], alpha),
        ])
    }

    /// The file for diffusers: PEFT's keys and peft's configuration. `targets`, if given, are the suffixes that selected the
    /// U-Net's modules; else each module is listed by its full name, as those of text encoders are.
    ///
    /// # Errors
    /// If a value is too large or too small for the file's dtype.
    pub fn to_peft(&self, targets: Option<&[String]>) -> Result<Vec<u8>> {
        self.check_written()?;
        let mut items = Vec::with_capacity(2 * self.modules.len());
        for (part, modules) in self.networks() {
            for (name, module) in modules {
                items.push(item(format!("{part}.{name}.lora_A.weight"), &module.a));
                items.push(item(format!("{part}.{name}.lora_B.weight"), &module.b));
            }
        }
        let mut metadata = self.metadata.clone();
        metadata.insert("format".into(), "pt".into());
        metadata.insert(
            ADAPTER_METADATA.into(),
            self.adapter_config(targets).to_string(),
        );
        with_hashes(&items, self.precision(), metadata)
    }

    /// The fields of peft's `LoraConfig` of each part: only the needed ones, as unknown keys would be refused.
    fn adapter_config(&self, targets: Option<&[String]>) -> Value {
        let mut config = Map::new();
        let anchored = |name: &str| format!("^{name}");
        add_config(&mut config, "unet", &self.modules, targets, |name| {
            (name.to_owned(), anchored(name))
        });
        for (part, modules) in self.networks().skip(1).filter(|(_, m)| !m.is_empty()) {
            // peft compares the ends of names with these: so they fit models with the prefix and without.
            let end = |name: &str| {
                name.strip_prefix(text_names::MODEL)
                    .unwrap_or(name)
                    .to_owned()
            };
            add_config(&mut config, part, modules, None, |name| {
                (end(name), end(name))
            });
        }
        Value::Object(config)
    }

    /// α as the file's dtype holds it.
    fn stored_alpha(&self, name: &str, alpha: f64) -> Result<f32> {
        let stored = Tensor::new(alpha as f32, &Device::Cpu)?;
        let stored: f32 = stored
            .to_dtype(self.dtype)?
            .to_dtype(DType::F32)?
            .to_scalar()?;
        if !stored.is_finite() || stored == 0.0 {
            bail!(
                "module {name}: alpha = {alpha} would be {stored} in {:?}\n  hint: write f32; if that cannot hold it either, write PEFT's format, where alpha is a decimal number",
                self.dtype
            )
        }
        Ok(stored)
    }

    /// Refuses a dtype in which a matrix would be nothing but zeros, and encoders that no file has names for.
    fn check_written(&self) -> Result<()> {
        self.check_encoders(text_names::PARTS.len())?;
        let zero = |x: &Tensor| -> Result<bool> {
            let largest = x.to_dtype(DType::F32)?.abs()?.flatten_all()?.max(0)?;
            Ok(largest.to_scalar::<f32>()? == 0.0)
        };
        for (name, module) in self.networks().flat_map(|(_, modules)| modules) {
            for (part, x) in [("A", &module.a), ("B", &module.b)] {
                if self.dtype != DType::F32 && zero(&x.to_dtype(self.dtype)?)? && !zero(x)? {
                    bail!(
                        "module {name}: every value of {part} is too small for {:?}\n  hint: write bf16 or f32",
                        self.dtype
                    )
                }
            }
        }
        Ok(())
    }

    fn precision(&self) -> Precision {
        match self.dtype {
            DType::F16 => Precision::F16,
            DType::BF16 => Precision::Bf16,
            _ => Precision::F32,
        }
    }
}

/// Adds the configuration of one part. `named` gives a module's name among the targets, and the pattern that fits it alone.
fn add_config(
    config: &mut Map<String, Value>,
    part: &str,
    modules: &BTreeMap<String, LoraModule>,
    targets: Option<&[String]>,
    named: impl Fn(&str) -> (String, String),
) {
    let rank = |m: &LoraModule| m.a.dims()[0];
    let first = modules.values().next();
    let (r, alpha) = first.map_or((1, 1.0), |m| (rank(m), m.alpha));
    config.insert(format!("{part}.r"), json!(r));
    config.insert(format!("{part}.lora_alpha"), number(alpha));
    let names: Vec<String> = match targets {
        Some(targets) => targets.to_vec(),
        None => modules.keys().map(|name| named(name).0).collect(),
    };
    config.insert(format!("{part}.target_modules"), json!(names));
    let others = |value: &dyn Fn(&LoraModule) -> Option<Value>| -> Map<String, Value> {
        let each = modules.iter();
        each.filter_map(|(name, m)| Some((named(name).1, value(m)?)))
            .collect()
    };
    let ranks = others(&|m| (rank(m) != r).then(|| json!(rank(m))));
    let alphas = others(&|m| (m.alpha != alpha).then(|| number(m.alpha)));
    for (key, table) in [("rank_pattern", ranks), ("alpha_pattern", alphas)] {
        if !table.is_empty() {
            config.insert(format!("{part}.{key}"), Value::Object(table));
        }
    }
}

/// A tensor of the file.
fn item(name: String, tensor: &Tensor) -> Item<'_> {
    Item::new(name, tensor.dims(), || {
        let values = tensor.to_dtype(DType::F32)?.flatten_all()?;
        values.to_vec1()
    })
}

/// A whole number without a decimal point, as peft writes it.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        json!(value as i64)
    } else {
        json!(value)
    }
}
