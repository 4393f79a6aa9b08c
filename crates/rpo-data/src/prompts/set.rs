//! The prompts of one subject.

use serde::{Deserialize, Serialize};

use super::list::Prompt;
use super::sets::built_in;

/// The prompts of one subject, as templates. The sets share no prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptSet {
    /// Prompts of the negatives, and so of the preference pairs.
    pub train: Vec<String>,
    /// Prompts whose reward chooses the checkpoint.
    pub validation: Vec<String>,
    /// Prompts of the results.
    pub test: Vec<String>,
    /// Their kinds.
    #[serde(default)]
    pub kinds: PromptKinds,
}

/// The kinds of the prompts of a [`PromptSet`], in their order; a prompt beyond the end of a list has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromptKinds {
    /// Those of the training prompts.
    pub train: Vec<Option<String>>,
    /// Those of the validation prompts.
    pub validation: Vec<Option<String>>,
    /// Those of the test prompts.
    pub test: Vec<Option<String>>,
}

impl PromptSet {
    /// The prompts of each list that are for living subjects, or for objects.
    pub fn of(train: &[Prompt], validation: &[Prompt], test: &[Prompt], live: bool) -> Self {
        let own = |list: &[Prompt]| -> (Vec<String>, Vec<Option<String>>) {
            let fit = list.iter().filter(|p| p.is_for(live));
            fit.map(|p| (p.template.clone(), p.kind.clone())).unzip()
        };
        let (train, validation, test) = (own(train), own(validation), own(test));
        Self {
            train: train.0,
            validation: validation.0,
            test: test.0,
            kinds: PromptKinds {
                train: train.1,
                validation: validation.1,
                test: test.1,
            },
        }
    }

    /// The three built-in lists of a benchmark.
    pub(crate) fn benchmark(name: &str, live: bool) -> Self {
        let list = |part| built_in(&format!("{name}-{part}")).unwrap_or_default();
        Self::of(&list("train"), &list("validation"), &list("test"), live)
    }
}
