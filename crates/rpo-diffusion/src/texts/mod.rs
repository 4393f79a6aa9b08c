//! From prompts to the U-Net's conditioning: one text encoder, or SDXL's two.

mod tower;

mod word;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Result, Tensor, bail};
use rpo_encoders::clip::{ClipTextConfig, ClipTextModel, ClipTextOutput};
use rpo_nn::weights::Params;
use rpo_nn::{Place, ops};

use crate::conditioning::{Added, Conditioning};
use tower::Tower;
pub use word::Word;

/// Texts in one batch of a text encoder.
const TEXT_BATCH: usize = 64;

/// The tokenizers and text encoders of a pipeline, or others in their place. Clones share the encoders.
#[derive(Clone)]
pub struct Texts {
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
    pub(crate) fn at(self, place: &Place) -> Self {
        Self {
            first: self.first.at(place),
            second: self.second.map(|second| second.at(place)),
            ..self
        }
    }

    fn towers(&self) -> impl Iterator<Item = &Tower> {
        std::iter::once(&self.first).chain(&self.second)
    }

    /// The same encoders with another tower each, made of the present one and its number.
    fn each(&self, other: impl Fn(&Tower, usize) -> Result<Tower>) -> Result<Self> {
        Ok(Self {
            first: other(&self.first, 0)?,
            second: self.second.as_ref().map(|t| other(t, 1)).transpose()?,
            ..*self
        })
    }

    /// The config of each encoder.
    pub fn configs(&self) -> Vec<ClipTextConfig> {
        self.towers().map(|tower| tower.config.clone()).collect()
    }

    /// The mean row of a text's tokens in each encoder's table, `[1, D]`: where a new word of that meaning starts.
    ///
    /// # Errors
    /// If the text has no token.
    pub fn mean_rows(&self, text: &str) -> Result<Vec<Tensor>> {
        self.towers().map(|tower| tower.mean_row(text)).collect()
    }

    /// The same encoders, reading new words. If the vectors of a single one are variables, encoded prompts have their gradients on a
    /// tape.
    ///
    /// # Errors
    /// If there are new words already; if a word is in a vocabulary, or its vectors do not fit an encoder.
    pub fn with_words(&self, words: &[Word]) -> Result<Self> {
        let encoders = self.towers().count();
        if let Some(word) = words.iter().find(|word| word.rows.len() != encoders) {
            bail!(
                "the new word {:?} has vectors for {} text encoders, the model has {encoders}\n  hint: an embedding belongs to the model that it was trained with",
                word.token,
                word.rows.len()
            );
        }
        let names: Vec<String> = words.iter().flat_map(Word::names).collect();
        self.each(|tower, i| {
            let rows: Vec<&Tensor> = words.iter().map(|word| &word.rows[i]).collect();
            let rows = match rows[..] {
                [] => return Ok(tower.clone()),
                [own] => own.clone(),
                _ => Tensor::cat(&rows, 0)?,
            };
            tower.with_words(&names, rows)
        })
    }

    /// Whether every encoder reads a new word in one of the prompts: none is read beyond an encoder's last position.
    ///
    /// # Errors
    /// Those of the tokenizers.
    pub fn read_words<S: AsRef<str>>(&self, prompts: &[S]) -> Result<bool> {
        let prompts: Vec<&str> = prompts.iter().map(AsRef::as_ref).collect();
        for tower in self.towers() {
            if !tower.reads_words(&prompts)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Config and frozen tensors of each of the model's own encoders, in f32 on the CPU.
    ///
    /// # Errors
    /// Those of reading.
    pub fn open(&self) -> Result<Vec<(ClipTextConfig, Params)>> {
        self.towers().map(Tower::open).collect()
    }

    /// The same tokenizers with other encoders of the same configs, in this order; missing ones stay.
    ///
    /// # Errors
    /// None at present.
    pub fn with_encoders(&self, encoders: &[ClipTextModel]) -> Result<Self> {
        self.each(|tower, i| {
            let other = encoders.get(i).cloned();
            Ok(other.map_or_else(|| tower.clone(), |other| tower.with_encoder(other)))
        })
    }

    /// D: the total width of the states.
    pub(crate) fn width(&self) -> usize {
        self.towers().map(|tower| tower.config.hidden_size).sum()
    }

    pub(crate) fn release(&self) {
        self.towers().for_each(Tower::release);
    }

    /// Number of tokens of a text, including BOS and EOS, and how many are read, by the encoder that reads the smallest share of it.
    ///
    /// # Errors
    /// Those of the tokenizers.
    pub fn tokens(&self, text: &str) -> Result<(usize, usize)> {
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
    ///
    /// # Errors
    /// No prompt; those of the encoders.
    pub fn encode<S: AsRef<str>>(&self, prompts: &[S], size: usize) -> Result<Conditioning> {
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
        // A tape follows one batch, not the concatenation of several.
        let at_once = match self.towers().all(Tower::is_own) {
            true => TEXT_BATCH,
            false => unique.len(),
        };
        let batches = unique.chunks(at_once).map(|batch| {
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
    ///
    /// # Errors
    /// Those of the encoders.
    pub fn unconditional(&self, size: usize) -> Result<Conditioning> {
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
