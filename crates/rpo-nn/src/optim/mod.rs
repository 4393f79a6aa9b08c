//! AdamW in place, gradient norm and clipping, the check that every trainable tensor is trained.

mod adamw;
mod gradients;

pub use adamw::{AdamW, AdamWConfig};
pub use gradients::{add_gradients, check_gradients, clip_scale, global_norm};
