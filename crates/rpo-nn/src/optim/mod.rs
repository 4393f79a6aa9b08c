//! AdamW in place, learning rates, averages of weights, gradient norm and clipping, the check that every trainable tensor is
//! trained.

mod adamw;
mod ema;
mod gradients;
mod rate;

pub use adamw::{AdamW, AdamWConfig};
pub use ema::{Ema, ema_decay};
pub use gradients::{add_gradients, check_gradients, clip_scale, global_norm};
pub use rate::Rate;
