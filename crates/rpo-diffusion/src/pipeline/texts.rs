//! From prompts to the U-Net's conditioning: one text encoder, or SDXL's two.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Result, Tensor, bail};
use rpo_encoders::clip::{ClipTextConfig, ClipTextModel, ClipTextOutput};
use rpo_encoders::tokenizer::ClipTokenizer;
use rpo_nn::{Place, all_finite, ops};

use super::index::Index;
use super::part::Part;
use crate::conditioning::{Added, Conditioning};

/// Texts in one batch of a text encoder.
const TEXT_BATCH: usize = 64;

/// A tokenizer and the encoder that reads its ids.
struct Tower {
    tokenizer: ClipTokenizer,
    encoder: Part<ClipTextModel>,
    width: usize,
    /// Of the encoder.
    dir: PathBuf,
}

impl Tower {
    fn load(dir: &Path, suffix: &str, variant: Option<&str>) -> Result<Self> {
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
    fn ids(&self, prompts: &[&str]) -> Result<Vec<Vec<u32>>> {
        let whole = prompts.iter().map(|p| self.tokenizer.with_all_vectors(p));
        let whole = whole.collect::<Result<Vec<_>>>()?;
        self.tokenizer.encode_batch(&whole)
    }

    fn tokens(&self, text: &str) -> Result<(usize, usize)> {
        let text = self.tokenizer.with_all_vectors(text)?;
        let tokens = self.tokenizer.word_ids(&text)?.len() + 2;
        Ok((tokens, self.tokenizer.max_length()))
    }

    /// The encoder's output for rows of ids.
    ///
    /// # Errors
    /// Ids that do not fit; the first state that is not finite.
    fn encode(&self, ids: &[Vec<u32>]) -> Result<ClipTextOutput> {
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

    fn at(self, variant: Option<&str>, place: &Place) -> Self {
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

/// The text encoders of a pipeline.
pub(super) struct Texts {
    first: Tower,
    /// SDXL's second encoder, whose pooled output is projected.
    second: Option<Tower>,
    zeros_for_empty_prompt: bool,
}

impl Texts {
    pub(super) fn load(dir: &Path, index: Index, variant: Option<&str>) -> Result<Self> {
        Ok(Self {
            first: Tower::load(dir, "", variant)?,
            second: index
                .xl
                .then(|| Tower::load(dir, "_2", variant))
                .transpose()?,
            zeros_for_empty_prompt: index.zeros_for_empty_prompt,
        })
    }

    /// The same encoders at `place`.
    pub(super) fn at(self, variant: Option<&str>, place: &Place) -> Self {
        Self {
            first: self.first.at(variant, place),
            second: self.second.map(|second| second.at(variant, place)),
            ..self
        }
    }

    /// D: the total width of the states.
    pub(super) fn width(&self) -> usize {
        self.first.width + self.second.as_ref().map_or(0, |t| t.width)
    }

    pub(super) fn release(&self) {
        self.first.encoder.release();
        if let Some(second) = &self.second {
            second.encoder.release();
        }
    }

    /// Number of tokens of a text, including BOS and EOS, and how many are read, by the encoder that reads the smallest share of it.
    pub(super) fn tokens(&self, text: &str) -> Result<(usize, usize)> {
        let first = self.first.tokens(text)?;
        Ok(match &self.second {
            Some(second) => {
                let second = second.tokens(text)?;
                let beyond = |(tokens, read): (usize, usize)| tokens.saturating_sub(read);
                if beyond(second) > beyond(first) {
                    second
                } else {
                    first
                }
            }
            None => first,
        })
    }

    /// One row per prompt; equal prompts are computed once. `size`: side of the pictures in pixels, an input of SDXL.
    pub(super) fn encode<S: AsRef<str>>(&self, prompts: &[S], size: usize) -> Result<Conditioning> {
        let mut rows = HashMap::new();
        let mut unique = Vec::new();
        let mut order = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let prompt = prompt.as_ref();
            let row = *rows.entry(prompt).or_insert_with(|| {
                unique.push(prompt);
                unique.len() - 1
            });
            order.push(row as u32);
        }
        if unique.is_empty() {
            bail!("no prompts to encode");
        }
        let batches = unique.chunks(TEXT_BATCH).map(|batch| {
            let ids = self.first.ids(batch)?;
            let second = self.second.as_ref().map(|t| t.ids(batch));
            self.encode_ids(&ids, second.transpose()?.as_deref(), size)
        });
        let batches = batches.collect::<Result<Vec<_>>>()?;
        Conditioning::cat(&batches.iter().collect::<Vec<_>>())?.select(&order)
    }

    /// The conditioning of token ids; `second` are those of SDXL's second tokenizer.
    fn encode_ids(
        &self,
        ids: &[Vec<u32>],
        second: Option<&[Vec<u32>]>,
        size: usize,
    ) -> Result<Conditioning> {
        let first = self.first.encode(ids)?;
        let (Some(tower), Some(ids)) = (&self.second, second) else {
            return Ok(first.last_hidden_state.into());
        };
        let second = tower.encode(ids)?;
        xl(&first, second, size)
    }

    /// The unconditional row of guidance: the empty prompt, or SDXL's zeros.
    pub(super) fn unconditional(&self, size: usize) -> Result<Conditioning> {
        let empty = self.encode(&[""], size)?;
        if self.zeros_for_empty_prompt {
            empty.zeroed()
        } else {
            Ok(empty)
        }
    }
}

/// SDXL's conditioning (Podell et al. 2023, section 2.1): penultimate states of both encoders concatenated, pooled text of
/// the second.
///
/// # Errors
/// If the second encoder has no projection.
pub fn xl(first: &ClipTextOutput, second: ClipTextOutput, size: usize) -> Result<Conditioning> {
    let Some(text_embeds) = second.text_embeds else {
        bail!(
            "text_encoder_2 holds no text_projection.weight: it must be a CLIPTextModelWithProjection"
        )
    };
    Ok(Conditioning {
        hidden_states: ops::concat_channels(&first.penultimate, &second.penultimate)?,
        added: Some(Added::square(text_embeds, size)?),
    })
}
