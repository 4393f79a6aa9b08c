//! EfficientNet, as the vision tower of `AlignModel`: a stem, inverted bottlenecks with squeeze and excitation, a pool.
//!
//! Batch norms are folded into the convolutions when the weights are read.
//! Source: `AlignVisionModel` in `transformers/models/align/modeling_align.py`, 5.23.

mod block;
mod config;
mod fold;

use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;
use rpo_nn::Place;
use rpo_nn::frozen::{self, Maps};
use rpo_nn::ops::{self, Activation, ConvSpec};
use rpo_nn::weights::Scope;

pub use config::{BlockConfig, EfficientNetConfig, Pooling};

use crate::{activation, pooling};
use block::{Block, Inside};
use fold::BatchNorm;

/// `AlignVisionModel`.
#[derive(Debug, Clone)]
pub struct EfficientNet {
    stem_weight: Tensor,
    stem_bias: Tensor,
    activation: Activation,
    blocks: Vec<Block>,
    pooling: Pooling,
    window: usize,
    width: usize,
    place: Place,
}

/// Images in one pass on a GPU.
const AT_ONCE: usize = 8;

/// Buffers for one image, reused for the next.
#[derive(Debug, Default)]
struct Buffers {
    inside: Inside,
    out: Maps,
}

impl EfficientNet {
    /// Builds the tower from the tensors below `scope`, which are on the CPU; it computes at `place`, in f32.
    ///
    /// # Errors
    /// If the config is inconsistent, or a tensor is missing or has another shape.
    pub fn new(config: &EfficientNetConfig, scope: &Scope, place: &Place) -> Result<Self> {
        let place = place.in_f32();
        let activation = activation::by_name("hidden_act", &config.hidden_act)?;
        let layout = config.blocks()?;
        let stem = config.round_filters(32);
        let embeddings = scope.sub("embeddings");
        let norm = BatchNorm::new(&embeddings.sub("batchnorm"), stem, config.batch_norm_eps)?;
        let weight = embeddings
            .sub("convolution")
            .conv("weight", [stem, config.num_channels, 3, 3])?;
        let blocks = scope.sub("encoder").sub("blocks");
        Ok(Self {
            stem_weight: place.kernel(&norm.scale_last(&weight)?)?,
            stem_bias: place.enter(&norm.bias()?)?,
            activation,
            blocks: layout
                .iter()
                .enumerate()
                .map(|(index, block)| {
                    let scope = blocks.sub(index);
                    Block::new(block, activation, config.batch_norm_eps, &scope, &place)
                })
                .collect::<Result<_>>()?,
            pooling: config.pooling_type,
            window: config.hidden_dim,
            width: layout.last().map_or(stem, |block| block.output),
            place,
        })
    }

    /// Pixels `[B, H, W, 3]` to the pooled features `[B, D]`.
    ///
    /// # Errors
    /// If the last feature map is larger than the pooling window (`hidden_dim`), or the pixels are too few for a kernel.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.parts(pixels, |x| {
            let (_, height, width, _) = x.dims4()?;
            if height > self.window || width > self.window {
                bail!(
                    "a last feature map of {height}x{width} is larger than the pooling window, key `hidden_dim`: {}",
                    self.window
                );
            }
            match self.pooling {
                Pooling::Mean if !self.place.is_cpu() => self.place.leave(&frozen::means(x)?),
                Pooling::Mean => pooling::mean(x),
                Pooling::Max => pooling::max(&self.place.leave(x)?),
            }
        })
    }

    /// Pixels `[B, H, W, 3]` to the last feature map `[B, h, w, D]`.
    ///
    /// # Errors
    /// If the pixels are too few for a kernel.
    pub fn features(&self, pixels: &Tensor) -> Result<Tensor> {
        self.parts(pixels, |x| self.place.leave(x))
    }

    /// `f` of the last feature maps: of all at once, or on a GPU of a few at a time, as the maps of the first layers are large.
    fn parts(&self, pixels: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        if self.place.is_cpu() {
            return f(&self.images(pixels)?);
        }
        let count = pixels.dim(0)?;
        let parts = (0..count).step_by(AT_ONCE).map(|from| {
            let part = pixels.narrow(0, from, AT_ONCE.min(count - from))?;
            f(&self.image(&self.place.enter(&part)?, &mut Buffers::default())?)
        });
        Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 0)
    }

    /// The last feature maps of all images, on the CPU.
    fn images(&self, pixels: &Tensor) -> Result<Tensor> {
        let buffers: Mutex<Vec<Buffers>> = Mutex::default();
        let one = |index: usize| -> Result<Tensor> {
            let lock = || buffers.lock().unwrap_or_else(PoisonError::into_inner);
            let mut own = lock().pop().unwrap_or_default();
            let features = self.image(&pixels.narrow(0, index, 1)?, &mut own);
            lock().push(own);
            features
        };
        // Image by image: the maps of one image stay in the cache, those of a batch would not.
        let maps: Vec<Tensor> = (0..pixels.dim(0)?)
            .into_par_iter()
            .map(one)
            .collect::<Result<_>>()?;
        Tensor::cat(&maps, 0)
    }

    fn image(&self, pixels: &Tensor, buffers: &mut Buffers) -> Result<Tensor> {
        // The stem pads at the right and the bottom only.
        let spec = ConvSpec {
            stride: 2,
            padding: [0, 1, 0, 1],
        };
        let x = ops::conv2d(pixels, &self.stem_weight, Some(&self.stem_bias), spec)?;
        let mut x = Maps::from_tensor(&ops::activation(&x, self.activation)?)?;
        for block in &self.blocks {
            block.forward(&x, &mut buffers.inside, &mut buffers.out)?;
            std::mem::swap(&mut x, &mut buffers.out);
        }
        x.into_tensor()
    }

    /// Length of the pooled features.
    pub fn width(&self) -> usize {
        self.width
    }
}
