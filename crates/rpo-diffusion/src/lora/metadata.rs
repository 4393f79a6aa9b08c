//! Metadata in the header of a LoRA file: kohya's keys, which A1111, ComfyUI's tools and websites read, ModelSpec 1.0.1, and our own.

use std::collections::BTreeMap;

use candle_core::Result;
use rpo_nn::lora::LoraModule;
use rpo_nn::weights::{Item, Precision, to_bytes};
use sha2::{Digest, Sha256};

use super::base::BaseModel;
use super::file::Lora;
use super::prompts::for_a1111;

/// Hash of the values, valid for one file only.
const MODELSPEC_HASH: &str = "modelspec.hash_sha256";
const MODEL_HASH: &str = "sshs_model_hash";
const LEGACY_HASH: &str = "sshs_legacy_hash";

/// Metadata of a training.
#[derive(Clone, Debug)]
pub struct About {
    /// Name of the file without extension.
    pub name: String,
    /// Family of the base model.
    pub base: BaseModel,
    /// Name of the base model.
    pub base_name: String,
    /// Side of the pictures in pixels; 0 for the family's own.
    pub resolution: u32,
    /// The words that invoke the subject: `[v] dog`.
    pub trigger: String,
    /// Seed of the training.
    pub seed: u64,
    /// Learning rate.
    pub learning_rate: f64,
    /// Gradient steps taken.
    pub steps: usize,
    /// Number of training pictures.
    pub images: usize,
    /// Captions of the pictures.
    pub captions: Vec<String>,
    /// Our own keys, without the prefix `rpo.`.
    pub rpo: BTreeMap<String, String>,
}

impl Lora {
    /// Adds metadata that follows from the file itself where it is missing: for a file of another program.
    pub fn identify(&mut self, base: BaseModel, name: &str) {
        for (key, value) in self.identity(base, name) {
            self.metadata.entry(key.into()).or_insert(value);
        }
    }

    /// Metadata that follow from the modules, the family and the name.
    fn identity(&self, base: BaseModel, name: &str) -> Vec<(&'static str, String)> {
        let v2 = matches!(base, BaseModel::Sd2 | BaseModel::Sd2V);
        let or_dynamic = |value: Option<String>| value.unwrap_or_else(|| "Dynamic".into());
        vec![
            // Python's spelling, which readers compare with.
            ("ss_v2", if v2 { "True" } else { "False" }.into()),
            ("ss_base_model_version", base.version().into()),
            ("ss_network_module", "networks.lora".into()),
            (
                "ss_network_dim",
                or_dynamic(self.rank().map(|r| r.to_string())),
            ),
            (
                "ss_network_alpha",
                or_dynamic(self.alpha().map(|a| a.to_string())),
            ),
            ("ss_network_args", self.network_args()),
            ("ss_output_name", name.into()),
            ("modelspec.sai_model_spec", "1.0.1".into()),
            (
                "modelspec.architecture",
                format!("{}/lora", base.architecture()),
            ),
            ("modelspec.implementation", base.implementation().into()),
            ("modelspec.title", name.into()),
            ("modelspec.resolution", format!("{0}x{0}", base.side())),
            ("modelspec.prediction_type", base.prediction().into()),
        ]
    }

    /// sd-scripts lists 3x3 convolutions separately.
    fn network_args(&self) -> String {
        let kernel = |m: &LoraModule| m.a.dims().get(2).is_some_and(|k| *k > 1);
        match self.modules.values().find(|m| kernel(m)) {
            Some(m) => serde_json::json!({
                "conv_dim": m.a.dims()[0].to_string(), "conv_alpha": m.alpha.to_string(),
            })
            .to_string(),
            None => "{}".into(),
        }
    }

    /// Adds the metadata of a training, replacing existing keys.
    pub fn describe(&mut self, about: &About) {
        let side = match about.resolution {
            0 => about.base.side(),
            side => side,
        };
        for (key, value) in self.identity(about.base, &about.name) {
            self.metadata.insert(key.into(), value);
        }
        let tags = about
            .captions
            .iter()
            .fold(BTreeMap::new(), |mut tags, caption| {
                *tags.entry(caption.as_str()).or_insert(0usize) += 1;
                tags
            });
        let frequency = serde_json::json!({ about.name.as_str(): tags }).to_string();
        let pairs = [
            ("ss_sd_model_name", about.base_name.clone()),
            ("ss_seed", about.seed.to_string()),
            ("ss_learning_rate", about.learning_rate.to_string()),
            ("ss_steps", about.steps.to_string()),
            ("ss_num_train_images", about.images.to_string()),
            ("ss_resolution", format!("({side}, {side})")),
            ("ss_tag_frequency", frequency),
            ("modelspec.resolution", format!("{side}x{side}")),
            ("modelspec.trigger_phrase", about.trigger.clone()),
        ];
        for (key, value) in pairs {
            self.metadata.insert(key.into(), value);
        }
        let typed = for_a1111(&about.trigger);
        if typed != about.trigger {
            let hint = format!(
                "In A1111, Forge and SD.Next write {typed} in the prompt: brackets alone are taken for weights there."
            );
            self.metadata.insert("modelspec.usage_hint".into(), hint);
        }
        for (key, value) in &about.rpo {
            self.metadata.insert(format!("rpo.{key}"), value.clone());
        }
    }
}

/// Metadata without the hashes of another file's values.
#[must_use]
pub fn without_hashes(mut metadata: BTreeMap<String, String>) -> BTreeMap<String, String> {
    for key in [MODELSPEC_HASH, MODEL_HASH, LEGACY_HASH] {
        metadata.remove(key);
    }
    metadata
}

/// A file with the hashes of its values in its metadata. ModelSpec and sd-webui-additional-networks both use SHA-256 over all
/// bytes after the header; the latter's older hash is over 64 KiB from offset 1 MiB, in a file with only kohya's metadata.
pub(super) fn with_hashes(
    items: &[Item],
    precision: Precision,
    metadata: BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let mut metadata = without_hashes(metadata);
    let kohya = metadata.iter().filter(|(key, _)| key.starts_with("ss_"));
    let plain = to_bytes(
        items,
        precision,
        &kohya.map(|(k, v)| (k.clone(), v.clone())).collect(),
    )?;
    let length = u64::from_le_bytes(*plain.first_chunk().unwrap_or(&[0; 8])) as usize;
    let sha256 = hex(plain.get(8 + length..).unwrap_or_default());
    let old = plain
        .get(0x10_0000..plain.len().min(0x11_0000))
        .unwrap_or_default();
    metadata.insert(LEGACY_HASH.into(), hex(old)[..8].to_owned());
    metadata.insert(MODELSPEC_HASH.into(), format!("0x{sha256}"));
    metadata.insert(MODEL_HASH.into(), sha256);
    to_bytes(items, precision, &metadata)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
