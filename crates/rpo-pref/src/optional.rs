//! A number, or `"none"`: TOML has no null, and a key left out means the recipe's own value.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Word(String),
}

pub(crate) fn serialize<S: Serializer>(
    value: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(number) => Written::Number(*number),
        None => Written::Word("none".to_owned()),
    }
    .serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<f64>, D::Error> {
    match Written::deserialize(deserializer) {
        Ok(Written::Number(number)) => Ok(Some(number)),
        Ok(Written::Word(word)) if word == "none" => Ok(None),
        _ => Err(D::Error::custom("expected a number or \"none\"")),
    }
}

/// For a key that may be left out: present is `Some`, whatever it holds.
pub(crate) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<f64>>, D::Error> {
    deserialize(deserializer).map(Some)
}
