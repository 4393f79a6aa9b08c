//! Added tokens: those that a tokenizer was given after its vocabulary, and the special ones.
//!
//! They stand in `tokenizer.json`, in `added_tokens_decoder` of `tokenizer_config.json` or in `added_tokens.json`. A token has
//! an id of the vocabulary if it is in it, else the next one after the vocabulary, in the order of the ids in the file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use candle_core::{Error, Result, bail};
use tokenizers::{AddedToken, NormalizedString, Normalizer, Tokenizer};

use super::config::{self, TokenizerConfig};
use super::saved::{self, Saved};
use super::token::{Defaults, Role, TokenEntry};
use super::vocabulary::Vocabulary;
use crate::folder;

/// The file of transformers 4.
const OLD: &str = "added_tokens.json";

/// A token that a file lists with its id.
struct Listed {
    id: u32,
    entry: TokenEntry,
    file: &'static str,
}

impl Listed {
    fn text(&self) -> &str {
        self.entry.content()
    }
}

/// The added tokens of a folder.
pub(super) struct AddedTokens {
    /// By id.
    listed: Vec<Listed>,
    /// Roles and further special tokens that are not listed.
    unlisted: Vec<TokenEntry>,
    /// Texts that are special whatever their flags.
    special: HashSet<String>,
}

impl AddedTokens {
    /// Collects the tokens of all files of `dir`.
    ///
    /// # Errors
    /// If a file is malformed, or two contradict each other.
    pub(super) fn gather(
        dir: &Path,
        config: &TokenizerConfig,
        saved: Option<&Saved>,
        defaults: &Defaults,
    ) -> Result<Self> {
        let roles: Vec<TokenEntry> = [
            Role::Bos,
            Role::Eos,
            Role::Unk,
            Role::Sep,
            Role::Pad,
            Role::Cls,
            Role::Mask,
        ]
        .into_iter()
        .filter_map(|role| config.token(role, defaults))
        .collect();
        let named: HashSet<String> = roles.iter().map(|r| r.content().to_owned()).collect();
        let extra = config.extra.iter().map(|token| token.content().to_owned());
        let special: HashSet<String> = named.iter().cloned().chain(extra).collect();
        let listed = listed(dir, config, saved, &special)?;
        let known: HashSet<&str> = listed.iter().map(Listed::text).collect();
        let unlisted = roles.into_iter().chain(config.extra.iter().cloned());
        // If two roles share a text, as EOS and PAD do, the flags of the later one apply.
        let unlisted = unlisted.filter(|token| !known.contains(token.content()));
        let unlisted: Vec<TokenEntry> = unlisted.collect();
        let empty = listed.iter().map(|token| &token.entry).chain(&unlisted);
        if empty.into_iter().any(|token| token.content().is_empty()) {
            bail!("{}: an added or special token is empty", dir.display());
        }
        Ok(Self {
            listed,
            unlisted,
            special,
        })
    }

    /// Whether a text is an added token.
    pub(super) fn has(&self, text: &str) -> bool {
        let listed = self.listed.iter().map(|token| &token.entry);
        listed
            .chain(&self.unlisted)
            .any(|token| token.content() == text)
    }

    /// Whether a file gives the token this id.
    pub(super) fn lists(&self, text: &str, id: u32) -> bool {
        self.listed
            .iter()
            .any(|token| token.id == id && token.text() == text)
    }

    /// Adds the tokens to `tokenizer`, whose normaliser is set.
    ///
    /// # Errors
    /// If a token would have another id than its file says, or the id of another token, or matches the same texts as another.
    pub(super) fn add_to(
        &self,
        tokenizer: &mut Tokenizer,
        vocabulary: &Vocabulary,
        dir: &Path,
    ) -> Result<()> {
        let listed = self.listed.iter().map(|token| &token.entry);
        let tokens: Vec<AddedToken> = listed
            .chain(&self.unlisted)
            .map(|entry| entry.added(self.special.contains(entry.content())))
            .collect();
        same_forms(tokenizer, &tokens, dir)?;
        let wrong = |error: tokenizers::Error| {
            Error::msg(format!("{}: the added tokens: {error}", dir.display()))
        };
        let texts: Vec<String> = tokens.iter().map(|token| token.content.clone()).collect();
        tokenizer.add_tokens(tokens).map_err(wrong)?;
        for token in &self.listed {
            let id = tokenizer.token_to_id(token.text());
            if id != Some(token.id) {
                bail!(
                    "{}: the token {:?} has the id {}, but its place after the {} tokens of the vocabulary is {}\n  hint: added ids must follow the vocabulary without a gap, as transformers counts them, and a token of the vocabulary keeps its id; save the tokenizer again with transformers",
                    dir.join(token.file).display(),
                    token.text(),
                    token.id,
                    vocabulary.len(),
                    id.map_or_else(|| "none".to_owned(), |id| id.to_string()),
                );
            }
        }
        let taken: HashMap<u32, &str> = vocabulary.iter().map(|(token, id)| (id, token)).collect();
        for text in texts.iter().filter(|text| !vocabulary.has(text)) {
            let id = tokenizer.token_to_id(text);
            if let Some((id, other)) = id.and_then(|id| Some((id, taken.get(&id)?))) {
                bail!(
                    "{}: the added token {text:?} gets the id {id}, which {other:?} of the vocabulary has: the ids of the vocabulary have gaps\n  hint: copy the tokenizer that belongs to the model",
                    dir.display()
                );
            }
        }
        Ok(())
    }
}

