//! `[train]`: which parts of the model are trained, how fast, and when.

use crate::layer::Layers;
use crate::ranges::in_range;
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `[train]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// The trained parts: at most one of `unet`, `cross_attention` (keys and values of the text, as Custom Diffusion trains them) and
    /// `lora` (with the keys of `[lora]`); with it, or alone, `token` (the vectors of a new word, with the keys of `[token]`) and
    /// `text_encoder` (with the keys of `[text_encoder]`); `image_adapter` goes with a part of the U-Net. Without this
    /// key: those of the recipe's preset with its rates and phases, of which this table replaces single ones; else `lora` where there
    /// is a table `[lora]`, else `unet`.
    pub parts: Vec<TrainedPart>,
    /// Factors on the learning rate, by part; 1 where there is none: `{ token = 10.0 }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rates: BTreeMap<TrainedPart, f64>,
    /// When a part is trained, from a share of the steps to another, by part; always where there is none. Pivotal tuning learns a
    /// word first: `{ token = [0.0, 0.5], lora = [0.5, 1.0] }`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub phases: BTreeMap<TrainedPart, [f64; 2]>,
}

/// A trained part of the model.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TrainedPart {
    /// All tensors of the U-Net.
    Unet,
    /// `attn2.to_k` and `attn2.to_v` of every block of the U-Net.
    CrossAttention,
    /// Low-rank adapters on layers of the U-Net.
    Lora,
    /// The vectors of a new word of the text encoders.
    Token,
    /// The text encoders, or low-rank adapters on them.
    TextEncoder,
    /// What a reference's picture adds to its text in training, as DisenBooth has it.
    ImageAdapter,
}

impl TrainedPart {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::CrossAttention => "cross_attention",
            Self::Lora => "lora",
            Self::Token => "token",
            Self::TextEncoder => "text_encoder",
            Self::ImageAdapter => "image_adapter",
        }
    }

    /// What it is, in messages.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unet => "the whole U-Net",
            Self::CrossAttention => "keys and values of the text",
            Self::Lora => "a LoRA",
            Self::Token => "a new word",
            Self::TextEncoder => "the text encoder",
            Self::ImageAdapter => "an image adapter",
        }
    }

    /// Whether it is one of the U-Net's.
    pub fn is_of_unet(self) -> bool {
        matches!(self, Self::Unet | Self::CrossAttention | Self::Lora)
    }

    /// Whether it changes how texts are read.
    pub fn is_of_texts(self) -> bool {
        matches!(self, Self::Token | Self::TextEncoder)
    }
}

impl Train {
    pub(super) fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// Without `parts`: those of `preset` with its rates and phases, of which this replaces single ones. A preset without parts
    /// changes nothing.
    pub(super) fn over(&self, preset: &Self) -> Self {
        if !self.parts.is_empty() || preset.parts.is_empty() {
            return self.clone();
        }
        let mut all = preset.clone();
        all.rates.extend(&self.rates);
        all.phases.extend(&self.phases);
        all
    }

    /// Leaves away what follows without it.
    pub(super) fn normalise(&mut self, adapters: bool) {
        self.parts.sort_unstable();
        if self.parts == [default(adapters)] {
            self.parts.clear();
        }
    }

