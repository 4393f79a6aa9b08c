//! `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json`: which tokens are special, and how they match.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Error, Result};
use serde::Deserialize;
use tokenizers::{AddedToken, Tokenizer};

use crate::folder;

/// A token in these files: plain text or an object with flags.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum TokenEntry {
    Text(String),
    Flags {
        content: String,
        #[serde(default)]
        lstrip: bool,
        #[serde(default)]
        rstrip: bool,
        #[serde(default)]
        single_word: bool,
        #[serde(default)]
        normalized: Option<bool>,
        #[serde(default)]
        special: Option<bool>,
    },
}

impl TokenEntry {
    fn content(&self) -> &str {
        match self {
            Self::Text(content) | Self::Flags { content, .. } => content,
        }
    }

    /// The token as the tokenizer matches it; `named` ones (BOS, PAD, …) are special regardless of their flags.
    fn added(&self, named: bool) -> AddedToken {
        match self {
            Self::Text(content) => AddedToken::from(content.clone(), named).normalized(false),
            Self::Flags {
                content,
                lstrip,
                rstrip,
                single_word,
                normalized,
                special,
            } => {
                let special = named || special.unwrap_or(false);
                AddedToken::from(content.clone(), special)
                    .lstrip(*lstrip)
                    .rstrip(*rstrip)
                    .single_word(*single_word)
                    .normalized(normalized.unwrap_or(!special))
            }
        }
    }
}

/// The relevant keys of `tokenizer_config.json`; `special_tokens_map.json` has a subset of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenizerConfig {
    bos_token: Option<TokenEntry>,
    eos_token: Option<TokenEntry>,
    unk_token: Option<TokenEntry>,
    sep_token: Option<TokenEntry>,
    pad_token: Option<TokenEntry>,
    cls_token: Option<TokenEntry>,
    mask_token: Option<TokenEntry>,
    added_tokens_decoder: BTreeMap<String, TokenEntry>,
    /// transformers writes 1e30 for no limit.
    model_max_length: Option<f64>,
    pub(super) do_lower_case: Option<bool>,
    pub(super) strip_accents: Option<bool>,
    pub(super) tokenize_chinese_chars: Option<bool>,
}

impl TokenizerConfig {
    /// Reads the files of `dir`, all optional; `tokenizer_config.json` takes precedence over the map.
    pub(super) fn load(dir: &Path) -> Result<Self> {
        let read = |name: &str| -> Result<Self> {
            if dir.join(name).is_file() {
                folder::read_json(dir, name)
            } else {
                Ok(Self::default())
            }
        };
        let mut config = read("tokenizer_config.json")?;
        let map = read("special_tokens_map.json")?;
        for (own, other) in [
            (&mut config.bos_token, map.bos_token),
            (&mut config.eos_token, map.eos_token),
            (&mut config.unk_token, map.unk_token),
            (&mut config.sep_token, map.sep_token),
            (&mut config.pad_token, map.pad_token),
            (&mut config.cls_token, map.cls_token),
            (&mut config.mask_token, map.mask_token),
        ] {
            if own.is_none() {
                *own = other;
            }
        }
        if config.added_tokens_decoder.is_empty() && dir.join("added_tokens.json").is_file() {
            let added: BTreeMap<String, u32> = folder::read_json(dir, "added_tokens.json")?;
            config.added_tokens_decoder = added
                .into_iter()
                .map(|(content, id)| (id.to_string(), TokenEntry::Text(content)))
                .collect();
        }
        Ok(config)
    }

    /// `model_max_length` if it is a real limit.
    pub(super) fn max_length(&self) -> Option<usize> {
        self.model_max_length
            .filter(|length| (1.0..1e9).contains(length))
            .map(|length| length as usize)
    }

    pub(super) fn bos(&self) -> &str {
        text(&self.bos_token, "<|startoftext|>")
    }

    pub(super) fn eos(&self) -> &str {
        text(&self.eos_token, "<|endoftext|>")
    }

    pub(super) fn unk(&self, default: &'static str) -> &str {
        text(&self.unk_token, default)
    }

    pub(super) fn pad(&self, default: &'static str) -> &str {
        text(&self.pad_token, default)
    }

    pub(super) fn cls(&self) -> &str {
        text(&self.cls_token, "[CLS]")
    }

    pub(super) fn sep(&self) -> &str {
        text(&self.sep_token, "[SEP]")
    }

    /// Adds the extra tokens, by id, and the named special ones, in transformers' order of `roles`, to `tokenizer`.
    pub(super) fn add_to(&self, tokenizer: &mut Tokenizer, roles: &[Role]) -> Result<()> {
        let mut extra: Vec<(u32, &TokenEntry)> = self
            .added_tokens_decoder
            .iter()
            .filter_map(|(id, entry)| id.parse().ok().map(|id| (id, entry)))
            .collect();
        extra.sort_by_key(|(id, _)| *id);
        let mut tokens: Vec<AddedToken> =
            extra.iter().map(|(_, entry)| entry.added(false)).collect();
        for role in roles {
            let (own, default) = match role {
                Role::Bos => (&self.bos_token, "<|startoftext|>"),
                Role::Eos => (&self.eos_token, "<|endoftext|>"),
                Role::Unk(default) => (&self.unk_token, *default),
                Role::Sep => (&self.sep_token, "[SEP]"),
                Role::Pad(default) => (&self.pad_token, *default),
                Role::Cls => (&self.cls_token, "[CLS]"),
                Role::Mask => (&self.mask_token, "[MASK]"),
            };
            let token = match own {
                Some(entry) => entry.added(true),
                None => TokenEntry::Text(default.to_string()).added(true),
            };
            // If two roles share a text, as EOS and PAD do, the flags of the later one apply.
            tokens.push(token);
        }
        tokenizer.add_tokens(tokens).map_err(|error| {
            Error::msg(format!(
                "the special tokens do not fit the vocabulary: {error}"
            ))
        })?;
        Ok(())
    }
}

/// A named special token and its default text.
pub(super) enum Role {
    Bos,
    Eos,
    Unk(&'static str),
    Sep,
    Pad(&'static str),
    Cls,
    Mask,
}

fn text<'a>(entry: &'a Option<TokenEntry>, default: &'static str) -> &'a str {
    entry.as_ref().map_or(default, TokenEntry::content)
}

/// The id of a special token.
///
/// # Errors
/// If it is not in the vocabulary.
pub(super) fn id_of(tokenizer: &Tokenizer, token: &str, dir: &Path) -> Result<u32> {
    tokenizer.token_to_id(token).ok_or_else(|| {
        Error::msg(format!(
            "the vocabulary in {} has no token {token:?}: its tokenizer_config.json belongs to another model",
            dir.display()
        ))
    })
}
