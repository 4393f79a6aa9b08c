//! From prompts to the U-Net's conditioning: one text encoder, or SDXL's two.

mod tower;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Result, bail};
use rpo_encoders::clip::ClipTextOutput;
use rpo_nn::{Place, ops};

use crate::conditioning::{Added, Conditioning};
use tower::Tower;

/// Texts in one batch of a text encoder.
const TEXT_BATCH: usize = 64;

/// The text encoders of a pipeline.
pub(crate) struct Texts {
    first: Tower,
    /// SDXL's second encoder, whose pooled output is projected.
    second: Option<Tower>,
    zeros_for_empty_prompt: bool,
}

impl Texts {
    /// Those of a folder: with `xl` both; `zeros_for_empty_prompt`: whether guidance uses zeros instead of the empty prompt's states.
    pub(crate) fn load(
        dir: &Path,
        xl: bool,
        zeros_for_empty_prompt: bool,
        variant: Option<&str>,
    ) -> Result<Self> {
        Ok(Self {
            first: Tower::load(dir, "", variant)?,
            second: xl.then(|| Tower::load(dir, "_2", variant)).transpose()?,
            zeros_for_empty_prompt,
        })
    }

    /// The same encoders at `place`.
    pub(crate) fn at(self, variant: Option<&str>, place: &Place) -> Self {
        Self {
            first: self.first.at(variant, place),
            second: self.second.map(|second| second.at(variant, place)),
            ..self
        }
    }

    /// D: the total width of the states.
    pub(crate) fn width(&self) -> usize {
        self.first.width + self.second.as_ref().map_or(0, |t| t.width)
    }

    pub(crate) fn release(&self) {
        self.first.encoder.release();
        if let Some(second) = &self.second {
            second.encoder.release();
        }
    }

    /// Number of tokens of a text, including BOS and EOS, and how many are read, by the encoder that reads the smallest share of it.
    pub(crate) fn tokens(&self, text: &str) -> Result<(usize, usize)> {
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
    pub(crate) fn encode<S: AsRef<str>>(&self, prompts: &[S], size: usize) -> Result<Conditioning> {
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
    pub(crate) fn unconditional(&self, size: usize) -> Result<Conditioning> {
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
