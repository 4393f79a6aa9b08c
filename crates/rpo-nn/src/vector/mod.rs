//! Registers of f32 as types, for kernels whose sums must stay in registers, which loops over arrays do not reliably compile to.
//!
//! A value of a [`Simd`] type proves that this machine has its instructions, so that everything except memory access is safe.
//! A kernel is generic over it, `#[inline(always)]` throughout, and entered by [`Simd::call`].

mod level;
mod plain;
mod registers;
mod turn;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use level::Level;
pub(crate) use registers::{Kernel, MOST_LANES, Simd};
pub(crate) use turn::turn_block;
