//! CLIP's text tower.

use std::path::Path;

use candle_core::{Result, Tensor, bail};
use rpo_nn::Place;
use rpo_nn::layers::{Embedding, LayerNorm, Linear};
use rpo_nn::ops::{self, Mask};
use rpo_nn::weights::{Params, Scope};

use super::{ClipTextConfig, LAYER};
use crate::tokenizer::TokenBatch;
use crate::transformer::{Layer, Norm, Width, flat_ids};
use crate::{activation, folder};

/// `CLIPTextModel`, or `CLIPTextModelWithProjection` if the weights have a `text_projection`: token and position embeddings,
/// causal pre-norm layers, a final norm.
#[derive(Debug, Clone)]
pub struct ClipTextModel {
    tokens: Embedding,
    positions: Tensor,
    layers: Vec<Layer>,
    final_norm: LayerNorm,
    projection: Option<Linear>,
    config: ClipTextConfig,
    place: Place,
}

/// Output of the text tower for `B` texts of `S` tokens, on the CPU.
#[derive(Debug, Clone)]
pub struct ClipTextOutput {
    /// `[B, S, D]`, after the final norm: the conditioning of Stable Diffusion.
    pub last_hidden_state: Tensor,
    /// `[B, S, D]`: input of the last layer, transformers' `hidden_states[-2]`, without a norm: the conditioning of SDXL.
    pub penultimate: Tensor,
    /// `[B, D]`: the state at the first EOS.
    pub pooled: Tensor,
    /// `[B, P]`: the projection of `pooled`, if any.
    pub text_embeds: Option<Tensor>,
}

