//! Low-rank adaptation (Hu et al. 2021): y = W x + b + s · α/r · B A dropout(x), with W and b frozen.
//!
//! [`Adapters`] holds A and B of some layers of one network. [`Params::with_adapters`](crate::weights::Params::with_adapters)
//! adds them to the network's tensors: a model built on the result is the adapted one, a model built on the tensors alone is
//! the base, and both share memory. s is a scale for all adapters, 1 unless changed for sampling.

mod adapters;
mod config;
mod layer;

pub use adapters::{Adapters, LoraModule};
pub use config::{LoraConfig, LoraInit};
pub(crate) use layer::Lora;
