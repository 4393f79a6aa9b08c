//! Operations and their gradients, from the ground up:
//!
//! * `view`, `op`: what an operation is, on slices, and in builds with the feature `cuda` on memory of a GPU.
//! * `values`: results that are no tensors yet, wherever they lie.
//! * `execute`: an operation where its tensors lie; `bridge`: one as candle's graph takes it.
//! * `tape`: a recording of what was done, which knows no operations; its mode of the thread.
//! * `apply`: what the operations of [`crate::ops`] call, the choice between candle's graph, a tape and neither.

mod apply;
mod bridge;
mod execute;
mod op;
mod tape;
mod values;
mod view;

pub(crate) use apply::{apply1, apply2, apply3, is_watched};
#[cfg(feature = "cuda")]
pub(crate) use op::OnGpu;
pub(crate) use op::{Differentiable, Gradient};
pub use tape::Tape;
#[cfg(feature = "cuda")]
pub(crate) use tape::{Backward, Gradients, Leaves, leaves, remember};
#[cfg(feature = "cuda")]
pub(crate) use values::Values;
pub(crate) use view::{View, with_views};
