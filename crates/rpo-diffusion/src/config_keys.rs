//! The keys of a configuration file, taken one after the other, each within its bounds.

use std::fmt::Display;
use std::ops::RangeInclusive;

use candle_core::{Error, Result, bail};
use serde_json::{Map, Value};

/// The keys of a file that have not been taken yet.
pub(crate) struct Keys {
    label: String,
    rest: Map<String, Value>,
}

impl Keys {
    /// Parses the text of a file; `label` names it in errors. Python's `NaN`, `Infinity` and `-Infinity` become strings, which no
    /// number may be.
    pub(crate) fn parse(text: &str, label: &str) -> Result<Self> {
        let parsed = serde_json::from_str(text)
            .or_else(|e| serde_json::from_str(&quoted_numbers(text)).map_err(|_| e));
        match parsed {
            Ok(Value::Object(rest)) => Ok(Self {
                label: label.to_owned(),
                rest,
            }),
            Ok(_) => bail!("{label}: it is no JSON object with the keys of a configuration"),
            Err(e) => bail!("{label}: it is not JSON: {e}"),
        }
    }

    /// Where null means what an absent key means.
    pub(crate) fn without_nulls(mut self) -> Self {
        self.rest.retain(|_, value| !value.is_null());
        self
    }

    /// The name of the file in errors.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// The error about the value of a key.
    pub(crate) fn refuse<T>(
        &self,
        key: &str,
        value: impl Display,
        needed: impl Display,
    ) -> Result<T> {
        Err(Error::msg(format!(
            "{}: {key} = {value}: {needed} is needed",
            self.label
        )))
    }

    /// The value of a key, `None` if it is absent or null.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.rest.remove(key).filter(|v| !v.is_null())
    }

    /// The value of a key, null included, `None` if it is absent.
    pub(crate) fn given(&mut self, key: &str) -> Option<Value> {
        self.rest.remove(key)
    }

    /// A whole number.
    pub(crate) fn count(
        &mut self,
        key: &str,
        default: usize,
        bounds: RangeInclusive<usize>,
    ) -> Result<usize> {
        match self.given(key) {
            None => Ok(default),
            Some(value) => self.whole(key, &value, bounds),
        }
    }

    /// The same, of a value.
    pub(crate) fn whole(
        &self,
        key: &str,
        value: &Value,
        bounds: RangeInclusive<usize>,
    ) -> Result<usize> {
        match value.as_u64().map(usize::try_from) {
            Some(Ok(n)) if bounds.contains(&n) => Ok(n),
            _ => {
                let (least, most) = bounds.into_inner();
                self.refuse(key, value, format!("a whole number from {least} to {most}"))
            }
        }
    }

    /// A finite number for which `fits`, which `needed` says in words.
    pub(crate) fn number(
        &mut self,
        key: &str,
        fits: impl FnOnce(f64) -> bool,
        needed: &str,
    ) -> Result<Option<f64>> {
        let Some(value) = self.given(key) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(x) if x.is_finite() && fits(x) => Ok(Some(x)),
            _ => self.refuse(key, value, needed),
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &str, default: bool) -> Result<bool> {
        match self.given(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(value) => self.refuse(key, value, "true or false"),
        }
    }

    /// A list that the file must have, of at least one and at most `most` elements.
    fn list(&mut self, key: &str, most: usize, of: &str) -> Result<Vec<Value>> {
        let needed = format!("a list of 1 to {most} {of}");
        match self.given(key) {
            Some(Value::Array(list)) if (1..=most).contains(&list.len()) => Ok(list),
            Some(Value::Array(list)) => {
                self.refuse(key, format!("a list of {}", list.len()), needed)
            }
            Some(value) => self.refuse(key, value, needed),
            None => bail!("{}: the key {key} is missing: {needed}", self.label),
        }
    }

    /// A list of whole numbers.
    pub(crate) fn counts(
        &mut self,
        key: &str,
        most: usize,
        bounds: RangeInclusive<usize>,
    ) -> Result<Vec<usize>> {
        let list = self.list(key, most, "whole numbers")?;
        list.iter()
            .map(|value| self.whole(key, value, bounds.clone()))
            .collect()
    }

    /// A list of strings.
    pub(crate) fn words(&mut self, key: &str, most: usize) -> Result<Vec<String>> {
        let list = self.list(key, most, "names")?;
        list.into_iter()
            .map(|value| match value {
                Value::String(word) => Ok(word),
                other => self.refuse(key, other, "a list of names"),
            })
            .collect()
    }

    /// The keys that are left.
    pub(crate) fn rest(&self) -> &Map<String, Value> {
        &self.rest
    }
}