/// The listed tokens by id, without contradictions.
fn listed(
    dir: &Path,
    config: &TokenizerConfig,
    saved: Option<&Saved>,
    special: &HashSet<String>,
) -> Result<Vec<Listed>> {
    let listed = |id, entry, file| Listed { id, entry, file };
    let mut all: Vec<Listed> = Vec::new();
    if let Some(tokens) = &config.decoder {
        let tokens = tokens.iter();
        all.extend(tokens.map(|(id, entry)| listed(*id, entry.clone(), config::FILE)));
    }
    let decoder = all.len();
    if let Some(saved) = saved {
        let tokens = saved.added.iter();
        all.extend(tokens.map(|(id, entry)| listed(*id, entry.clone(), saved::FILE)));
    }
    if dir.join(OLD).is_file() {
        let tokens: Vocabulary = folder::read_json(dir, OLD)?;
        let tokens: BTreeMap<String, u32> = tokens.collect();
        let tokens = tokens.into_iter();
        all.extend(tokens.map(|(text, id)| listed(id, TokenEntry::Text(text), OLD)));
    }
    let mut by_id: BTreeMap<u32, Listed> = BTreeMap::new();
    let mut by_text: HashMap<String, u32> = HashMap::new();
    for (index, token) in all.into_iter().enumerate() {
        let path = dir.join(token.file);
        let id = by_text.get(token.text()).copied();
        if let Some(other) = id
            .and_then(|id| by_id.get(&id))
            .or_else(|| by_id.get(&token.id))
        {
            if other.id != token.id || other.text() != token.text() {
                bail!(
                    "{} gives the token {:?} the id {}, {} gives {:?} the id {}\n  hint: both files must come from one tokenizer; delete the one that is not the text encoder's",
                    path.display(),
                    token.text(),
                    token.id,
                    other.file,
                    other.text(),
                    other.id
                );
            }
            if !other.entry.matches_as(&token.entry) && !special.contains(token.text()) {
                bail!(
                    "{}: the flags of the token {:?} are not those in {}\n  hint: both files must come from one tokenizer",
                    path.display(),
                    token.text(),
                    other.file
                );
            }
            continue;
        }
        if config.decoder.is_some() && index >= decoder && !special.contains(token.text()) {
            bail!(
                "{} adds the token {:?} (id {}), which `added_tokens_decoder` of {} does not have, and transformers reads only that\n  hint: both files must come from one tokenizer; save it again with transformers",
                path.display(),
                token.text(),
                token.id,
                config::FILE
            );
        }
        by_text.insert(token.text().to_owned(), token.id);
        by_id.insert(token.id, token);
    }
    Ok(by_id.into_values().collect())
}

/// Refuses two tokens that match the same texts, such as `sksX` and `SKSx` where texts are lower-cased: which of them a text
/// means is then undefined.
fn same_forms(tokenizer: &Tokenizer, tokens: &[AddedToken], dir: &Path) -> Result<()> {
    let mut forms: HashMap<String, &str> = HashMap::new();
    for token in tokens.iter().filter(|token| token.normalized) {
        let mut form = NormalizedString::from(token.content.as_str());
        if let Some(normalizer) = tokenizer.get_normalizer() {
            let done = normalizer.normalize(&mut form);
            done.map_err(|error| Error::msg(format!("{:?}: {error}", token.content)))?;
        }
        if form.get().is_empty() {
            bail!(
                "{}: nothing is left of the added token {:?} once it is cleaned as texts are",
                dir.display(),
                token.content
            );
        }
        if let Some(other) = forms.insert(form.get().to_owned(), &token.content)
            && other != token.content
        {
            bail!(
                "{}: the added tokens {other:?} and {:?} are the same once texts are cleaned and lower-cased: which id a text has would be chance\n  hint: add only one of them",
                dir.display(),
                token.content
            );
        }
    }
    Ok(())
}
