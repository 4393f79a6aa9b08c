//! Reading a LoRA file in any of the key formats.

use std::path::Path;

use candle_core::{DType, Result, bail};
use rpo_files::printable::{printable, printable_name};
use rpo_nn::weights::{Contents, Precision};

use super::families::refuse_module;
use super::file::Lora;
use super::keys::{Key, WRAPPED, is_text_encoder};
use super::kinds::refuse_key;
use super::left_out::LeftOut;
use super::locate::{lora_file, refuse_pickled};
use super::network::Network;
use super::peft::{self, PeftConfig};
use super::text_networks::TextNetworks;
use super::unet_names;
use super::write::ADAPTER_METADATA;
use crate::textual_inversion::bundled_token;

/// ResNet blocks per down block of every released U-Net.
const RELEASED_LAYERS: usize = 2;

impl Lora {
    /// Reads a safetensors file, peft's in a folder of peft, or the only one in another folder; f16, bf16, f32 and f64 become f32.
    /// `layers_per_block` is the U-Net's, for the released checkpoints' numbering of blocks: 2 in every released model.
    ///
    /// Of text encoders plain LoRA on CLIP's attention and MLP is read under the names of kohya and diffusers; other keys are left out,
    /// with a note.
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
    let mut unet = Network::default();
    let mut text = TextNetworks::default();
    let mut left_out = LeftOut::default();
    let names = || contents.tensors().map(|tensor| tensor.name());
    for tensor in contents.tensors() {
        let name = tensor.name();
        if let Some((embedding, _)) = bundled_token(name) {
            left_out.embeddings.insert(embedding);
            continue;
        }
        if is_text_encoder(name) {
            text.add(tensor, &mut left_out, label)?;
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
        unet.add(&key, tensor, ("", module), label)?;
    }
    let text = text.plain();
    let Some(format) = unet.format else {
        bail!(
            "{}",
            left_out.nothing_else(label, text.len(), unet.is_empty())
        )
    };
    let header = |part: &str| match contents.metadata().get(ADAPTER_METADATA) {
        Some(config) => {
            let source = format!("{label}: metadata {ADAPTER_METADATA}");
            PeftConfig::from_json(config, &source, Some(part))
        }
        None => Ok(None),
    };
    let own = header("unet")?;
    let beside = match unet.of_peft || text.of_peft() {
        true => beside()?,
        false => None,
    };
    let configs = own.iter().chain(beside.as_ref().filter(|_| unet.of_peft));
    let configs: Vec<&PeftConfig> = configs.collect();
    let mut notes = left_out.notes();
    if let Some(name) = unet.wrapped.filter(|_| configs.is_empty())
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
    let precisions = unet.precisions.iter().copied().chain(text.precisions());
    let dtype = dtype(&precisions.collect::<Vec<_>>());
    Ok(Lora {
        modules: unet.build(&configs, "", label)?,
        text: text.build(header, beside.as_ref(), label)?,
        metadata: contents.metadata().clone(),
        format,
        dtype,
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
