//! A small tape: what a network did, written down as it ran, and its backward pass.
//!
//! candle's own backward pass makes a tensor of zeros and a sum for every edge of the graph, and holds all activations until it
//! is over. Here a gradient is moved into its place, added where it stands, and every activation is freed once it was used.
//!
//! Gradient checkpointing (Chen et al. 2016): a [`part`](Tape::part) keeps only its inputs and is computed again in the backward
//! pass, so that memory holds the activations of one part instead of all.

mod mode;
mod nodes;
mod pass;

pub(crate) use mode::{Leaves, leaves, remember};
pub(crate) use nodes::{Backward, Gradients};
pub use pass::Tape;
pub(crate) use pass::is_foreign;
