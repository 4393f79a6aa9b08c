//! Single-file checkpoints, written from a model folder and a U-Net.

use super::sound::Sound;
use super::staging::refuse_occupied;
use anyhow::Result;
use rpo_diffusion::checkpoint::{Names, V_PRED, ZERO_SNR, model_spec, to_file};
use rpo_diffusion::{NoiseSchedule, PredictionType};
use rpo_encoders::clip::ClipTextConfig;
use rpo_encoders::folder;
use rpo_files::AtPath;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_nn::weights::{Item, Precision};
use std::collections::BTreeMap;
use std::path::Path;

/// Tokens of CLIP, which the readers of single files know: such a file has no tokenizer.
const TOKENS: usize = 49408;

/// Writes the parts `own`, the U-Net among them, and the other parts of the model in `base` as one file, with `metadata`, and
/// ModelSpec's for pictures of `size` pixels. Models that predict velocities, or were trained up to zero signal, get the marks by
/// which other programs recognise them.
///
/// # Errors
/// [`BadInput`] if `to` exists, a part has a tensor without a name in the file, one that is not finite or that `precision`
/// cannot hold, or a text encoder has more tokens than such a file can mean; I/O errors.
pub fn write(
    base: &Path,
    variant: Option<&str>,
    own: Vec<(&'static str, Vec<Item>)>,
    to: &Path,
    precision: Precision,
    size: usize,
    mut metadata: BTreeMap<String, String>,
) -> Result<()> {
    refuse_occupied(to)?;
    let names = Names::of_folder(base).or_bad_input("model")?;
    let schedule = NoiseSchedule::load(&base.join("scheduler/scheduler_config.json"));
    let schedule = schedule.or_bad_input("model")?;
    let mut archives = Vec::new();
    for (part, _) in &names.parts {
        if part.starts_with("text_encoder") {
            refuse_added_tokens(&base.join(part))?;
        }
        if own.iter().any(|(own, _)| own == part) {
            continue;
        }
        let archive = folder::open_archive(&base.join(part), variant).or_bad_input("model")?;
        archives.push((*part, archive));
    }
    let sound = Sound::new(precision);
    let labels: Vec<String> = own
        .iter()
        .map(|(part, _)| base.join(part).display().to_string())
        .collect();
    let mut parts: Vec<(&str, Vec<Item>)> = archives
        .iter()
        .map(|(part, a)| (*part, sound.items(a.items(), a.label())))
        .collect();
    for ((part, items), label) in own.into_iter().zip(&labels) {
        parts.push((part, sound.items(items, label)));
    }
    let mut items = to_file(&names, parts).or_bad_input(base.display())?;
    let mark = |name: &str| Item::new(name, [0], || Ok(vec![]));
    if schedule.prediction_type == PredictionType::VPrediction {
        items.push(mark(V_PRED));
    }
    if schedule.config.rescale_betas_zero_snr == Some(true) {
        items.push(mark(ZERO_SNR));
    }
    let title = to.file_stem().unwrap_or_default().to_string_lossy();
    metadata.extend(model_spec(
        names.family,
        schedule.prediction_type,
        size,
        &title,
    ));
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).writing(to)?;
    }
    sound.told(rpo_nn::weights::write(to, &items, precision, &metadata))
}

/// Refuses a text encoder with tokens beyond CLIP's.
fn refuse_added_tokens(encoder: &Path) -> Result<()> {
    let tokens = ClipTextConfig::load(encoder)
        .or_bad_input("model")?
        .vocab_size;
    if tokens <= TOKENS {
        return Ok(());
    }
    Err(BadInput::new(format!(
        "{}, key vocab_size: {tokens} tokens; a single file has no tokenizer, and its readers know CLIP's {TOKENS}\n  hint: export a folder, which keeps the added tokens",
        encoder.join("config.json").display()
    )))
}
