//! Changes of a JSON text.

use super::{Rng, tree};
use rpo_data::random::{below, chance};
use serde_json::Value;

/// A JSON text with one change in its tree; `None` if it is no JSON.
pub(super) fn change(old: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(old).ok()?;
    let mut other = serde_json::from_slice(other).unwrap_or_else(|_| value.clone());
    tree::change(&mut value, &mut other, rng);
    let mut text = text(&value);
    if chance(rng, 0.03) {
        text = match below(rng, 4) {
            0 => format!("\u{feff}{text}"),
            1 => format!("{text}{text}"),
            2 => format!("{text}\0"),
            _ => format!("/* */{text}"),
        };
    }
    Some(text.into_bytes())
}

/// Writes a changed tree.
pub fn text(value: &Value) -> String {
    let mut text = String::new();
    tree::write(value, ":", &mut text);
    text
}
