//! `tokenizer_config.json` and `special_tokens_map.json`: which tokens are special, and how texts are cleaned and cut.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Result, bail};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::token::{Defaults, Flags, Role, TokenEntry};
use crate::folder;

/// The name of the main file.
pub(super) const FILE: &str = "tokenizer_config.json";

/// The older list of special tokens.
const MAP: &str = "special_tokens_map.json";

/// The relevant keys of `tokenizer_config.json`; `special_tokens_map.json` has a subset of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct File {
    tokenizer_class: Option<String>,
    bos_token: Option<TokenEntry>,
    eos_token: Option<TokenEntry>,
    unk_token: Option<TokenEntry>,
    sep_token: Option<TokenEntry>,
    pad_token: Option<TokenEntry>,
    cls_token: Option<TokenEntry>,
    mask_token: Option<TokenEntry>,
    extra_special_tokens: Option<Extra>,
    /// The name of the former in transformers 4.
    additional_special_tokens: Option<Extra>,
    added_tokens_decoder: Option<BTreeMap<u32, Flags>>,
    /// transformers writes 1e30 for no limit.
    model_max_length: Option<f64>,
    padding_side: Option<String>,
    truncation_side: Option<String>,
    split_special_tokens: Option<bool>,
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    tokenize_chinese_chars: Option<bool>,
}

/// Further special tokens: a list, or names with tokens.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a list of tokens, or an object of tokens"
)]
enum Extra {
    List(Vec<TokenEntry>),
    Named(BTreeMap<String, TokenEntry>),
}

impl Extra {
    fn tokens(self) -> Vec<TokenEntry> {
        match self {
            Self::List(tokens) => tokens,
            Self::Named(tokens) => tokens.into_values().collect(),
        }
    }
}

impl File {
    fn roles(&mut self) -> [(Role, Option<TokenEntry>); 7] {
        [
            (Role::Bos, self.bos_token.take()),
            (Role::Eos, self.eos_token.take()),
            (Role::Unk, self.unk_token.take()),
            (Role::Sep, self.sep_token.take()),
            (Role::Pad, self.pad_token.take()),
            (Role::Cls, self.cls_token.take()),
            (Role::Mask, self.mask_token.take()),
        ]
    }

    fn extra(&mut self) -> Vec<TokenEntry> {
        let extra = self.extra_special_tokens.take();
        let extra = extra.or_else(|| self.additional_special_tokens.take());
        extra.map(Extra::tokens).unwrap_or_default()
    }
}

/// What the two files say.
#[derive(Debug)]
pub(super) struct TokenizerConfig {
    class: Option<String>,
    roles: BTreeMap<Role, TokenEntry>,
    /// Special tokens without a role.
    pub(super) extra: Vec<TokenEntry>,
    /// `added_tokens_decoder`: if the key is there, transformers reads added tokens from it alone.
    pub(super) decoder: Option<BTreeMap<u32, TokenEntry>>,
    max_length: Option<usize>,
    pub(super) lower_case: Option<bool>,
    pub(super) strip_accents: Option<bool>,
    pub(super) chinese_chars: Option<bool>,
}

