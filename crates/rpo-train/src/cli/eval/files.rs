//! The pictures of a folder, each with its prompt.

use super::names::{Pattern, numbers};
use anyhow::Result;
use rpo_data::subject::{Captions, list, some};
use rpo_files::failure::{BadInput, OrBadInput};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A picture and its prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// Relative to the folder of pictures.
    pub(super) file: String,
    pub(super) path: PathBuf,
    /// As given: filled in or a template.
    pub(super) prompt: String,
}

/// The pictures of a folder: flat, or in one folder per prompt.
pub(super) struct Files {
    dir: PathBuf,
    /// Name of the inner folder, if it is in one, the path as seen from the folder, the path.
    found: Vec<(Option<String>, String, PathBuf)>,
    /// Captions beside them.
    captions: Captions,
}

impl Files {
    pub(super) fn list(dir: &Path) -> Result<Self> {
        let what = "--pictures";
        let mut found = Vec::new();
        let mut captions = Captions::default();
        let mut add =
            |folder: Option<&Path>, photos: Vec<PathBuf>, others: &[PathBuf]| -> Result<()> {
                let name = folder.and_then(Path::file_name);
                let name = name.map(|n| n.to_string_lossy().into_owned());
                captions
                    .of
                    .extend(Captions::find(&photos, others).or_bad_input(what)?.of);
                for path in photos {
                    let relative = path.strip_prefix(dir).unwrap_or(&path);
                    let file = relative.to_string_lossy().replace('\\', "/");
                    found.push((name.clone(), file, path));
                }
                Ok(())
            };
        let top = list(dir).or_bad_input(what)?;
        add(None, top.photos, &top.others)?;
        for folder in &top.folders {
            let inner = list(folder).or_bad_input(what)?;
            add(Some(folder), inner.photos, &inner.others)?;
        }
        if found.is_empty() {
            return Err(BadInput::new(format!(
                "--pictures {}: no picture in it or in its folders\n  hint: JPEG, PNG or WebP files",
                dir.display()
            )));
        }
        Ok(Self {
            dir: dir.to_owned(),
            found,
            captions,
        })
    }

    fn error(&self, message: &str) -> anyhow::Error {
        BadInput::new(format!("--pictures {}: {message}", self.dir.display()))
    }

    fn item(&self, index: usize, prompt: &str) -> Item {
        let (_, file, path) = &self.found[index];
        Item {
            file: file.clone(),
            path: path.clone(),
            prompt: prompt.to_owned(),
        }
    }

