//! Prompt templates and prompt sets.
//!
//! A template has two placeholders: `{token}` for the subject's rare token (`[V]`) and `{class}` for its class ("dog").
//! `{}` is short for `{token} {class}`. [`fill`] inserts the words, or removes the token together with a space:
//!
//! ```
//! use rpo_data::prompts::fill;
//! assert_eq!(fill("a {} in the snow", Some("[V]"), "dog"), "a [V] dog in the snow");
//! assert_eq!(fill("a {token} red {class}", Some("[V]"), "dog"), "a [V] red dog");
//! assert_eq!(fill("a {token} red {class}", None, "dog"), "a red dog");
//! ```

pub mod dreambench;
mod token;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

pub use dreambench::dreambench;
pub use token::token_places;

/// The prompts of one benchmark, as templates. The sets share no prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptSet {
    /// Prompts of the negatives, and so of the preference pairs.
    pub train: Vec<String>,
    /// Prompts whose reward chooses the checkpoint.
    pub validation: Vec<String>,
    /// Prompts of the results.
    pub test: Vec<String>,
}

/// Inserts `token` and `class` into `template`; without a token, `{token}` is removed with one adjacent space.
pub fn fill(template: &str, token: Option<&str>, class: &str) -> String {
    let template = template.replace("{}", "{token} {class}");
    let template = match token {
        Some(token) => template.replace("{token}", token),
        None => template
            .replace("{token} ", "")
            .replace(" {token}", "")
            .replace("{token}", ""),
    };
    template.replace("{class}", class)
}

/// Checks that a template has a placeholder for the class, at most one for the token, and no other braces.
///
/// # Errors
/// With the template and a hint.
pub fn check(template: &str) -> Result<()> {
    let long = template.replace("{}", "{token} {class}");
    let (tokens, classes) = (
        long.matches("{token}").count(),
        long.matches("{class}").count(),
    );
    if classes != 1 || tokens > 1 {
        bail!(
            "the prompt {template:?} names the class {classes} times and the token {tokens} times: write {{}} where \"[V] dog\" belongs, or {{token}} and {{class}} once each"
        );
    }
    let rest = long.replace("{token}", "").replace("{class}", "");
    if rest.contains(['{', '}']) {
        bail!(
            "the prompt {template:?} has braces around something else than token or class: only {{}}, {{token}} and {{class}} are known"
        );
    }
    Ok(())
}
