//! Random changes of a case, by what each file is made of. Every draw comes from one named stream, so that a seed and a number name
//! an input.

mod bytes;
pub mod json;
mod odd;
mod picture;
mod safetensors;
mod text;
mod toml_text;
mod tree;

use crate::case::Case;
use rand_chacha::ChaCha8Rng;
use rpo_data::random::{below, chance, choose};

/// The generator of every draw.
pub type Rng = ChaCha8Rng;

/// The most changes of one case.
const MOST: usize = 6;

/// The longest file that changes may make: longer ones only cost time.
const LONGEST: usize = 4 << 20;

/// `case` with one to six changes; `others` are cases to take parts from.
pub fn mutate(case: &Case, others: &[Case], rng: &mut Rng) -> Case {
    let mut case = case.clone();
    for round in 0..MOST {
        if round > 0 && chance(rng, 0.5) {
            break;
        }
        change(&mut case, others, rng);
    }
    case
}

fn change(case: &mut Case, others: &[Case], rng: &mut Rng) {
    let names: Vec<String> = case.files.keys().cloned().collect();
    if names.is_empty() {
        return;
    }
    let name = choose(rng, &names);
    if names.len() > 1 && chance(rng, 0.04) {
        case.files.remove(name);
        return;
    }
    let other = part(name, others, rng);
    let old = case.files.get(name).cloned().unwrap_or_default();
    if let Some(new) = changed(name, &old, other, rng).filter(|new| new.len() <= LONGEST) {
        case.files.insert(name.clone(), new);
    }
}

/// A file of another case, if possible of the same name.
fn part<'a>(name: &str, others: &'a [Case], rng: &mut Rng) -> &'a [u8] {
    if others.is_empty() {
        return &[];
    }
    let other = choose(rng, others);
    let same = other.files.get(name);
    let any = || other.files.values().next();
    same.or_else(any).map_or(&[], Vec::as_slice)
}

/// The new content; `None` if the drawn change does not apply.
fn changed(name: &str, old: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    if chance(rng, 0.2) {
        return Some(bytes::change(old, other, rng));
    }
    let ending = name.rsplit('.').next().unwrap_or_default();
    let structured = match ending {
        "json" => json::change(old, other, rng),
        "jsonl" => text::change_line(old, rng, |line, rng| json::change(line, &[], rng)),
        "toml" => toml_text::change(old, rng),
        "safetensors" => safetensors::change(old, rng),
        "txt" | "csv" => Some(text::change(old, other, rng)),
        _ => picture::change(old, rng),
    };
    structured.or_else(|| Some(bytes::change(old, other, rng)))
}

/// A position in something of `length`; 0 if it is empty.
fn place(rng: &mut Rng, length: usize) -> usize {
    match length {
        0 => 0,
        n => below(rng, n),
    }
}
