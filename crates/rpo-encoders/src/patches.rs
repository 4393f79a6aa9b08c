//! The first layer of a vision transformer: patches, a class token, positions.

use candle_core::{Result, Tensor, bail};
use rpo_nn::ops;
use serde::Deserialize;

use crate::transformer::add_positions;

/// A length in pixels: one number, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Extent {
    /// A square.
    Square(usize),
    /// Height and width.
    Sides([usize; 2]),
}

impl Extent {
    /// (height, width)
    pub fn sides(self) -> (usize, usize) {
        match self {
            Self::Square(side) => (side, side),
            Self::Sides([height, width]) => (height, width),
        }
    }
}

/// Patch projection as one matrix product over the pixels of each patch.
#[derive(Debug, Clone)]
pub(crate) struct PatchEmbedding {
    /// `[hidden, ph * pw * channels]`: the columns are ordered as the pixels of an NHWC patch are.
    weight: Tensor,
    bias: Option<Tensor>,
    class_token: Tensor,
    positions: Tensor,
    image: (usize, usize),
    patch: (usize, usize),
    channels: usize,
}

impl PatchEmbedding {
    /// `weight` is `[ph, pw, channels, hidden]`, `class_token` `[hidden]`, `positions` `[1 + patches, hidden]`.
    pub(crate) fn new(
        weight: &Tensor,
        bias: Option<Tensor>,
        class_token: Tensor,
        positions: Tensor,
        image: Extent,
    ) -> Result<Self> {
        let (ph, pw, channels, hidden) = weight.dims4()?;
        Ok(Self {
            weight: weight
                .reshape((ph * pw * channels, hidden))?
                .t()?
                .contiguous()?,
            bias,
            class_token,
            positions,
            image: image.sides(),
            patch: (ph, pw),
            channels,
        })
    }

    /// Number of patches of an image of this size; a remainder at the right and the bottom is not looked at.
    pub(crate) fn patches(image: Extent, patch: Extent) -> Result<usize> {
        let ((height, width), (ph, pw)) = (image.sides(), patch.sides());
        if ph == 0 || pw == 0 || height < ph || width < pw {
            bail!(
                "key `patch_size`: patches of {ph}x{pw} do not fit `image_size` {height}x{width}"
            );
        }
        Ok((height / ph) * (width / pw))
    }

    /// Pixels `[B, H, W, channels]` to tokens `[B, 1 + patches, hidden]`.
    pub(crate) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (batch, height, width, channels) = pixels.dims4()?;
        if (height, width, channels) != (self.image.0, self.image.1, self.channels) {
            bail!(
                "an image of {height}x{width}x{channels}, but the model takes {}x{}x{}: preprocessor_config.json \
                 belongs to another model",
                self.image.0,
                self.image.1,
                self.channels
            );
        }
        let (ph, pw) = self.patch;
        let (rows, columns) = (height / ph, width / pw);
        let patches = pixels
            .narrow(1, 0, rows * ph)?
            .narrow(2, 0, columns * pw)?
            .contiguous()?
            .reshape(vec![batch, rows, ph, columns, pw * channels])?
            .transpose(2, 3)?
            .contiguous()?
            .reshape((batch, rows * columns, ph * pw * channels))?;
        let tokens = ops::linear(&patches, &self.weight, self.bias.as_ref())?;
        let hidden = tokens.dim(2)?;
        let class = self
            .class_token
            .reshape((1, 1, hidden))?
            .broadcast_as((batch, 1, hidden))?;
        let tokens = Tensor::cat(&[&class.contiguous()?, &tokens], 1)?;
        add_positions(&tokens, &self.positions)
    }
}
