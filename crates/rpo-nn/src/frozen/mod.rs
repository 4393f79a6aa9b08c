//! Forward passes of frozen networks on feature maps: what follows a product or a convolution is done while its result
//! is still in the cache, and buffers are used again. There is no gradient.
//!
//! A batch of large maps is best computed image by image, so that all of it stays in the caches.

mod depthwise;
mod pointwise;

pub use depthwise::Depthwise;
pub use pointwise::{After, Pointwise};

use crate::autograd::with_views;
use candle_core::{DType, Device, Result, Tensor, bail};

/// A batch of feature maps `[B, H, W, C]` in a buffer that keeps its memory when it is written again.
#[derive(Clone, Debug, Default)]
pub struct Maps {
    values: Vec<f32>,
    dims: [usize; 4],
}

impl Maps {
    /// A copy of the values of a tensor `[B, H, W, C]`.
    ///
    /// # Errors
    /// Another number of dimensions or another dtype than f32.
    pub fn from_tensor(x: &Tensor) -> Result<Self> {
        let (b, h, w, c) = x.dims4()?;
        if x.dtype() != DType::F32 {
            bail!("maps are f32, the tensor is {:?}", x.dtype())
        }
        let values = with_views([&x.contiguous()?], |[x]| Ok(x.data.to_vec()))?;
        Ok(Self {
            values,
            dims: [b, h, w, c],
        })
    }

    /// The values as a tensor `[B, H, W, C]`.
    ///
    /// # Errors
    /// Those of candle.
    pub fn into_tensor(self) -> Result<Tensor> {
        let dims = self.dims.to_vec();
        Tensor::from_vec(self.values, dims, &Device::Cpu)
    }

    /// `[B, H, W, C]`.
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// Takes other sizes; the values are left over from before.
    fn reshape(&mut self, dims: [usize; 4]) {
        self.dims = dims;
        self.values.resize(dims.iter().product(), 0.0);
    }

    fn image(&self) -> usize {
        self.dims[1..].iter().product()
    }
}
