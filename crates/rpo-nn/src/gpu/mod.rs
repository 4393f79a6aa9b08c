//! The operations on CUDA tensors: kernels of this project (`cuda/*.cu`), products by cuBLASLt, convolutions by cuDNN.
//!
//! A network lies on a device with its weights; what enters it is copied there ([`crate::Place`]) and what leaves it is copied back.
//! All work of a device is queued on one stream, in the order of the calls: memory that is freed while a kernel still uses it is
//! not given away before the kernel is done. Activations are f32 or bf16; sums, norms, softmax and gradients of weights are f32.

mod array;
mod attention;
mod conv;
mod cudnn;
mod depthwise;
mod elementwise;
mod kernels;
mod libraries;
mod linear;
mod matrix;
mod norm;
mod open;
mod optim;
mod reduce;
#[cfg(test)]
mod tests;

pub(crate) use array::{Buffer, GpuView, Kind, tensor, upload_into, with_views};
pub(crate) use attention::Sums;
pub(crate) use linear::KeptCasts;
pub(crate) use norm::Statistics;
pub use open::{Memory, memory, name, open};
pub(crate) use optim::{Step, squares, step};

use crate::autograd::Gradient;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{Result, bail};
use std::sync::{Arc, Mutex, PoisonError};

/// What the operations on one device share.
pub(crate) struct Gpu {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    kernels: kernels::Kernels,
    products: matrix::Products,
    convolutions: cudnn::Convolutions,
}

impl Gpu {
    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        Ok(Self {
            device: device.clone(),
            kernels: kernels::Kernels::default(),
            products: matrix::Products::new(&stream)?,
            convolutions: cudnn::Convolutions::new(&stream)?,
            stream,
        })
    }

    /// The one of `device`, made at the first call.
    pub(crate) fn of(device: &CudaDevice) -> Result<Arc<Self>> {
        static ALL: Mutex<Vec<(DeviceId, Arc<Gpu>)>> = Mutex::new(Vec::new());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, gpu)) = all.iter().find(|(id, _)| *id == device.id()) {
            return Ok(gpu.clone());
        }
        let gpu = Arc::new(Self::new(device)?);
        all.push((device.id(), gpu.clone()));
        Ok(gpu)
    }
}

/// What an operation of `N` arguments does on a device; see [`crate::autograd::Differentiable`].
pub(crate) trait OnGpu<const N: usize> {
    /// Values and shape of the result.
    fn gpu_forward(&self, _gpu: &Gpu, _args: [GpuView<'_>; N]) -> Result<(Buffer, Vec<usize>)> {
        bail!("this operation is not known on CUDA")
    }

    /// The gradients that are wanted, each in the dtype of its argument or f32.
    fn gpu_backward(
        &self,
        _gpu: &Gpu,
        _args: [GpuView<'_>; N],
        _wanted: [bool; N],
        _out: GpuView<'_>,
        _grad: GpuView<'_>,
    ) -> Result<[Gradient<Buffer>; N]> {
        bail!("this operation has no gradient on CUDA")
    }
}
