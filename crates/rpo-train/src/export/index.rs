//! `model_index.json` of a copy.

use super::links::inside;
use super::parts::known;
use crate::files;
use anyhow::Result;
use rpo_files::failure::{BadInput, OrBadInput};
use rpo_files::printable::printable_name;
use serde_json::{Value, json};
use std::path::Path;

/// Writes `model_index.json` with the parts that `keep` rejects as absent; returns those that are left. A name becomes a
/// path only if it is one of the known ones.
pub(super) fn write_index(
    base: &Path,
    to: &Path,
    keep: impl Fn(&str) -> bool,
) -> Result<Vec<&'static str>> {
    let path = inside(base, &base.join("model_index.json")).or_bad_input("model")?;
    let mut index: Value = files::read_json(&path).or_bad_input("model")?;
    let mut parts = Vec::new();
    for (part, value) in index.as_object_mut().into_iter().flatten() {
        if !value[1].is_string() {
            continue;
        }
        let Some(part) = known().find(|name| *name == part) else {
            return Err(BadInput::new(format!(
                "{}: `{}` is no part of a Stable Diffusion pipeline\n  hint: take it out of that file if it is not needed; the parts are {}",
                path.display(),
                printable_name(part),
                known().collect::<Vec<_>>().join(", ")
            )));
        };
        if keep(part) {
            parts.push(part);
        } else {
            *value = json!([null, null]);
        }
    }
    files::write_json(&to.join("model_index.json"), &index)?;
    Ok(parts)
}
