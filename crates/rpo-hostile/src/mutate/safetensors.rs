//! Changes of a safetensors file: its length, its header, its numbers.

use super::{Rng, bytes, json, odd, place, tree};
use rpo_data::random::{below, chance, choose};
use serde_json::{Value, json};

const DTYPES: [&str; 22] = [
    "F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL",
    "F8_E4M3", "F8_E5M2", "F4", "F6_E2M3", "F8_E8M0", "C64", "f32", "", "X",
];

/// Numbers as bytes that are not finite, or overflow when they are used.
const VALUES: [u32; 8] = [
    0x7f80_0000,
    0xff80_0000,
    0x7fc0_0000,
    0x7f7f_ffff,
    0x0000_0001,
    0x7f80_7f80,
    0x7c00_7c00,
    0x0080_0000,
];

/// A file with one change; `None` if it has no readable header.
pub(super) fn change(old: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let (length, rest) = old.split_at_checked(8)?;
    let length = u64::from_le_bytes(length.try_into().ok()?) as usize;
    let (header, data) = rest.split_at_checked(length)?;
    let mut header: Value = serde_json::from_slice(header).ok()?;
    let mut data = data.to_vec();
    match below(rng, 10) {
        0 => {
            let mut new = old.to_vec();
            bytes::set_number(&mut new[..8], 0, rng);
            return Some(new);
        }
        1 | 2 if !data.is_empty() => {
            let at = place(rng, data.len()) / 4 * 4;
            let value = choose(rng, &VALUES).to_le_bytes();
            for (byte, new) in data[at..].iter_mut().zip(value) {
                *byte = new;
            }
        }
        3 => data = bytes::change(&data, &[], rng),
        4 | 5 => {
            let mut other = header.clone();
            tree::change(&mut header, &mut other, rng);
        }
        _ => change_entry(&mut header, &mut data, rng),
    }
    let text = json::text(&header);
    Some(file(&text, &data))
}

/// The bytes of a file.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), data].concat()
}

/// One tensor's entry, changed so that the rest of the file still fits it where that can be.
fn change_entry(header: &mut Value, data: &mut Vec<u8>, rng: &mut Rng) {
    let Value::Object(entries) = header else {
        return;
    };
    let names: Vec<String> = entries.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = choose(rng, &names).clone();
    let other = entries.get(choose(rng, &names)).cloned();
    // Earlier changes may have left something else there.
    let Some(entry) = entries.get_mut(&name).filter(|e| e.is_object()) else {
        return;
    };
    match below(rng, 9) {
        0 => entry["dtype"] = json!(choose(rng, &DTYPES)),
        // Half as wide and twice as many, or the reverse: the bytes still fit.
        1 => {
            let wide = entry["dtype"] == "F32";
            entry["dtype"] = json!(if wide { "F16" } else { "F32" });
            if let Some(first) = entry["shape"].get_mut(0)
                && let Some(n) = first.as_u64()
            {
                *first = json!(if wide { n.saturating_mul(2) } else { n / 2 });
            }
        }
        2 => {
            if let Some(shape) = entry["shape"].as_array_mut() {
                match below(rng, 4) {
                    0 => shape.reverse(),
                    1 => shape.push(json!(1)),
                    2 => shape.insert(0, json!(0)),
                    _ => shape.extend([json!(1u64 << 32), json!(1u64 << 32)]),
                }
            }
        }
        3 => entry["data_offsets"] = other.map_or(json!([0, 0]), |o| o["data_offsets"].clone()),
        4 => {
            if let Some(offset) = entry["data_offsets"].get_mut(below(rng, 2)) {
                *offset = serde_json::from_str(&odd::number(rng)).unwrap_or(json!(8));
            }
        }
        5 => {
            let (entry, odd) = (entry.clone(), odd::string(rng));
            entries.remove(&name);
            let new = serde_json::from_str(&odd).unwrap_or_else(|_| format!("{name}\u{1b}[31m"));
            entries.insert(new, entry);
        }
        6 => {
            // A tensor more, whole and in its place.
            let (from, values) = (data.len(), 1 + below(rng, 8));
            data.extend(std::iter::repeat_n(0u8, 4 * values));
            let entry =
                json!({"dtype": "F32", "shape": [values], "data_offsets": [from, data.len()]});
            let cut = name.char_indices().nth(place(rng, name.chars().count()));
            let stem = &name[..cut.map_or(0, |(i, _)| i)];
            entries.insert(
                format!("{stem}{}", choose(rng, &["", ".weight", ".alpha", ".bias"])),
                entry,
            );
        }
        7 => {
            let (a, b) = (names.first().cloned().unwrap_or_default(), name);
            if let (Some(x), Some(y)) = (entries.remove(&a), entries.remove(&b)) {
                entries.insert(a, y);
                entries.insert(b, x);
            }
        }
        _ => {
            let text = if chance(rng, 0.5) {
                "\u{1b}]0;title\u{7}"
            } else {
                "x"
            };
            entries.insert(
                "__metadata__".to_owned(),
                json!({text: text, "format": "pt"}),
            );
        }
    }
}
