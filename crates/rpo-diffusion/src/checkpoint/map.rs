//! Names of one part in a diffusers folder and in a single file, both ways.

use candle_core::{Result, bail};
use rpo_nn::weights::Item;
use std::collections::BTreeMap;

/// Conversion of a tensor's values or shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// A matrix `[a, b]` in the folder is a 1x1 kernel `[a, b, 1, 1]` in the file; `[a, b, 1]` and `[a, b]` are read too.
    Kernel,
    /// A bias `[a]`; `[a, 1, 1]` is read too.
    KernelBias,
    /// A matrix in the folder is its transpose in the file.
    Transpose,
}

/// The counterpart in the file of a tensor of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Counterpart {
    /// A whole tensor.
    Whole(String, Change),
    /// Rows of a tensor that stacks query, key and value: its name, and 0, 1 or 2.
    Third(String, usize),
}

/// The names of one part. Modules are listed; the rest of a tensor's name (`.weight`, `.bias`, the inside of a
/// transformer) is the same on both sides.
#[derive(Clone, Debug, Default)]
pub struct NameMap {
    /// What all names of the part begin with in the file.
    prefix: String,
    /// Prefix of the folder's names, if the folder was written by transformers before version 5.
    wrapper: &'static str,
    to_file: BTreeMap<String, String>,
    to_folder: BTreeMap<String, String>,
    /// Tensors that a file may have under the folder's own name, which has no wrapper, as (file, folder).
    unwrapped: BTreeMap<String, String>,
    /// Modules whose matrices are kernels in the file.
    kernels: Vec<String>,
    /// Attention modules whose `q_proj`, `k_proj`, `v_proj` are fused in the file, as (folder, file).
    fused: Vec<(String, String)>,
    /// Matrices that are transposed in the file, as (folder, file).
    transposed: Vec<(String, String)>,
}

const QKV: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

