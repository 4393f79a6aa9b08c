//! Operations and their gradients, from the ground up:
//!
//! * `view`, `op`: the trait of an operation, on slices, and in builds with the feature `cuda` on memory of a GPU.
//! * `values`: results that are not yet tensors, on any device.
//! * `execute`: runs an operation on the device of its tensors; `bridge`: an operation as a node of candle's graph.
//! * `tape`: a recording of operations, independent of which ones; its per-thread mode.
//! * `apply`: called by the operations of [`crate::ops`], chooses between candle's graph, a tape and neither.

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
