//! Conversion of all parts of a model to one file and back.

use std::collections::BTreeMap;

use candle_core::{Result, bail};
use rpo_nn::weights::{Archive, Item};

use super::besides::is_unread;
use super::spelling::original;
use super::{Family, Names};

/// The tensors of a file by part.
#[derive(Debug)]
pub struct Folders<'a> {
    /// Folder and tensors of each part.
    pub parts: Vec<(&'static str, Vec<Item<'a>>)>,
    /// Names of tensors that no part reads.
    pub passed_over: Vec<String>,
}

/// The tensors of a file for those of all parts of a folder, named `(part, tensors)`.
///
/// # Errors
/// If a tensor has no name in the file, or a part is missing.
pub fn to_file<'a>(names: &Names, mut parts: Vec<(&str, Vec<Item<'a>>)>) -> Result<Vec<Item<'a>>> {
    let mut out = Vec::new();
    for (part, map) in &names.parts {
        let Some(i) = parts.iter().position(|(name, _)| name == part) else {
            bail!("the part {part} is missing")
        };
        out.extend(map.to_file(parts.swap_remove(i).1, part)?);
    }
    Ok(out)
}

/// The tensors of all parts of a folder for those of a file, whose names may be any of the known spellings.
///
/// # Errors
/// If the file has no tensor of a part, one that does not fit its part's configuration, two for one place, or one of whole numbers.
pub fn to_folders<'a>(names: &Names, archive: &'a Archive) -> Result<Folders<'a>> {
    let label = archive.label();
    let last = beyond(names, archive);
    let unread = |name: &str| {
        is_unread(name) || last.as_deref().is_some_and(|layer| name.starts_with(layer))
    };
    let mut written: BTreeMap<String, String> = BTreeMap::new();
    let (mut items, mut passed_over) = (Vec::new(), Vec::new());
    for item in archive.items() {
        let name = original(&item.name, names.family);
        if unread(&name) {
            passed_over.push(item.name);
            continue;
        }
        if let Some(other) = written.insert(name.clone(), item.name.clone()) {
            bail!(
                "{label}: {other} and {} are two spellings of one tensor\n  hint: remove the one that is not meant",
                item.name
            )
        }
        items.push(item.renamed(name));
    }
    for name in archive.buffers() {
        let place = original(name, names.family);
        if !unread(&place)
            && names
                .parts
                .iter()
                .any(|(_, map)| map.origin(&place).is_some())
        {
            bail!(
                "{label}: tensor {name} holds whole numbers, weights are floating-point numbers\n  hint: use the file in f16, bf16 or f32 that it was made from"
            )
        }
    }
    let mut parts = Vec::new();
    for (part, map) in &names.parts {
        let mut rest = Vec::new();
        let tensors = map.to_folder(items, &mut rest, label)?;
        if tensors.is_empty() {
            bail!(
                "{label}: it holds no {part} (no tensor begins with {}): use a checkpoint of the whole model",
                map.prefix()
            )
        }
        if let Some(item) = rest.iter().find(|item| item.name.starts_with(map.prefix())) {
            bail!(
                "{label}: tensor {} has no place in a {part} of the given configuration: file and configuration must be of one model",
                written.get(&item.name).unwrap_or(&item.name)
            )
        }
        parts.push((*part, tensors));
        items = rest;
    }
    if let Some(item) = items.first() {
        bail!(
            "{label}: tensor {} belongs to no part of {}\n  hint: if it is not needed, remove it; if the file is a whole model of a known program, report the name",
            written.get(&item.name).unwrap_or(&item.name),
            names.family
        )
    }
    Ok(Folders { parts, passed_over })
}

/// Stable Diffusion 2.x reads OpenCLIP's penultimate layer, so folders omit the last one: the beginning of its names, if the
/// file has exactly one layer more than the configuration.
fn beyond(names: &Names, archive: &Archive) -> Option<String> {
    if names.family != Family::Sd2 {
        return None;
    }
    let (_, map) = names
        .parts
        .iter()
        .find(|(part, _)| *part == "text_encoder")?;
    let layer = |i: usize| {
        ["transformer.resblocks", "text_model.encoder.layers"]
            .map(|list| format!("{}{list}.{i}.", map.prefix()))
    };
    let known = |layer: &str, leaf: &str| map.origin(&format!("{layer}{leaf}")).is_some();
    let count = (0..).find(|i| !known(&layer(*i)[0], "ln_1.weight"))?;
    let all: Vec<String> = archive
        .names()
        .map(|name| original(name, names.family))
        .collect();
    let has = |layer: &str| all.iter().any(|name| name.starts_with(layer));
    let [next, after] = [layer(count), layer(count + 1)];
    if after.iter().any(|layer| has(layer)) {
        return None;
    }
    next.into_iter().find(|layer| has(layer))
}
