//! Captions of pictures: texts beside them, and tables.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::listing::{name, stem};
use super::table::read_table;
use super::text::read_text;
use crate::picture::ending;

/// Endings of texts beside a picture: of most programs, and of sd-scripts' default.
const BESIDE: [&str; 2] = ["txt", "caption"];
/// Names of tables of captions, with [`TABLE_ENDINGS`].
const TABLES: [&str; 5] = ["metadata", "captions", "meta_cap", "meta_lat", "meta_clean"];
const TABLE_ENDINGS: [&str; 3] = ["jsonl", "csv", "json"];

/// A picture's caption and the file that it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caption {
    /// One line, spaces joined; not empty.
    pub text: String,
    /// Name of its file.
    pub file: String,
}

/// The captions of a folder's pictures.
#[derive(Debug, Default)]
pub struct Captions {
    /// In the order of the pictures.
    pub of: Vec<Option<Caption>>,
    /// What is odd about them.
    pub notes: Vec<String>,
    /// Names of files that belong to no picture.
    pub unused: Vec<String>,
}

impl Captions {
    /// The captions of `pictures` among the `others` of their folder: `a.txt`, `a.caption`, `a.jpg.txt` or `a.jpg.caption` for
    /// `a.jpg`, and tables such as `metadata.jsonl`. Endings may be in capitals.
    ///
    /// # Errors
    /// A file that cannot be read or is no UTF-8; two captions of a picture that differ; by path.
    pub fn find(pictures: &[PathBuf], others: &[PathBuf]) -> Result<Self> {
        let mut found = Self::default();
        let (tables, texts): (Vec<_>, Vec<_>) = others.iter().partition(|p| is_table(p));
        let mut rows = Vec::new();
        for table in tables {
            rows.push((table, read_table(table)?));
        }
        let mut used = vec![false; texts.len()];
        let mut empty = Vec::new();
        for picture in pictures {
            let mut captions: Vec<Caption> = Vec::new();
            for (text, used) in texts.iter().zip(&mut used) {
                if !is_beside(text, picture) {
                    continue;
                }
                let written = read_text(text)?;
                if !*used {
                    found.notes.extend(odd(&name(text), &written));
                }
                *used = true;
                if written.trim().is_empty() {
                    empty.push(name(text));
                }
                captions.extend(Caption::of(&written, name(text)));
            }
            for (table, rows) in &mut rows {
                if let Some(written) = taken(rows, picture) {
                    captions.extend(Caption::of(&written, name(table)));
                }
            }
            let first = captions.first().cloned();
            if let (Some(a), Some(b)) = (
                &first,
                captions
                    .iter()
                    .find(|c| Some(&c.text) != first.as_ref().map(|f| &f.text)),
            ) {
                bail!(
                    "{} has two captions: {} says {:?}, {} says {:?}\n  hint: remove one of them",
                    name(picture),
                    a.file,
                    a.text,
                    b.file,
                    b.text
                );
            }
            found.of.push(first);
        }
        if !empty.is_empty() {
            let count = empty.len();
            found.notes.push(format!(
                "empty captions, used as none: {}",
                some(&empty, count)
            ));
        }
        for (table, rows) in &rows {
            let left: Vec<String> = rows.keys().cloned().collect();
            if !left.is_empty() {
                let text = some(&left, left.len());
                found
                    .notes
                    .push(format!("{} lists what is not here: {text}", name(table)));
            }
        }
        let unused = texts.iter().zip(used).filter(|(_, used)| !used);
        found.unused = unused.map(|(text, _)| name(text)).collect();
        Ok(found)
    }
}

impl Caption {
    fn of(written: &str, file: String) -> Option<Self> {
        let text = written.split_whitespace().collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then_some(Self { text, file })
    }
}

/// Up to three names, and how many more.
pub fn some(names: &[String], count: usize) -> String {
    const SHOWN: usize = 3;
    let mut text = names
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    if count > SHOWN {
        text += &format!(" and {} more", count - SHOWN);
    }
    text
}

fn is_table(path: &Path) -> bool {
    TABLES.contains(&stem(path).as_str()) && TABLE_ENDINGS.contains(&ending(path).as_str())
}

fn is_beside(text: &Path, picture: &Path) -> bool {
    let of = |path: &Path| path.file_stem().unwrap_or_default().to_owned();
    let named = of(text);
    BESIDE.contains(&ending(text).as_str())
        && (named == of(picture) || Some(named.as_os_str()) == picture.file_name())
}

/// The row of a picture, by its name, or by the end of a longer path, as captioners write it; with or without its ending.
fn taken(rows: &mut BTreeMap<String, String>, picture: &Path) -> Option<String> {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|p| p.to_string_lossy().into_owned());
    let names = [text(picture.file_name())?, text(picture.file_stem())?];
    let last = |row: &str| row.rsplit('/').next().unwrap_or_default().to_owned();
    let key = names.iter().find_map(|name| {
        let exact = rows.contains_key(name).then(|| name.clone());
        exact.or_else(|| rows.keys().find(|row| last(row) == *name).cloned())
    })?;
    rows.remove(&key)
}

/// What other programs would read otherwise.
fn odd(file: &str, written: &str) -> Vec<String> {
    let mut notes = Vec::new();
    let lines = written.lines().filter(|l| !l.trim().is_empty()).count();
    if lines > 1 {
        notes.push(format!(
            "{file}: its {lines} lines are read as one caption (kohya's scripts read the first)"
        ));
    }
    let within = |open: char, close: char, what: &dyn Fn(&str) -> bool| {
        let parts = written.split(open).skip(1);
        parts
            .filter_map(|part| part.split_once(close))
            .any(|(inner, _)| what(inner))
    };
    let choice = within('{', '}', &|inner| inner.contains('|'));
    let wildcard = written.split_whitespace().any(|word| {
        let word = word.trim_matches([',', '.', ';']);
        word.len() > 4 && word.starts_with("__") && word.ends_with("__")
    });
    let weight = within('(', ')', &|inner| {
        let number = inner.rsplit_once(':').map(|(_, n)| n.trim().parse::<f64>());
        matches!(number, Some(Ok(_)))
    });
    for (is, what) in [
        (choice, "a choice `{a|b}`"),
        (wildcard, "a wildcard `__a__`"),
        (weight, "a weight `(a:1.2)`"),
    ] {
        if is {
            notes.push(format!("{file}: {what} is read as it stands"));
        }
    }
    notes
}
