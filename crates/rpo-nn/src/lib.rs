//! Layers with an exact and fast backward pass; parameters; AdamW.
//!
//! * [`ops`]: differentiable operations on channels-last (`[B, H, W, C]`, `[B, N, C]`) f32 tensors. Each is one
//!   candle custom op with its own backward; gradients of frozen arguments are not computed.
//! * [`frozen`]: fused forward passes of frozen networks, without a gradient.
//! * [`weights`]: all tensors of one network by their diffusers / transformers name, read from and written to safetensors.
//! * [`layers`]: thin structs that hold the weights of an op.
//! * [`lora`]: low-rank adapters on the frozen tensors of a network, without changes to its code.
//! * [`Tape`]: the backward pass of a whole network without candle's zeros and sums, with gradient checkpointing on request.
//! * [`optim`]: AdamW in place, gradient norm and clipping, the check that every trainable tensor is trained.
//!
//! Results do not depend on the number of threads: work is cut into chunks, and sums into trees, by shapes alone.
//! Their last bits do depend on [`simd_level`].
//!
//! Call everything from [`on_pool`].

mod autograd;
mod finite;
pub mod frozen;
mod geometry;
#[cfg(feature = "cuda")]
pub mod gpu;
mod keeping;
mod kept;
pub mod layers;
pub mod lora;
mod math;
mod matrix;
pub mod ops;
pub mod optim;
mod parallel;
mod place;
mod rows;
mod scratch;
mod simd;
mod stack;
mod vector;
pub mod weights;

pub use autograd::Tape;
pub use finite::{all_finite, not_finite};
#[doc(hidden)]
pub use parallel::poison_results;
pub use place::Place;
pub use simd::simd_level;
pub use stack::{on_pool, on_pool_of};

/// Version of the arithmetic: increased whenever a change alters the bits that a kernel returns, so that caches can detect
/// it. Part of every cache key, with [`simd_level`].
pub const KERNELS_VERSION: u32 = 9;
