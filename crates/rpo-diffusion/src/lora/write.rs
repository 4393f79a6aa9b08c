//! The bytes of LoRA files. The same adapters and metadata give the same bytes.

use candle_core::{DType, Device, Result, Tensor, bail};
use rpo_nn::weights::{Item, Precision};
use serde_json::{Map, Value, json};

use super::base::BaseModel;
use super::file::Lora;
use super::metadata::with_hashes;
use super::names::to_kohya;

/// Key of peft's configuration in diffusers' files. It must never be in a kohya file: diffusers would take α from it and refuse
/// the file's own α.
pub(super) const ADAPTER_METADATA: &str = "lora_adapter_metadata";

impl Lora {
    /// The main file: kohya's keys, with `metadata` and the hashes of the values in its header.
    ///
    /// # Errors
    /// If SDXL's checkpoint has no such module, or a value or α is too large or too small for the file's dtype.
    pub fn to_kohya(&self, base: BaseModel, layers_per_block: usize) -> Result<Vec<u8>> {
        let numbering = base.numbering(layers_per_block);
        self.check_small()?;
        let mut items = Vec::with_capacity(3 * self.modules.len());
        for (name, module) in &self.modules {
            let key = to_kohya(name, numbering)?;
            items.push(item(format!("{key}.lora_down.weight"), &module.a));
            items.push(item(format!("{key}.lora_up.weight"), &module.b));
            let alpha = vec![self.stored_alpha(name, module.alpha)?];
            let alpha = move || Ok(alpha.clone());
            items.push(Item::new(format!("{key}.alpha"), [], alpha));
        }
        let mut metadata = self.metadata.clone();
        metadata.remove(ADAPTER_METADATA);
        with_hashes(&items, self.precision(), metadata)
    }

    /// The file for diffusers: PEFT's keys and peft's configuration. `targets`, if given, are the suffixes that selected the
    /// modules; else each module is listed by its full name.
    ///
    /// # Errors
    /// If a value is too large or too small for the file's dtype.
    pub fn to_peft(&self, targets: Option<&[String]>) -> Result<Vec<u8>> {
        self.check_small()?;
        let mut items = Vec::with_capacity(2 * self.modules.len());
        for (name, module) in &self.modules {
            items.push(item(format!("unet.{name}.lora_A.weight"), &module.a));
            items.push(item(format!("unet.{name}.lora_B.weight"), &module.b));
        }
        let mut metadata = self.metadata.clone();
        metadata.insert("format".into(), "pt".into());
        metadata.insert(
            ADAPTER_METADATA.into(),
            self.adapter_config(targets).to_string(),
        );
        with_hashes(&items, self.precision(), metadata)
    }

    /// The fields of peft's `LoraConfig`: only the needed ones, as unknown keys would be refused.
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

    /// Refuses a dtype in which a matrix would be nothing but zeros.
    fn check_small(&self) -> Result<()> {
        let zero = |x: &Tensor| -> Result<bool> {
            let largest = x.to_dtype(DType::F32)?.abs()?.flatten_all()?.max(0)?;
            Ok(largest.to_scalar::<f32>()? == 0.0)
        };
        for (name, module) in &self.modules {
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
