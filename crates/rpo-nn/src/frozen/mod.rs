//! Forward passes of frozen networks on feature maps: the operation after a product or a convolution runs while the result
//! is still in the cache, and buffers are reused. There is no gradient.
//!
//! A batch of large maps is best computed image by image on the CPU, so that everything stays in the caches, and at once on a
//! GPU, where these layers are sequences of operations of [`crate::ops`].

mod depthwise;
mod device;
mod pointwise;

pub use depthwise::Depthwise;
pub use device::{first_tokens, means};
pub use pointwise::Pointwise;

use crate::autograd::with_views;
use crate::ops::Activation;
use candle_core::{DType, Device, Result, Tensor, bail};

/// A batch of feature maps `[B, H, W, C]` in a reusable buffer.
#[derive(Clone, Debug, Default)]
pub struct Maps {
    values: Values,
    dims: [usize; 4],
}

#[derive(Clone, Debug)]
enum Values {
    Host(Vec<f32>),
    Device(Tensor),
}

impl Default for Values {
    fn default() -> Self {
        Self::Host(vec![])
    }
}

impl Maps {
    /// A copy of the values of a tensor `[B, H, W, C]`, or the tensor itself if it is on a GPU.
    ///
    /// # Errors
    /// Another number of dimensions or another dtype than f32.
    pub fn from_tensor(x: &Tensor) -> Result<Self> {
        let (b, h, w, c) = x.dims4()?;
        if x.dtype() != DType::F32 {
            bail!("maps are f32, the tensor is {:?}", x.dtype())
        }
        let values = match x.device() {
            Device::Cpu => Values::Host(with_views([&x.contiguous()?], |[x]| Ok(x.data.to_vec()))?),
            _ => Values::Device(x.clone()),
        };
        Ok(Self {
            values,
            dims: [b, h, w, c],
        })
    }

    /// The values as a tensor `[B, H, W, C]` on the same device.
    ///
    /// # Errors
    /// Those of candle.
    pub fn into_tensor(self) -> Result<Tensor> {
        match self.values {
            Values::Host(values) => Tensor::from_vec(values, self.dims.to_vec(), &Device::Cpu),
            Values::Device(tensor) => Ok(tensor),
        }
    }

    /// `[B, H, W, C]`.
    pub fn dims(&self) -> [usize; 4] {
        self.dims
    }

    fn host(&self) -> Result<&[f32]> {
        match &self.values {
            Values::Host(values) => Ok(values),
            Values::Device(_) => bail!("maps of a GPU meet weights of the CPU"),
        }
    }

    fn device(&self) -> Result<&Tensor> {
        match &self.values {
            Values::Device(tensor) => Ok(tensor),
            Values::Host(_) => bail!("maps of the CPU meet weights of a GPU"),
        }
    }

    /// Sets the sizes; the values are arbitrary.
    fn reshape(&mut self, dims: [usize; 4]) -> &mut [f32] {
        self.dims = dims;
        if let Values::Device(_) = self.values {
            self.values = Values::default();
        }
        match &mut self.values {
            Values::Host(values) => {
                values.resize(dims.iter().product(), 0.0);
                values
            }
            Values::Device(_) => &mut [],
        }
    }

    fn image(&self) -> usize {
        self.dims[1..].iter().product()
    }
}

/// Operation on the result of a layer.
#[derive(Clone, Copy, Debug)]
pub enum After<'a> {
    /// Nothing.
    Nothing,
    /// This function of every value.
    Activation(Activation),
    /// Adds these maps of the result's size.
    Add(&'a Maps),
}
