//! BERT's WordPiece, as `BertTokenizer` of transformers 5 builds it.

use std::path::Path;

use candle_core::{Error, Result, bail};
use tokenizers::Tokenizer;
use tokenizers::models::wordpiece::WordPiece as Model;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;

use super::saved::Tables;
use super::special::{Role, TokenizerConfig, id_of};

const UNK: &str = "[UNK]";
const PAD: &str = "[PAD]";

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
}

impl WordPiece {
    /// Reads `vocab.txt`, or the table of `tokenizer.json` if transformers 5 wrote only that, and, if they exist,
    /// `tokenizer_config.json` and `special_tokens_map.json`.
    ///
    /// # Errors
    /// If a file is missing or malformed, or special tokens are not in the vocabulary.
    pub fn load(dir: &Path) -> Result<Self> {
        let wrong = |error: tokenizers::Error| {
            Error::msg(format!("the tokenizer in {}: {error}", dir.display()))
        };
        let config = TokenizerConfig::load(dir)?;
        let vocab = match Tables::in_place_of("vocab.txt", dir)? {
            Some(tables) => tables.vocab.into_iter().collect(),
            None => {
                let text = crate::folder::read_text(dir, "vocab.txt")?;
                Model::read_bytes(text.as_bytes()).map_err(wrong)?
            }
        };
        let model = Model::builder()
            .vocab(vocab)
            .unk_token(config.unk(UNK).to_string())
            .build()
            .map_err(wrong)?;
        let mut tokenizer = Tokenizer::new(model);
        tokenizer
            .with_normalizer(Some(BertNormalizer::new(
                true,
                config.tokenize_chinese_chars.unwrap_or(true),
                config.strip_accents,
                config.do_lower_case.unwrap_or(true),
            )))
            .map_err(wrong)?;
        tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
        config.add_to(
            &mut tokenizer,
            &[
                Role::Unk(UNK),
                Role::Sep,
                Role::Pad(PAD),
                Role::Cls,
                Role::Mask,
            ],
        )?;
        id_of(&tokenizer, config.unk(UNK), dir)?;
        let cls = id_of(&tokenizer, config.cls(), dir)?;
        let sep = id_of(&tokenizer, config.sep(), dir)?;
        let pad = id_of(&tokenizer, config.pad(PAD), dir)?;
        Self {
            tokenizer,
            cls,
            sep,
            pad,
            max_length: 0,
        }
        .with_max_length(config.max_length().unwrap_or(DEFAULT_MAX_LENGTH))
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
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| Error::msg(format!("cannot tokenize {text:?}: {error}")))?;
        let words = encoding.get_ids();
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

    /// Length of every encoded sequence, `[CLS]` and `[SEP]` included.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }
}