impl TokenizerConfig {
    /// Reads the files of `dir`, both optional. As in transformers, the map takes precedence, and is not read if
    /// `tokenizer_config.json` has `added_tokens_decoder`.
    ///
    /// # Errors
    /// If a file is malformed, or asks for what is not done here: padding or truncation on the left, special tokens that are
    /// split.
    pub(super) fn load(dir: &Path) -> Result<Self> {
        let read = |name: &str| -> Result<File> {
            if dir.join(name).is_file() {
                folder::read_json(dir, name)
            } else {
                Ok(File::default())
            }
        };
        let mut file = read(FILE)?;
        let mut roles: BTreeMap<Role, TokenEntry> = BTreeMap::new();
        let mut take = |file: &mut File| {
            let named = file.roles().into_iter();
            roles.extend(named.filter_map(|(role, token)| Some((role, token?))));
        };
        take(&mut file);
        let mut extra = custom(dir)?;
        extra.extend(file.extra());
        if file.added_tokens_decoder.is_none() {
            let mut map = read(MAP)?;
            take(&mut map);
            extra.extend(map.extra());
        }
        let path = dir.join(FILE);
        let path = path.display();
        for (key, side) in [
            ("padding_side", &file.padding_side),
            ("truncation_side", &file.truncation_side),
        ] {
            if let Some(side) = side.as_deref().filter(|side| *side != "right") {
                bail!(
                    "{path}, key `{key}`: {side:?} is not read here\n  hint: texts are padded and cut on the right; set \"right\" if the text encoder was trained so"
                );
            }
        }
        if file.split_special_tokens == Some(true) {
            bail!(
                "{path}, key `split_special_tokens`: true is not read here\n  hint: special tokens are single ids; remove the key if they were so in training"
            );
        }
        let decoder = file.added_tokens_decoder.map(|tokens| {
            let entry = |(id, flags)| (id, TokenEntry::Flags(flags));
            tokens.into_iter().map(entry).collect()
        });
        Ok(Self {
            class: file.tokenizer_class,
            roles,
            extra,
            decoder,
            max_length: max_length(file.model_max_length)
                .map_err(|error| error.context(format!("{path}, key `model_max_length`")))?,
            lower_case: file.do_lower_case,
            strip_accents: file.strip_accents,
            chinese_chars: file.tokenize_chinese_chars,
        })
    }

    /// `model_max_length` if it is a real limit.
    pub(super) fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// The token of a role, by the files or by default.
    pub(super) fn token(&self, role: Role, defaults: &Defaults) -> Option<TokenEntry> {
        self.roles.get(&role).cloned().or_else(|| {
            let default = defaults.iter().find(|(of, _)| *of == role);
            default.map(|(_, text)| TokenEntry::Text((*text).to_owned()))
        })
    }

    /// The text of a role's token; empty if it has none.
    pub(super) fn text(&self, role: Role, defaults: &Defaults) -> String {
        let token = self.token(role, defaults);
        token.map_or_else(String::new, |token| token.content().to_owned())
    }

    /// Refuses a folder whose file names another class than those of `own`.
    ///
    /// # Errors
    /// With the class.
    pub(super) fn check_class(&self, dir: &Path, own: &str) -> Result<()> {
        let Some(class) = &self.class else {
            return Ok(());
        };
        let plain = class.trim_end_matches("Fast");
        // Classes whose tokenizer.json says everything, which is checked where it is read.
        let general = ["PreTrainedTokenizer", "TokenizersBackend"];
        if plain != own && !(general.contains(&plain) && dir.join("tokenizer.json").is_file()) {
            bail!(
                "{}, key `tokenizer_class`: {class} is not read here, which would split texts otherwise\n  hint: this text encoder needs the tokenizer of a {own}",
                dir.join(FILE).display()
            );
        }
        Ok(())
    }
}

/// Tokens under further keys that end in `_token`, which transformers adds as special ones.
fn custom(dir: &Path) -> Result<Vec<TokenEntry>> {
    const ROLES: [&str; 7] = [
        "bos_token",
        "eos_token",
        "unk_token",
        "sep_token",
        "pad_token",
        "cls_token",
        "mask_token",
    ];
    if !dir.join(FILE).is_file() {
        return Ok(vec![]);
    }
    let keys: Map<String, Value> = folder::read_json(dir, FILE)?;
    let token = |(key, value): (String, Value)| match value {
        Value::String(text) if key.ends_with("_token") && !ROLES.contains(&key.as_str()) => {
            Some(TokenEntry::Text(text))
        }
        _ => None,
    };
    Ok(keys.into_iter().filter_map(token).collect())
}

/// The longest sequence; transformers' 1e30 stands for none.
const LONGEST: f64 = 65536.0;

fn max_length(given: Option<f64>) -> Result<Option<usize>> {
    match given {
        Some(length) if length >= 1e9 => Ok(None),
        Some(length) if length < 2.0 || length.fract() != 0.0 => {
            bail!(
                "{length} must be a whole number from 2, which leaves room for the tokens at start and end"
            )
        }
        // Every text is padded to it.
        Some(length) if length > LONGEST => {
            bail!("{length} is more than {LONGEST}, the most there may be")
        }
        Some(length) => Ok(Some(length as usize)),
        None => Ok(None),
    }
}
