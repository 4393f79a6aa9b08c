//! Whether what the arms train is there: targets of adapters, new words.

use super::settings;
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use rpo_data::subject::Subject;
use rpo_diffusion::{Pipeline, Word};
use rpo_encoders::clip::ClipTextModel;
use rpo_experiment::plan::Plan;
use rpo_experiment::{Layers, TrainingArm};

/// Checks every arm against the model.
///
/// # Errors
/// [`rpo_files::failure::BadInput`] at targets that match nothing, a token that is a word already or in no caption, a text without a
/// vector.
pub(super) fn check(
    plan: &Plan,
    subjects: &[Subject],
    pipeline: &Pipeline,
    layers: &Layers,
) -> Result<()> {
    let shapes = pipeline.unet_params.shapes();
    for (i, arm) in plan.arms.iter().enumerate() {
        let own = plan.experiment.arms.get(i);
        let at = |table: &str, key: &str, keys: Option<&toml::Table>| match keys {
            Some(keys) if keys.contains_key(key) => format!("arm.{i}.{table}.{key}"),
            _ => format!("{table}.{key}"),
        };
        if let Some(lora) = &arm.lora {
            let key = at("lora", "targets", own.and_then(|a| a.lora.as_ref()));
            settings::lora(lora)
                .modules(&shapes)
                .map_err(|e| layers.error(&key, &e.to_string()))?;
        }
        if let Some(keys) = arm.text_encoder.as_ref().filter(|keys| keys.rank > 0) {
            let key = at(
                "text_encoder",
                "targets",
                own.and_then(|a| a.text_encoder.as_ref()),
            );
            for config in pipeline.texts().configs() {
                let shapes = ClipTextModel::shapes(&config)?;
                settings::text_lora(keys)
                    .modules(&shapes)
                    .map_err(|e| layers.error(&key, &e.to_string()))?;
            }
        }
        if arm.token.is_some() {
            let key = at("token", "init", own.and_then(|a| a.token.as_ref()));
            words(arm, subjects, pipeline, layers, &key)?;
        }
    }
    Ok(())
}

/// Checks that every subject's token can be a new word that its captions have, and that it has a vector to start from.
fn words(
    arm: &TrainingArm,
    subjects: &[Subject],
    pipeline: &Pipeline,
    layers: &Layers,
    init_key: &str,
) -> Result<()> {
    let texts = pipeline.texts();
    for subject in subjects {
        let rows = texts.configs().into_iter();
        let rows = rows.map(|c| Tensor::zeros((1, c.hidden_size), DType::F32, &Device::Cpu));
        let word = Word {
            token: subject.token.clone(),
            rows: rows.collect::<candle_core::Result<_>>()?,
        };
        let texts_with_it = texts
            .with_words(&[word])
            .map_err(|e| layers.error("subjects.token", &e.to_string()))?;
        let (token, class) = (&subject.token, &subject.class);
        let instance = arm.recipe.instance_prompt.of(&format!("{token} {class}"));
        let prompts: Vec<&str> = (subject.references.iter())
            .map(|r| r.caption.as_deref().unwrap_or(&instance))
            .collect();
        if !texts_with_it.read_words(&prompts)? {
            let message = format!(
                "`{token}`, the new word that arm {:?} learns, is in no caption of {}, or beyond what the text encoder reads of it\n  hint: captions name the subject by it, as in \"a photo of a {token} {class}\"; photos without a caption have recipe.instance_prompt",
                arm.name, subject.name
            );
            return Err(layers.error("subjects.token", &message));
        }
        let init = arm.token.as_ref().map_or("", |token| token.init.as_str());
        let init = if init.is_empty() {
            &subject.class
        } else {
            init
        };
        texts
            .mean_rows(init)
            .map_err(|e| layers.error(init_key, &e.to_string()))?;
    }
    Ok(())
}
