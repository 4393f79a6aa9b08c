//! Arms: recipe and optimiser of the file, with the keys that each `[[arm]]` replaces.

use crate::check::{check_lora, check_training};
use crate::fields::{Experiment, Training};
use crate::image_adapter::{self, ImageAdapter};
use crate::layer::Layers;
use crate::lora::{Lora, LoraInit};
use crate::methods;
use crate::parts::{Train, TrainedPart};
use crate::source::describe;
use crate::texts::{TextEncoder, Token};
use anyhow::Result;
use rpo_pref::recipe::{Preset, Recipe, RecipeKeys};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// What it trains first, if not the whole U-Net or adapters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<TrainedPart>,
    /// Its new word, if it learns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
    /// How it trains the text encoders, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<TextEncoder>,
    /// Its image adapter, if it trains one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_adapter: Option<ImageAdapter>,
    /// Factors on the learning rate, by part.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<TrainedPart, f64>,
    /// When parts are trained, in shares of the steps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub phases: BTreeMap<TrainedPart, [f64; 2]>,
}

impl TrainingArm {
    /// Description of the recipe, and of what is trained if not the whole U-Net, for results.
    pub fn describe(&self) -> String {
        let recipe = self.recipe.describe(self.preset);
        let more = match (&self.lora, &self.parts()[..]) {
            (_, [TrainedPart::Unet]) => return recipe,
            (Some(lora), [_]) => format!("LoRA of rank {}", lora.rank),
            (_, [part]) => format!("{} alone", part.words()),
            _ => self.what(),
        };
        format!("{recipe}, {more}")
    }

    /// The trained parts of the model, that of the U-Net first.
    pub fn parts(&self) -> Vec<TrainedPart> {
        let token = self.token.as_ref().map(|_| TrainedPart::Token);
        let text_encoder = self.text_encoder.as_ref().map(|_| TrainedPart::TextEncoder);
        let image_adapter = self.image_adapter.as_ref();
        let image_adapter = image_adapter.map(|_| TrainedPart::ImageAdapter);
        let parts = self.unet_part().into_iter().chain(token);
        parts.chain(text_encoder).chain(image_adapter).collect()
    }

    /// The trained part of the U-Net, if any.
    pub fn unet_part(&self) -> Option<TrainedPart> {
        let part = match self.lora {
            Some(_) => TrainedPart::Lora,
            None => self.part.unwrap_or(TrainedPart::Unet),
        };
        Some(part).filter(|part| part.is_of_unet())
    }

    /// What is trained, in words.
    pub fn what(&self) -> String {
        let words: Vec<&str> = self.parts().into_iter().map(TrainedPart::words).collect();
        words.join(" and ")
    }

    /// The first step that trains a part.
    pub fn first_step(&self, part: TrainedPart) -> usize {
        let from = self.phases.get(&part).map_or(0.0, |phase| phase[0]);
        let about = (from * self.training.steps as f64).floor() as usize;
        (about.max(1)..=self.training.steps)
            .find(|step| self.rate(part, *step) > 0.0)
            .unwrap_or(1)
    }

    /// The factor on the learning rate of a part's tensors in a step, from 1 on: 0 outside of its phase.
    pub fn rate(&self, part: TrainedPart, step: usize) -> f64 {
        let [from, to] = self.phases.get(&part).copied().unwrap_or([0.0, 1.0]);
        let done = step.saturating_sub(1) as f64 / self.training.steps.max(1) as f64;
        match from <= done && done < to {
            true => self.rates.get(&part).copied().unwrap_or(1.0),
            false => 0.0,
        }
    }
}

/// What one arm may replace, and where it is written.
struct Keys<'a> {
    name: &'a str,
    /// `arm.0.`, or nothing for the file's own tables.
    at: String,
    recipe: &'a toml::Table,
    training: Option<&'a toml::Table>,
    lora: Option<&'a toml::Table>,
    train: Option<&'a Train>,
    token: Option<&'a toml::Table>,
    text_encoder: Option<&'a toml::Table>,
}

impl Experiment {
    /// The arms of the file; without `[[arm]]` the recipe alone, named after its preset.
    ///
    /// # Errors
    /// [`rpo_files::failure::BadInput`] at the line of an unknown key or a value out of range.
    pub fn training_arms(&self, layers: &Layers) -> Result<Vec<TrainingArm>> {
        let arms = self.all_arms(layers)?;
        // A table that changes nothing is a mistake, or the arm that it is for is missing.
        for (table, part, given) in [
            ("lora", TrainedPart::Lora, self.lora.is_some()),
            ("token", TrainedPart::Token, self.token.is_some()),
            (
                "text_encoder",
                TrainedPart::TextEncoder,
                self.text_encoder.is_some(),
            ),
            (
                "image_adapter",
                TrainedPart::ImageAdapter,
                self.image_adapter.is_some(),
            ),
        ] {
            if given && !arms.iter().any(|arm| arm.parts().contains(&part)) {
                let message = format!(
                    "no arm trains {}\n  hint: name \"{}\" in train.parts, or leave the table away",
                    part.words(),
                    part.name()
                );
                return Err(layers.error(table, &message));
            }
        }
        Ok(arms)
    }

