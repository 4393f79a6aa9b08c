//! DisenBooth's image adapter (Chen et al. 2023): what a picture adds to the tokens of a text.
//!
//! With f0 the picture's projected CLIP embedding, of D numbers, as many as the U-Net's texts have in a token,
//!
//! ```text
//! g = σ(m) ⊙ f0
//! f = W2 relu(W1 g + b1) + b2 + g
//! ```
//!
//! and f is added to every token of the text. A file, [`FILE`], holds the tensors under the names below, in f32:
//!
//! | tensor | shape | starts |
//! |---|---|---|
//! | `mask` (m) | `[1, D]` | 0 |
//! | `fc1.weight`, `fc2.weight` (W1, W2) | `[D, D]` | uniform in ±1/√D, as PyTorch's `Linear` |
//! | `fc1.bias`, `fc2.bias` (b1, b2) | `[D]` | likewise |

use candle_core::{DType, Device, Result, Tensor, bail};
use rpo_nn::layers::Linear;
use rpo_nn::ops::{self, Activation};
use rpo_nn::weights::Params;

use crate::conditioning::Conditioning;

/// Name of its file in a checkpoint.
pub const FILE: &str = "image_adapter.safetensors";

const MASK: &str = "mask";

/// The adapter, on the CPU. On trainable tensors a tape follows it.
#[derive(Clone, Debug)]
pub struct ImageAdapter {
    mask: Tensor,
    fc1: Linear,
    fc2: Linear,
}

impl ImageAdapter {
    /// Builds it from the tensors of `params`, for texts of D = `width` numbers a token.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    pub fn new(params: &Params, width: usize) -> Result<Self> {
        let root = params.root();
        Ok(Self {
            mask: root.tensor(MASK, &[1, width])?,
            fc1: Linear::new(&root.sub("fc1"), width, width, true)?,
            fc2: Linear::new(&root.sub("fc2"), width, width, true)?,
        })
    }

    /// Names and shapes of the tensors for D = `width`.
    pub fn shapes(width: usize) -> [(&'static str, Vec<usize>); 5] {
        [
            ("fc1.bias", vec![width]),
            ("fc1.weight", vec![width, width]),
            ("fc2.bias", vec![width]),
            ("fc2.weight", vec![width, width]),
            (MASK, vec![1, width]),
        ]
    }

    /// Trainable tensors for D = `width` as they start; `unit(tensor, n)` gives n numbers in [0, 1) of the tensor's own stream.
    ///
    /// # Errors
    /// Tensor errors.
    pub fn start(width: usize, mut unit: impl FnMut(&str, usize) -> Vec<f64>) -> Result<Params> {
        let bound = 1.0 / (width as f64).sqrt();
        let tensors = Self::shapes(width).map(|(name, shape)| {
            let n = shape.iter().product();
            let values: Vec<f32> = match name {
                MASK => vec![0.0; n],
                _ => (unit(name, n).into_iter())
                    .map(|u| (bound * (2.0 * u - 1.0)) as f32)
                    .collect(),
            };
            Ok((
                name.to_owned(),
                Tensor::from_vec(values, shape, &Device::Cpu)?,
            ))
        });
        let tensors = tensors.into_iter().collect::<Result<Vec<_>>>()?;
        Params::from_tensors(tensors, "the image adapter", true)
    }

    /// f of pictures with the embeddings f0, `[B, D]` both.
    ///
    /// # Errors
    /// If the embeddings have another width.
    pub fn forward(&self, embeddings: &Tensor) -> Result<Tensor> {
        let (batch, _) = embeddings.dims2()?;
        let gate = ops::activation(&self.mask, Activation::Sigmoid)?;
        let gate = ops::embedding(&gate, &vec![0; batch], &[batch])?;
        let gated = ops::mul_channels(embeddings, &gate)?;
        let inner = ops::activation(&self.fc1.forward(&gated)?, Activation::Relu)?;
        ops::add(&self.fc2.forward(&inner)?, &gated)
    }

    /// A text of N rows whose row i has f of the picture `rows[i]` on every token, or nothing for `None`; `embeddings` are the
    /// pictures' f0, `[B, D]`.
    ///
    /// # Errors
    /// If there is no such picture, another number of rows than N, or another width.
    pub fn add(
        &self,
        text: Conditioning,
        embeddings: &Tensor,
        rows: &[Option<usize>],
    ) -> Result<Conditioning> {
        let (batch, width) = embeddings.dims2()?;
        if text.batch()? != rows.len() || rows.iter().flatten().any(|row| *row >= batch) {
            bail!(
                "{} texts, pictures {rows:?} of {batch}: one picture a text is needed, or none",
                text.batch()?
            );
        }
        let f = self.forward(embeddings)?;
        // A row of zeros after them, for texts without a picture.
        let nothing = Tensor::zeros((1, width), DType::F32, &Device::Cpu)?;
        let ids: Vec<u32> = (rows.iter())
            .map(|row| row.unwrap_or(batch) as u32)
            .collect();
        let each = ops::embedding_with(&f, &nothing, &ids, &[ids.len()])?;
        Ok(Conditioning {
            hidden_states: ops::add_channels(&text.hidden_states, &each)?,
            ..text
        })
    }
}
