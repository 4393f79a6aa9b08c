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
    /// [`Recipe::ours`].
    Ours,
}

impl Preset {
    /// All presets.
    pub const ALL: [Preset; 5] = [
        Preset::Paper,
        Preset::Official,
        Preset::OfficialSdxl,
        Preset::Dreambooth,
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
            Preset::Ours => "ours",
        }
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
