//! Configuration files, and their keys that are accepted only with values that have no effect.

use std::path::Path;

use candle_core::{Error, Result, bail};
use serde_json::{Map, Value};

/// The largest configuration that is read, in bytes; real ones have a few thousand, with a list of betas some 30 000.
const LARGEST: u64 = 16_000_000;

/// The text of a configuration file; the error has its path and a hint.
pub(crate) fn read(path: &Path) -> Result<String> {
    let cannot = |e: &dyn std::fmt::Display| {
        Error::msg(format!(
            "cannot read {}: {e}. A diffusers folder holds this file: copy the folder as a whole",
            path.display()
        ))
    };
    let about = std::fs::metadata(path).map_err(|e| cannot(&e))?;
    if about.len() > LARGEST {
        bail!(
            "{}: {} bytes are no configuration: at most {LARGEST} are read",
            path.display(),
            about.len()
        )
    }
    std::fs::read_to_string(path).map_err(|e| cannot(&e))
}

/// A key outside the supported part of a configuration, with the values that have no effect.
pub(crate) struct Neutral {
    key: &'static str,
    /// Accepted values as JSON texts; empty: any.
    values: &'static [&'static str],
}

impl Neutral {
    /// Only these JSON values are accepted.
    pub(crate) const fn only(key: &'static str, values: &'static [&'static str]) -> Self {
        Self { key, values }
    }

    /// The key has no effect here.
    pub(crate) const fn any(key: &'static str) -> Self {
        Self { key, values: &[] }
    }

    /// The key.
    pub(crate) fn key(&self) -> &'static str {
        self.key
    }

    /// The error about a value that would have an effect.
    pub(crate) fn check(&self, label: &str, value: &Value) -> Result<()> {
        if self.values.is_empty() || self.accepts(value)? {
            return Ok(());
        }
        bail!(
            "{label}: {} = {value} is not supported, only {}",
            self.key,
            self.values.join(" or ")
        )
    }

    /// Whether it is one of the values, or a list with a value for each block in which all are.
    fn accepts(&self, value: &Value) -> Result<bool> {
        if let Value::Array(each) = value {
            for value in each {
                if value.is_array() || !self.accepts(value)? {
                    return Ok(false);
                }
            }
            return Ok(!each.is_empty());
        }
        for text in self.values {
            let accepted: Value = serde_json::from_str(text).map_err(Error::msg)?;
            let same_number = accepted.is_number() && accepted.as_f64() == value.as_f64();
            if same_number || accepted == *value {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Errors on the first key of `rest` that would change the network. Keys that start with `_`, and unknown keys that are null or
/// false, are accepted.
pub(crate) fn refuse_others(
    label: &str,
    rest: &Map<String, Value>,
    neutral: &[Neutral],
) -> Result<()> {
    for (key, value) in rest {
        match neutral.iter().find(|n| n.key == key) {
            Some(n) => n.check(label, value)?,
            None if is_silent(key, value) => {}
            None => return Err(unknown(label, key, value)),
        }
    }
    Ok(())
}

/// Whether a key that nobody knows says nothing.
pub(crate) fn is_silent(key: &str, value: &Value) -> bool {
    key.starts_with('_') || value.is_null() || *value == Value::Bool(false)
}

/// The error about a key that nobody knows.
pub(crate) fn unknown(label: &str, key: &str, value: &Value) -> Error {
    Error::msg(format!(
        "{label}: the key {key} = {value} is not known; remove it if it has no influence"
    ))
}
