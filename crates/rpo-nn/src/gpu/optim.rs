//! AdamW and gradient norms over all tensors at once.

use super::array::with_views;
use super::buffer::{Buffer, GpuView, Kind, memory_error};
use super::device::Gpu;
use super::kernels::{Arg, Launch};
use candle_core::cuda_backend::WrapErr;
use candle_core::{Device, Result, Tensor};

/// Values per block.
const CHUNK: usize = 1 << 16;

/// `struct Chunk` of `reduce.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Chunk {
    values: u64,
    len: i64,
    bf16: i32,
    pad: i32,
}

/// `struct Update` of `optim.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Update {
    w: u64,
    m: u64,
    v: u64,
    grad: u64,
    copy: u64,
    len: i64,
    grad_bf16: i32,
    pad: i32,
}

/// Starts and lengths of the chunks of `len` values.
fn chunks(len: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..len.div_ceil(CHUNK)).map(move |i| (i * CHUNK, CHUNK.min(len - i * CHUNK)))
}

fn at(view: GpuView<'_>, from: usize) -> u64 {
    view.ptr + (from * view.kind.bytes()) as u64
}

impl Gpu {
    /// A table of descriptions on the device.
    fn table<T: Copy>(&self, rows: &[T]) -> Result<Buffer> {
        // SAFETY: the rows are plain integers of four or eight bytes, whose bytes are read as those of f32 and never as numbers.
        let words = unsafe {
            std::slice::from_raw_parts(rows.as_ptr().cast::<f32>(), std::mem::size_of_val(rows) / 4)
        };
        self.upload(words)
    }
}

/// The sum of the squares of every tensor, in f64.
pub(crate) fn squares(device: &Device, tensors: &[&Tensor]) -> Result<Vec<f64>> {
    let gpu = Gpu::of(device.as_cuda_device()?)?;
    let (mut rows, mut owners) = (vec![], vec![]);
    for (i, tensor) in tensors.iter().enumerate() {
        with_views([tensor], |_, [view]| {
            for (from, len) in chunks(view.len()) {
                rows.push(Chunk {
                    values: at(view, from),
                    len: len as i64,
                    bf16: i32::from(view.kind == Kind::Bf16),
                    pad: 0,
                });
                owners.push(i);
            }
            Ok(())
        })?;
    }
    let table = gpu.table(&rows)?;
    // SAFETY: every block writes its sum before they are read.
    let partial = unsafe { gpu.stream.alloc::<f64>(rows.len().max(1)) };
    let partial = partial.map_err(|e| memory_error(&gpu.stream, &e, 8 * rows.len()))?;
    let pointer = {
        use candle_core::cuda_backend::cudarc::driver::DevicePtr;
        partial.device_ptr(&gpu.stream).0
    };
    let args = [
        Arg::Ptr(table.ptr()),
        Arg::Ptr(pointer),
        Arg::int(rows.len()),
    ];
    gpu.launch("squares", Launch::blocks([rows.len(), 1, 1]), &args)?;
    let parts = gpu.stream.clone_dtoh(&partial).w()?;
    // The copy may still be in progress.
    gpu.stream.synchronize().w()?;
    let mut sums = vec![0.0; tensors.len()];
    for (owner, part) in owners.into_iter().zip(parts) {
        sums[owner] += part;
    }
    Ok(sums)
}

/// One tensor of a step.
pub(crate) struct Step<'a> {
    pub(crate) w: &'a Tensor,
    pub(crate) grad: &'a Tensor,
    /// First and second.
    pub(crate) moments: &'a [Tensor; 2],
}

/// One AdamW step on all tensors, in one launch; `factors` as in [`crate::optim`]: β1, β2, 1 - η λ, η / (1 - β1^t),
/// 1 / sqrt(1 - β2^t), ε, the factor of the gradients.
pub(crate) fn step(device: &Device, tensors: &[Step<'_>], factors: [f32; 7]) -> Result<()> {
    let gpu = Gpu::of(device.as_cuda_device()?)?;
    let mut rows = vec![];
    for Step { w, grad, moments } in tensors {
        let [first, second] = moments;
        with_views([w, first, second, grad], |_, [w, m, v, g]| {
            for (from, len) in chunks(w.len()) {
                rows.push(Update {
                    w: at(w, from),
                    m: at(m, from),
                    v: at(v, from),
                    grad: at(g, from),
                    copy: 0,
                    len: len as i64,
                    grad_bf16: i32::from(g.kind == Kind::Bf16),
                    pad: 0,
                });
            }
            Ok(())
        })?;
    }
    let table = gpu.table(&rows)?;
    let mut args = vec![Arg::Ptr(table.ptr())];
    args.extend(factors.map(Arg::Float));
    gpu.launch("adamw", Launch::blocks([rows.len(), 1, 1]), &args)
}