    /// The prompt of every picture, or an error about those without.
    fn items(
        &self,
        prompt: impl Fn(usize, &str) -> Option<String>,
        missing: &str,
    ) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        let mut without = Vec::new();
        for (i, (_, file, _)) in self.found.iter().enumerate() {
            match prompt(i, file) {
                Some(prompt) => items.push(self.item(i, &prompt)),
                None => without.push(file.clone()),
            }
        }
        match without.len() {
            0 => Ok(items),
            n => Err(self.error(&format!(
                "{n} of {} pictures: {} has no prompt {missing}",
                self.found.len(),
                some(&without, n)
            ))),
        }
    }

    /// A single prompt applies to all pictures. Of several, the picture's name has the number, as the pattern says, or as its only
    /// one that may be it; so for all, or an error. Pictures in folders have it in their folder's name.
    pub(super) fn by_place(
        &self,
        list: &[String],
        subject: &str,
        pattern: Option<&Pattern>,
    ) -> Result<Vec<(usize, Item)>> {
        if let ([one], None) = (list, pattern) {
            let all = 0..self.found.len();
            return Ok(all.map(|i| (0, self.item(i, one))).collect());
        }
        let numbers = match pattern {
            Some(pattern) => {
                let number = |file: &String| {
                    let error = |e| self.error(&format!("the picture {file}: {e:#}"));
                    pattern.number(file, subject).map_err(error)
                };
                self.found
                    .iter()
                    .map(|(_, file, _)| number(file))
                    .collect::<Result<_>>()?
            }
            None => self.guessed(list.len(), subject)?,
        };
        let place = |(i, number): (usize, usize)| {
            let prompt = list.get(number).ok_or_else(|| {
                self.error(&format!(
                    "the picture {} has no prompt: its number is {number}, of {} prompts from 0 to {}\n  hint: name it or its folder by the prompt's number from 0 (`prompt-03-1.png`), say where the number is: --names '{{subject}}_{{prompt}}.png', or give a table: --prompts prompts.csv with the columns picture,prompt",
                    self.found[i].1,
                    list.len(),
                    list.len() - 1
                ))
            })?;
            Ok((number, self.item(i, prompt)))
        };
        numbers.into_iter().enumerate().map(place).collect()
    }

    /// The numbers of all pictures' prompts, without a pattern.
    fn guessed(&self, prompts: usize, subject: &str) -> Result<Vec<usize>> {
        let hint = "hint: say where the prompt's number is: --names '{subject}_{prompt}.png' (`*` for anything), or give a table: --prompts prompts.csv with the columns picture,prompt";
        let mut numbers_of = Vec::new();
        for (folder, file, path) in &self.found {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = folder.as_deref().unwrap_or(&stem);
            let found = numbers(name, subject);
            if found.is_empty() {
                return Err(self.error(&format!(
                    "the picture {file} has no prompt: there is no number of a prompt in {name:?}\n  {hint}"
                )));
            }
            numbers_of.push(found);
        }
        // Dates and the like: places where some picture's number is no prompt's.
        let places = numbers_of.iter().map(Vec::len).max().unwrap_or_default();
        let same = numbers_of.iter().all(|n| n.len() == places);
        let possible = |place: &usize| {
            numbers_of
                .iter()
                .all(|n| n.get(*place).is_some_and(|n| *n < prompts))
        };
        let left: Vec<usize> = (0..places).filter(possible).collect();
        let place = match left.as_slice() {
            [one] if same => *one,
            _ if places == 1 => 0,
            _ => {
                let index = numbers_of
                    .iter()
                    .position(|n| n.len() == places)
                    .unwrap_or_default();
                return Err(self.error(&format!(
                    "the picture {} has {places} numbers, and which is its prompt's is not clear: {:?}\n  {hint}",
                    self.found[index].1, numbers_of[index]
                )));
            }
        };
        Ok(numbers_of.iter().map(|n| n[place]).collect())
    }

    /// The prompts of a table.
    pub(super) fn by_rows(
        &self,
        table: &Path,
        rows: &BTreeMap<String, String>,
    ) -> Result<Vec<Item>> {
        let missing = format!(
            "in {}\n  hint: add rows, the path as seen from the folder of pictures",
            table.display()
        );
        let items = self.items(|_, file| rows.get(file).cloned(), &missing)?;
        let left = rows
            .keys()
            .filter(|row| items.iter().all(|i| i.file != **row));
        let left: Vec<String> = left.cloned().collect();
        match left.len() {
            0 => Ok(items),
            n => Err(BadInput::new(format!(
                "{} lists {}, which {} not in {}",
                table.display(),
                some(&left, n),
                if n == 1 { "is" } else { "are" },
                self.dir.display()
            ))),
        }
    }

    /// The texts beside the pictures.
    pub(super) fn by_captions(&self) -> Result<Vec<Item>> {
        let first = self
            .found
            .first()
            .map(|(_, _, path)| path.with_extension("txt"));
        let missing = format!(
            "\n  hint: --prompts, or a text beside it: {}",
            first.unwrap_or_default().display()
        );
        let caption = |i: usize, _: &str| self.captions.of.get(i)?.as_ref().map(|c| c.text.clone());
        self.items(caption, &missing)
    }
}
