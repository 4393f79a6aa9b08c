//! Keys of what users bring: lists of prompts, and several folders of photos in one file.

use rpo_data::prompts::names;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[prompts]`: lists of prompts, each the name of a built-in one or the path of a file. Without a key, the list is that of the
/// subjects' source: StickerBench's for `stickerbench`, DreamBench's for photos.
///
/// Names: `dreambench` and `stickerbench`, for the list of that purpose, or any list by its whole name: `dreambench-train`,
/// `dreambench-validation`, `dreambench-test`, `stickerbench-train`, …. A file has a prompt on each line, `a {} in the snow`, with
/// `[kind]` on a line of its own before prompts of one kind and comments after `#`; or it ends in `.jsonl` and has
/// `{"prompt": "a {} in the snow", "kind": "recontext", "live": true}` on each line. docs/prompts.md describes both.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Prompts {
    /// Prompts of the negatives, and so of the preference pairs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub train: String,
    /// Prompts whose reward chooses the checkpoint; not used by recipes that validate on their training prompts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub validation: String,
    /// Prompts of the results. None may be a training prompt or one that chooses the checkpoint.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub test: String,
}

/// What prompts are for: the keys of [`Prompts`], and the ends of the names of built-in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `train`
    Train,
    /// `validation`
    Validation,
    /// `test`
    Test,
}

impl Part {
    /// Its key.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// In place of a file's path in what a run means: its text is among the hashed inputs.
const FILE: &str = "file";

impl Prompts {
    /// Whether no key is set.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is given for a part.
    pub(super) fn given(&self, part: Part) -> &str {
        match part {
            Part::Train => &self.train,
            Part::Validation => &self.validation,
            Part::Test => &self.test,
        }
    }

    /// The whole name of the built-in list that is given for a part, or `None` if it is a file. `benchmark` is that of the
    /// subjects' source.
    pub(super) fn built_in(&self, part: Part, benchmark: &str) -> Option<&'static str> {
        let of = |benchmark: &str| format!("{benchmark}-{}", part.name());
        let name = match self.given(part) {
            "" => of(benchmark),
            short @ ("dreambench" | "stickerbench") => of(short),
            other => other.to_owned(),
        };
        names().find(|known| *known == name)
    }

    /// The same without paths; lists that the source of the subjects implies are not named.
    pub(super) fn meaning(&self, benchmark: &str) -> Self {
        let of = |part| match self.built_in(part, benchmark) {
            Some(name) if Self::default().built_in(part, benchmark) == Some(name) => String::new(),
            Some(name) => name.to_owned(),
            None => FILE.to_owned(),
        };
        Self {
            train: of(Part::Train),
            validation: of(Part::Validation),
            test: of(Part::Test),
        }
    }
}

/// `[[subject]]`: one of several folders of photos, with `subjects.source = "folder"`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OwnSubject {
    /// The folder of its photos.
    pub path: String,
    /// Its name in results and folders; without it, that of the folder.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its class word, such as "dog"; without it, `subjects.class`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// The folder with pictures of its class, for prior preservation; without it, `subjects.class_folder`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub class_folder: String,
    /// The rare token that stands for it in prompts; without it, `subjects.token`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// Whether it is an animal or a person; without it, `subjects.live`, and without that its class decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
}
