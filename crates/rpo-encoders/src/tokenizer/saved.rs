//! `tokenizer.json`, which transformers 5 writes instead of `vocab.json`, `merges.txt` and `vocab.txt`.

use std::path::{Path, PathBuf};

use candle_core::{Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::merges::Merges;
use super::token::{Flags, TokenEntry};
use super::vocabulary::Vocabulary;
use crate::folder;

/// The name of the file.
pub(super) const FILE: &str = "tokenizer.json";

/// A merge in the format of recent or of older files.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected a merge: two pieces, as a list or as one text with a space"
)]
enum Merge {
    Pair(String, String),
    Text(String),
}

#[derive(Deserialize)]
struct Tables {
    vocab: Vocabulary,
    #[serde(default)]
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
struct AddedEntry {
    id: u32,
    #[serde(flatten)]
    flags: Flags,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<AddedEntry>,
    model: Tables,
}

/// The parts of a saved tokenizer.
pub(super) struct Saved {
    pub(super) path: PathBuf,
    pub(super) vocabulary: Vocabulary,
    pub(super) merges: Merges,
    pub(super) added: Vec<(u32, TokenEntry)>,
    /// How it splits texts, without the tables.
    pub(super) parts: Map<String, Value>,
}

impl Saved {
    /// Reads the file, if the folder has it.
    ///
    /// # Errors
    /// If it is malformed, or pads or cuts on the left.
    pub(super) fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let mut parts: Map<String, Value> = folder::read_json(dir, FILE)?;
        // The kind first: the tables of another kind have another form.
        check_kind(&path, &parts)?;
        let file: File = folder::read_json(dir, FILE)?;
        file.model.vocab.check(&path)?;
        for key in ["padding", "truncation"] {
            if parts.get(key).and_then(|part| part.get("direction")) == Some(&"Left".into()) {
                bail!(
                    "{}, key `{key}.direction`: \"Left\" is not read here\n  hint: texts are padded and cut on the right",
                    path.display()
                );
            }
        }
        parts.remove("added_tokens");
        if let Some(Value::Object(model)) = parts.get_mut("model") {
            model.remove("vocab");
            model.remove("merges");
        }
        let merges = file.model.merges.into_iter().map(|merge| match merge {
            Merge::Pair(a, b) => Ok((a, b)),
            Merge::Text(text) => match text.split_once(' ') {
                Some((a, b)) => Ok((a.to_owned(), b.to_owned())),
                None => bail!(
                    "{}, key `model.merges`: {text:?} is no merge, which is two pieces with one space between them",
                    path.display()
                ),
            },
        });
        Ok(Some(Self {
            merges: merges.collect::<Result<_>>()?,
            vocabulary: file.model.vocab,
            added: file
                .added_tokens
                .into_iter()
                .map(|token| (token.id, TokenEntry::Flags(token.flags)))
                .collect(),
            parts,
            path,
        }))
    }
}

fn check_kind(path: &Path, parts: &Map<String, Value>) -> Result<()> {
    let kind = parts.get("model").and_then(|model| model.get("type"));
    match kind.and_then(Value::as_str) {
        None | Some("BPE" | "WordPiece") => Ok(()),
        Some(kind) => bail!(
            "{}, key `model.type`: {kind} is not read here, only BPE (CLIP) and WordPiece (BERT)",
            path.display()
        ),
    }
}
