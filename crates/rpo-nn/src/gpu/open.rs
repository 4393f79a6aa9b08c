//! Finding and opening a device.

use super::libraries;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, result, sys};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{Device, Error, Result};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The libraries and the kernels' PTX are CUDA 13's.
const DRIVER: i32 = 13_000;

/// The kernels use bf16 products and asynchronous copies.
const CAPABILITY: (i32, i32) = (8, 0);

/// Device `ordinal`, opened once in the life of the process.
///
/// # Errors
/// If a library of NVIDIA's or the device is missing, its driver is too old, or it is below compute capability 8.0 (Ampere); with a
/// hint.
pub fn open(ordinal: usize) -> Result<Device> {
    static OPEN: Mutex<BTreeMap<usize, Device>> = Mutex::new(BTreeMap::new());
    let mut all = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(device) = all.get(&ordinal) {
        return Ok(device.clone());
    }
    libraries::load()?;
    let device = Device::Cuda(connect(ordinal)?);
    all.insert(ordinal, device.clone());
    Ok(device)
}

fn connect(ordinal: usize) -> Result<CudaDevice> {
    let failed = |e: &dyn std::fmt::Display| {
        Error::Msg(format!(
            "cuda:{ordinal}: {e}. `nvidia-smi` shows the devices; `device = \"cpu\"` does without one"
        ))
    };
    let mut version = 0;
    // SAFETY: the pointer is valid for the call, which needs no context.
    let status = unsafe { sys::cuDriverGetVersion(&mut version) };
    if status.result().is_ok() && version < DRIVER {
        return Err(Error::Msg(format!(
            "cuda:{ordinal}: the driver is one of CUDA {}.{}, CUDA 13 needs 580 or later; `device = \"cpu\"` does without a GPU",
            version / 1000,
            version % 1000 / 10
        )));
    }
    let context = CudaContext::new(ordinal).map_err(|e| failed(&e))?;
    let capability = context.compute_capability().map_err(|e| failed(&e))?;
    if capability < CAPABILITY {
        return Err(Error::Msg(format!(
            "cuda:{ordinal}: {} has compute capability {}.{}, the kernels need {}.{} (Ampere) or later; `device = \"cpu\"` does without a GPU",
            context.name().unwrap_or_default(),
            capability.0,
            capability.1,
            CAPABILITY.0,
            CAPABILITY.1
        )));
    }
    let device = CudaDevice::new_with_stream(ordinal).map_err(|e| failed(&e))?;
    // SAFETY: all work of the device is queued on the single stream created above.
    unsafe { device.disable_event_tracking() };
    keep_memory(&context).map_err(|e| failed(&e))?;
    Ok(device)
}

/// Keeps freed memory in the process: returning it at every synchronisation would cost more than the kernels of a small network.
fn keep_memory(context: &CudaContext) -> Result<()> {
    if !context.has_async_alloc() {
        return Ok(());
    }
    let device = result::device::get(context.ordinal() as i32).w()?;
    let mut pool = std::ptr::null_mut();
    let mut all = u64::MAX;
    // SAFETY: both pointers are valid for the calls; the attribute is a u64.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, device)
            .result()
            .w()?;
        sys::cuMemPoolSetAttribute(
            pool,
            sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            std::ptr::from_mut(&mut all).cast(),
        )
        .result()
        .w()
    }
}

/// The driver's name of `device`; `None` for the CPU.
pub fn name(device: &Device) -> Option<String> {
    match device {
        Device::Cuda(device) => device.cuda_stream().context().name().ok(),
        _ => None,
    }
}

/// Memory of a device in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Of the device.
    pub total: u64,
    /// Peak memory of this process; 0 if the driver has no memory pool.
    pub peak: u64,
}

/// Memory of `device`; `None` on the CPU.
///
/// # Errors
/// Those of the driver.
pub fn memory(device: &Device) -> Result<Option<Memory>> {
    let Device::Cuda(device) = device else {
        return Ok(None);
    };
    let stream = device.cuda_stream();
    let context = stream.context();
    let total = context.total_mem().w()? as u64;
    let mut peak = 0u64;
    if !context.has_async_alloc() {
        return Ok(Some(Memory { total, peak }));
    }
    let ordinal = result::device::get(context.ordinal() as i32).w()?;
    let mut pool = std::ptr::null_mut();
    // SAFETY: as above.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, ordinal)
            .result()
            .w()?;
        sys::cuMemPoolGetAttribute(
            pool,
            sys::CUmemPool_attribute_enum::CU_MEMPOOL_ATTR_USED_MEM_HIGH,
            std::ptr::from_mut(&mut peak).cast(),
        )
        .result()
        .w()?;
    }
    Ok(Some(Memory { total, peak }))
}
