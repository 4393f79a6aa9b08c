//! Transfers between tensors or values of the host and memory of a device.

use super::buffer::{Buffer, GpuView, Kind};
use super::device::Gpu;
use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, result, sys};
use candle_core::cuda_backend::{CudaStorage, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{DType, Layout, Result, Storage, Tensor, bail};
use half::bf16;

impl Gpu {
    /// A copy of values of the host.
    pub(crate) fn upload(&self, values: &[f32]) -> Result<Buffer> {
        let buffer = self.alloc(Kind::F32, values.len())?;
        self.write(buffer.ptr(), values)?;
        Ok(buffer)
    }

    /// Copies values of the host to `ptr`.
    fn write<T>(&self, ptr: sys::CUdeviceptr, values: &[T]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        self.stream.context().bind_to_thread().w()?;
        // SAFETY: `ptr` has room for them, and the values live until the copy is done.
        unsafe { result::memcpy_htod_async(ptr, values, self.stream.cu_stream()) }.w()?;
        self.stream.synchronize().w()
    }

    /// The values, in f32.
    pub(crate) fn download(&self, view: GpuView<'_>) -> Result<Vec<f32>> {
        let n = view.len();
        if view.kind == Kind::Bf16 {
            let wide = self.cast(view, Kind::F32)?;
            return self.download(wide.view(&[n]));
        }
        let mut values = vec![0f32; n];
        if n > 0 {
            self.stream.context().bind_to_thread().w()?;
            // SAFETY: both sides hold n values.
            unsafe { result::memcpy_dtoh_async(&mut values, view.ptr, self.stream.cu_stream()) }
                .w()?;
        }
        self.stream.synchronize().w()?;
        Ok(values)
    }

    /// A copy of a view, in its dtype.
    pub(crate) fn copy(&self, view: GpuView<'_>) -> Result<Buffer> {
        let out = self.alloc(view.kind, view.len())?;
        let bytes = view.len() * view.kind.bytes();
        if bytes > 0 {
            self.stream.context().bind_to_thread().w()?;
            // SAFETY: both sides hold as many bytes.
            unsafe {
                result::memcpy_dtod_async(out.ptr(), view.ptr, bytes, self.stream.cu_stream())
            }
            .w()?;
        }
        Ok(out)
    }

    /// A buffer as candle's storage.
    pub(crate) fn storage(&self, buffer: Buffer) -> Storage {
        let device = self.device.clone();
        Storage::Cuda(match buffer {
            Buffer::F32(slice) => CudaStorage::wrap_cuda_slice(slice, device),
            Buffer::Bf16(slice) => CudaStorage::wrap_cuda_slice(slice, device),
        })
    }

    /// A new tensor, a variable on request.
    pub(crate) fn tensor(&self, buffer: Buffer, dims: &[usize], variable: bool) -> Tensor {
        Tensor::from_storage(self.storage(buffer), dims, BackpropOp::none(), variable)
    }
}

/// Values of the host as a tensor of `dtype` on the device of candle's `device`.
pub(crate) fn tensor(
    device: &candle_core::Device,
    values: &[f32],
    dims: &[usize],
    dtype: DType,
    variable: bool,
) -> Result<Tensor> {
    let gpu = Gpu::of(device.as_cuda_device()?)?;
    let buffer = match Kind::of(dtype)? {
        Kind::F32 => gpu.upload(values)?,
        Kind::Bf16 => {
            let narrow: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
            let buffer = gpu.alloc(Kind::Bf16, narrow.len())?;
            gpu.write(buffer.ptr(), &narrow)?;
            buffer
        }
    };
    Ok(gpu.tensor(buffer, dims, variable))
}

fn view<'a>(storage: &CudaStorage, layout: &'a Layout) -> Result<GpuView<'a>> {
    let Some((from, _)) = layout.contiguous_offsets() else {
        bail!("a kernel met a tensor that is not contiguous: {layout:?}")
    };
    let kind = Kind::of(storage.dtype())?;
    let start = match kind {
        Kind::F32 => {
            let s = storage.as_cuda_slice::<f32>()?;
            s.device_ptr(s.stream()).0
        }
        Kind::Bf16 => {
            let s = storage.as_cuda_slice::<bf16>()?;
            s.device_ptr(s.stream()).0
        }
    };
    Ok(GpuView {
        ptr: start + (from * kind.bytes()) as u64,
        kind,
        dims: layout.dims(),
    })
}

/// Calls `f` with the values of contiguous tensors of one device.
pub(crate) fn with_views<const N: usize, T>(
    tensors: [&Tensor; N],
    f: impl FnOnce(&Gpu, [GpuView<'_>; N]) -> Result<T>,
) -> Result<T> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut gpu = None;
    let mut views = [GpuView {
        ptr: 0,
        kind: Kind::F32,
        dims: &[],
    }; N];
    for (slot, (storage, layout)) in views.iter_mut().zip(&guards) {
        let Storage::Cuda(storage) = &**storage else {
            bail!("a kernel met a tensor of the CPU among tensors of a GPU")
        };
        *slot = view(storage, layout)?;
        gpu = Some(Gpu::of(&storage.device)?);
    }
    match gpu {
        Some(gpu) => f(&gpu, views),
        None => bail!("a kernel without arguments"),
    }
}

/// Overwrites the values of a storage of the device.
pub(crate) fn upload_into(storage: &CudaStorage, layout: &Layout, values: &[f32]) -> Result<()> {
    let gpu = Gpu::of(&storage.device)?;
    let view = view(storage, layout)?;
    if view.len() != values.len() {
        bail!("{} values for a tensor {:?}", values.len(), view.dims)
    }
    match view.kind {
        Kind::F32 => gpu.write(view.ptr, values),
        Kind::Bf16 => {
            let narrow: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
            gpu.write(view.ptr, &narrow)
        }
    }
}
