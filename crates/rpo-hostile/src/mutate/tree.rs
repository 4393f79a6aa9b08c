//! Changes of a tree of keys and values, which JSON and TOML share.
//!
//! A string that begins with [`RAW`] stands for the text after it, unquoted, so that a tree can hold what its format cannot: numbers
//! that are too large, keys given twice, values without end.

use super::{Rng, odd};
use rpo_data::random::{below, chance, choose};
use serde_json::{Map, Value};

/// Marks a string that is written as it stands.
const RAW: char = '\u{e000}';

fn raw(text: &str) -> String {
    format!("{RAW}{text}")
}

/// The text of a key or a string.
pub(super) fn quoted(text: &str) -> String {
    match text.strip_prefix(RAW) {
        Some(text) => text.to_owned(),
        None => Value::String(text.to_owned()).to_string(),
    }
}

/// Writes a tree; `is` stands between key and value.
pub(super) fn write(value: &Value, is: &str, out: &mut String) {
    match value {
        Value::String(text) => out.push_str(&quoted(text)),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                write(item, is, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                out.push_str(if i == 0 { "" } else { "," });
                out.push_str(&quoted(key));
                out.push_str(is);
                write(item, is, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// Number of values below and including `value`.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// The `n`-th value, and the `n` that is left.
fn find<'a>(value: &'a mut Value, n: &mut usize) -> Option<&'a mut Value> {
    if *n == 0 {
        return Some(value);
    }
    *n -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| find(item, n)),
        Value::Object(map) => map.values_mut().find_map(|item| find(item, n)),
        _ => None,
    }
}

/// A random value of the tree.
fn any<'a>(tree: &'a mut Value, rng: &mut Rng) -> Option<&'a mut Value> {
    let mut n = below(rng, count(tree));
    find(tree, &mut n)
}

/// One change somewhere in the tree; values are taken from `other`.
pub(super) fn change(tree: &mut Value, other: &mut Value, rng: &mut Rng) {
    let donor = any(other, rng).cloned();
    let Some(place) = any(tree, rng) else { return };
    if chance(rng, 0.1)
        && let Some(donor) = donor
    {
        *place = donor;
        return;
    }
    match place {
        Value::Object(map) if !map.is_empty() => change_map(map, rng),
        Value::Array(items) if !items.is_empty() => change_list(items, rng),
        Value::Number(number) if chance(rng, 0.3) => {
            let number = number.as_f64().unwrap_or_default();
            let near = [
                number + 1.,
                number - 1.,
                -number,
                number * 2.,
                number / 2.,
                number * 1e3,
            ];
            let near = *choose(rng, &near);
            *place = match near.fract() == 0. && near.abs() < 1e15 {
                true => Value::from(near as i64),
                false => Value::from(near),
            };
        }
        Value::Number(_) if chance(rng, 0.7) => *place = Value::String(raw(&odd::number(rng))),
        Value::String(text) if chance(rng, 0.3) => {
            let at = text
                .char_indices()
                .map(|(i, _)| i)
                .nth(below(rng, text.chars().count().max(1)));
            if let Some(at) = at {
                let odd = ["\u{0}", "\u{1b}[2J", " ", "/", "A", "\u{e9}", "."];
                let odd = *choose(rng, &odd);
                text.insert_str(at, odd);
            }
        }
        Value::String(_) if chance(rng, 0.7) => *place = Value::String(raw(&odd::string(rng))),
        place => *place = replaced(place, rng),
    }
}

/// Another type, or the same value inside or outside something.
fn replaced(old: &Value, rng: &mut Rng) -> Value {
    match below(rng, 5) {
        0 => Value::Array(vec![old.clone()]),
        1 => Value::Object(Map::from_iter([("a".to_owned(), old.clone())])),
        2 => Value::String(old.to_string()),
        _ => Value::String(raw(&odd::value(rng))),
    }
}

fn change_map(map: &mut Map<String, Value>, rng: &mut Rng) {
    let keys: Vec<String> = map.keys().cloned().collect();
    let key = choose(rng, &keys);
    match below(rng, 6) {
        0 | 1 => drop(map.remove(key)),
        2 => {
            let again = raw(&quoted(key));
            map.insert(again, Value::String(raw(&odd::value(rng))));
        }
        3 => {
            if let Some(value) = map.remove(key) {
                map.insert(raw(&odd::string(rng)), value);
            }
        }
        4 => {
            let value = map.get(choose(rng, &keys)).cloned();
            map.insert(key.clone(), value.unwrap_or_default());
        }
        _ => {
            let value = map.get(key).cloned().unwrap_or_default();
            map.insert(format!("{key}{}", below(rng, 100)), value);
        }
    }
}

fn change_list(items: &mut Vec<Value>, rng: &mut Rng) {
    let at = below(rng, items.len());
    match below(rng, 6) {
        0 => drop(items.remove(at)),
        1 => items.clear(),
        2 => {
            let item = items[at].clone();
            let times = 1 << below(rng, if count(&item) > 20 { 4 } else { 10 });
            items.extend(std::iter::repeat_n(item, times));
        }
        3 => items.swap(at, 0),
        4 => items.push(Value::String(raw(&odd::value(rng)))),
        _ => items[at] = Value::String(raw(&odd::value(rng))),
    }
}