    /// The trained parts in their order; `adapters`: whether there is a table `[lora]`.
    ///
    /// # Errors
    /// [`rpo_files::failure::BadInput`] at `table` if parts do not go together, or a rate or a phase is out of range or of none of
    /// them.
    pub(super) fn parts(
        &self,
        adapters: bool,
        table: &str,
        layers: &Layers,
    ) -> Result<Vec<TrainedPart>> {
        let mut parts = match self.parts[..] {
            [] => vec![default(adapters)],
            _ => self.parts.clone(),
        };
        parts.sort_unstable();
        let at = |key: &str| format!("{table}.{key}");
        if let Some(twice) = parts.windows(2).find(|two| two[0] == two[1]) {
            let message = format!("\"{}\" is given twice", twice[0].name());
            return Err(layers.error(&at("parts"), &message));
        }
        if parts.iter().filter(|part| part.is_of_unet()).count() > 1 {
            return Err(layers.error(
                &at("parts"),
                "one of \"unet\", \"cross_attention\" and \"lora\" is trained, not several\n  hint: an arm for each compares them; \"token\" and \"text_encoder\" go with any of them",
            ));
        }
        if parts.contains(&TrainedPart::ImageAdapter) {
            let message = if !parts.iter().any(|part| part.is_of_unet()) {
                "\"image_adapter\" alone leaves nothing to draw with: pictures are drawn without it\n  hint: add \"lora\""
            } else if parts.iter().any(|part| part.is_of_texts()) {
                "\"image_adapter\" is trained beside texts that stay as they are\n  hint: leave \"token\" and \"text_encoder\" to other arms"
            } else {
                ""
            };
            if !message.is_empty() {
                return Err(layers.error(&at("parts"), message));
            }
        }
        for (key, of) in [
            ("rates", self.rates.keys().collect::<Vec<_>>()),
            ("phases", self.phases.keys().collect()),
        ] {
            if let Some(other) = of.into_iter().find(|part| !parts.contains(part)) {
                let name = other.name();
                let message = format!("\"{name}\" is not trained\n  hint: add it to `parts`");
                return Err(layers.error(&at(&format!("{key}.{name}")), &message));
            }
        }
        for (part, rate) in &self.rates {
            in_range(
                &at(&format!("rates.{}", part.name())),
                *rate,
                1e-9,
                1e9,
                layers,
            )?;
        }
        for (part, [from, to]) in &self.phases {
            if !(0.0 <= *from && from < to && *to <= 1.0) {
                let message =
                    format!("[{from}, {to}] is no part of the steps\n  hint: 0 <= from < to <= 1");
                return Err(layers.error(&at(&format!("phases.{}", part.name())), &message));
            }
        }
        if self.phase(TrainedPart::ImageAdapter)[0] > 0.0 {
            return Err(layers.error(
                &at("phases.image_adapter"),
                "before its phase it would add what nothing has learned to every text\n  hint: a phase that begins at 0.0",
            ));
        }
        let mut covered = 0.0;
        let mut phases: Vec<[f64; 2]> = parts.iter().map(|part| self.phase(*part)).collect();
        phases.sort_by(|a, b| a[0].total_cmp(&b[0]));
        for [from, to] in phases {
            if from > covered {
                break;
            }
            covered = f64::max(covered, to);
        }
        if covered < 1.0 {
            let message = format!("nothing is trained after {covered} of the steps");
            return Err(layers.error(&at("phases"), &message));
        }
        Ok(parts)
    }

    fn phase(&self, part: TrainedPart) -> [f64; 2] {
        self.phases.get(&part).copied().unwrap_or([0.0, 1.0])
    }
}

/// What is trained where a file does not say; `adapters`: whether it has a table `[lora]`.
fn default(adapters: bool) -> TrainedPart {
    match adapters {
        true => TrainedPart::Lora,
        false => TrainedPart::Unet,
    }
}

#[cfg(test)]
mod tests {
    use crate::Experiment;

    #[test]
    fn what_follows_without_the_key_is_the_same_run() {
        let of = |text: &str| toml::from_str::<Experiment>(text).unwrap().meaning();
        let lora = "[lora]\nrank = 2\n";
        let parts = |parts: &str| format!("[train]\nparts = [{parts}]\n");
        assert_eq!(of(&parts("\"unet\"")), of(""));
        assert_eq!(of(&(parts("\"lora\"") + lora)), of(lora));
        assert_ne!(of(&parts("\"lora\"")), of(""));
        assert_ne!(of(&(parts("\"unet\"") + lora)), of(lora));
        assert_ne!(of(&parts("\"cross_attention\"")), of(""));
        let both = of(&parts("\"lora\", \"token\""));
        assert_eq!(both, of(&parts("\"token\", \"lora\"")));
        assert_ne!(both, of(&parts("\"lora\"")));
    }
}
