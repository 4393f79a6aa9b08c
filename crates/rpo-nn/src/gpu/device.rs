//! A device: its memory, its stream, and its loaded kernels and chosen algorithms.

use super::buffer::{Buffer, Kind};
use super::cudnn::{Convolutions, Task};
use super::kernels::{Arg, Kernels, Launch};
use super::products::{Product, Products};
use crate::geometry::Geometry;
use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::CudaStream;
use candle_core::cuda_backend::cudarc::driver::sys::CUdeviceptr;
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use std::sync::{Arc, Mutex, PoisonError};

/// State shared by the operations on one device.
pub(crate) struct Gpu {
    pub(super) device: CudaDevice,
    pub(crate) stream: Arc<CudaStream>,
    kernels: Kernels,
    products: Products,
    convolutions: Convolutions,
}

impl Gpu {
    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        Ok(Self {
            device: device.clone(),
            kernels: Kernels::new(&stream),
            products: Products::new(&stream)?,
            convolutions: Convolutions::new(&stream)?,
            stream,
        })
    }

    /// The state of `device`, created at the first call.
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

    /// Uninitialised memory for `len` values.
    pub(crate) fn alloc(&self, kind: Kind, len: usize) -> Result<Buffer> {
        Buffer::new(&self.stream, kind, len)
    }

    /// Queues kernel `name`.
    ///
    /// The arguments' sizes are checked against the kernel's parameters; the caller ensures that pointers are valid.
    pub(crate) fn launch(&self, name: &str, launch: Launch, args: &[Arg]) -> Result<()> {
        self.kernels.launch(name, launch, args)
    }

    /// [`Self::launch`] of the kernel for `kind`.
    pub(crate) fn launch_for(
        &self,
        name: &str,
        kind: Kind,
        launch: Launch,
        args: &[Arg],
    ) -> Result<()> {
        self.kernels.launch_for(name, kind, launch, args)
    }

    /// The product in new memory, row-major.
    pub(crate) fn product(&self, p: Product) -> Result<Buffer> {
        let y = self.alloc(p.out, p.a.rows * p.b.cols)?;
        self.product_into(&p, y.ptr(), p.b.cols)?;
        Ok(y)
    }

    /// The product at `y`, row-major, `stride` elements from row to row.
    pub(crate) fn product_into(&self, p: &Product, y: CUdeviceptr, stride: usize) -> Result<()> {
        self.products.put(p, y, stride)
    }

    /// Queues one task of a convolution; a bias is added to a forward pass.
    pub(crate) fn convolve(
        &self,
        task: (&Geometry, Kind, Task),
        pointers: [u64; 3],
        bias: Option<u64>,
    ) -> Result<()> {
        self.convolutions
            .convolve(&self.kernels, task, pointers, bias)
    }
}
