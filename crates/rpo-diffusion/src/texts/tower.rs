//! A tokenizer and the text encoder that reads its ids.

use std::path::{Path, PathBuf};

use candle_core::{Result, Tensor};
use rpo_encoders::clip::{ClipTextConfig, ClipTextModel, ClipTextOutput};
use rpo_encoders::tokenizer::ClipTokenizer;
use rpo_nn::{Place, all_finite};

use crate::part::Part;

/// A tokenizer and the encoder that reads its ids.
pub(super) struct Tower {
    tokenizer: ClipTokenizer,
    pub(super) encoder: Part<ClipTextModel>,
    pub(super) width: usize,
    /// Of the encoder.
    dir: PathBuf,
}

impl Tower {
    pub(super) fn load(dir: &Path, suffix: &str, variant: Option<&str>) -> Result<Self> {
        let text_dir = dir.join(format!("text_encoder{suffix}"));
        let config = ClipTextConfig::load(&text_dir)?;
        let width = config.hidden_size;
        let encoder = encoder(&text_dir, variant, &Place::default());
        // Loaded once now, so that a mismatch is reported before anything is computed.
        encoder.get()?;
        let tokenizer = ClipTokenizer::load(&dir.join(format!("tokenizer{suffix}")))?;
        let positions = config.max_position_embeddings;
        tokenizer.check_fit(config.vocab_size, positions, &text_dir)?;
        Ok(Self {
            tokenizer,
            encoder,
            width,
            dir: text_dir,
        })
    }

    /// The ids of prompts as diffusers' pipelines read them.
    pub(super) fn ids(&self, prompts: &[&str]) -> Result<Vec<Vec<u32>>> {
        let whole = prompts.iter().map(|p| self.tokenizer.with_all_vectors(p));
        let whole = whole.collect::<Result<Vec<_>>>()?;
        self.tokenizer.encode_batch(&whole)
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
        let out = self.encoder.get()?.forward(ids)?;
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

    pub(super) fn at(self, variant: Option<&str>, place: &Place) -> Self {
        Self {
            encoder: encoder(&self.dir, variant, place),
            ..self
        }
    }
}

fn encoder(dir: &Path, variant: Option<&str>, place: &Place) -> Part<ClipTextModel> {
    let (dir, variant, place) = (dir.to_owned(), variant.map(String::from), place.clone());
    Part::new(move || ClipTextModel::load(&dir, variant.as_deref(), &place))
}
