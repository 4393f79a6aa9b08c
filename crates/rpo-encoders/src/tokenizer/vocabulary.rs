//! The table of tokens and ids: `vocab.json`, `vocab.txt`, or the one in `tokenizer.json`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::Path;

use candle_core::{Result, bail};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::folder;

/// Ids by token.
#[derive(Debug, Clone, Default)]
pub(super) struct Vocabulary(HashMap<String, u32>);

impl Vocabulary {
    /// Reads `vocab.json`.
    ///
    /// # Errors
    /// If it is missing or malformed, empty, or gives a token or an id twice.
    pub(super) fn from_json(dir: &Path, name: &str) -> Result<Self> {
        let vocabulary: Self = folder::read_json(dir, name)?;
        vocabulary.check(&dir.join(name))?;
        Ok(vocabulary)
    }

    /// Reads `vocab.txt`: a token per line, whose number from 0 is its id.
    ///
    /// # Errors
    /// If it is missing, is empty, or has a token twice.
    pub(super) fn from_lines(dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(name);
        let text = folder::read_plain(dir, name)?;
        let mut tokens = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let token = line.trim_end();
            let Ok(id) = u32::try_from(index) else {
                bail!("{}: more lines than ids of 32 bits", path.display());
            };
            if let Some(earlier) = tokens.insert(token.to_owned(), id)
                && !token.is_empty()
            {
                bail!(
                    "{}: the token {token:?} is in line {} and in line {}\n  hint: every line is the token of one id; copy the file that belongs to the model",
                    path.display(),
                    earlier + 1,
                    id + 1
                );
            }
        }
        let vocabulary = Self(tokens);
        vocabulary.check(&path)?;
        Ok(vocabulary)
    }

    /// Refuses a table without tokens or with one id for two of them.
    ///
    /// # Errors
    /// With the file `path`.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let path = path.display();
        if self.0.is_empty() {
            bail!("{path}: the vocabulary has no token\n  hint: copy the tokenizer's folder again");
        }
        let mut seen: HashMap<u32, &str> = HashMap::new();
        let mut tokens: Vec<(&str, u32)> = self.iter().collect();
        tokens.sort_unstable();
        for (token, id) in tokens {
            if let Some(other) = seen.insert(id, token) {
                bail!(
                    "{path}: the tokens {other:?} and {token:?} both have the id {id}\n  hint: copy the file that belongs to the model"
                );
            }
        }
        Ok(())
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.0.get(token).copied()
    }

    pub(super) fn has(&self, token: &str) -> bool {
        self.0.contains_key(token)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(token, id)| (token.as_str(), *id))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn collect<M: FromIterator<(String, u32)>>(&self) -> M {
        self.0
            .iter()
            .map(|(token, id)| (token.clone(), *id))
            .collect()
    }
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Table)
    }
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Vocabulary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tokens and their ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Vocabulary, A::Error> {
        let mut tokens = HashMap::new();
        while let Some((token, id)) = map.next_entry::<String, u32>()? {
            match tokens.entry(token) {
                Entry::Vacant(place) => place.insert(id),
                Entry::Occupied(other) => {
                    return Err(A::Error::custom(format!(
                        "the token {:?} is there twice, as {} and {id}",
                        other.key(),
                        other.get()
                    )));
                }
            };
        }
        Ok(Vocabulary(tokens))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> std::result::Result<Vocabulary, A::Error> {
        Err(A::Error::custom(
            "a list of pieces, as Unigram (SentencePiece) has it, is no vocabulary of CLIP or BERT, which is an object of tokens and their ids",
        ))
    }
}
