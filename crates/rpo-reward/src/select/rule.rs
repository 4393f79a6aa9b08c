//! Selection rules and their form in files.

use serde::{Deserialize, Serialize};

use crate::mean::{Lambda, Mean};

/// What a rule chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The highest reward.
    #[default]
    Best,
    /// The last step, whatever its reward.
    Last,
}

/// A rule of selection and stopping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name in tables and files.
    pub name: String,
    /// What it chooses.
    #[serde(default)]
    pub kind: Kind,
    /// How a picture's two scores are combined into one reward.
    #[serde(default)]
    pub mean: Mean,
    /// λ_val. [`Kind::Last`] uses it only in reports.
    pub lambda: Lambda,
    /// Consecutive validations without a new maximum after which the rule stops; `None` (written `"none"`): it runs to the
    /// limit, as the paper and the official code do. [`Kind::Last`] ignores it.
    #[serde(default = "default_patience", with = "patience")]
    pub patience: Option<usize>,
}

/// The default patience.
pub const DEFAULT_PATIENCE: usize = 3;

fn default_patience() -> Option<usize> {
    Some(DEFAULT_PATIENCE)
}

impl Rule {
    /// The highest λ-`mean` reward, with the default patience.
    pub fn best(name: impl Into<String>, mean: Mean, lambda: Lambda) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Best,
            mean,
            lambda,
            patience: default_patience(),
        }
    }

    /// The last step before the limit.
    pub fn last(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Last,
            mean: Mean::Harmonic,
            lambda: Lambda::HALF,
            patience: None,
        }
    }

    /// The same rule with another patience.
    #[must_use]
    pub fn with_patience(self, patience: Option<usize>) -> Self {
        Self { patience, ..self }
    }
}

/// [`crate::optional`] for numbers above 0.
mod patience {
    pub(super) use crate::optional::serialize;
    use serde::{Deserializer, de::Error};

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<usize>, D::Error> {
        match crate::optional::deserialize(deserializer) {
            Ok(number) if number != Some(0) => Ok(number),
            _ => Err(D::Error::custom(
                "patience is a number of validations, 1 or more, or \"none\" to run to the limit",
            )),
        }
    }
}
