//! A subject of a plan: its name, class and prompts, without pictures.

use rpo_data::prompts::PromptSet;
use serde::{Deserialize, Serialize};

/// A subject before its photos are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedSubject {
    /// Its name in results and folders.
    pub name: String,
    /// Its class word in prompts.
    pub class: String,
    /// The rare token that stands for it in prompts.
    pub token: String,
    /// Whether DreamBench's prompts for living subjects apply.
    pub live: bool,
    /// Number of its photos; 0 if their folder is missing.
    pub photos: usize,
    /// Number of the pictures of its class that are given, if these are not drawn; 0 if their folder is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_pictures: Option<usize>,
    /// Its prompt templates, limited to the experiment's numbers.
    pub prompts: PromptSet,
}
