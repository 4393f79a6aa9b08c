//! Arms: recipe and optimiser of the file, with the keys that each `[[arm]]` replaces.

use crate::check::{check_lora, check_training};
use crate::fields::{Experiment, Training};
use crate::layer::Layers;
use crate::lora::{Lora, LoraInit};
use crate::parts::TrainedPart;
use crate::source::describe;
use anyhow::Result;
use rpo_pref::recipe::{Preset, Recipe, RecipeKeys};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Low-rank adapters with every key resolved; peft's names and meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adapters {
    /// r, the inner width of every adapter.
    pub rank: usize,
    /// α; an adapter is scaled by α / r.
    pub alpha: f64,
    /// Suffixes of the names of the modules that get one.
    pub targets: Vec<String>,
    /// Probability that an element of an adapter's input is dropped in a training step.
    pub dropout: f64,
    /// How A starts.
    #[serde(default, skip_serializing_if = "LoraInit::is_usual")]
    pub init: LoraInit,
}

/// One training method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingArm {
    /// Name in tables and folders.
    pub name: String,
    /// Preset that its recipe starts from.
    pub preset: Preset,
    /// Its recipe, every key resolved.
    pub recipe: Recipe,
    /// Its optimiser and length.
    pub training: Training,
    /// Its adapters, if it trains these.
    pub lora: Option<Adapters>,
    /// What else it trains than the whole U-Net or adapters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<TrainedPart>,
}

impl TrainingArm {
    /// Description of the recipe, and of the adapters if these are trained, for results.
    pub fn describe(&self) -> String {
        let recipe = self.recipe.describe(self.preset);
        match (&self.lora, self.part()) {
            (Some(lora), _) => format!("{recipe}, LoRA of rank {}", lora.rank),
            (None, TrainedPart::Unet | TrainedPart::Lora) => recipe,
            (None, part) => format!("{recipe}, {} alone", part.words()),
        }
    }

    /// The trained part of the model.
    pub fn part(&self) -> TrainedPart {
        match self.lora {
            Some(_) => TrainedPart::Lora,
            None => self.part.unwrap_or(TrainedPart::Unet),
        }
    }
}

impl Experiment {
    /// The arms of the file; without `[[arm]]` the recipe alone, named after its preset.
    ///
    /// # Errors
    /// [`rpo_files::failure::BadInput`] at the line of an unknown key or a value out of range.
    pub fn training_arms(&self, layers: &Layers) -> Result<Vec<TrainingArm>> {
        if self.arms.is_empty() {
            let (preset, recipe) = resolve_recipe(&self.recipe, &toml::Table::new())
                .map_err(|(key, e)| layers.error(&format!("recipe{key}"), &e))?;
            let training = self.training.clone();
            let part = self.train.part(self.lora.is_some(), "train", layers)?;
            return Ok(vec![TrainingArm {
                name: preset.name().into(),
                preset,
                recipe,
                training,
                lora: adapters(part, self.lora.as_ref()),
                part: other(part),
            }]);
        }
        let mut arms: Vec<TrainingArm> = Vec::new();
        for (i, arm) in self.arms.iter().enumerate() {
            if arm.name.is_empty() || arms.iter().any(|a| a.name == arm.name) {
                return Err(
                    layers.error(&format!("arm.{i}"), "every arm needs a `name` of its own")
                );
            }
            let (preset, recipe) = resolve_recipe(&self.recipe, &arm.recipe)
                .map_err(|(key, e)| layers.error(&format!("arm.{i}.recipe{key}"), &e))?;
            let training = over(&self.training, &arm.training)
                .map_err(|e| layers.error(&format!("arm.{i}.training"), &e))?;
            check_training(&training, &format!("arm.{i}.training"), layers)?;
            let lora = match &arm.lora {
                None => self.lora.clone(),
                Some(keys) => {
                    let table = format!("arm.{i}.lora");
                    let lora = over(&self.lora.clone().unwrap_or_default(), keys)
                        .map_err(|e| layers.error(&table, &e))?;
                    check_lora(&lora, &table, layers)?;
                    Some(lora)
                }
            };
            let (train, table) = match &arm.train {
                Some(train) => (train, format!("arm.{i}.train")),
                None => (&self.train, "train".to_owned()),
            };
            let part = train.part(lora.is_some(), &table, layers)?;
            if arm.lora.is_some() && part != TrainedPart::Lora {
                let message = format!(
                    "this arm trains \"{}\"\n  hint: train = {{ parts = [\"lora\"] }}",
                    part.name()
                );
                return Err(layers.error(&format!("arm.{i}.lora"), &message));
            }
            arms.push(TrainingArm {
                name: arm.name.clone(),
                preset,
                recipe,
                training,
                lora: adapters(part, lora.as_ref()),
                part: other(part),
            });
        }
        Ok(arms)
    }
}

/// What is not told by the presence of adapters.
fn other(part: TrainedPart) -> Option<TrainedPart> {
    Some(part).filter(|part| !matches!(part, TrainedPart::Unet | TrainedPart::Lora))
}

/// The adapters with every key resolved, if these are trained.
fn adapters(part: TrainedPart, lora: Option<&Lora>) -> Option<Adapters> {
    let usual = Lora::default();
    let lora = lora.unwrap_or(&usual);
    (part == TrainedPart::Lora).then(|| Adapters {
        rank: lora.rank,
        alpha: lora.alpha.unwrap_or(lora.rank as f64),
        targets: lora.targets.clone(),
        dropout: lora.dropout,
        init: lora.init,
    })
}

/// The recipe of `common` with the keys of `arm` over it. An error comes with its key, as `.key`.
fn resolve_recipe(
    common: &toml::Table,
    arm: &toml::Table,
) -> Result<(Preset, Recipe), (String, String)> {
    let mut keys = common.clone();
    keys.extend(arm.clone());
    let preset = keys.remove("preset").unwrap_or("ours".into());
    let with = |more: &[(&String, &toml::Value)]| -> Result<RecipeKeys, String> {
        let mut table = toml::Table::from_iter([("preset".to_owned(), preset.clone())]);
        table.extend(more.iter().map(|(k, v)| ((*k).clone(), (*v).clone())));
        table
            .try_into()
            .map_err(|e: toml::de::Error| describe(e.message()))
    };
    with(&[]).map_err(|e| (".preset".to_owned(), e))?;
    // Key by key first, so that an error refers to one of them.
    for key in &keys {
        with(&[key]).map_err(|e| (format!(".{}", key.0), e))?;
    }
    let all = with(&keys.iter().collect::<Vec<_>>()).map_err(|e| (String::new(), e))?;
    let recipe = all
        .resolve()
        .map_err(|e| (format!(".{}", e.key), e.to_string()))?;
    Ok((all.preset, recipe))
}

/// `value` with some of its keys replaced.
fn over<T: Serialize + DeserializeOwned>(value: &T, keys: &toml::Table) -> Result<T, String> {
    let mut table = toml::Table::try_from(value).map_err(|e| e.to_string())?;
    table.extend(keys.clone());
    table
        .try_into()
        .map_err(|e: toml::de::Error| describe(e.message()))
}
