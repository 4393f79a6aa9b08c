//! Changes of a TOML text.

use super::{Rng, text, tree};
use rpo_data::random::chance;
use serde_json::Value;

/// A TOML text with one change in its tree or its lines; `None` if it is no TOML.
pub(super) fn change(old: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let plain = std::str::from_utf8(old).ok()?;
    if chance(rng, 0.2) {
        return Some(text::change(old, &[], rng));
    }
    let mut value: Value = toml::from_str(plain).ok()?;
    let mut other = value.clone();
    tree::change(&mut value, &mut other, rng);
    let Value::Object(map) = value else {
        return None;
    };
    let mut out = String::new();
    // Tables inline: the reader does not tell them from others.
    for (key, value) in map {
        out.push_str(&tree::quoted(&key));
        out.push_str(" = ");
        tree::write(&value, " = ", &mut out);
        out.push('\n');
    }
    Some(out.into_bytes())
}
