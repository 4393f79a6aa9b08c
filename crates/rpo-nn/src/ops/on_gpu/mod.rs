//! The second half of the operations: their launches on a GPU.

mod attention;
mod conv;
mod depthwise;
mod elementwise;
mod linear;
mod norm;
#[cfg(test)]
mod tests;

use crate::autograd::Gradient;
use crate::gpu::Buffer;
use candle_core::Result;

/// `Values` of `f()` if wanted.
fn when(wanted: bool, f: impl FnOnce() -> Result<Buffer>) -> Result<Gradient<Buffer>> {
    Ok(match wanted {
        true => Gradient::Values(f()?),
        false => Gradient::None,
    })
}
