//! CLIP's byte-level BPE, as `CLIPTokenizer` of transformers 5 builds it.

use std::path::Path;

use candle_core::{Error, Result, bail};
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{SplitDelimiterBehavior, Tokenizer};

use super::saved::Tables;
use super::special::{Role, TokenizerConfig, id_of};

/// CLIP's split into words: contractions, runs of letters, single digits, runs of other characters.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

const EOS: &str = "<|endoftext|>";

/// The limit of CLIP checkpoints if `tokenizer_config.json` has none.
const DEFAULT_MAX_LENGTH: usize = 77;

/// CLIP's tokenizer: NFC, white space folded, lower case, byte-level BPE with `</w>` at the end of words.
#[derive(Debug, Clone)]
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    bos: u32,
    eos: u32,
    pad: u32,
    max_length: usize,
}

impl ClipTokenizer {
    /// Reads `vocab.json`, `merges.txt` and, if they exist, `tokenizer_config.json`, `special_tokens_map.json` and
    /// `added_tokens.json` of a tokenizer folder; or, as written by transformers 5, the tables of `tokenizer.json` instead of the
    /// first two.
    ///
    /// The pad token is EOS unless a file names another one.
    ///
    /// # Errors
    /// If a file is missing or malformed, or parts of a merge or a special token are not in the vocabulary.
    pub fn load(dir: &Path) -> Result<Self> {
        let file = |name: &str| -> Result<String> {
            crate::folder::read_text(dir, name)?;
            let path = dir.join(name);
            match path.to_str() {
                Some(text) => Ok(text.to_string()),
                None => bail!("{}: the path is not valid UTF-8", path.display()),
            }
        };
        let wrong = |error: tokenizers::Error| {
            Error::msg(format!("the tokenizer in {}: {error}", dir.display()))
        };
        let config = TokenizerConfig::load(dir)?;
        let (vocab, merges) = match Tables::in_place_of("vocab.json", dir)? {
            Some(tables) => (tables.vocab.clone().into_iter().collect(), tables.merges()),
            None => BPE::read_file(&file("vocab.json")?, &file("merges.txt")?).map_err(wrong)?,
        };
        let bpe = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .end_of_word_suffix("</w>".to_string())
            .continuing_subword_prefix(String::new())
            .unk_token(config.unk(EOS).to_string())
            .build()
            .map_err(wrong)?;
        let mut tokenizer = Tokenizer::new(bpe);
        let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_string()), " ").map_err(wrong)?;
        tokenizer
            .with_normalizer(Some(Normalizers::new(vec![
                NFC.into(),
                spaces.into(),
                Lowercase.into(),
            ])))
            .map_err(wrong)?;
        let words = Split::new(
            SplitPattern::Regex(WORDS.to_string()),
            SplitDelimiterBehavior::Removed,
            true,
        )
        .map_err(wrong)?;
        tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![
            words.into(),
            ByteLevel::new(false, true, true).into(),
        ])));
        config.add_to(
            &mut tokenizer,
            &[Role::Bos, Role::Eos, Role::Unk(EOS), Role::Pad(EOS)],
        )?;
        let bos = id_of(&tokenizer, config.bos(), dir)?;
        let eos = id_of(&tokenizer, config.eos(), dir)?;
        let pad = id_of(&tokenizer, config.pad(EOS), dir)?;
        Self {
            tokenizer,
            bos,
            eos,
            pad,
            max_length: 0,
        }
        .with_max_length(config.max_length().unwrap_or(DEFAULT_MAX_LENGTH))
    }

    /// The same tokenizer with another length of the sequences.
    ///
    /// # Errors
    /// If the length is below 2, which leaves no room for BOS and EOS.
    pub fn with_max_length(mut self, max_length: usize) -> Result<Self> {
        if max_length < 2 {
            bail!(
                "a CLIP sequence needs at least 2 tokens, BOS and EOS; max_length is {max_length}"
            );
        }
        self.max_length = max_length;
        Ok(self)
    }

    /// BOS, the tokens of `text`, EOS, padded or truncated to [`max_length`](Self::max_length) ids.
    ///
    /// # Errors
    /// Only if the tokenizer itself fails, which no text is known to cause.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut words = self.word_ids(text)?;
        words.truncate(self.max_length - 2);
        let mut ids = Vec::with_capacity(self.max_length);
        ids.push(self.bos);
        ids.extend(words);
        ids.push(self.eos);
        ids.resize(self.max_length, self.pad);
        Ok(ids)
    }

    /// [`encode`](Self::encode) of every text.
    pub fn encode_batch<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<u32>>> {
        texts
            .iter()
            .map(|text| self.encode(text.as_ref()))
            .collect()
    }

    /// The ids of `text` alone: no BOS, EOS, padding or truncation. A text is truncated by
    /// [`encode`](Self::encode) if it has more than `max_length() - 2` of them.
    pub fn word_ids(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|error| Error::msg(format!("cannot tokenize {text:?}: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// Length of every encoded sequence, BOS and EOS included.
    pub fn max_length(&self) -> usize {
        self.max_length
    }

    /// Number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Id of the token that begins a sequence.
    pub fn bos(&self) -> u32 {
        self.bos
    }

    /// Id of the token that ends a sequence.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// Id of the token that fills a sequence up.
    pub fn pad(&self) -> u32 {
        self.pad
    }
}
