//! Named recipes.

use serde::{Deserialize, Serialize};

use super::Recipe;

/// A named recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// [`Recipe::paper`].
    Paper,
    /// [`Recipe::official`].
    Official,
    /// [`Recipe::official_sdxl`].
    OfficialSdxl,
    /// [`Recipe::dreambooth`].
    Dreambooth,
    /// [`Recipe::dreambooth_dpo`].
    DreamboothDpo,
    /// [`Recipe::dpo`].
    Dpo,
    /// [`Recipe::dco`].
    Dco,
    /// [`Recipe::textual_inversion`].
    TextualInversion,
    /// [`Recipe::custom_diffusion`].
    CustomDiffusion,
    /// [`Recipe::lora_dreambooth`].
    LoraDreambooth,
    /// [`Recipe::disenbooth`].
    Disenbooth,
    /// [`Recipe::pivotal`].
    Pivotal,
    /// [`Recipe::rpo_lora`].
    RpoLora,
    /// [`Recipe::ours`].
    Ours,
}

impl Preset {
    /// All presets.
    pub const ALL: [Preset; 14] = [
        Preset::Paper,
        Preset::Official,
        Preset::OfficialSdxl,
        Preset::Dreambooth,
        Preset::DreamboothDpo,
        Preset::Dpo,
        Preset::Dco,
        Preset::TextualInversion,
        Preset::CustomDiffusion,
        Preset::LoraDreambooth,
        Preset::Disenbooth,
        Preset::Pivotal,
        Preset::RpoLora,
        Preset::Ours,
    ];

    /// The recipe of this preset.
    #[must_use]
    pub fn recipe(self) -> Recipe {
        match self {
            Preset::Paper => Recipe::paper(),
            Preset::Official => Recipe::official(),
            Preset::OfficialSdxl => Recipe::official_sdxl(),
            Preset::Dreambooth => Recipe::dreambooth(),
            Preset::DreamboothDpo => Recipe::dreambooth_dpo(),
            Preset::Dpo => Recipe::dpo(),
            Preset::Dco => Recipe::dco(),
            Preset::TextualInversion => Recipe::textual_inversion(),
            Preset::CustomDiffusion => Recipe::custom_diffusion(),
            Preset::LoraDreambooth => Recipe::lora_dreambooth(),
            Preset::Disenbooth => Recipe::disenbooth(),
            Preset::Pivotal => Recipe::pivotal(),
            Preset::RpoLora => Recipe::rpo_lora(),
            Preset::Ours => Recipe::ours(),
        }
    }

    /// Its name in experiment files and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Preset::Paper => "paper",
            Preset::Official => "official",
            Preset::OfficialSdxl => "official_sdxl",
            Preset::Dreambooth => "dreambooth",
            Preset::DreamboothDpo => "dreambooth_dpo",
            Preset::Dpo => "dpo",
            Preset::Dco => "dco",
            Preset::TextualInversion => "textual_inversion",
            Preset::CustomDiffusion => "custom_diffusion",
            Preset::LoraDreambooth => "lora_dreambooth",
            Preset::Disenbooth => "disenbooth",
            Preset::Pivotal => "pivotal",
            Preset::RpoLora => "rpo_lora",
            Preset::Ours => "ours",
        }
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