/// A text with the numbers in quotes that Python writes and JSON does not know; what stands in quotes is left alone.
fn quoted_numbers(text: &str) -> String {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let (mut out, mut rest, mut within) = (String::with_capacity(text.len()), text, false);
    while let Some(next) = rest.chars().next() {
        let word = WORDS.iter().find(|w| !within && rest.starts_with(**w));
        let length = match (word, next) {
            (Some(word), _) => word.len(),
            (None, '\\') => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, c) => c.len_utf8(),
        };
        within ^= next == '"';
        let (piece, after) = rest.split_at(length);
        match word {
            Some(word) => out.extend(["\"", word, "\""]),
            None => out.push_str(piece),
        }
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_lacks_are_strings() {
        let text = r#"{"a": NaN, "b\" NaN": "Infinity -Infinity", "c": [-Infinity, Infinity, "ü\\"], "d": NaN}"#;
        let quoted = r#"{"a": "NaN", "b\" NaN": "Infinity -Infinity", "c": ["-Infinity", "Infinity", "ü\\"], "d": "NaN"}"#;
        assert_eq!(quoted_numbers(text), quoted);
    }

    #[test]
    fn values_are_refused_by_file_and_key() {
        let keys = |text: &str| Keys::parse(text, "config.json");
        let told = |result: Result<()>| result.err().map(|e| e.to_string()).unwrap_or_default();
        for value in [
            "0",
            "-1",
            "9",
            "1.5",
            "\"2\"",
            "null",
            "NaN",
            "1e30",
            "18446744073709551615",
        ] {
            let text = format!("{{\"n\": {value}}}");
            let message = told(
                keys(&text)
                    .and_then(|mut k| k.count("n", 1, 1..=8))
                    .map(drop),
            );
            assert!(
                message.starts_with("config.json: n = ") && message.contains("1 to 8"),
                "{message}"
            );
        }
        for value in [
            "0",
            "-1",
            "null",
            "NaN",
            "-Infinity",
            "Infinity",
            "[1.0]",
            "\"1\"",
        ] {
            let text = format!("{{\"x\": {value}}}");
            let above = |k: &mut Keys| k.number("x", |x| x > 0., "a number above 0");
            let message = told(keys(&text).and_then(|mut k| above(&mut k)).map(drop));
            assert!(
                message.contains("x = ") && message.contains("above 0"),
                "{message}"
            );
        }
        for text in ["[]", "3", "", "{", "{\"a\": nan}", "{\"a\": 1e400}"] {
            assert!(
                told(keys(text).map(drop)).starts_with("config.json: it is no"),
                "{text}"
            );
        }
        for value in ["[]", "[1, 2, 3]", "7", "null", "[0]", "[\"a\"]"] {
            let text = format!("{{\"l\": {value}}}");
            let message = told(
                keys(&text)
                    .and_then(|mut k| k.counts("l", 2, 1..=8))
                    .map(drop),
            );
            assert!(message.contains("config.json: l = "), "{message}");
        }
        assert!(
            told(
                keys("{}")
                    .and_then(|mut k| k.counts("l", 2, 1..=8))
                    .map(drop)
            )
            .contains("l is missing")
        );
    }
}
