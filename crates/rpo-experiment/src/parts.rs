//! `[train]`: which parts of the model are trained.

use crate::layer::Layers;
use anyhow::Result;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[train]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// The trained parts, one of: `unet`, `cross_attention` (keys and values of the text, as Custom Diffusion trains them), `lora`
    /// (with the keys of `[lora]`). Without this key: `lora` where there is a table `[lora]`, else `unet`.
    pub parts: Vec<TrainedPart>,
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
}

impl TrainedPart {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unet => "unet",
            Self::CrossAttention => "cross_attention",
            Self::Lora => "lora",
        }
    }

    /// What it is, in messages.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unet => "the whole U-Net",
            Self::CrossAttention => "keys and values of the text",
            Self::Lora => "a LoRA",
        }
    }
}

impl Train {
    pub(super) fn is_usual(&self) -> bool {
        self.parts.is_empty()
    }

    /// Leaves away what follows without it.
    pub(super) fn normalise(&mut self, adapters: bool) {
        if self.parts == [default(adapters)] {
            self.parts.clear();
        }
    }

    /// The trained part; `adapters`: whether there is a table `[lora]`.
    ///
    /// # Errors
    /// [`rpo_files::failure::BadInput`] at `table` if there are several parts.
    pub(super) fn part(&self, adapters: bool, table: &str, layers: &Layers) -> Result<TrainedPart> {
        match self.parts[..] {
            [] => Ok(default(adapters)),
            [part] => Ok(part),
            _ => Err(layers.error(
                &format!("{table}.parts"),
                "several parts cannot be trained together yet\n  hint: one of \"unet\", \"cross_attention\", \"lora\"; an arm for each compares them",
            )),
        }
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
        let parts = |part: &str| format!("[train]\nparts = [\"{part}\"]\n");
        assert_eq!(of(&parts("unet")), of(""));
        assert_eq!(of(&(parts("lora") + lora)), of(lora));
        assert_ne!(of(&parts("lora")), of(""));
        assert_ne!(of(&(parts("unet") + lora)), of(lora));
        assert_ne!(of(&parts("cross_attention")), of(""));
    }
}
