//! The prompts of a recipe's training pictures, as diffusers' DreamBooth calls them.

use serde::{Deserialize, Serialize};

macro_rules! prompt {
    ($(#[doc = $doc:literal])+ $name:ident = $usual:literal) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl Default for $name {
            fn default() -> Self {
                Self($usual.into())
            }
        }

        impl $name {
            /// The prompt with `words` in the place of `{}`.
            #[must_use]
            pub fn of(&self, words: &str) -> String {
                self.0.replace("{}", words)
            }

            /// Whether it has one `{}`, no other braces, and can be printed.
            pub(super) fn is_valid(&self) -> bool {
                let bad = |c: char| matches!(c, '{' | '}') || c.is_control();
                let around: Vec<&str> = self.0.split("{}").collect();
                around.len() == 2 && !around.iter().any(|part| part.contains(bad))
            }
        }
    };
}

prompt! {
    /// c of Eq. 7, the prompt of references without a caption of their own; `{}` stands for token and class: `a photo of {}`.
    InstancePrompt = "a photo of {}"
}

prompt! {
    /// The prompt of the class's pictures, for prior preservation; `{}` stands for the class: `a photo of a {}`.
    ClassPrompt = "a photo of a {}"
}
