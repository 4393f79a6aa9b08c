//! Reading a LoRA file in any of the key formats.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Result, bail};
use rpo_files::printable::{printable, printable_name};
use rpo_nn::weights::{Contents, Precision};

use super::families::refuse_module;
use super::file::{Format, Lora};
use super::keys::{Key, Part, WRAPPED, bundled_embedding, is_text_encoder};
use super::kinds::refuse_key;
use super::locate::{lora_file, refuse_pickled};
use super::module::Found;
use super::peft::{self, PeftConfig};
use super::unet_names;
use super::write::ADAPTER_METADATA;

/// ResNet blocks per down block of every released U-Net.
const RELEASED_LAYERS: usize = 2;

impl Lora {
    /// Reads a safetensors file, peft's in a folder of peft, or the only one in another folder; f16, bf16, f32 and f64 become f32.
    /// `layers_per_block` is the U-Net's, for the released checkpoints' numbering of blocks: 2 in every released model.
    ///
    /// α is that of the module's key `.alpha`, of peft's configuration in the header (diffusers) or beside the file
    /// (`adapter_config.json`, for keys in peft's format); where there are several, they must agree; where there is none, the rank.
    ///
    /// # Errors
    /// If the file cannot be read, is not safetensors, is not a plain LoRA of a Stable Diffusion U-Net, has an incomplete module, two
    /// keys for one, or a value that is not finite; with the file and the key.
    pub fn read(path: &Path, layers_per_block: usize) -> Result<Self> {
        let path = &lora_file(path)?;
        refuse_pickled(path)?;
        let contents = Contents::open(path)?;
        collect(&contents, layers_per_block, || PeftConfig::beside(path))
    }

    /// As [`Self::read`], from the bytes of a file; `label` is its name in messages.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_bytes(bytes: &[u8], label: &str, layers_per_block: usize) -> Result<Self> {
        let contents = Contents::from_bytes(bytes.to_vec(), label)?;
        collect(&contents, layers_per_block, || Ok(None))
    }
}

fn collect(
    contents: &Contents,
    layers_per_block: usize,
    beside: impl FnOnce() -> Result<Option<PeftConfig>>,
) -> Result<Lora> {
    let label = contents.label();
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    let mut left_out = LeftOut::default();
    let (mut format, mut precisions, mut adapter) = (None, Vec::new(), None);
    let (mut peft_keys, mut wrapped) = (false, None);
    let names = || contents.tensors().map(|tensor| tensor.name());
    for tensor in contents.tensors() {
        let name = tensor.name();
        if let Some(embedding) = bundled_embedding(name) {
            left_out.embeddings.insert(embedding);
            continue;
        }
        if is_text_encoder(name) {
            left_out.text_encoder.insert(place_of(name));
            continue;
        }
        let Some(key) = Key::parse(name) else {
            if name.contains(WRAPPED) {
                // peft says what it is.
                beside()?;
            }
            let whole = names().all(|name| Key::parse(name).is_none());
            bail!("{}", refuse_key(label, name, whole))
        };
        let Some(module) = unet_names::module(key.place, layers_per_block) else {
            if unet_names::module(key.place, RELEASED_LAYERS).is_some() {
                bail!(
                    "{label}: {} is a module of a U-Net with {RELEASED_LAYERS} layers in a block, this model has {layers_per_block}; the LoRA belongs to another model\n  hint: give it the model that it was trained on",
                    printable_name(name)
                )
            }
            bail!(
                "{}",
                refuse_module(
                    label,
                    name,
                    &names().collect::<Vec<_>>(),
                    contents.metadata()
                )
            )
        };
        if let (Some(first), Some(second)) = (adapter, key.adapter)
            && first != second
        {
            bail!(
                "{label}: it holds two adapters, `{}` and `{}`\n  hint: save each by itself: save_pretrained(..., selected_adapters=[...])",
                printable_name(first),
                printable_name(second)
            )
        }
        adapter = adapter.or(key.adapter);
        format = format.or(key.format);
        if key.part != Part::Alpha {
            precisions.push(tensor.precision());
        }
        if key.format == Some(Format::Peft) {
            peft_keys = true;
            wrapped = wrapped.or(key.place.contains(WRAPPED).then_some(name));
        }
        let entry = found.entry(module.clone()).or_default();
        entry.add(&key, tensor, &module, label)?;
    }
    let Some(format) = format else {
        bail!("{}", left_out.nothing_else(label, found.is_empty()))
    };
    let mut configs = Vec::new();
    if let Some(text) = contents.metadata().get(ADAPTER_METADATA) {
        let source = format!("{label}: metadata {ADAPTER_METADATA}");
        configs.extend(PeftConfig::from_json(text, &source, true)?);
    }
    if peft_keys {
        configs.extend(beside()?);
    }
    let mut notes = left_out.notes();
    if let Some(name) = wrapped.filter(|_| configs.is_empty())
        && !names().any(|name| name.ends_with(".alpha"))
    {
        notes.push(format!(
            "{} is a key of peft, which keeps alpha in {}; there is none, so alpha is taken to be the rank",
            printable_name(name),
            peft::FILE
        ));
    }
    if !contents.odd_metadata().is_empty() {
        let keys = contents.odd_metadata().join(", ");
        notes.push(format!(
            "the metadata {} are no text, which other programs refuse; `lora convert` writes them as text",
            printable(&keys)
        ));
    }
    let build = |(name, found): (String, Found)| {
        let module = found.build(&name, &configs, label)?;
        Ok((name, module))
    };
    Ok(Lora {
        modules: found.into_iter().map(build).collect::<Result<_>>()?,
        metadata: contents.metadata().clone(),
        format,
        dtype: dtype(&precisions),
        notes,
    })
}

/// The narrowest type that holds all of these.
fn dtype(precisions: &[Precision]) -> DType {
    match precisions.split_first() {
        Some((Precision::F16, rest)) if rest.iter().all(|p| *p == Precision::F16) => DType::F16,
        Some((Precision::Bf16, rest)) if rest.iter().all(|p| *p == Precision::Bf16) => DType::BF16,
        _ => DType::F32,
    }
}

/// The module of a key, or all of it where its end is not known.
fn place_of(name: &str) -> &str {
    Key::parse(name).map_or(name, |key| key.place)
}

/// What is in a file besides a U-Net's adapters.
#[derive(Default)]
struct LeftOut<'a> {
    text_encoder: BTreeSet<&'a str>,
    embeddings: BTreeSet<&'a str>,
}

impl LeftOut<'_> {
    fn notes(&self) -> Vec<String> {
        let text = self.text_encoder.first().map(|first| {
            format!(
                "{} modules of a text encoder ({}, …) are not applied: only the U-Net's are",
                self.text_encoder.len(),
                printable_name(first)
            )
        });
        let embeddings = (!self.embeddings.is_empty()).then(|| {
            let names: Vec<_> = self.embeddings.iter().map(|e| printable_name(e)).collect();
            format!(
                "{} bundled embeddings ({}) are not applied: prompts with these words mean less than where the file was made",
                names.len(),
                names.join(", ")
            )
        });
        text.into_iter().chain(embeddings).collect()
    }

    /// The refusal of a file without a matrix of a U-Net.
    fn nothing_else(&self, label: &str, no_alpha: bool) -> String {
        let alphas = if no_alpha { "" } else { ", and alphas alone" };
        format!(
            "{label}: no LoRA of a U-Net in it ({} modules of text encoders, {} embeddings{alphas})",
            self.text_encoder.len(),
            self.embeddings.len()
        )
    }
}
