//! The layers of CLIP, ViT and BERT, which differ in names and in the position of the norms.

use candle_core::{Result, Tensor, bail};
use rpo_nn::layers::{LayerNorm, Linear};
use rpo_nn::ops::{self, Activation, Mask};
use rpo_nn::weights::Scope;

/// Widths and common settings of a transformer's layers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Width {
    pub(crate) hidden: usize,
    pub(crate) intermediate: usize,
    pub(crate) heads: usize,
    pub(crate) eps: f64,
    pub(crate) activation: Activation,
}

impl Width {
    /// # Errors
    /// If the heads do not divide the width.
    pub(crate) fn check(&self) -> Result<()> {
        if self.heads == 0 || !self.hidden.is_multiple_of(self.heads) {
            bail!(
                "key `num_attention_heads`: {} heads do not divide `hidden_size` {}",
                self.heads,
                self.hidden
            );
        }
        Ok(())
    }
}

/// Names of a layer's parts, relative to the layer.
pub(crate) struct Names {
    pub(crate) query: &'static str,
    pub(crate) key: &'static str,
    pub(crate) value: &'static str,
    pub(crate) output: &'static str,
    /// The norm of the attention: before it in a pre-norm layer, after it in a post-norm layer.
    pub(crate) attention_norm: &'static str,
    pub(crate) up: &'static str,
    pub(crate) down: &'static str,
    /// The norm of the feed-forward part.
    pub(crate) mlp_norm: &'static str,
    pub(crate) qkv_bias: bool,
}

/// Position of a layer's two norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Norm {
    /// `x + f(norm(x))`: CLIP and ViT.
    Pre,
    /// `norm(x + f(x))`: BERT.
    Post,
}

/// Self-attention and feed-forward part with their residual connections.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    mlp_norm: LayerNorm,
    heads: usize,
    activation: Activation,
    norm: Norm,
}

impl Layer {
    pub(crate) fn new(width: &Width, norm: Norm, names: &Names, scope: &Scope) -> Result<Self> {
        let linear = |name: &str, from: usize, to: usize, bias: bool| {
            Linear::new(&scope.sub(name), from, to, bias)
        };
        let (hidden, intermediate) = (width.hidden, width.intermediate);
        Ok(Self {
            query: linear(names.query, hidden, hidden, names.qkv_bias)?,
            key: linear(names.key, hidden, hidden, names.qkv_bias)?,
            value: linear(names.value, hidden, hidden, names.qkv_bias)?,
            output: linear(names.output, hidden, hidden, true)?,
            attention_norm: LayerNorm::new(&scope.sub(names.attention_norm), hidden, width.eps)?,
            up: linear(names.up, hidden, intermediate, true)?,
            down: linear(names.down, intermediate, hidden, true)?,
            mlp_norm: LayerNorm::new(&scope.sub(names.mlp_norm), hidden, width.eps)?,
            heads: width.heads,
            activation: width.activation,
            norm,
        })
    }

    /// `x`: `[B, N, C]`.
    pub(crate) fn forward(&self, x: &Tensor, mask: &Mask) -> Result<Tensor> {
        match self.norm {
            Norm::Pre => {
                let x = ops::add(x, &self.attention(&self.attention_norm.forward(x)?, mask)?)?;
                ops::add(&x, &self.mlp(&self.mlp_norm.forward(&x)?)?)
            }
            Norm::Post => {
                let x = self
                    .attention_norm
                    .forward(&ops::add(x, &self.attention(x, mask)?)?)?;
                self.mlp_norm.forward(&ops::add(&x, &self.mlp(&x)?)?)
            }
        }
    }

    fn attention(&self, x: &Tensor, mask: &Mask) -> Result<Tensor> {
        let (q, k, v) = (
            self.query.forward(x)?,
            self.key.forward(x)?,
            self.value.forward(x)?,
        );
        self.output
            .forward(&ops::attention(&q, &k, &v, self.heads, mask)?)
    }

    fn mlp(&self, x: &Tensor) -> Result<Tensor> {
        self.down
            .forward(&ops::activation(&self.up.forward(x)?, self.activation)?)
    }
}

/// Adds a table with one row per position of the sequence to `x` `[B, N, C]`.
///
/// # Errors
/// If the sequence is longer than the table.
pub(crate) fn add_positions(x: &Tensor, table: &Tensor) -> Result<Tensor> {
    let (batch, length, width) = x.dims3()?;
    let rows = table.dim(0)?;
    if length > rows {
        bail!("a sequence of {length} tokens is longer than the {rows} positions of the model");
    }
    // Sequences as the positions of one image.
    let positions = table.narrow(0, 0, length)?.reshape((1, length * width))?;
    let x = x.reshape((1, batch, length * width))?;
    ops::add_channels(&x, &positions)?.reshape((batch, length, width))
}

/// The id rows as one list, after checking their lengths and values.
///
/// # Errors
/// If there is no row, rows have different lengths, or an id is outside the vocabulary.
pub(crate) fn flat_ids(ids: &[Vec<u32>], vocab: usize) -> Result<(Vec<u32>, usize, usize)> {
    let Some(first) = ids.first() else {
        bail!("no text to encode");
    };
    let length = first.len();
    if let Some(row) = ids.iter().find(|row| row.len() != length) {
        bail!(
            "token rows of different lengths: {length} and {}",
            row.len()
        );
    }
    if let Some(id) = ids.iter().flatten().find(|id| **id as usize >= vocab) {
        bail!(
            "token id {id} is outside the model's vocabulary of {vocab}: the tokenizer belongs to another model"
        );
    }
    Ok((ids.concat(), ids.len(), length))
}
