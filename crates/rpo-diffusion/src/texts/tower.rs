//! A tokenizer and the text encoder that reads its ids.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Error, Result, Tensor, bail};
use rpo_encoders::clip::{ClipTextConfig, ClipTextModel, ClipTextOutput};
use rpo_encoders::tokenizer::ClipTokenizer;
use rpo_nn::weights::Params;
use rpo_nn::{Place, all_finite};

use crate::part::Part;

/// A tokenizer and the encoder that reads its ids.
#[derive(Clone)]
pub(super) struct Tower {
    tokenizer: ClipTokenizer,
    encoder: Encoder,
    pub(super) config: ClipTextConfig,
    /// The vectors of new words.
    words: Option<Words>,
    /// Of the encoder.
    dir: PathBuf,
    variant: Option<String>,
}

/// Where the encoder is.
#[derive(Clone)]
enum Encoder {
    /// The model's own, in memory only while needed.
    Own(Arc<Part<ClipTextModel>>),
    /// Built on other tensors.
    Other(Arc<ClipTextModel>),
}

/// Rows beside the token table.
#[derive(Clone)]
struct Words {
    /// Id of the first one from the tokenizer.
    first: u32,
    /// `[n, D]`
    rows: Tensor,
}

impl Tower {
    pub(super) fn load(dir: &Path, suffix: &str, variant: Option<&str>) -> Result<Self> {
        let text_dir = dir.join(format!("text_encoder{suffix}"));
        let config = ClipTextConfig::load(&text_dir)?;
        let encoder = part(&text_dir, variant, &Place::default());
        // Loaded once now, so that a mismatch is reported before anything is computed.
        encoder.get()?;
        let tokenizer = ClipTokenizer::load(&dir.join(format!("tokenizer{suffix}")))?;
        let positions = config.max_position_embeddings;
        tokenizer.check_fit(config.vocab_size, positions, &text_dir)?;
        Ok(Self {
            tokenizer,
            encoder: Encoder::Own(Arc::new(encoder)),
            config,
            words: None,
            dir: text_dir,
            variant: variant.map(String::from),
        })
    }

    /// Whether nothing in it can be trained.
    pub(super) fn is_own(&self) -> bool {
        self.words.is_none() && matches!(self.encoder, Encoder::Own(_))
    }

    fn encoder(&self) -> Result<Arc<ClipTextModel>> {
        match &self.encoder {
            Encoder::Own(part) => part.get(),
            Encoder::Other(model) => Ok(model.clone()),
        }
    }

    pub(super) fn release(&self) {
        if let Encoder::Own(part) = &self.encoder {
            part.release();
        }
    }

    /// The ids of prompts as diffusers' pipelines read them.
    pub(super) fn ids(&self, prompts: &[&str]) -> Result<Vec<Vec<u32>>> {
        let whole = prompts.iter().map(|p| self.tokenizer.with_all_vectors(p));
        let whole = whole.collect::<Result<Vec<_>>>()?;
        self.tokenizer.encode_batch(&whole)
    }

    /// Whether one of the prompts has a new word among the tokens that are read.
    pub(super) fn reads_words(&self, prompts: &[&str]) -> Result<bool> {
        let Some(words) = &self.words else {
            return Ok(false);
        };
        let ids = self.ids(prompts)?;
        Ok(ids.iter().flatten().any(|id| *id >= words.first))
    }

    pub(super) fn tokens(&self, text: &str) -> Result<(usize, usize)> {
        let text = self.tokenizer.with_all_vectors(text)?;
        let tokens = self.tokenizer.word_ids(&text)?.len() + 2;
        Ok((tokens, self.tokenizer.max_length()))
    }

    /// The encoder's output for rows of ids.
    ///
    /// # Errors
    /// Ids that do not fit; the first state that is not finite.
    pub(super) fn encode(&self, ids: &[Vec<u32>]) -> Result<ClipTextOutput> {
        const HINT: &str = "the weights of this text encoder are damaged";
        let encoder = self.encoder()?;
        let out = match &self.words {
            None => encoder.forward(ids)?,
            Some(words) => {
                // The table may have more rows than the tokenizer has ids.
                let own = |id: &u32| match id.checked_sub(words.first) {
                    Some(n) => self.config.vocab_size as u32 + n,
                    None => *id,
                };
                let ids: Vec<Vec<u32>> = ids
                    .iter()
                    .map(|row| row.iter().map(own).collect())
                    .collect();
                encoder.forward_with(&ids, Some(&words.rows))?
            }
        };
        let finite = |x: Tensor, what: &str| {
            all_finite(
                x,
                || format!("{}: {what} of texts", self.dir.display()),
                HINT,
            )
        };
        Ok(ClipTextOutput {
            last_hidden_state: finite(out.last_hidden_state, "states")?,
            penultimate: finite(out.penultimate, "penultimate states")?,
            text_embeds: out
                .text_embeds
                .map(|x| finite(x, "embeddings"))
                .transpose()?,
            pooled: out.pooled,
        })
    }

    /// The mean row of a text's tokens, `[1, D]`: where a new word of that meaning starts.
    ///
    /// # Errors
    /// If the text has no token.
    pub(super) fn mean_row(&self, text: &str) -> Result<Tensor> {
        let ids = self.tokenizer.word_ids(text)?;
        if ids.is_empty() {
            bail!("{text:?} has no token whose vector a new word could start from");
        }
        let rows = self.encoder()?.token_rows(&ids)?;
        rows.mean_keepdim(0)
    }

    /// The same tower with new words, whose vectors are `rows` `[n, D]`.
    pub(super) fn with_words(&self, names: &[String], rows: Tensor) -> Result<Self> {
        if self.words.is_some() {
            bail!("{}: there are new words already", self.dir.display());
        }
        if rows.dims() != [names.len(), self.config.hidden_size] {
            bail!(
                "vectors {:?} of {} new words: {} reads [{}, {}]\n  hint: an embedding belongs to the text encoder that it was trained with",
                rows.shape(),
                names.len(),
                self.dir.display(),
                names.len(),
                self.config.hidden_size
            );
        }
        let first = u32::try_from(self.tokenizer.vocab_size()).map_err(Error::wrap)?;
        Ok(Self {
            tokenizer: self.tokenizer.with_words(names)?,
            words: Some(Words { first, rows }),
            ..self.clone()
        })
    }

    /// The config and frozen tensors of the encoder.
    pub(super) fn open(&self) -> Result<(ClipTextConfig, Params)> {
        ClipTextModel::open(&self.dir, self.variant.as_deref())
    }

    /// The same tower with another encoder of its config.
    pub(super) fn with_encoder(&self, encoder: ClipTextModel) -> Self {
        Self {
            encoder: Encoder::Other(Arc::new(encoder)),
            ..self.clone()
        }
    }

    /// The same tower with the model's own encoder at `place`.
    pub(super) fn at(self, place: &Place) -> Self {
        let encoder = part(&self.dir, self.variant.as_deref(), place);
        Self {
            encoder: Encoder::Own(Arc::new(encoder)),
            ..self
        }
    }
}

fn part(dir: &Path, variant: Option<&str>, place: &Place) -> Part<ClipTextModel> {
    let (dir, variant, place) = (dir.to_owned(), variant.map(String::from), place.clone());
    Part::new(move || ClipTextModel::load(&dir, variant.as_deref(), &place))
}
