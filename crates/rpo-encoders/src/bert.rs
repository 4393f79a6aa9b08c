//! BERT, as the text tower of `AlignModel`.
//!
//! Source: `AlignTextModel` in `transformers/models/align/modeling_align.py`, 5.23.

use candle_core::{Device, Result, Tensor, bail};
use rpo_nn::Place;
use rpo_nn::frozen::first_tokens;
use rpo_nn::layers::{Embedding, LayerNorm};
use rpo_nn::ops::Mask;
use rpo_nn::weights::Scope;
use serde::Deserialize;

use crate::activation;
use crate::limits::{self, Layers, within};
use crate::tokenizer::TokenBatch;
use crate::transformer::{Layer, Names, Norm, Width, add_positions, flat_ids};

/// `text_config` of an `AlignModel`; missing keys have transformers' defaults.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Width of the tokens.
    pub hidden_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Number of attention heads.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Activation of the feed-forward part, by transformers' name.
    pub hidden_act: String,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Rows of the table of token types; only the first is used.
    pub type_vocab_size: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
}

impl Default for BertConfig {
    fn default() -> Self {
        Self {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: "gelu".to_string(),
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
        }
    }
}

impl BertConfig {
    /// # Errors
    /// With the key and the value that is out of bounds.
    pub(crate) fn check(&self, prefix: &str) -> Result<()> {
        let layers = Layers {
            prefix,
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            eps: self.layer_norm_eps,
            activation: &self.hidden_act,
        };
        layers.check()?;
        limits::tables(prefix, self.vocab_size, self.max_position_embeddings)?;
        within(
            format!("{prefix}type_vocab_size"),
            self.type_vocab_size,
            1,
            1 << 16,
        )
    }
}

const LAYER: Names = Names {
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    down: "output.dense",
    mlp_norm: "output.LayerNorm",
    qkv_bias: true,
};

/// Word, position and type embeddings, a norm, post-norm layers; padding is masked.
#[derive(Debug, Clone)]
pub struct BertModel {
    words: Embedding,
    /// Positions and the first token type, added once: `[max_position_embeddings, D]`.
    positions: Tensor,
    place: Place,
    norm: LayerNorm,
    layers: Vec<Layer>,
    vocab_size: usize,
}

impl BertModel {
    /// Builds the tower from the tensors below `scope`, which are on the CPU; it computes at `place`, in f32.
    ///
    /// # Errors
    /// If the config is inconsistent, or a tensor is missing or has another shape.
    pub fn new(config: &BertConfig, scope: &Scope, place: &Place) -> Result<Self> {
        let place = place.in_f32();
        let width = Width {
            hidden: config.hidden_size,
            intermediate: config.intermediate_size,
            heads: config.num_attention_heads,
            eps: config.layer_norm_eps,
            activation: activation::by_name("hidden_act", &config.hidden_act)?,
        };
        width.check()?;
        let hidden = config.hidden_size;
        let embeddings = scope.sub("embeddings");
        let layers = scope.sub("encoder").sub("layer").at(&place)?;
        let positions = embeddings
            .sub("position_embeddings")
            .tensor("weight", &[config.max_position_embeddings, hidden])?;
        let types = embeddings
            .sub("token_type_embeddings")
            .tensor("weight", &[config.type_vocab_size, hidden])?;
        Ok(Self {
            words: Embedding::new(
                &embeddings.sub("word_embeddings"),
                config.vocab_size,
                hidden,
            )?,
            positions: place.enter(&positions.broadcast_add(&types.narrow(0, 0, 1)?)?)?,
            norm: LayerNorm::new(
                &embeddings.sub("LayerNorm").at(&place)?,
                hidden,
                config.layer_norm_eps,
            )?,
            layers: (0..config.num_hidden_layers)
                .map(|index| Layer::new(&width, Norm::Post, &LAYER, &layers.sub(index)))
                .collect::<Result<_>>()?,
            vocab_size: config.vocab_size,
            place,
        })
    }

    /// The last hidden state `[B, S, D]` of a batch; row 0 of each text is `[CLS]`.
    ///
    /// # Errors
    /// If rows have different lengths or are too long, ids are outside the vocabulary, or the mask is not one of 0 and 1 for every id
    /// that leaves a token of every text.
    pub fn forward(&self, batch: &TokenBatch) -> Result<Tensor> {
        self.place.leave(&self.states(batch)?)
    }

    fn states(&self, batch: &TokenBatch) -> Result<Tensor> {
        let (flat, rows, length) = flat_ids(&batch.ids, self.vocab_size)?;
        check_mask(&batch.mask, rows, length)?;
        let mask: Vec<f32> = batch.mask.iter().flatten().map(|m| *m as f32).collect();
        let mask = Mask::Keys(Tensor::from_vec(mask, (rows, length), &Device::Cpu)?);
        let x = self
            .place
            .enter(&self.words.forward(&flat, &[rows, length])?)?;
        let mut x = self.norm.forward(&add_positions(&x, &self.positions)?)?;
        for layer in &self.layers {
            x = layer.forward(&x, &mask)?;
        }
        Ok(x)
    }

    /// The state of `[CLS]`, `[B, D]`.
    ///
    /// # Errors
    /// See [`forward`](Self::forward).
    pub fn class_state(&self, batch: &TokenBatch) -> Result<Tensor> {
        self.place.leave(&first_tokens(&self.states(batch)?)?)
    }
}

fn check_mask(mask: &[Vec<u32>], rows: usize, length: usize) -> Result<()> {
    if mask.len() != rows || mask.iter().any(|row| row.len() != length) {
        bail!("the attention mask must have a number for each of the {rows} x {length} ids");
    }
    for (index, row) in mask.iter().enumerate() {
        if let Some(value) = row.iter().find(|value| **value > 1) {
            bail!("the attention mask holds {value}; 1 is a token and 0 is padding");
        }
        if row.iter().all(|value| *value == 0) {
            bail!("the attention mask of text {index} leaves no token");
        }
    }
    Ok(())
}
