//! CUDA devices: memory, kernels of this project (`cuda/*.cu`), products by cuBLASLt, convolutions by cuDNN. The operations that
//! use them are in [`crate::ops`].
//!
//! A network with its weights is on a device; its inputs are copied there ([`crate::Place`]) and its outputs are copied back.
//! All work of a device is queued on one stream, in the order of the calls: memory that is freed while a kernel still uses it is
//! not reused before the kernel is done. Activations are f32 or bf16; sums, norms, softmax and gradients of weights are f32.

mod array;
mod buffer;
mod casts;
mod cudnn;
mod device;
mod elementwise;
mod kernels;
mod libraries;
mod open;
mod optim;
mod products;
mod reduce;
mod saved;
#[cfg(test)]
mod tests;

pub(crate) use array::{tensor, upload_into, with_views};
pub(crate) use buffer::{Buffer, GpuView, Kind};
pub(crate) use casts::KeptCasts;
pub(crate) use cudnn::Task;
pub(crate) use device::Gpu;
pub(crate) use elementwise::same_kind;
pub(crate) use kernels::{Arg, BLOCK, Launch};
pub use open::{Memory, memory, name, open};
pub(crate) use optim::{Step, squares, step};
pub(crate) use products::{Matrix, Product};
pub(crate) use reduce::{Arrangement, WAVE, positions, sum_partials, sum_rows};
pub(crate) use saved::{Statistics, Sums};
