//! BERT's WordPiece, as `BertTokenizer` of transformers 5 builds it.

use std::path::{Path, PathBuf};

use candle_core::{Error, Result, bail};
use serde_json::json;
use tokenizers::Tokenizer;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece as Model;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::added::AddedTokens;
use super::config::TokenizerConfig;
use super::saved::Saved;
use super::token::{Defaults, Role};
use super::vocabulary::Vocabulary;
use super::{form, older, rows};

const DEFAULTS: &Defaults = &[
    (Role::Unk, "[UNK]"),
    (Role::Sep, "[SEP]"),
    (Role::Pad, "[PAD]"),
    (Role::Cls, "[CLS]"),
    (Role::Mask, "[MASK]"),
];

const VOCABULARY: &str = "vocab.txt";

/// The limit of BERT's position table if `tokenizer_config.json` has none.
const DEFAULT_MAX_LENGTH: usize = 512;

/// Token ids and attention masks of some texts, all of one length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenBatch {
    /// `[CLS]`, tokens, `[SEP]`, padding.
    pub ids: Vec<Vec<u32>>,
    /// 1 for a token, 0 for padding.
    pub mask: Vec<Vec<u32>>,
}

/// BERT's tokenizer: clean text, separated Chinese characters, lower case without accents, split at spaces and
/// punctuation, then the longest pieces of `vocab.txt`.
#[derive(Debug, Clone)]
pub struct WordPiece {
    tokenizer: Tokenizer,
    cls: u32,
    sep: u32,
    pad: u32,
    max_length: usize,
    dir: PathBuf,
}

impl WordPiece {
    /// Reads `tokenizer.json` or `vocab.txt`, and, if they exist, `tokenizer_config.json`, `special_tokens_map.json` and
    /// `added_tokens.json`.
    ///
    /// # Errors
    /// If a file is missing or malformed, two contradict each other, the tokenizer is of another kind, the token for unknown words
    /// is not in the vocabulary, or an added token's id is not the next one.
    pub fn load(dir: &Path) -> Result<Self> {
        let config = TokenizerConfig::load(dir)?;
        config.check_class(dir, "BertTokenizer")?;
        let saved = Saved::load(dir)?;
        let added = AddedTokens::gather(dir, &config, saved.as_ref(), DEFAULTS)?;
        let unk = config.text(Role::Unk, DEFAULTS);
        let vocabulary = table(dir, saved.as_ref(), &added)?;
        if !vocabulary.has(&unk) {
            bail!(
                "the vocabulary in {} has no token {unk:?} for unknown words: its tokenizer_config.json belongs to another model",
                dir.display()
            );
        }
        let (chinese, lower) = (
            config.chinese_chars.unwrap_or(true),
            config.lower_case.unwrap_or(true),
        );
        let wrong = |error: tokenizers::Error| {
            Error::msg(format!("the tokenizer in {}: {error}", dir.display()))
        };
        let model = Model::builder()
            .vocab(vocabulary.collect::<Vocab>())
            .unk_token(unk.clone())
            .build()
            .map_err(wrong)?;
        let mut tokenizer = Tokenizer::new(model);
        let normalizer = BertNormalizer::new(true, chinese, config.strip_accents, lower);
        tokenizer.with_normalizer(Some(normalizer)).map_err(wrong)?;
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        added.add_to(&mut tokenizer, &vocabulary, dir)?;
        let id_of = |role| {
            let text = config.text(role, DEFAULTS);
            tokenizer.token_to_id(&text).ok_or_else(|| {
                Error::msg(format!("{}: the token {text:?} has no id", dir.display()))
            })
        };
        let (cls, sep, pad) = (id_of(Role::Cls)?, id_of(Role::Sep)?, id_of(Role::Pad)?);
        if let Some(saved) = &saved {
            let normalizer = json!({
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": chinese,
                "strip_accents": config.strip_accents, "lowercase": lower,
            });
            let [first, last] = [Role::Cls, Role::Sep].map(|role| config.text(role, DEFAULTS));
            form::bert(saved, &normalizer, &unk, [(&first, cls), (&last, sep)])?;
        }
        Self {
            tokenizer,
            cls,
            sep,
            pad,
            max_length: 0,
            dir: dir.to_path_buf(),
        }
        .with_max_length(config.max_length().unwrap_or(DEFAULT_MAX_LENGTH))
    }

    /// Checks that a text encoder read from the folder `encoder`, with `rows` word embeddings, fits.
    ///
    /// # Errors
    /// As [`ClipTokenizer::check_fit`](super::ClipTokenizer::check_fit).
    pub fn check_fit(&self, rows: usize, encoder: &Path) -> Result<()> {
        rows::check(&self.tokenizer, &self.dir, rows, encoder)
    }

    /// The same tokenizer with another length of the sequences.
    ///
    /// # Errors
    /// If the length is below 2, which leaves no room for `[CLS]` and `[SEP]`.
    pub fn with_max_length(mut self, max_length: usize) -> Result<Self> {
        if max_length < 2 {
            bail!(
                "a BERT sequence needs at least 2 tokens, [CLS] and [SEP]; max_length is {max_length}"
            );
        }
        self.max_length = max_length;
        Ok(self)
    }

    /// `[CLS]`, the tokens of `text`, `[SEP]`, padded or truncated to [`max_length`](Self::max_length), and its mask.
    pub fn encode(&self, text: &str) -> Result<(Vec<u32>, Vec<u32>)> {
        let words = self.word_ids(text)?;
        let words = &words[..words.len().min(self.max_length - 2)];
        let mut ids = Vec::with_capacity(self.max_length);
        ids.push(self.cls);
        ids.extend_from_slice(words);
        ids.push(self.sep);
        let mut mask = vec![1; ids.len()];
        ids.resize(self.max_length, self.pad);
        mask.resize(self.max_length, 0);
        Ok((ids, mask))
    }

    /// [`encode`](Self::encode) of every text.
    pub fn encode_batch<S: AsRef<str>>(&self, texts: &[S]) -> Result<TokenBatch> {
        let encoded: Result<Vec<_>> = texts
            .iter()
            .map(|text| self.encode(text.as_ref()))
            .collect();
        let (ids, mask) = encoded?.into_iter().unzip();
        Ok(TokenBatch { ids, mask })
    }

    /// The ids of `text` alone: no `[CLS]`, `[SEP]`, padding or truncation.
    ///
    /// # Errors
    /// Only if the tokenizer itself fails, which no text is known to cause.
    pub fn word_ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| Error::msg(format!("cannot tokenize {text:?}: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Length of every encoded sequence, `[CLS]` and `[SEP]` included.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}

/// The vocabulary, from `tokenizer.json` or `vocab.txt`; from both if they agree.
fn table(dir: &Path, saved: Option<&Saved>, added: &AddedTokens) -> Result<Vocabulary> {
    let Some(saved) = saved else {
        return Vocabulary::from_lines(dir, VOCABULARY);
    };
    if dir.join(VOCABULARY).is_file() {
        let old = Vocabulary::from_lines(dir, VOCABULARY)?;
        older::same_vocabulary(&old, VOCABULARY, saved, added)?;
    }
    Ok(saved.vocabulary.clone())
}
