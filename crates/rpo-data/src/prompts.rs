//! Prompt templates, lists of prompts and where they are read from.
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
//!
//! Lists are files of the user ([`read_prompts`]) or inside the program ([`built_in`]); a subject's prompts are a [`PromptSet`].

pub mod dreambench;
mod file;
mod list;
mod set;
mod sets;
mod template;
mod token;

pub use dreambench::dreambench;
pub use file::read_prompts;
pub use list::{Form, MOST_PROMPTS, Prompt, is_remark, parse};
pub use set::{PromptKinds, PromptSet};
pub use sets::{built_in, names};
pub use template::{check, fill};
pub use token::{token_places, without_token};