impl NameMap {
    pub(super) fn new(prefix: &str, wrapper: &'static str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            wrapper,
            ..Self::default()
        }
    }

    /// A module, or a single tensor.
    pub(super) fn add(&mut self, folder: impl Into<String>, file: impl Into<String>) {
        let (folder, file) = (folder.into(), file.into());
        self.to_file.insert(folder.clone(), file.clone());
        self.to_folder.insert(file, folder);
    }

    /// A module whose matrix is a 1x1 kernel in the file.
    pub(super) fn add_kernel(&mut self, folder: impl Into<String>, file: impl Into<String>) {
        let folder = folder.into();
        self.kernels.push(folder.clone());
        self.add(folder, file);
    }

    /// Another name that a file may have for a module.
    pub(super) fn also_in_file(&mut self, folder: impl Into<String>, file: impl Into<String>) {
        self.to_folder.insert(file.into(), folder.into());
    }

    /// A tensor outside the wrapper that a file may have under the folder's own name.
    pub(super) fn also_unwrapped(&mut self, name: impl Into<String>) {
        let name = name.into();
        self.unwrapped.insert(name.clone(), name);
    }

    /// Another name that a folder may have for a module whose matrix is a 1x1 kernel in the file.
    pub(super) fn also_kernel(&mut self, folder: impl Into<String>, file: impl Into<String>) {
        let folder = folder.into();
        self.kernels.push(folder.clone());
        self.to_file.insert(folder, file.into());
    }

    pub(super) fn add_fused(&mut self, folder: impl Into<String>, file: impl Into<String>) {
        self.fused.push((folder.into(), file.into()));
    }

    pub(super) fn add_transposed(&mut self, folder: impl Into<String>, file: impl Into<String>) {
        self.transposed.push((folder.into(), file.into()));
    }

    /// What all names of the part begin with in the file.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The counterpart in the file of the folder's tensor `name`; `None` if the part has no such tensor.
    pub fn counterpart(&self, name: &str) -> Option<Counterpart> {
        let name = name.strip_prefix(self.wrapper).unwrap_or(name);
        let whole =
            |file: String, change| Counterpart::Whole(format!("{}{file}", self.prefix), change);
        if let Some((_, file)) = self.transposed.iter().find(|(folder, _)| folder == name) {
            return Some(whole(file.clone(), Change::Transpose));
        }
        for (folder, file) in &self.fused {
            let Some(rest) = name
                .strip_prefix(folder.as_str())
                .and_then(|r| r.strip_prefix('.'))
            else {
                continue;
            };
            let (module, leaf) = rest.split_once('.')?;
            if let Some(third) = QKV.iter().position(|qkv| *qkv == module) {
                return Some(Counterpart::Third(
                    format!("{}{file}.in_proj_{leaf}", self.prefix),
                    third,
                ));
            }
        }
        let (module, file) = longest(&self.to_file, name)?;
        let inner = &name[module.len()..];
        let change = match self.kernels.contains(module) && inner == ".weight" {
            true => Change::Kernel,
            false => Change::None,
        };
        Some(whole(format!("{file}{inner}"), change))
    }

    /// The tensors of the folder in the file's tensor `name`: one, or query, key and value; `None` if it is not of this part.
    pub fn origin(&self, name: &str) -> Option<(Vec<String>, Change)> {
        let name = name.strip_prefix(&self.prefix)?;
        let wrapped = |folder: &str| format!("{}{folder}", self.wrapper);
        if let Some(folder) = self.unwrapped.get(name) {
            return Some((vec![folder.clone()], Change::None));
        }
        if let Some((folder, _)) = self.transposed.iter().find(|(_, file)| file == name) {
            // transformers keeps the projection outside the wrapper.
            return Some((vec![folder.clone()], Change::Transpose));
        }
        for (folder, file) in &self.fused {
            if let Some(leaf) = name.strip_prefix(&format!("{file}.in_proj_")) {
                let names = QKV.map(|qkv| wrapped(&format!("{folder}.{qkv}.{leaf}")));
                return Some((names.to_vec(), Change::None));
            }
        }
        let (module, folder) = longest(&self.to_folder, name)?;
        let inner = &name[module.len()..];
        let change = match (self.kernels.contains(folder), inner) {
            (true, ".weight") => Change::Kernel,
            (true, ".bias") => Change::KernelBias,
            _ => Change::None,
        };
        Some((vec![wrapped(&format!("{folder}{inner}"))], change))
    }

    /// The tensors of the file for the tensors of a folder.
    ///
    /// # Errors
    /// A tensor without a counterpart, or query, key and value that do not fit together; `label` names the folder.
    pub fn to_file<'a>(&self, items: Vec<Item<'a>>, label: &str) -> Result<Vec<Item<'a>>> {
        let mut out = Vec::new();
        let mut fused: BTreeMap<String, [Option<Item<'a>>; 3]> = BTreeMap::new();
        for item in items {
            match self.counterpart(&item.name) {
                None => bail!(
                    "{label}: tensor {} has no place in a single-file checkpoint",
                    item.name
                ),
                Some(Counterpart::Third(name, i)) => {
                    fused.entry(name).or_default()[i] = Some(item);
                }
                Some(Counterpart::Whole(name, Change::None | Change::KernelBias)) => {
                    out.push(item.renamed(name));
                }
                Some(Counterpart::Whole(name, Change::Kernel)) => {
                    let mut item = item.renamed(name);
                    if item.shape.len() == 2 {
                        item.shape.extend([1, 1]);
                    }
                    out.push(item);
                }
                Some(Counterpart::Whole(name, Change::Transpose)) => {
                    out.push(transposed(item, name, label)?)
                }
            }
        }
        for (name, thirds) in fused {
            let [Some(q), Some(k), Some(v)] = thirds else {
                bail!("{label}: query, key or value of {name} is missing")
            };
            if q.shape != k.shape || q.shape != v.shape || q.shape.is_empty() {
                bail!("{label}: query, key and value of {name} differ in shape")
            }
            let mut shape = q.shape.clone();
            shape[0] *= 3;
            out.push(Item::new(name, shape, move || {
                Ok([q.values()?, k.values()?, v.values()?].concat())
            }));
        }
        Ok(out)
    }

    /// The tensors of the folder for the tensors of a file that belong to the part; `rest` receives the others.
    ///
    /// # Errors
    /// A tensor with an impossible shape.
    pub fn to_folder<'a>(
        &self,
        items: Vec<Item<'a>>,
        rest: &mut Vec<Item<'a>>,
        label: &str,
    ) -> Result<Vec<Item<'a>>> {
        let mut out = Vec::new();
        for item in items {
            match self.origin(&item.name) {
                None => rest.push(item),
                Some((names, change)) if names.len() == 1 => {
                    let name = names.into_iter().next().unwrap_or_default();
                    match change {
                        Change::Kernel => out.push(flat(item.renamed(name), 2)),
                        Change::KernelBias => out.push(flat(item.renamed(name), 1)),
                        Change::Transpose => out.push(transposed(item, name, label)?),
                        Change::None => out.push(item.renamed(name)),
                    }
                }
                Some((names, _)) => {
                    let thirds = item.shape.first().copied().unwrap_or_default();
                    if thirds == 0 || !thirds.is_multiple_of(3) {
                        bail!(
                            "{label}: tensor {} of shape {:?} should hold query, key and value one below the other",
                            item.name,
                            item.shape
                        )
                    }
                    let mut shape = item.shape.clone();
                    shape[0] /= 3;
                    let count: usize = shape.iter().product();
                    let item = std::rc::Rc::new(item);
                    for (i, name) in names.into_iter().enumerate() {
                        let item = item.clone();
                        out.push(Item::new(name, shape.clone(), move || {
                            Ok(item.values()?[i * count..][..count].to_vec())
                        }));
                    }
                }
            }
        }
        Ok(out)
    }
}

/// The entry whose key is the longest prefix of `name` that ends at a dot or its end.
fn longest<'m>(map: &'m BTreeMap<String, String>, name: &str) -> Option<(&'m String, &'m String)> {
    let ends = name.match_indices('.').map(|(i, _)| i).chain([name.len()]);
    let mut ends: Vec<usize> = ends.collect();
    ends.reverse();
    ends.into_iter()
        .find_map(|end| map.get_key_value(&name[..end]))
}

/// Without dimensions of 1 behind the first `rank`.
fn flat(mut item: Item<'_>, rank: usize) -> Item<'_> {
    while item.shape.len() > rank && item.shape.last() == Some(&1) {
        item.shape.pop();
    }
    item
}

fn transposed<'a>(item: Item<'a>, name: String, label: &str) -> Result<Item<'a>> {
    let &[rows, cols] = item.shape.as_slice() else {
        bail!(
            "{label}: tensor {} of shape {:?} should be a matrix",
            item.name,
            item.shape
        )
    };
    Ok(Item::new(name, [cols, rows], move || {
        let values = item.values()?;
        let place = |i: usize| values[i % rows * cols + i / rows];
        Ok((0..values.len()).map(place).collect())
    }))
}
