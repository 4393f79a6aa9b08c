//! A token as the files write it, and the roles that tokens have.

use serde::Deserialize;
use tokenizers::AddedToken;

/// A token in these files: plain text or an object with flags.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a token: a text, or an object with `content` and flags that are true or false"
)]
pub(super) enum TokenEntry {
    Text(String),
    Flags(Flags),
}

/// A token with its flags.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Flags {
    pub(super) content: String,
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
}

impl TokenEntry {
    pub(super) fn content(&self) -> &str {
        match self {
            Self::Text(content) | Self::Flags(Flags { content, .. }) => content,
        }
    }

    /// The token as the tokenizer matches it. A special one matches the text as it is, another one the normalised
    /// (lower-case) text, unless `normalized` says otherwise; `named` ones (BOS, PAD, …) are special regardless of their flags.
    pub(super) fn added(&self, named: bool) -> AddedToken {
        match self {
            Self::Text(content) => AddedToken::from(content.clone(), named),
            Self::Flags(flags) => {
                let special = named || flags.special.unwrap_or(false);
                AddedToken::from(flags.content.clone(), special)
                    .lstrip(flags.lstrip)
                    .rstrip(flags.rstrip)
                    .single_word(flags.single_word)
                    .normalized(flags.normalized.unwrap_or(!special))
            }
        }
    }

    /// Whether both match the same texts; a token without flags contradicts none.
    pub(super) fn matches_as(&self, other: &Self) -> bool {
        let (Self::Flags(a), Self::Flags(b)) = (self, other) else {
            return true;
        };
        let normalized = |flags: &Flags| flags.normalized.unwrap_or(flags.special != Some(true));
        (a.lstrip, a.rstrip, a.single_word, normalized(a))
            == (b.lstrip, b.rstrip, b.single_word, normalized(b))
    }
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Bos,
    Eos,
    Unk,
    Sep,
    Pad,
    Cls,
    Mask,
}

/// The tokens of roles that no file names, by the tokenizer's class.
pub(super) type Defaults = [(Role, &'static str)];
