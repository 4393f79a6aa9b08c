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
/// [`rpo_files::failure::BadInput`] at targets that match nothing, a token that is a word already, a text without a vector.
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

/// Checks that every subject's token can be a new word, and that it has a vector to start from.
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
        texts
            .with_words(&[word])
            .map_err(|e| layers.error("subjects.token", &e.to_string()))?;
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
