//! Memory of a device and views of it.

use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, CudaStream, DevicePtr, DriverError, sys,
};
use candle_core::{DType, Error, Result, bail};
use half::bf16;
use std::sync::Arc;

/// The dtypes of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    F32,
    Bf16,
}

impl Kind {
    pub(crate) fn of(dtype: DType) -> Result<Self> {
        match dtype {
            DType::F32 => Ok(Self::F32),
            DType::BF16 => Ok(Self::Bf16),
            other => bail!("CUDA operations take f32 and bf16, not {other:?}"),
        }
    }

    /// Its suffix in the names of kernels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// A contiguous argument; valid while its tensor or buffer lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GpuView<'a> {
    pub(crate) ptr: sys::CUdeviceptr,
    pub(crate) kind: Kind,
    pub(crate) dims: &'a [usize],
}

impl GpuView<'_> {
    pub(crate) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The size of the last dimension.
    pub(crate) fn last(&self) -> usize {
        self.dims.last().copied().unwrap_or(1)
    }

    /// All dimensions before the last.
    pub(crate) fn rows(&self) -> usize {
        self.dims[..self.dims.len().saturating_sub(1)]
            .iter()
            .product()
    }
}

/// Memory of a device.
pub(crate) enum Buffer {
    F32(CudaSlice<f32>),
    Bf16(CudaSlice<bf16>),
}

impl Buffer {
    /// Uninitialised memory for `len` values.
    pub(super) fn new(stream: &Arc<CudaStream>, kind: Kind, len: usize) -> Result<Self> {
        // The driver does not allocate empty memory.
        let n = len.max(1);
        // SAFETY: every kernel writes all of its result before anything reads it.
        let made = unsafe {
            match kind {
                Kind::F32 => stream.alloc(n).map(Self::F32),
                Kind::Bf16 => stream.alloc(n).map(Self::Bf16),
            }
        };
        made.map_err(|e| memory_error(stream, &e, n * kind.bytes()))
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::F32(_) => Kind::F32,
            Self::Bf16(_) => Kind::Bf16,
        }
    }

    pub(crate) fn ptr(&self) -> sys::CUdeviceptr {
        match self {
            Self::F32(s) => s.device_ptr(s.stream()).0,
            Self::Bf16(s) => s.device_ptr(s.stream()).0,
        }
    }

    pub(crate) fn view<'a>(&self, dims: &'a [usize]) -> GpuView<'a> {
        GpuView {
            ptr: self.ptr(),
            kind: self.kind(),
            dims,
        }
    }
}

/// An allocation error, with the free memory and a hint.
pub(super) fn memory_error(stream: &CudaStream, e: &DriverError, bytes: usize) -> Error {
    if e.0 != sys::cudaError_enum::CUDA_ERROR_OUT_OF_MEMORY {
        return Error::Msg(format!("CUDA: {e}"));
    }
    let gigabytes = |bytes: usize| bytes as f64 / 1e9;
    let (free, total) = stream.context().mem_get_info().unwrap_or((0, 0));
    Error::Msg(format!(
        "out of memory on the GPU: {:.1} MB asked for, {:.1} of {:.1} GB free\n  hint: a smaller `sampler.batch` or `model.size`, a larger \
         `training.gradient_accumulation`, `training.recompute = true` or a table `[lora]`",
        bytes as f64 / 1e6,
        gigabytes(free),
        gigabytes(total)
    ))
}
