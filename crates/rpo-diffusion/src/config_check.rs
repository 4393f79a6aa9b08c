//! Configuration keys that are accepted only with values that have no effect.

use std::path::Path;

use candle_core::{Error, Result, bail};
use serde_json::{Map, Value};

/// The text of a configuration file; the error has its path and a hint.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| {
        Error::msg(format!(
            "cannot read {}: {e}. A diffusers folder holds this file: copy the folder as a whole",
            path.display()
        ))
    })
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

    fn accepts(&self, value: &Value) -> Result<bool> {
        for text in self.values {
            let accepted: Value = serde_json::from_str(text).map_err(Error::msg)?;
            let same_number = accepted.is_number() && accepted.as_f64() == value.as_f64();
            if same_number || accepted == *value {
                return Ok(true);
            }
        }
        Ok(self.values.is_empty())
    }
}

/// Errors on the first key of `rest` that would change the network or the schedule. Keys that start with `_`, and unknown
/// keys that are null or false, are accepted.
pub(crate) fn refuse_others(
    label: &str,
    rest: &Map<String, Value>,
    neutral: &[Neutral],
) -> Result<()> {
    for (key, value) in rest {
        match neutral.iter().find(|n| n.key == key) {
            Some(n) if n.accepts(value)? => {}
            Some(n) => bail!(
                "{label}: {key} = {value} is not supported, only {}",
                n.values.join(" or ")
            ),
            None if key.starts_with('_') || value.is_null() || *value == Value::Bool(false) => {}
            None => bail!(
                "{label}: the key {key} = {value} is not known; remove it if it has no influence"
            ),
        }
    }
    Ok(())
}
