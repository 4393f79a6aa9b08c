//! A number, or `"none"`: TOML has no null, and an omitted key means the default.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written<T> {
    Number(T),
    Word(String),
}

/// Writes the number, or `"none"`.
///
/// # Errors
/// Those of the format.
pub fn serialize<T: Serialize + Copy, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(number) => Written::Number(*number),
        None => Written::Word("none".to_owned()),
    }
    .serialize(serializer)
}

/// Reads what [`serialize`] writes.
///
/// # Errors
/// Any other value.
pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    match Written::deserialize(deserializer) {
        Ok(Written::Number(number)) => Ok(Some(number)),
        Ok(Written::Word(word)) if word == "none" => Ok(None),
        _ => Err(D::Error::custom("expected a number or \"none\"")),
    }
}

/// For an optional key: present is `Some`, whatever its value.
///
/// # Errors
/// As [`deserialize`].
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    deserialize(deserializer).map(Some)
}
