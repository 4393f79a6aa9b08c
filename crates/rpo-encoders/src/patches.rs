//! The first layer of a vision transformer: patches, a class token, positions.

use candle_core::{Result, Tensor, bail};
use rpo_nn::{Place, ops};
use serde::Deserialize;

use crate::transformer::add_positions;

/// A length in pixels: one number, or height and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number of pixels, or a list of two: height and width"
)]
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
    place: Place,
    /// `[hidden, ph * pw * channels]`: the columns are ordered as the pixels of an NHWC patch are.
    weight: Tensor,
    bias: Option<Tensor>,
    /// On the CPU.
    class_token: Tensor,
    positions: Tensor,
    image: (usize, usize),
    patch: (usize, usize),
    channels: usize,
}

impl PatchEmbedding {
    /// `weight` is `[ph, pw, channels, hidden]`, `class_token` `[hidden]`, `positions` `[1 + patches, hidden]`, all on the CPU; the layer
    /// computes at `place`.
    pub(crate) fn new(
        weight: &Tensor,
        bias: Option<Tensor>,
        class_token: Tensor,
        positions: Tensor,
        image: Extent,
        place: &Place,
    ) -> Result<Self> {
        let (ph, pw, channels, hidden) = weight.dims4()?;
        let weight = weight.reshape((ph * pw * channels, hidden))?;
        Ok(Self {
            place: place.clone(),
            weight: place.enter(&weight.t()?.contiguous()?)?,
            bias: bias.map(|bias| place.enter(&bias)).transpose()?,
            class_token,
            positions: place.enter(&positions)?,
            image: image.sides(),
            patch: (ph, pw),
            channels,
        })
    }

    /// Number of patches of an image of this size; a remainder at the right and the bottom is ignored.
    pub(crate) fn patches(image: Extent, patch: Extent) -> Result<usize> {
        let ((height, width), (ph, pw)) = (image.sides(), patch.sides());
        if ph == 0 || pw == 0 || height < ph || width < pw {
            bail!(
                "key `patch_size`: patches of {ph}x{pw} do not fit `image_size` {height}x{width}"
            );
        }
        Ok((height / ph) * (width / pw))
    }

    /// Pixels `[B, H, W, channels]` on the CPU to tokens `[B, 1 + patches, hidden]`.
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
        let patches = self.place.enter(&patches)?;
        let tokens = ops::linear(&patches, &self.weight, self.bias.as_ref())?;
        let (_, count, hidden) = tokens.dims3()?;
        let class = self.class_token.reshape((1, hidden))?;
        let class = class.broadcast_as((batch, hidden))?.contiguous()?;
        // Sequences as rows: the class token is the first part of the row.
        let tokens = tokens.reshape((batch, count * hidden))?;
        let tokens = ops::concat_channels(&self.place.enter(&class)?, &tokens)?;
        add_positions(
            &tokens.reshape((batch, 1 + count, hidden))?,
            &self.positions,
        )
    }
}
