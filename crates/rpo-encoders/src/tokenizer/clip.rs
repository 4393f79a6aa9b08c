//! CLIP's byte-level BPE, as `CLIPTokenizer` of transformers 5 builds it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use candle_core::{Error, Result, bail};
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence as Normalizers};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as PreTokenizers;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior, Tokenizer};

use super::added::AddedTokens;
use super::config::TokenizerConfig;
use super::merges::{self, END_OF_WORD, Merges};
use super::saved::Saved;
use super::token::{Defaults, Role};
use super::vectors::Vectors;
use super::vocabulary::Vocabulary;
use super::{form, older, rows};

/// CLIP's split into words: contractions, runs of letters, single digits, runs of other characters.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The same in files of transformers 4; `CLIPTokenizer` of transformers 5 reads them with [`WORDS`].
const OLD_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

const EOS: &str = "<|endoftext|>";

const DEFAULTS: &Defaults = &[
    (Role::Bos, "<|startoftext|>"),
    (Role::Eos, EOS),
    (Role::Unk, EOS),
    (Role::Pad, EOS),
];

/// The limit of CLIP checkpoints if `tokenizer_config.json` has none.
const DEFAULT_MAX_LENGTH: usize = 77;

/// CLIP's tokenizer: NFC, white space folded, lower case, byte-level BPE with `</w>` at the end of words.
#[derive(Debug, Clone)]
pub struct ClipTokenizer {
    tokenizer: Tokenizer,
    vectors: Vectors,
    bos: u32,
    eos: u32,
    pad: u32,
    max_length: usize,
    dir: PathBuf,
}

/// A text in which every byte occurs that UTF-8 has, after lower-casing.
fn every_byte() -> String {
    let steps = [
        (0x21, 0x7ff, 1),
        (0x800, 0xffff, 0x800),
        (0x1_0000, 0x10_ffff, 0x2_0000),
    ];
    let all = steps
        .into_iter()
        .flat_map(|(from, to, step)| (from..=to).step_by(step));
    all.filter_map(char::from_u32).collect()
}

impl ClipTokenizer {
    /// Reads `tokenizer.json`, or `vocab.json` and `merges.txt`, of a tokenizer folder, and, if they exist,
    /// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`.
    ///
    /// The pad token is EOS unless a file names another one. Added tokens match after lower-casing unless they are special or
    /// their flags say otherwise.
    ///
    /// # Errors
    /// If a file is missing or malformed, two contradict each other, the tokenizer is of another kind, merges do not fit the
    /// vocabulary, or an added token's id is not the next one.
    pub fn load(dir: &Path) -> Result<Self> {
        let config = TokenizerConfig::load(dir)?;
        config.check_class(dir, "CLIPTokenizer")?;
        let saved = Saved::load(dir)?;
        let added = AddedTokens::gather(dir, &config, saved.as_ref(), DEFAULTS)?;
        let unk = config.text(Role::Unk, DEFAULTS);
        let (vocabulary, merges) = tables(dir, saved.as_ref(), &added)?;
        let bpe = BPE::builder()
            .vocab_and_merges(vocabulary.collect::<Vocab>(), merges)
            .end_of_word_suffix(END_OF_WORD.to_string())
            .continuing_subword_prefix(String::new())
            .unk_token(unk.clone())
            .build();
        let mut tokenizer = around(bpe)
            .map_err(|error| Error::msg(format!("the tokenizer in {}: {error}", dir.display())))?;
        added.add_to(&mut tokenizer, &vocabulary, dir)?;
        if !vocabulary.has(&unk) && tokenizer.encode(every_byte(), false).is_err() {
            bail!(
                "{}: the vocabulary has neither all bytes nor the token {unk:?} for unknown ones, so some texts could not be read",
                dir.display()
            );
        }
        let id_of = |role| {
            let text = config.text(role, DEFAULTS);
            tokenizer.token_to_id(&text).ok_or_else(|| {
                Error::msg(format!("{}: the token {text:?} has no id", dir.display()))
            })
        };
        let (bos, eos, pad) = (id_of(Role::Bos)?, id_of(Role::Eos)?, id_of(Role::Pad)?);
        if let Some(saved) = &saved {
            let [first, last] = [Role::Bos, Role::Eos].map(|role| config.text(role, DEFAULTS));
            form::clip(
                saved,
                &[WORDS, OLD_WORDS],
                &unk,
                [(&first, bos), (&last, eos)],
            )?;
        }
        let texts = tokenizer.get_added_vocabulary().get_vocab().keys();
        Self {
            vectors: Vectors::new(texts.map(String::as_str)),
            bos,
            eos,
            pad,
            max_length: 0,
            dir: dir.to_path_buf(),
            tokenizer,
        }
        .with_max_length(config.max_length().unwrap_or(DEFAULT_MAX_LENGTH))
    }

    /// Checks that a text encoder read from the folder `encoder`, with `rows` token embeddings and `positions` positions, fits.
    ///
    /// # Errors
    /// If an id has no row; if there are more rows than ids, so that the names of tokens are lost, unless the table was padded to a
    /// multiple of 8; if the sequences are longer than the positions.
    pub fn check_fit(&self, rows: usize, positions: usize, encoder: &Path) -> Result<()> {
        rows::check(&self.tokenizer, &self.dir, rows, encoder)?;
        if self.max_length > positions {
            bail!(
                "{}: sequences of {} tokens (`model_max_length`) are longer than the {positions} positions of the text encoder {} (`max_position_embeddings`)\n  hint: tokenizer and text encoder must come from one model",
                self.dir.display(),
                self.max_length,
                encoder.display()
            );
        }
        Ok(())
    }

