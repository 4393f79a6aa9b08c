//! Device and dtype of a network.

#[cfg(feature = "cuda")]
use crate::{
    autograd::{self, Backward, Gradients, Leaves, Values},
    gpu,
};
use candle_core::{DType, Device, Result, Tensor, Var, bail};
#[cfg(feature = "cuda")]
use std::sync::Arc;

/// The device of a network's weights and activations, and the dtype of its activations: f32 on the CPU, f32 or bf16 on CUDA.
/// Inputs and outputs of a network are f32 on the CPU, wherever it computes.
#[derive(Clone, Debug)]
pub struct Place {
    device: Device,
    dtype: DType,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            dtype: DType::F32,
        }
    }
}

impl Place {
    /// `dtype` is that of activations.
    ///
    /// # Errors
    /// If the device does not compute in the dtype.
    pub fn new(device: Device, dtype: DType) -> Result<Self> {
        match (&device, dtype) {
            (Device::Cpu, DType::F32) | (Device::Cuda(_), DType::F32 | DType::BF16) => {
                Ok(Self { device, dtype })
            }
            _ => bail!(
                "{dtype:?} on {:?}: the CPU computes in f32, CUDA in f32 or bf16",
                device.location()
            ),
        }
    }

    /// The device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The dtype of activations.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether it is the CPU.
    pub fn is_cpu(&self) -> bool {
        self.device.is_cpu()
    }

    /// The dtype of a network's tensor: f32 for vectors and trained tensors, else that of the activations.
    pub(crate) fn weights(&self, rank: usize, trainable: bool) -> DType {
        if trainable || rank < 2 {
            DType::F32
        } else {
            self.dtype
        }
    }

    /// Values on the CPU as a tensor at this place.
    pub(crate) fn tensor(
        &self,
        values: Vec<f32>,
        dims: &[usize],
        dtype: DType,
        variable: bool,
    ) -> Result<Tensor> {
        match &self.device {
            #[cfg(feature = "cuda")]
            device @ Device::Cuda(_) => gpu::tensor(device, &values, dims, dtype, variable),
            _ => {
                debug_assert_eq!(dtype, DType::F32);
                match variable {
                    true => Ok(Var::from_vec(values, dims, &Device::Cpu)?.into_inner()),
                    false => Tensor::from_vec(values, dims, &Device::Cpu),
                }
            }
        }
    }

    /// This device with activations in f32.
    #[must_use]
    pub fn in_f32(&self) -> Self {
        Self {
            dtype: DType::F32,
            ..self.clone()
        }
    }

    /// A convolution's kernel `[kh, kw, Ci, Co]` on the CPU, in the layout of [`crate::ops::conv2d`] at this place.
    ///
    /// # Errors
    /// Those of the device.
    pub fn kernel(&self, weight: &Tensor) -> Result<Tensor> {
        match self.is_cpu() {
            true => Ok(weight.clone()),
            false => self.enter(&weight.permute((3, 0, 1, 2))?.contiguous()?),
        }
    }

    /// Moves an input of a network here: f32 on the CPU, or already here. On a tape its gradient is copied back.
    ///
    /// # Errors
    /// If a gradient would have to propagate through the copy outside of a tape; those of the device.
    pub fn enter(&self, x: &Tensor) -> Result<Tensor> {
        if x.device().same_device(&self.device) {
            return Ok(x.clone());
        }
        let values = || x.flatten_all()?.to_vec1::<f32>();
        if !x.track_op() {
            return self.tensor(values()?, x.dims(), self.dtype, false);
        }
        #[cfg(feature = "cuda")]
        if autograd::leaves() == Leaves::Tape {
            let out = gpu::tensor(&self.device, &values()?, x.dims(), self.dtype, true)?;
            autograd::remember(&out, Enter(x.clone()));
            return Ok(out);
        }
        bail!(
            "an input {:?} of a network on a GPU is tracked: its gradient would be lost",
            x.shape()
        )
    }

    /// Moves an output of a network to f32 on the CPU. Gradients are copied back to the device.
    ///
    /// # Errors
    /// Those of the device.
    pub fn leave(&self, x: &Tensor) -> Result<Tensor> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let values = gpu::with_views([x], |gpu, [x]| gpu.download(x))?;
            let recording = autograd::leaves() == Leaves::Tape && x.track_op();
            let out = Values::Cpu(values).into_tensor(x.dims(), &Device::Cpu, recording)?;
            if recording {
                autograd::remember(&out, Leave(x.clone()));
            }
            return Ok(out);
        }
        Ok(x.clone())
    }
}

/// The values of a tensor, f32.
pub(crate) fn host_values(x: &Tensor) -> Result<Vec<f32>> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return gpu::with_views([x], |gpu, [x]| gpu.download(x));
    }
    x.flatten_all()?.to_vec1::<f32>()
}

#[cfg(feature = "cuda")]
struct Enter(Tensor);

#[cfg(feature = "cuda")]
impl Backward for Enter {
    fn backward(&self, out: &Tensor, grad: Arc<Values>, into: &mut Gradients) -> Result<()> {
        let Values::Gpu(grad) = &*grad else {
            bail!("the gradient of {:?} is not on the GPU", out.shape())
        };
        let values = gpu::with_views([out], |gpu, [_]| gpu.download(grad.view(out.dims())))?;
        into.add(&self.0, Arc::new(Values::Cpu(values)))
    }
}

#[cfg(feature = "cuda")]
struct Leave(Tensor);

#[cfg(feature = "cuda")]
impl Backward for Leave {
    fn backward(&self, out: &Tensor, grad: Arc<Values>, into: &mut Gradients) -> Result<()> {
        let Values::Cpu(values) = &*grad else {
            bail!(
                "the gradient of a result {:?} is not on the CPU",
                out.shape()
            )
        };
        let grad = gpu::with_views([&self.0], |gpu, [x]| {
            let wide = gpu.upload(values)?;
            if x.kind == wide.kind() {
                return Ok(wide);
            }
            gpu.cast(wide.view(x.dims), x.kind)
        })?;
        into.add(&self.0, Arc::new(Values::Gpu(grad)))
    }
}
