//! A small tape: the recorded operations of a network, and their backward pass.
//!
//! candle's own backward pass makes a tensor of zeros and a sum for every edge of the graph, and holds all activations until the
//! end. Here the first gradient of a tensor is moved, further ones are added in place, and activations are freed after use.
//!
//! Gradient checkpointing (Chen et al. 2016): a [`part`](Tape::part) keeps only its inputs and is recomputed in the backward
//! pass, so that memory holds the activations of one part instead of all.

mod mode;
mod nodes;
mod pass;

pub(crate) use mode::{Leaves, leaves, remember};
pub(crate) use nodes::{Backward, Gradients};
pub use pass::Tape;
pub(crate) use pass::is_foreign;