    /// `text` as diffusers hands it to the tokenizer: a textual-inversion token of several vectors, `<my-toy>` where
    /// `<my-toy>_1`, `<my-toy>_2`, … are added tokens too, is followed by the others.
    ///
    /// # Errors
    /// As [`word_ids`](Self::word_ids).
    pub fn with_all_vectors<'a>(&self, text: &'a str) -> Result<Cow<'a, str>> {
        if self.vectors.is_empty() {
            return Ok(Cow::Borrowed(text));
        }
        let encoding = self.tokenizer.encode(text, false);
        let encoding = encoding.map_err(|error| cannot(text, &error))?;
        Ok(Cow::Owned(self.vectors.insert(text, encoding.get_tokens())))
    }

    /// The same tokenizer with new words, which get the next ids in this order, as transformers' `add_tokens` adds them: found
    /// anywhere in a text after lower-casing. `<my-toy>` with `<my-toy>_1`, `<my-toy>_2`, … stands for all of them.
    ///
    /// # Errors
    /// If a word is empty, in the vocabulary already, or matches the same texts as another one.
    pub fn with_words<S: AsRef<str>>(&self, words: &[S]) -> Result<Self> {
        let mut tokenizer = self.tokenizer.clone();
        for (next, word) in (self.vocab_size()..).zip(words.iter().map(S::as_ref)) {
            let added = AddedToken::from(word.to_owned(), false);
            let refused = |what: &str| {
                Error::msg(format!(
                    "the new word {word:?} {what} {}\n  hint: another token, such as <my-toy>",
                    self.dir.display()
                ))
            };
            let known = tokenizer.get_added_vocabulary().get_vocab();
            let read = tokenizer
                .encode(word, false)
                .map_err(|e| cannot(word, &e))?;
            // Cleaned and lower-cased it may be another added token: which one a text means would be chance.
            if matches!(read.get_ids(), [id] if known.values().any(|own| own == id)) {
                return Err(refused("reads as a token that was added to"));
            }
            let done = tokenizer
                .add_tokens([added])
                .map_err(|e| cannot(word, &e))?;
            if done != 1 || tokenizer.token_to_id(word) != u32::try_from(next).ok() {
                return Err(refused("is in the vocabulary of"));
            }
        }
        let texts = tokenizer.get_added_vocabulary().get_vocab().keys();
        Ok(Self {
            vectors: Vectors::new(texts.map(String::as_str)),
            tokenizer,
            dir: self.dir.clone(),
            ..*self
        })
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
            .map_err(|error| cannot(text, &error))?;
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

fn cannot(text: &str, error: &tokenizers::Error) -> Error {
    Error::msg(format!("cannot tokenize {text:?}: {error}"))
}

/// The vocabulary and its merges, from `tokenizer.json` or the older files; from both if they agree.
fn tables(dir: &Path, saved: Option<&Saved>, added: &AddedTokens) -> Result<(Vocabulary, Merges)> {
    let (vocabulary, merges) = ("vocab.json", "merges.txt");
    let read = |name: &str| saved.is_none() || dir.join(name).is_file();
    let old_vocabulary = match read(vocabulary) {
        true => Some(Vocabulary::from_json(dir, vocabulary)?),
        false => None,
    };
    let old_merges = match read(merges) {
        true => Some(merges::read(dir, merges)?),
        false => None,
    };
    let (found, path) = match (saved, old_vocabulary, old_merges) {
        (None, Some(old_vocabulary), Some(old_merges)) => {
            ((old_vocabulary, old_merges), dir.join(merges))
        }
        (Some(saved), old_vocabulary, old_merges) => {
            if let Some(old) = old_vocabulary {
                older::same_vocabulary(&old, vocabulary, saved, added)?;
            }
            if let Some(old) = old_merges {
                older::same_merges(&old, merges, saved, dir)?;
            }
            let found = (saved.vocabulary.clone(), saved.merges.clone());
            (found, saved.path.clone())
        }
        // Without tokenizer.json both are read.
        (None, _, _) => bail!("{}: no vocabulary", dir.display()),
    };
    merges::check(&found.1, &found.0, |token| added.has(token), &path)?;
    Ok(found)
}

/// CLIP's cleaning and splitting of texts around its BPE.
fn around(bpe: tokenizers::Result<BPE>) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(bpe?);
    let spaces = Replace::new(ReplacePattern::Regex(r"\s+".to_string()), " ")?;
    tokenizer.with_normalizer(Some(Normalizers::new(vec![
        NFC.into(),
        spaces.into(),
        Lowercase.into(),
    ])))?;
    let words = Split::new(
        SplitPattern::Regex(WORDS.to_string()),
        SplitDelimiterBehavior::Removed,
        true,
    )?;
    tokenizer.with_pre_tokenizer(Some(PreTokenizers::new(vec![
        words.into(),
        ByteLevel::new(false, true, true).into(),
    ])));
    Ok(tokenizer)
}
