//! `tokenizer.json`, which transformers 5 writes instead of `vocab.json`, `merges.txt` and `vocab.txt`.

use std::collections::HashMap;
use std::path::Path;

use candle_core::Result;
use serde::Deserialize;

use crate::folder;

const FILE: &str = "tokenizer.json";

/// The tables of a saved tokenizer. Everything else follows from the tokenizer's class.
#[derive(Deserialize)]
pub(super) struct Tables {
    pub(super) vocab: HashMap<String, u32>,
    #[serde(default)]
    merges: Vec<Merge>,
}

/// A merge in the format of recent or of older files.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Text(String),
}

#[derive(Deserialize)]
struct File {
    model: Tables,
}

impl Tables {
    /// Reads the tables if the folder has `tokenizer.json` but not `older`.
    pub(super) fn in_place_of(older: &str, dir: &Path) -> Result<Option<Self>> {
        if dir.join(older).is_file() || !dir.join(FILE).is_file() {
            return Ok(None);
        }
        Ok(Some(folder::read_json::<File>(dir, FILE)?.model))
    }

    /// The merges as pairs; a text without a space gives an invalid merge, which is refused later.
    pub(super) fn merges(self) -> Vec<(String, String)> {
        let pair = |merge| match merge {
            Merge::Pair(a, b) => (a, b),
            Merge::Text(text) => {
                let (a, b) = text.split_once(' ').unwrap_or((&text, ""));
                (a.to_owned(), b.to_owned())
            }
        };
        self.merges.into_iter().map(pair).collect()
    }
}
