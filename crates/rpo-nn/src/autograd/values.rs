//! Values of a future tensor or of a gradient, in memory of the CPU or of a GPU.

use super::view::with_views;
#[cfg(feature = "cuda")]
use crate::gpu::{self, Gpu};
use crate::rows::add_parallel;
use candle_core::{Device, Result, Tensor, Var, bail};
use std::sync::Arc;

pub(crate) enum Values {
    Cpu(Vec<f32>),
    #[cfg(feature = "cuda")]
    Gpu(gpu::Buffer),
}

impl Values {
    /// A copy of the values of a contiguous tensor.
    pub(crate) fn copy(t: &Tensor) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if t.device().is_cuda() {
            return gpu::with_views([t], |gpu, [t]| gpu.copy(t).map(Self::Gpu));
        }
        with_views([t], |[t]| Ok(Self::Cpu(t.data.to_vec())))
    }

    /// As a tensor on `device`, where they are; a variable on request.
    pub(crate) fn into_tensor(
        self,
        dims: &[usize],
        device: &Device,
        variable: bool,
    ) -> Result<Tensor> {
        match self {
            Self::Cpu(values) if variable => {
                Ok(Var::from_vec(values, dims, &Device::Cpu)?.into_inner())
            }
            Self::Cpu(values) => Tensor::from_vec(values, dims, &Device::Cpu),
            #[cfg(feature = "cuda")]
            Self::Gpu(buffer) => {
                Ok(Gpu::of(device.as_cuda_device()?)?.tensor(buffer, dims, variable))
            }
        }
        .inspect(|t| debug_assert!(t.device().same_device(device)))
    }

    /// Adds `other` to `sum`, for gradients of `tensor`; shared values are not changed.
    pub(crate) fn add(tensor: &Tensor, sum: &mut Arc<Self>, other: &Self) -> Result<()> {
        if Arc::get_mut(sum).is_none() {
            *sum = Arc::new(sum.duplicate(tensor)?);
        }
        match (Arc::get_mut(sum), other) {
            (Some(Self::Cpu(sum)), Self::Cpu(other)) => {
                add_parallel(sum, other);
                Ok(())
            }
            #[cfg(feature = "cuda")]
            (Some(Self::Gpu(sum)), Self::Gpu(other)) => {
                let dims = tensor.dims();
                Gpu::of(tensor.device().as_cuda_device()?)?
                    .accumulate(sum.view(dims), other.view(dims))
            }
            _ => bail!("gradients of {:?} on two devices", tensor.shape()),
        }
    }

    /// A copy, for `tensor`.
    pub(crate) fn duplicate(&self, tensor: &Tensor) -> Result<Self> {
        match self {
            Self::Cpu(values) => {
                debug_assert_eq!(values.len(), tensor.elem_count());
                Ok(Self::Cpu(values.clone()))
            }
            #[cfg(feature = "cuda")]
            Self::Gpu(buffer) => Gpu::of(tensor.device().as_cuda_device()?)?
                .copy(buffer.view(tensor.dims()))
                .map(Self::Gpu),
        }
    }
}