impl ClipTextModel {
    /// Builds the tower from the tensors below `scope`, with or without the prefix `text_model` (transformers 4
    /// writes it, transformers 5 does not). They are on the CPU; the tower computes at `place`, in f32.
    ///
    /// # Errors
    /// If the config is inconsistent, or a tensor is missing or has another shape.
    pub fn new(config: &ClipTextConfig, scope: &Scope, place: &Place) -> Result<Self> {
        let place = place.in_f32();
        let projection = scope.sub("text_projection");
        let projection = projection
            .contains("weight")
            .then(|| {
                Linear::new(
                    &projection.at(&place)?,
                    config.hidden_size,
                    config.projection_dim,
                    false,
                )
            })
            .transpose()?;
        let scope = if scope.contains("text_model.final_layer_norm.weight") {
            scope.sub("text_model")
        } else {
            scope.clone()
        };
        let width = Width {
            hidden: config.hidden_size,
            intermediate: config.intermediate_size,
            heads: config.num_attention_heads,
            eps: config.layer_norm_eps,
            activation: activation::by_name("hidden_act", &config.hidden_act)?,
        };
        width.check()?;
        let embeddings = scope.sub("embeddings");
        let layers = scope.sub("encoder").sub("layers").at(&place)?;
        Ok(Self {
            tokens: Embedding::new(
                &embeddings.sub("token_embedding"),
                config.vocab_size,
                config.hidden_size,
            )?,
            positions: embeddings.sub("position_embedding").tensor(
                "weight",
                &[config.max_position_embeddings, config.hidden_size],
            )?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::new(&width, Norm::Pre, &LAYER, &layers.sub(index)))
                .collect::<Result<_>>()?,
            final_norm: LayerNorm::new(
                &scope.sub("final_layer_norm").at(&place)?,
                config.hidden_size,
                config.layer_norm_eps,
            )?,
            projection,
            config: config.clone(),
            place,
        })
    }

    /// Reads `config.json` and the weights of a `CLIPTextModel` folder, or its `variant`; the tower computes at `place`, in f32. Of a
    /// whole `CLIPModel` the vision tower is passed over.
    ///
    /// # Errors
    /// If a file is missing or malformed, a number is out of bounds, or a tensor is missing, has another shape or no place in the
    /// tower; those of the device.
    pub fn load(dir: &Path, variant: Option<&str>, place: &Place) -> Result<Self> {
        let (config, params) = Self::open(dir, variant)?;
        let model = Self::new(&config, &params.root(), place)?;
        folder::all_read(dir, &params, |name| {
            name == "logit_scale"
                || name.ends_with("position_ids")
                || name.starts_with("vision_model.")
                || name.starts_with("visual_projection.")
        })?;
        Ok(model)
    }

    /// The config and the frozen tensors of such a folder, to build towers on copies of them.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn open(dir: &Path, variant: Option<&str>) -> Result<(ClipTextConfig, Params)> {
        let config = ClipTextConfig::load(dir)?;
        let params = folder::open_fitting(dir, variant, |outline| {
            Self::new(&config, &outline.root(), &Place::default()).map(drop)
        })?;
        Ok((config, params))
    }

    /// Names and shapes of all tensors of a tower, with the prefix `text_model` left away.
    ///
    /// # Errors
    /// If the config is inconsistent.
    pub fn shapes(config: &ClipTextConfig) -> Result<Vec<(String, Vec<usize>)>> {
        let blank = Params::blank("text encoder");
        Self::new(config, &blank.root(), &Place::default())?;
        Ok(blank.shapes())
    }

    /// The rows of the token table of some ids, `[n, D]`.
    ///
    /// # Errors
    /// If an id is outside the vocabulary.
    pub fn token_rows(&self, ids: &[u32]) -> Result<Tensor> {
        self.tokens.forward(ids, &[ids.len()])
    }

    /// The config that the tower was built from.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// Encodes rows of token ids, all of one length. There is no padding mask: Stable Diffusion uses none, and the causal mask
    /// excludes what follows EOS from the pooled state.
    ///
    /// The pooled state is read at the first `eos_token_id`, at the first token if there is none, and, if the config has 2 (as
    /// all files from before 2023 wrongly do), at the first occurrence of the row's highest id.
    ///
    /// # Errors
    /// If rows have different lengths or are too long, or ids are outside the vocabulary.
    pub fn forward(&self, ids: &[Vec<u32>]) -> Result<ClipTextOutput> {
        self.forward_with(ids, None)
    }

    /// As [`Self::forward`], where ids from `vocab_size` on are rows of `added` `[n, D]`: the vectors of new words, as textual
    /// inversion trains them. Where they are variables, states and embeddings have their gradients, also on a tape.
    ///
    /// # Errors
    /// As [`Self::forward`]; also if the rows have another width.
    pub fn forward_with(&self, ids: &[Vec<u32>], added: Option<&Tensor>) -> Result<ClipTextOutput> {
        let rows = added.map_or(Ok(0), |added| added.dim(0))?;
        let (flat, batch, length) = flat_ids(ids, self.config.vocab_size + rows)?;
        let x = match added {
            None => self.tokens.forward(&flat, &[batch, length])?,
            Some(added) => self.tokens.forward_with(added, &flat, &[batch, length])?,
        };
        if length > self.config.max_position_embeddings {
            bail!(
                "a sequence of {length} tokens is longer than the {} positions of the model",
                self.config.max_position_embeddings
            );
        }
        // As rows of a table, whose sum a tape can follow.
        let positions: Vec<u32> = (0..batch).flat_map(|_| 0..length as u32).collect();
        let positions = ops::embedding(&self.positions, &positions, &[batch, length])?;
        let mut x = self.place.enter(&ops::add(&x, &positions)?)?;
        let mut penultimate = x.clone();
        for layer in &self.layers {
            penultimate = x;
            x = layer.forward(&penultimate, &Mask::Causal)?;
        }
        let last_hidden_state = self.place.leave(&self.final_norm.forward(&x)?)?;
        let at = ids.iter().enumerate();
        let at: Vec<u32> = at
            .map(|(row, ids)| (row * length + self.pooled_at(ids)) as u32)
            .collect();
        let pooled = ops::embedding(&last_hidden_state, &at, &[batch])?;
        let text_embeds = self.projection.as_ref().map(|projection| {
            let embeds = projection.forward(&self.place.enter(&pooled)?)?;
            self.place.leave(&embeds)
        });
        Ok(ClipTextOutput {
            last_hidden_state,
            penultimate: self.place.leave(&penultimate)?,
            pooled,
            text_embeds: text_embeds.transpose()?,
        })
    }

    /// Checks that a mask leaves everything that the pooled state depends on: tokens after it do not change it, others would.
    ///
    /// # Errors
    /// If the mask does not fit the ids, or hides one of these tokens.
    pub(crate) fn check_mask(&self, batch: &TokenBatch) -> Result<()> {
        for (index, ids) in batch.ids.iter().enumerate() {
            let mask = batch.mask.get(index).filter(|mask| mask.len() == ids.len());
            let needed = mask.and_then(|mask| mask.get(..=self.pooled_at(ids)));
            if !needed.is_some_and(|needed| needed.iter().all(|value| *value == 1)) {
                bail!(
                    "the attention mask of text {index} must be 1 up to its end token: CLIP reads no mask here"
                );
            }
        }
        Ok(())
    }

    fn pooled_at(&self, ids: &[u32]) -> usize {
        // A new word has a higher id than the end, and is not meant.
        let own = ids
            .iter()
            .filter(|id| (**id as usize) < self.config.vocab_size);
        let wanted = match self.config.eos_token_id {
            2 => own.max().copied(),
            eos => Some(eos),
        };
        ids.iter().position(|id| Some(*id) == wanted).unwrap_or(0)
    }
}
