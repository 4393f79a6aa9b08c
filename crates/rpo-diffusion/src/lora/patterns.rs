//! peft's tables of ranks and strengths by patterns of names, read as peft reads them.

use candle_core::{Error, Result, bail};
use fancy_regex::{Regex, RegexBuilder};
use rpo_files::printable::printable_name;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// More than a pattern for every module of the largest U-Net.
const MOST: usize = 10_000;
/// Longer than any module's name with all its parts.
const LONGEST: usize = 1_000;
/// Steps of a search before a pattern counts as hopeless: names have some sixty characters.
const STEPS: usize = 100_000;

/// Keys and values in the file's order, which decides where several patterns fit one name.
#[derive(Debug, Default)]
pub(super) struct InOrder(pub(super) Vec<(String, Value)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = InOrder;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table")
            }

            fn visit_unit<E>(self) -> std::result::Result<InOrder, E> {
                Ok(InOrder::default())
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<InOrder, A::Error> {
                let mut entries: Vec<(String, Value)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    // As in Python: the last value of a key, at its first place.
                    match entries.iter_mut().find(|(known, _)| *known == key) {
                        Some(entry) => entry.1 = value,
                        None => entries.push((key, value)),
                    }
                    if entries.len() > MOST {
                        return Err(serde::de::Error::custom(format!(
                            "more than {MOST} patterns"
                        )));
                    }
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_any(Table)
    }
}

impl InOrder {
    /// The table `name` inside the JSON table `text`; empty if there is none. serde_json's own tables are sorted.
    ///
    /// # Errors
    /// If it is no table.
    pub(super) fn inside(text: &str, name: &str) -> serde_json::Result<Self> {
        struct Field<'a>(&'a str);
        impl<'de> Visitor<'de> for Field<'_> {
            type Value = InOrder;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<InOrder, A::Error> {
                let mut found = InOrder::default();
                while let Some(key) = map.next_key::<String>()? {
                    if key == self.0 {
                        found = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(found)
            }
        }
        serde_json::Deserializer::from_str(text).deserialize_map(Field(name))
    }
}

/// A table of patterns.
#[derive(Debug, Default)]
pub(super) struct Patterns<T> {
    entries: Vec<(Regex, String, T)>,
}

impl<T: Copy> Patterns<T> {
    /// Compiles a table; `value` reads a value.
    ///
    /// # Errors
    /// If a pattern is no regular expression, or a value is out of range, with `what` and the pattern.
    pub(super) fn new(
        table: InOrder,
        what: &str,
        value: impl Fn(&Value) -> Option<T>,
    ) -> Result<Self> {
        let mut entries = Vec::with_capacity(table.0.len());
        for (key, entry) in table.0 {
            let shown = printable_name(&key).into_owned();
            let Some(value) = value(&entry) else {
                bail!("{what}: the value of `{shown}` is {entry}, which is out of range")
            };
            if key.len() > LONGEST {
                bail!("{what}: the pattern `{shown}` has more than {LONGEST} characters")
            }
            // What peft gives to `re.match`.
            let regex = RegexBuilder::new(&format!(r"^(?:(.*\.)?({key})$)"))
                .backtrack_limit(STEPS)
                .build()
                .map_err(|e| {
                    Error::msg(format!("{what}: the pattern `{shown}` cannot be read: {e}"))
                })?;
            entries.push((regex, shown, value));
        }
        Ok(Self { entries })
    }

    /// The value of the first pattern that fits the name.
    ///
    /// # Errors
    /// If a pattern takes too many steps, with the pattern.
    pub(super) fn get(&self, name: &str) -> Result<Option<T>> {
        for (regex, shown, value) in &self.entries {
            let fits = regex.is_match(name);
            if fits.map_err(|e| Error::msg(format!("the pattern `{shown}` cannot be used: {e}")))? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Patterns<f64> {
        Patterns::new(
            serde_json::from_str(json).unwrap(),
            "alpha_pattern",
            Value::as_f64,
        )
        .unwrap()
    }

    /// Each line was compared with peft 0.21.2's `get_pattern_key`.
    #[test]
    fn names_are_matched_as_peft_matches_them() {
        let name = "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q";
        for (pattern, fits) in [
            ("to_q", true),
            ("o_q", false),
            ("to_q$", true),
            ("^to_q", false),
            ("attn1.to_q", true),
            ("attn1", false),
            (r"attn\d\.to_(q|k)", true),
            ("down_blocks.*to_q", true),
            ("^down_blocks.*", true),
            ("^up_blocks.*", false),
            (".*", true),
            ("to_k|to_q", true),
            ("a)|(down_blocks.*to_q", true),
            ("to_(?!k).", true),
            ("to_(?!q).", false),
            ("TO_Q", false),
            ("", false),
        ] {
            let got = of(&serde_json::json!({ pattern: 3 }).to_string())
                .get(name)
                .unwrap();
            assert_eq!(got, fits.then_some(3.0), "{pattern}");
        }
    }

    #[test]
    fn the_first_pattern_of_the_file_counts() {
        assert_eq!(
            of(r#"{"to_q": 1, "attn1.to_q": 2}"#)
                .get("attn1.to_q")
                .unwrap(),
            Some(1.0)
        );
        assert_eq!(
            of(r#"{"attn1.to_q": 2, "to_q": 1}"#)
                .get("attn1.to_q")
                .unwrap(),
            Some(2.0)
        );
        // The last value of a key that is there twice, at its first place.
        assert_eq!(
            of(r#"{"to_q": 1, ".*": 2, "to_q": 3}"#)
                .get("to_q")
                .unwrap(),
            Some(3.0)
        );
        assert_eq!(of("null").get("to_q").unwrap(), None);
    }

    #[test]
    fn hopeless_patterns_are_told() {
        let new = |json: &str| {
            Patterns::new(
                serde_json::from_str(json).unwrap(),
                "alpha_pattern",
                Value::as_f64,
            )
        };
        for (json, told) in [
            (r#"{"to_(q": 1}"#, "`to_(q` cannot be read"),
            (r#"{"to_q": "big"}"#, "`to_q` is \"big\""),
        ] {
            let message = new(json).unwrap_err().to_string();
            assert!(message.contains(told), "{message}");
        }
        let slow = new(r#"{"((a*)*(?=b))*c": 1}"#).unwrap();
        let message = slow.get(&"a".repeat(60)).unwrap_err().to_string();
        assert!(message.contains("cannot be used"), "{message}");
        let many = (0..=MOST).map(|i| format!("\"{i}\":1")).collect::<Vec<_>>();
        let error = serde_json::from_str::<InOrder>(&format!("{{{}}}", many.join(",")));
        assert!(error.unwrap_err().to_string().contains("more than 10000"));
    }
}