    fn all_arms(&self, layers: &Layers) -> Result<Vec<TrainingArm>> {
        if self.arms.is_empty() {
            let own = Keys {
                name: "",
                at: String::new(),
                recipe: &toml::Table::new(),
                training: None,
                lora: None,
                train: None,
                token: None,
                text_encoder: None,
            };
            let mut arm = self.arm(&own, layers)?;
            arm.name = arm.preset.name().into();
            return Ok(vec![arm]);
        }
        let mut arms: Vec<TrainingArm> = Vec::new();
        for (i, arm) in self.arms.iter().enumerate() {
            if arm.name.is_empty() || arms.iter().any(|a| a.name == arm.name) {
                return Err(
                    layers.error(&format!("arm.{i}"), "every arm needs a `name` of its own")
                );
            }
            let keys = Keys {
                name: &arm.name,
                at: format!("arm.{i}."),
                recipe: &arm.recipe,
                training: Some(&arm.training),
                lora: arm.lora.as_ref(),
                train: arm.train.as_ref(),
                token: arm.token.as_ref(),
                text_encoder: arm.text_encoder.as_ref(),
            };
            arms.push(self.arm(&keys, layers)?);
        }
        Ok(arms)
    }

    fn arm(&self, keys: &Keys, layers: &Layers) -> Result<TrainingArm> {
        let at = |table: &str| format!("{}{table}", keys.at);
        let (preset, recipe) = resolve_recipe(&self.recipe, keys.recipe)
            .map_err(|(key, e)| layers.error(&at(&format!("recipe{key}")), &e))?;
        let training = match keys.training {
            None => self.training.clone(),
            Some(own) => {
                let training = over(&self.training, own);
                let training = training.map_err(|e| layers.error(&at("training"), &e))?;
                check_training(&training, &at("training"), layers)?;
                training
            }
        };
        let method = methods::of(preset);
        let mut lora = self.lora.clone().unwrap_or(method.lora);
        if let Some(own) = keys.lora {
            lora = over(&lora, own).map_err(|e| layers.error(&at("lora"), &e))?;
            check_lora(&lora, &at("lora"), layers)?;
        }
        let (train, table) = match keys.train {
            Some(train) => (train, at("train")),
            None => (&self.train, "train".to_owned()),
        };
        let train = train.over(&method.train);
        let adapters_asked = self.lora.is_some() || keys.lora.is_some();
        let parts = train.parts(adapters_asked, &table, layers)?;
        let has = |part| parts.contains(&part);
        let image_adapter = has(TrainedPart::ImageAdapter);
        image_adapter::check_recipe(&recipe, image_adapter, &at("recipe"), layers)?;
        for (table, part, given) in [
            ("lora", TrainedPart::Lora, keys.lora.is_some()),
            ("token", TrainedPart::Token, keys.token.is_some()),
            (
                "text_encoder",
                TrainedPart::TextEncoder,
                keys.text_encoder.is_some(),
            ),
        ] {
            if given && !has(part) {
                let names = parts.iter().map(|part| format!("\"{}\"", part.name()));
                let message = format!(
                    "this arm trains {}\n  hint: train = {{ parts = [\"{}\"] }}",
                    names.collect::<Vec<_>>().join(" and "),
                    part.name()
                );
                return Err(layers.error(&at(table), &message));
            }
        }
        let mut token = method.token;
        let mut text_encoder = TextEncoder::default();
        for (tables, place) in [
            ([&self.token, &self.text_encoder].map(Option::as_ref), ""),
            ([keys.token, keys.text_encoder], keys.at.as_str()),
        ] {
            let [of_token, of_encoder] = tables;
            if let Some(own) = of_token {
                token =
                    over(&token, own).map_err(|e| layers.error(&format!("{place}token"), &e))?;
                token.check(&format!("{place}token"), layers)?;
            }
            if let Some(own) = of_encoder {
                let table = format!("{place}text_encoder");
                text_encoder = over(&text_encoder, own).map_err(|e| layers.error(&table, &e))?;
                text_encoder.check(&table, layers)?;
            }
        }
        let usual = (text_encoder.rank > 0).then_some(text_encoder.rank as f64);
        text_encoder.alpha = text_encoder.alpha.or(usual);
        let first = parts[0];
        Ok(TrainingArm {
            name: keys.name.to_owned(),
            preset,
            recipe,
            training,
            lora: has(TrainedPart::Lora).then(|| adapters(&lora)),
            part: Some(first).filter(|p| !matches!(p, TrainedPart::Unet | TrainedPart::Lora)),
            token: has(TrainedPart::Token).then_some(token),
            text_encoder: has(TrainedPart::TextEncoder).then_some(text_encoder),
            image_adapter: image_adapter.then(|| self.image_adapter.clone().unwrap_or_default()),
            rates: train.rates,
            phases: train.phases,
        })
    }
}

/// The adapters with every key resolved.
fn adapters(lora: &Lora) -> Adapters {
    Adapters {
        rank: lora.rank,
        alpha: lora.alpha.unwrap_or(lora.rank as f64),
        targets: lora.targets.clone(),
        dropout: lora.dropout,
        init: lora.init,
    }
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
